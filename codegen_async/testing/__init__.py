"""Simulated servers, a virtual clock and a pytest plugin for the tests of whoever uses the client.

Names are loaded on first use: the clock can be had without aiohttp.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codegen_async.testing.clock import FastLoop, VirtualLoop, run_virtual
    from codegen_async.testing.codegen import CodegenServer
    from codegen_async.testing.delivery import Answer
    from codegen_async.testing.dialects import check_dialect
    from codegen_async.testing.faults import Fault
    from codegen_async.testing.middesk import MiddeskServer
    from codegen_async.testing.middesk_world import MiddeskWorld
    from codegen_async.testing.server import Route, SimulatedServer
    from codegen_async.testing.threads import ServerThread
    from codegen_async.testing.validation import Refusal
    from codegen_async.testing.world import Life, Run, World

__all__ = [
    "Answer",
    "CodegenServer",
    "FastLoop",
    "Fault",
    "Life",
    "MiddeskServer",
    "MiddeskWorld",
    "Refusal",
    "Route",
    "Run",
    "ServerThread",
    "SimulatedServer",
    "VirtualLoop",
    "World",
    "check_dialect",
    "run_virtual",
]

_HOMES = {
    "Answer": "delivery",
    "CodegenServer": "codegen",
    "FastLoop": "clock",
    "Fault": "faults",
    "Life": "life",
    "MiddeskServer": "middesk",
    "MiddeskWorld": "middesk_world",
    "Refusal": "validation",
    "Route": "server",
    "Run": "life",
    "ServerThread": "threads",
    "SimulatedServer": "server",
    "VirtualLoop": "clock",
    "World": "world",
    "check_dialect": "dialects",
    "run_virtual": "clock",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
