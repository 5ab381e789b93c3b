"""In which order watched runs want a look: who is due first, and for whom a look is worth most."""

from __future__ import annotations

import heapq
import math
import operator
from collections.abc import Iterator

from codegen_async.polling.windows import Watch

_SLACK = 64  # void entries that are not worth sweeping out


class Queue:
    """Order runs by a time that mostly moves on: when they are due, or were asked for.

    A run whose time has moved on keeps its entry, which is mended when it surfaces. One whose time was set back, or
    that changes queues, gets a new entry; its ticket tells which one counts.

    Args:
        time: the attribute of a run to order by.
        ticket: the attribute that holds the number of its entry, -1 if it has none.
        numbers: a counter, shared by the queues between which runs change.
    """

    def __init__(self, time: str, ticket: str, numbers: Iterator[int]) -> None:
        self._time = operator.attrgetter(time)
        self._number = operator.attrgetter(ticket)
        self._ticket = ticket
        self._numbers = numbers
        self._heap: list[tuple[float, int, Watch]] = []
        self._most = _SLACK

    def push(self, run: Watch) -> None:
        """Queue a run; an entry it has anywhere becomes void."""
        number = next(self._numbers)
        setattr(run, self._ticket, number)
        heapq.heappush(self._heap, (self._time(run), number, run))
        if len(self._heap) > self._most:
            self._heap = [item for item in self._heap if self._number(item[2]) == item[1]]
            heapq.heapify(self._heap)
            self._most = 2 * len(self._heap) + _SLACK

    def head(self) -> Watch | None:
        """Return the run whose time comes first."""
        heap = self._heap
        while heap:
            believed, number, run = heap[0]
            if number != self._number(run):
                heapq.heappop(heap)
            elif believed < (time := self._time(run)):
                heapq.heapreplace(heap, (time, number, run))
            else:
                return run
        return None


class Stalest:
    """Find the run for which a look is worth most.

    Runs of about the same patience form a level, in the order in which they were asked for; so the best of a level is
    its first, and the best of all is the best of these.
    """

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._levels: dict[int, Queue] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, run: Watch) -> None:
        """Take in a run, or that its patience has changed."""
        level = round(10 * math.log(run.patience))
        if level == run.level:
            return
        self._count += run.level < 0
        run.level = level
        self.restore(run)

    def restore(self, run: Watch) -> None:
        """Take in that a run is staler than it seemed."""
        if run.level not in self._levels:
            self._levels[run.level] = Queue("asked", "turn", self._numbers)
        self._levels[run.level].push(run)

    def drop(self, run: Watch) -> None:
        """Leave a run out."""
        self._count -= run.level >= 0
        run.level = run.turn = -1

    def best(self, now: float) -> Watch:
        """Return the run with the largest gain; there must be one."""
        heads: list[Watch] = []
        for level, queue in list(self._levels.items()):
            if head := queue.head():
                heads.append(head)
            else:
                del self._levels[level]
        return max(heads, key=lambda run: run.gain(now))
