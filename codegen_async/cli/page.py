"""Serve the page that shows a batch, beside a command."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from codegen_async.cleaning import clean
from codegen_async.cli.errors import UsageError
from codegen_async.cli.options import NO_PAGE, Page, Place
from codegen_async.cli.session import RealTime, Session
from codegen_async.signals import ENDING

if TYPE_CHECKING:
    from codegen_async.batch.batch import Batch
    from codegen_async.batch.readers import Where
    from codegen_async.events import Observer

_LAST_PORT = 65535
_OPEN = "others can reach the dashboard: who has its link sees prompts and results, and what is sent is not encrypted"


class NoClient(RealTime):
    """Be a target that asks no server."""

    def __init__(self) -> None:
        self.observers: list[Observer] = []

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Yield nothing."""
        yield

    def record(self) -> Sequence[str]:
        """Return what was counted: nothing."""
        return ()


@asynccontextmanager
async def serving(session: Session[Any], source: Batch[Any, Any] | Where, place: Page | Place) -> AsyncGenerator[str]:
    """Serve the page of a batch, or of a journal, while the block lasts; print its link, and yield it.

    Raises:
        UsageError: nothing can listen there.
    """
    from codegen_async.web.dashboard.app import Allow, Dashboard
    from codegen_async.web.dashboard.local import LOOPBACK, serving

    if not 0 <= place.port <= _LAST_PORT:  # whether it came by --port or by --dashboard=PORT
        raise UsageError(f"--port: expected 0..{_LAST_PORT}, got {place.port}")
    host = LOOPBACK if place.listen is None else place.listen
    target = session.target

    def make(authorize: Allow) -> Dashboard:
        return Dashboard(source, authorize=authorize, clock=target.clock, speed=target.speed)

    async with AsyncExitStack() as stack:
        try:
            link = await stack.enter_async_context(serving(make, host=host, port=place.port))
        except OSError as error:
            where = f"{clean(host, 60)}, port {place.port}:"
            known = (error.errno or 0) > 0  # asyncio's own words are long, and those of a resolver have other numbers
            reason = os.strerror(error.errno or 0) if known else "no such address"
            hint = "without a port any free one is taken" if known else ""
            raise UsageError(f"{where} cannot be listened on ({reason})", hint) from None
        session.output.note(f"dashboard: {link}")
        if place.listen is not None:
            session.output.note(_OPEN)
        yield link


@asynccontextmanager
async def page_shown(session: Session[Any], batch: Batch[Any, Any], page: Page) -> AsyncGenerator[None]:
    """Show a batch on a page while the block lasts, if that is wanted.

    Raises:
        UsageError: nothing can listen there, or the command is to stay for a page that there is not.
    """
    if page.dashboard:
        async with serving(session, batch, page):
            yield
        return
    if page != NO_PAGE:
        raise UsageError("--stay, --port and --listen are about the page of --dashboard, which is not given")
    yield


async def until_signal(session: Session[Any]) -> None:
    """Wait for a signal."""
    over = asyncio.Event()
    end: Callable[[], None] = over.set
    session.soft = dict.fromkeys(ENDING, end)
    await over.wait()
