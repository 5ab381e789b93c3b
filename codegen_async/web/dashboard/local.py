"""Serve a dashboard on this machine, to whoever was given its link."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from codegen_async.web.bridge import served
from codegen_async.web.dashboard.app import Allow, Dashboard
from codegen_async.web.dashboard.door import Local, bearer

LOOPBACK = "127.0.0.1"

_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - to know them
_BYTES = 32  # of a token


@asynccontextmanager
async def serving(make: Callable[[Allow], Dashboard], *, host: str = LOOPBACK, port: int = 0) -> AsyncGenerator[str]:
    """Serve a dashboard while the block lasts, and yield the link that opens it.

    The link ends with a token, new each time, behind a #: browsers keep that part to themselves. Others of this machine
    can reach the port too, and have to have it.

    Args:
        make: returns the dashboard, given its `authorize`.
        host: the address to listen on. Default: 127.0.0.1. Under 0.0.0.0 and :: it answers to any name.
        port: the port. Default: any that is free.

    Raises:
        OSError: nothing can listen there.
    """
    token = secrets.token_urlsafe(_BYTES)
    dashboard = make(bearer(token))
    asgi = dashboard if host in _WILDCARDS else Local(dashboard, (_named(host),))
    async with served(asgi, host=host, port=port) as found:
        dashboard.begin()
        yield f"http://{_named(LOOPBACK if host in _WILDCARDS else host)}:{found}/#{token}"


def _named(host: str) -> str:
    return f"[{host}]" if ":" in host else host
