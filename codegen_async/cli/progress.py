"""Show how far a batch is: a picture on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from codegen_async.batch.batch import Batch
from codegen_async.batch.items import Outcome, State
from codegen_async.cli.live import budget, duration, shown
from codegen_async.cli.output import one_line
from codegen_async.cli.tally import label

if TYPE_CHECKING:
    from rich.console import RenderableType

    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient

_LINE_EVERY = 10.0  # seconds; a batch can take a day
_OPEN = (State.PLANNED, State.SENDING, State.CREATED)


class Progress:
    """Know how far a batch is.

    Args:
        client: whose limits decide how fast it can go.
        batch: the batch, entered.
    """

    def __init__(self, client: CodegenClient, batch: Batch) -> None:
        self._client = client
        self._batch = batch
        self._ended: Counter[str] = Counter()
        self._seconds = 0.0  # that runs took, in all
        self._timed = 0  # how many runs these are
        self._last = ""
        self._last_at = 0.0
        self._created_by = 0.0

    def note(self, outcome: Outcome) -> None:
        """Take in what became of an item."""
        self._ended[label(outcome)] += 1
        if outcome.seconds is not None:
            self._seconds += outcome.seconds
            self._timed += 1
        self._last = f"{one_line(outcome.key, 60)} {label(outcome)}"
        self._last_at = asyncio.get_running_loop().time()

    async def line(self) -> str:
        """Return how far it is as a line."""
        counts = await self._batch.status()
        return f"{self._standing(counts)}; {self._eta(counts)}"

    async def picture(self) -> RenderableType:
        """Return how far it is as a picture."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        counts = await self._batch.status()
        total = sum(counts.values())
        done = total - sum(counts[state] for state in _OPEN)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(1, total), completed=done, width=40, complete_style="green"),
            Text(f"{done} of {total} done; {self._eta(counts)}"),
        )
        since = asyncio.get_running_loop().time() - self._last_at
        last = f"last change: {self._last}, {duration(since)} ago" if self._last else ""
        return Group(Text(self._standing(counts)), bar, Text(last), budget(self._client))

    def _standing(self, counts: Mapping[State, int]) -> str:
        ended = ", ".join(f"{count} {name}" for name, count in sorted(self._ended.items()))
        words = {State.CREATED: "running", State.ENDED: f"ended ({ended})" if ended else "ended"}
        return ", ".join(f"{count} {words.get(state, state.value)}" for state, count in counts.items() if count)

    def _eta(self, counts: Mapping[State, int]) -> str:
        """Say when it may be over: when the limiter lets the last create through, and a mean run later."""
        if not any(counts[state] for state in _OPEN):
            return "all done"
        now = asyncio.get_running_loop().time()
        state = self._client.limits["create"]
        if counts[State.PLANNED]:
            beyond = max(0, counts[State.PLANNED] - state.available)
            self._created_by = now + beyond * state.rate.period / state.rate.limit
        left = self._created_by - now
        if not self._timed:
            return f"last create in {duration(left)}" if counts[State.PLANNED] else "all created"
        left += self._seconds / self._timed
        return f"over in about {duration(left)}" if left > 0 else "waiting for the last"


@asynccontextmanager
async def progress_shown(session: Session[CodegenClient], batch: Batch) -> AsyncGenerator[Progress]:
    """Show the progress of a batch while the block lasts."""
    progress = Progress(session.client, batch)
    async with shown(session, progress.picture):
        lines = asyncio.create_task(_print_lines(session, progress))
        try:
            yield progress
        finally:
            lines.cancel()
            await asyncio.gather(lines, return_exceptions=True)


async def _print_lines(session: Session[CodegenClient], progress: Progress) -> None:
    if not session.output.lines:
        return
    printed = ""
    while True:
        line = await progress.line()
        if line != printed:
            session.output.change(line)
            printed = line
        await asyncio.sleep(_LINE_EVERY)
