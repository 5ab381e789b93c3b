"""Two orders in which watched runs queue: who is due first, and for whom a look is worth most."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codegen_async.models import RunId
    from codegen_async.windows import Watch

_SLACK = 64  # void entries that are not worth sweeping out


class DueQueue:
    """Order runs by when they are due.

    A run that is due later than it was keeps its entry, which is mended when it surfaces. A run that is due sooner, or
    changes queues, gets a new entry; the number of the entry tells which one counts.
    """

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._heap: list[tuple[float, int, Watch]] = []
        self._most = _SLACK

    def push(self, run: Watch) -> None:
        """Queue a run; an entry it has anywhere becomes void."""
        run.entry = next(self._numbers)
        heapq.heappush(self._heap, (run.due, run.entry, run))
        if len(self._heap) > self._most:
            self._heap = [item for item in self._heap if item[2].entry == item[1]]
            heapq.heapify(self._heap)
            self._most = 2 * len(self._heap) + _SLACK

    def head(self) -> Watch | None:
        """Return the run that is due first."""
        heap = self._heap
        while heap:
            due, entry, run = heap[0]
            if entry != run.entry:
                heapq.heappop(heap)
            elif due < run.due:
                heapq.heapreplace(heap, (run.due, entry, run))
            else:
                return run
        return None


class Stalest:
    """Find the run for which a look is worth most.

    Runs of about the same patience form a level, in the order in which they were asked for; so the best of a level is
    its first, and the best of all is the best of these.
    """

    def __init__(self) -> None:
        self._levels: dict[int, OrderedDict[RunId, Watch]] = {}

    def put(self, run: Watch) -> None:
        """Take in a run that has just been asked for."""
        level = round(10 * math.log(run.patience))
        if level != run.level:
            self.drop(run)
            run.level = level
            self._levels.setdefault(level, OrderedDict())[run.run_id] = run
        else:
            self._levels[level].move_to_end(run.run_id)

    def restore(self, run: Watch) -> None:
        """Take in that the run is as stale as before: put it first."""
        self._levels[run.level].move_to_end(run.run_id, last=False)

    def drop(self, run: Watch) -> None:
        """Leave a run out."""
        if run.level >= 0:
            level = self._levels[run.level]
            del level[run.run_id]
            if not level:
                del self._levels[run.level]
            run.level = -1

    def best(self, now: float) -> Watch:
        """Return the run with the largest gain; there must be one."""
        heads = (next(iter(level.values())) for level in self._levels.values())
        return max(heads, key=lambda run: run.gain(now))
