"""A picture of the progress that changes in place, on terminals that can do that."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Self

from codegen_async.cli.output import is_terminal, make_table
from codegen_async.signals import handling_on

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

    from codegen_async.cli.session import Session
    from codegen_async.hosted.client import RunClient

_EVERY = 0.25  # seconds between two pictures


@asynccontextmanager
async def shown(session: Session[Any], picture: Callable[[], Awaitable[RenderableType]]) -> AsyncGenerator[None]:
    """Show what `picture` returns while the block lasts, if the standard error is a terminal."""
    if not session.output.live:
        yield
        return
    with _Screen() as screen, screen.given_back_when_stopped():
        ticker = asyncio.create_task(_tick(screen, picture, _EVERY * session.target.speed))
        try:
            yield
            screen.update(await picture())  # stays when the block is left
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)


async def _tick(screen: _Screen, picture: Callable[[], Awaitable[RenderableType]], pause: float) -> None:
    while True:
        screen.update(await picture())
        await asyncio.sleep(pause)


class _Screen:
    """The part of a terminal that the picture has."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def update(self, picture: RenderableType) -> None:
        if self._live is not None:
            self._live.update(picture, refresh=True)

    def _take(self) -> None:
        from rich.live import Live

        # What is printed meanwhile appears above the picture; data that goes elsewhere is left alone.
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=is_terminal(sys.stdout))
        self._live.start()

    def _give_back(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @contextmanager
    def given_back_when_stopped(self) -> Generator[None]:
        """Let Ctrl-Z leave the shell its cursor, and go on with a new picture below what the shell has shown."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTSTP] if hasattr(signal, "SIGTSTP") else []
        with handling_on(loop, self._stop, numbers):
            yield

    def _stop(self, number: signal.Signals) -> None:
        shown = self._live is not None
        self._give_back()
        handler = signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # comes back when the shell lets the process go on
        signal.signal(number, handler)
        if shown:
            self._take()


def budget(client: RunClient[Any, Any]) -> Iterator[Table]:
    """Yield what is used of the limits and when each lets the next request through, of those that matter just now."""
    rows = [
        (endpoint, f"{state.in_flight + state.cooling}/{state.rate.limit} in {state.rate.period:g} s", *rest)
        for endpoint, state in client.limits.items()
        if (rest := (_wait(state.wait), str(state.rejections))) != ("now", "0")
    ]
    if rows:
        yield make_table(("LIMIT", "USED", "NEXT SLOT", "429S"), rows)


def _wait(seconds: float) -> str:
    if seconds < 1:
        return "now"
    return f"in {seconds:.0f} s"


def duration(seconds: float) -> str:
    """Return seconds as a person reads them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
