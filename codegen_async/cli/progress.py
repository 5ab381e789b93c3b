"""Show how far a batch is: a picture on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter, deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from codegen_async.batch.batch import Batch
from codegen_async.batch.items import Outcome, State
from codegen_async.batch.labels import label
from codegen_async.batch.readers import Where, read_outcomes
from codegen_async.cli.live import budget, duration, shown
from codegen_async.cli.output import Linked, make_table, one_line
from codegen_async.cli.render import summary_of
from codegen_async.events import Event, PhaseChanged
from codegen_async.limits import LimiterState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from codegen_async.cli.session import Session
    from codegen_async.hosted.client import RunClient

_LINE_EVERY = 10.0  # seconds; a batch can take a day
_FIRST_LINE_AFTER = 1.0  # seconds; until then nothing but the plan is known
_OPEN = (State.PLANNED, State.SENDING, State.CREATED)
_BAD = ("failed", "cancelled", "rejected", "unknown")
_BAD_SHOWN = 3
_ROWS = 8  # of runs that go on; a terminal of 24 lines shows them all
_COLUMNS = ("RUN", "STATUS", "AGE", "KEY")
_NO_MORE = {False: "all created", True: "creating no more"}


class Progress:
    """Know how far a batch is.

    Args:
        session: with the client whose limits decide how fast it can go.
        batch: the batch, entered.
        ends: how items had ended before it was run, by key.
    """

    def __init__(self, session: Session[RunClient[Any, Any]], batch: Batch[Any, Any], ends: dict[str, str]) -> None:
        self._client = session.client
        self._clock = session.target.clock
        self._batch = batch
        self._pages: dict[int | str, str | None] = {}  # where people can look at the runs that go on
        self._bad: deque[str] = deque(maxlen=_BAD_SHOWN)
        self._widths: dict[str, int] = {}
        self._started = asyncio.get_running_loop().time()
        self._ends = ends
        self._ended = Counter(self._ends.values())
        self._seconds = 0.0  # that runs took, in all
        self._timed = 0  # how many runs these are
        self._last = ""
        self._last_at = 0.0
        self._created_by = 0.0
        self._stopped = False

    def hear(self, event: Event) -> None:
        """Take in what the client tells of runs."""
        if isinstance(event, PhaseChanged):
            if event.run.phase.is_terminal:
                self._pages.pop(event.run.id, None)
            else:
                self._pages[event.run.id] = event.run.web_url

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
        if label(outcome) in _BAD:
            why = outcome.error or (summary_of(outcome.run) if outcome.run else "")
            self._bad.append(f"{self._last}: {why}" if why else self._last)
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
        running = await self._batch.under_way(_ROWS)
        now = asyncio.get_running_loop().time()
        total = sum(counts.values())
        done = total - sum(counts[state] for state in _OPEN)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(1, total), completed=done, width=40, complete_style="green"),
            Text(f"{done} of {total} done; {self._eta(counts)}; for {duration(now - self._started)}"),
        )
        last = f"last change: {self._last}, {duration(now - self._last_at)} ago" if self._last else ""
        bad = [Text(one_line(line), style="red", no_wrap=True, overflow="ellipsis") for line in self._bad]
        rows = [self._row(outcome) for outcome in running]
        table = make_table(_COLUMNS, rows, stretched=True, widths=self._widths)
        more = [Text(f"and {counts[State.CREATED] - len(rows)} more")] if counts[State.CREATED] > len(rows) else []
        return Group(Text(standing), bar, Text(last), *bad, *([table] if rows else []), *more, *budget(self._client))

    def _row(self, outcome: Outcome) -> Sequence[str]:
        age = "" if outcome.created_at is None else duration(max(0.0, self._clock() - outcome.created_at))
        page = self._pages.get(outcome.run_id or 0)
        return Linked(outcome.run_id, page), label(outcome), age, outcome.key

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
            limit = self._batch.limit
            if limit is None:
                return "starting"
            next_free = self._client.limiter(limit).next_free
            self._created_by = last_create(planned, self._client.limits[limit], next_free, now)
        left = self._created_by - now
        if not self._timed:
            return f"last create in {duration(left)}" if planned else _NO_MORE[self._stopped]
        left += self._seconds / self._timed
        return f"over in about {duration(left)}" if left > 0 else "waiting for the last"


def _standing(counts: Mapping[State, int], ended: Mapping[str, int]) -> str:
    ends = ", ".join(f"{count} {name}" for name, count in sorted(ended.items()))
    words = {State.CREATED: "running", State.ENDED: f"ended ({ends})"}
    standing = ", ".join(f"{count} {words.get(state, state.value)}" for state, count in counts.items() if count)
    return standing or "no prompts"


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
async def progress_shown(session: Session[RunClient[Any, Any]], batch: Batch[Any, Any]) -> AsyncGenerator[Progress]:
    """Show the progress of a batch while the block lasts."""
    progress = Progress(session, batch, await asyncio.to_thread(_ends, batch.place))
    session.target.observers.append(progress.hear)
    async with shown(session, progress.picture):
        lines = asyncio.create_task(_print_lines(session, progress))
        try:
            yield progress
        finally:
            lines.cancel()
            await asyncio.gather(lines, return_exceptions=True)


def _ends(journal: Where) -> dict[str, str]:
    # One outcome after the other, as a journal may hold thousands of results.
    return {outcome.key: label(outcome) for outcome in read_outcomes(journal) if outcome.state is State.ENDED}


async def _print_lines(session: Session[RunClient[Any, Any]], progress: Progress) -> None:
    if not session.output.lines:
        return
    printed = ""
    for pause in itertools.chain((_FIRST_LINE_AFTER,), itertools.repeat(_LINE_EVERY)):
        line = await progress.line()
        if line != printed:
            session.output.change(line)
            printed = line
        await asyncio.sleep(pause)
