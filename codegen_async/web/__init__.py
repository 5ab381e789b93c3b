"""Show runs to browsers: a live view of each run for any web framework, routes for any ASGI application, a dashboard.

Names are loaded on first use: `aiohttp.web` is needed by `aiohttp_routes` alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codegen_async.web.app import RunsApp
    from codegen_async.web.attaching import attach
    from codegen_async.web.bridge import aiohttp_routes
    from codegen_async.web.dashboard.app import Dashboard
    from codegen_async.web.feed import RunFeed
    from codegen_async.web.problems import Problem, problem

__all__ = ["Dashboard", "Problem", "RunFeed", "RunsApp", "aiohttp_routes", "attach", "problem"]

_HOMES = {
    "Dashboard": "dashboard.app",
    "Problem": "problems",
    "RunFeed": "feed",
    "RunsApp": "app",
    "aiohttp_routes": "bridge",
    "attach": "attaching",
    "problem": "problems",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
