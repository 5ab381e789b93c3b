"""Where runs stand in a list that grows at its head.

A run's rank, counted from the oldest, never changes while nothing is deleted; the `skip` that shows it does, with
every run that is created. So ranks are what is remembered, and `skip` is worked out when a page is asked for.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

PAGE = 100
"""The most runs one page shows ("List Agent Runs": `limit` is at most 100)."""

_LUCK = 1  # spare positions at both ends of a page: an own create may already be counted in the total
_MEMORY = 600.0  # seconds over which the growth by strangers is averaged
_MOST_ANCHORS = 512
_MOST = 10**12  # runs; no list is longer


class RankBook:
    """Remember the total of a list, and which order stands at which rank.

    An order is a number that grows with creation. The book holds for one filter: another filter is another list.
    """

    def __init__(self) -> None:
        self.total: int | None = None
        self._asked = -math.inf  # when the answer that told the total was asked for
        self._newest = -math.inf  # the largest order known
        self._grown = 0.0  # runs of strangers that came within the last `_span` seconds
        self._span = 0.0
        self._anchors: list[tuple[float, int]] = []

    def created(self, order: float | None) -> None:
        """Count a run that was created just now, if nothing newer is known."""
        if self.total is not None and order is not None and order > self._newest:
            self._newest = order
            self.total += 1

    def estimate(self, order: float | None) -> int | None:
        """Return the rank a run of this order should have, or None if nothing is known."""
        if order is None or self.total is None:
            return None
        place = bisect.bisect_left(self._anchors, (order, 0))
        if place == len(self._anchors):
            return self.total
        above = self._anchors[place]
        below = self._anchors[place - 1] if place else self._beneath(above)
        span = above[0] - below[0]
        share = (above[0] - order) / span if span else 0.0  # times of creation can be too close to be told apart
        return min(max(round(above[1] - share * (above[1] - below[1])), 1), self.total)

    def _beneath(self, lowest: tuple[float, int]) -> tuple[float, int]:
        """Make up an anchor under the lowest: the list goes on as densely as it is known."""
        highest = self._anchors[-1]
        if highest[0] <= lowest[0]:
            return lowest[0] - max(lowest[1], 1), 0
        return lowest[0] - lowest[1] * (highest[0] - lowest[0]) / max(highest[1] - lowest[1], 1), 0

    def learn(self, skip: int, orders: Sequence[float | None], total: int | None, asked: float) -> int | None:
        """Read a page; return the rank of its first run, or None if its total cannot be true."""
        if total is None or not 0 <= total < _MOST or (orders and total < skip + len(orders)):
            return None
        if asked >= self._asked:
            self._count(total, asked)
        if orders:
            self._anchor(orders[0], orders[-1], total - skip, total - skip - len(orders) + 1)
        return total - skip

    def _count(self, total: int, asked: float) -> None:
        if self.total is not None:
            elapsed = asked - self._asked
            fade = _MEMORY / (_MEMORY + elapsed)
            self._grown = max(0.0, self._grown * fade + total - self.total)
            self._span = self._span * fade + elapsed
        self.total, self._asked = total, asked

    def _anchor(self, first: float | None, last: float | None, high: int, low: int) -> None:
        if first is None or last is None:
            return
        self._newest = max(self._newest, first)
        begin = bisect.bisect_left(self._anchors, (min(first, last), -math.inf))
        end = bisect.bisect_right(self._anchors, (max(first, last), math.inf))
        self._anchors[begin:end] = sorted({(last, low), (first, high)})
        if len(self._anchors) > _MOST_ANCHORS:
            del self._anchors[1:-1:2]

    def gap(self, last: float, first: float) -> tuple[float, float]:
        """Return between which orders estimates depend on the anchors at these two."""
        begin = bisect.bisect_left(self._anchors, (last, -math.inf))
        end = bisect.bisect_right(self._anchors, (first, math.inf))
        low = self._anchors[begin - 1][0] if begin else -math.inf
        high = self._anchors[end][0] if end < len(self._anchors) else math.inf
        return low, high

    def shift(self, above: int, by: int) -> None:
        """Move what stands above a rank: runs were deleted beneath it."""
        self._anchors = [(order, rank + by if rank > above else rank) for order, rank in self._anchors]

    def growth(self, now: float) -> tuple[int, int]:
        """Return the least and the most runs that strangers have probably created since the total was told."""
        if self._span <= 0:
            return 0, 0
        expected = self._grown / self._span * max(0.0, now - self._asked)
        spread = 2 * math.sqrt(expected)
        return max(0, math.floor(expected - spread)), math.ceil(expected + spread)

    def reach(self, now: float) -> int:
        """Return how many ranks one page surely covers."""
        least, most = self.growth(now)
        return max(1, PAGE - (most - least))

    def fit(self, low: int, high: int, now: float, *, guessed: bool) -> tuple[int, int]:
        """Return the `skip` and `limit` of the smallest page that shows the ranks.

        Guessed ranks get a whole page, with them in its middle.
        """
        total = self.total or 0
        least, most = self.growth(now)
        spare = PAGE - (high - low + 1) - most  # beside the page that allows for any growth up to the most
        lead = max(0, spare // 2 if guessed else min(_LUCK, spare // 2))
        skip = max(0, total + min(least, max(0, -spare)) - high - lead)
        limit = PAGE if guessed else total + most - skip - low + 1 + _LUCK
        return skip, min(max(limit, 1), PAGE)
