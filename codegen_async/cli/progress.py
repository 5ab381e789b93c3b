"""Show how far a batch is: a picture on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from codegen_async.batch.batch import Batch
from codegen_async.batch.items import Outcome, State
from codegen_async.batch.journal import read_outcomes
from codegen_async.cli.live import budget, duration, shown
from codegen_async.cli.output import one_line
from codegen_async.cli.tally import label
from codegen_async.limits import LimiterState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient

_LINE_EVERY = 10.0  # seconds; a batch can take a day
_FIRST_LINE_AFTER = 1.0  # seconds; until then nothing but the plan is known
_OPEN = (State.PLANNED, State.SENDING, State.CREATED)
_NO_MORE = {False: "all created", True: "creating no more"}


class Progress:
    """Know how far a batch is.

    Args:
        client: whose limits decide how fast it can go.
        batch: the batch, entered.
        earlier: where its items stood before it was run.
    """

    def __init__(self, client: CodegenClient, batch: Batch, earlier: Iterable[Outcome]) -> None:
        self._client = client
        self._batch = batch
        self._ends = {outcome.key: label(outcome) for outcome in earlier if outcome.state is State.ENDED}
        self._ended = Counter(self._ends.values())
        self._seconds = 0.0  # that runs took, in all
        self._timed = 0  # how many runs these are
        self._last = ""
        self._last_at = 0.0
        self._created_by = 0.0
        self._stopped = False

    def stop(self) -> None:
        """Take in that no more runs are created."""
        self._stopped = True
        self._created_by = asyncio.get_running_loop().time()

    def note(self, outcome: Outcome) -> None:
        """Take in what became of an item."""
        # One that an earlier process did not hand out is known already.
        if outcome.state is State.ENDED and outcome.key not in self._ends:
            self._ends[outcome.key] = label(outcome)
            self._ended[label(outcome)] += 1
        if outcome.seconds is not None:
            self._seconds += outcome.seconds
            self._timed += 1
        self._last = f"{one_line(outcome.key, 60)} {label(outcome)}"
        self._last_at = asyncio.get_running_loop().time()

    async def line(self) -> str:
        """Return how far it is as a line."""
        counts, standing = await self._look()
        return f"{standing}; {self._eta(counts)}"

    async def picture(self) -> RenderableType:
        """Return how far it is as a picture."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        counts, standing = await self._look()
        total = sum(counts.values())
        done = total - sum(counts[state] for state in _OPEN)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(1, total), completed=done, width=40, complete_style="green"),
            Text(f"{done} of {total} done; {self._eta(counts)}"),
        )
        since = asyncio.get_running_loop().time() - self._last_at
        last = f"last change: {self._last}, {duration(since)} ago" if self._last else ""
        return Group(Text(standing), bar, Text(last), budget(self._client))

    async def _look(self) -> tuple[Mapping[State, int], str]:
        """Return how many items stand where, and that in words. Those whose end was not noted yet go on, for both."""
        ended = self._ended.copy()  # before it is asked how many there are: none of these is missing there
        counts = await self._batch.status()
        counts[State.CREATED] += counts[State.ENDED] - ended.total()
        counts[State.ENDED] = ended.total()
        return counts, _standing(counts, ended)

    def _eta(self, counts: Mapping[State, int]) -> str:
        """Say when it may be over: when the limiter lets the last create through, and a mean run later."""
        planned = 0 if self._stopped else counts[State.PLANNED]
        if not (planned or counts[State.SENDING] or counts[State.CREATED]):
            return "stopped" if counts[State.PLANNED] else "all done"
        now = asyncio.get_running_loop().time()
        if planned:
            next_free = self._client.limiter("create").next_free
            self._created_by = last_create(planned, self._client.limits["create"], next_free, now)
        left = self._created_by - now
        if not self._timed:
            return f"last create in {duration(left)}" if planned else _NO_MORE[self._stopped]
        left += self._seconds / self._timed
        return f"over in about {duration(left)}" if left > 0 else "waiting for the last"


def _standing(counts: Mapping[State, int], ended: Mapping[str, int]) -> str:
    ends = ", ".join(f"{count} {name}" for name, count in sorted(ended.items()))
    words = {State.CREATED: "running", State.ENDED: f"ended ({ends})"}
    return ", ".join(f"{count} {words.get(state, state.value)}" for state, count in counts.items() if count)


def last_create(planned: int, state: LimiterState, next_free: float, now: float) -> float:
    """Return when the last of so many creates is let through: slots come back as they were taken, all at about once."""
    beyond = planned - state.available
    if beyond <= 0:
        return now
    rounds = math.ceil(beyond / state.rate.limit)
    if state.available:
        return now + rounds * state.rate.period
    # Without end while all slots are in flight; the first answer is near, and a period later its slot is free.
    first = next_free if next_free < math.inf else now + state.rate.period
    return first + (rounds - 1) * state.rate.period


@asynccontextmanager
async def progress_shown(session: Session[CodegenClient], batch: Batch) -> AsyncGenerator[Progress]:
    """Show the progress of a batch while the block lasts."""
    # In a thread, and one outcome after the other: a journal may hold thousands of results.
    progress = await asyncio.to_thread(lambda: Progress(session.client, batch, read_outcomes(batch.path)))
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
    for pause in itertools.chain((_FIRST_LINE_AFTER,), itertools.repeat(_LINE_EVERY)):
        line = await progress.line()
        if line != printed:
            session.output.change(line)
            printed = line
        await asyncio.sleep(pause)
