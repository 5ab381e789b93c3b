"""Who wants a look next. Knows how long everybody has waited, and nothing of pages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from codegen_async.polling.polls import Stream
from codegen_async.polling.queues import Queue, Stalest
from codegen_async.polling.windows import Watch


class Turn(NamedTuple):
    """The run that is due first, if any, when that is, and from when on the budget is short."""

    run: Watch | None
    due: float
    late: float


class Agenda:
    """Order the watched runs by when they are due, and by what a look at them is worth.

    Args:
        streams: the streams there are.
        quickest: seconds; runs of a smaller latency are never due, they take all that the others leave.
        stream_of: tells which stream should serve a run, at a moment.
    """

    def __init__(self, streams: Iterable[Stream], quickest: float, stream_of: Callable[[Watch, float], Stream]) -> None:
        numbers = itertools.count()
        self._dues = {stream: Queue("due", "entry", numbers) for stream in streams}
        self._quickest = quickest
        self._stream_of = stream_of
        self.eager: Stalest = Stalest(numbers)
        self.patient: Stalest = Stalest(numbers)

    def _order(self, run: Watch) -> Stalest:
        return self.eager if run.latency < self._quickest else self.patient

    def enter(self, run: Watch) -> None:
        """Take in a run."""
        self.aged(run)
        self.requeue(run)

    def leave(self, run: Watch) -> None:
        """Forget a run."""
        self._order(run).drop(run)
        run.entry = -1

    def aged(self, run: Watch) -> None:
        """Note that the patience of a run has changed."""
        self._order(run).put(run)

    def restored(self, run: Watch) -> None:
        """Note that a run is as stale as before."""
        self._order(run).restore(run)

    def expedite(self, run: Watch, due: float) -> None:
        """Let a run be due sooner."""
        if due < run.due:
            run.due = due
            self.requeue(run)

    def requeue(self, run: Watch) -> None:
        """Note that another stream may serve a run from now on."""
        if run.latency >= self._quickest:
            self._dues[self._stream_of(run, run.due)].push(run)

    def next(self, stream: Stream, now: float) -> Turn:
        """Return which run the stream must show next, and when.

        A page can stand in for a get that does not come in time. A get is little help for pages, so it waits until
        the budget is short: until somebody has waited twice as long as it wants to.
        """
        turn = Turn(None, math.inf, math.inf)
        for other in self._dues.keys() - {stream}:
            head = self._head(other, now)  # before the own head, as it may find runs that belong here
            if head and stream is Stream.GET:
                turn = Turn(None, math.inf, head.due + head.latency)
            elif head and head.rank is not None:
                turn = Turn(head, head.due + self._quickest, head.due + head.latency)
        own = self._head(stream, now)
        if own is None:
            return turn
        late = min(turn.late, own.due + own.latency)
        return Turn(own, own.due, late) if own.due <= turn.due else Turn(turn.run, turn.due, late)

    def _head(self, stream: Stream, now: float) -> Watch | None:
        queue = self._dues[stream]
        while run := queue.head():
            right = self._stream_of(run, max(now, run.due))
            if right is stream:
                return run
            self._dues[right].push(run)
        return None

    def stalest(self, now: float) -> Watch:
        """Return the run for which a look is worth most; there must be one."""
        return max((order.best(now) for order in (self.patient, self.eager) if order), key=lambda run: run.gain(now))
