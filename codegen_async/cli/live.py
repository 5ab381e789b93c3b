"""A picture of the progress that changes in place, on terminals that can do that."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from codegen_async.cli.output import is_terminal, make_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

    from codegen_async.cli.session import Session
    from codegen_async.client import RunClient

_EVERY = 0.25  # seconds between two pictures


@asynccontextmanager
async def shown(session: Session[Any], picture: Callable[[], Awaitable[RenderableType]]) -> AsyncGenerator[None]:
    """Show what `picture` returns while the block lasts, if the standard error is a terminal."""
    if not session.output.live:
        yield
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    # What is printed meanwhile appears above the picture; data that goes elsewhere is left alone.
    with Live(console=console, auto_refresh=False, redirect_stdout=is_terminal(sys.stdout)) as live:
        ticker = asyncio.create_task(_tick(live, picture, _EVERY * session.target.speed))
        try:
            yield
            live.update(await picture())  # stays when the block is left
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)


async def _tick(live: Live, picture: Callable[[], Awaitable[RenderableType]], pause: float) -> None:
    while True:
        live.update(await picture(), refresh=True)
        await asyncio.sleep(pause)


def budget(client: RunClient[Any, Any]) -> Table:
    """Return what is used of the limits, and when each lets the next request through."""
    return make_table(("LIMIT", "USED", "NEXT SLOT", "429S"), _budget_rows(client))


def _budget_rows(client: RunClient[Any, Any]) -> list[tuple[str, ...]]:
    now = asyncio.get_running_loop().time()
    rows: list[tuple[str, ...]] = []
    for endpoint, state in client.limits.items():
        if endpoint == "resume":
            continue  # nothing that is watched spends it
        used = state.in_flight + state.cooling
        wait = client.limiter(endpoint).next_free - now
        per = f"{used}/{state.rate.limit} in {state.rate.period:g} s"
        rows.append((endpoint, per, _wait(wait), str(state.rejections)))
    return rows


def _wait(seconds: float) -> str:
    if seconds < 1:
        return "now"
    return "in flight" if seconds == math.inf else f"in {seconds:.0f} s"


def duration(seconds: float) -> str:
    """Return seconds as a person reads them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
