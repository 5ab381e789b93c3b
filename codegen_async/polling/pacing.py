"""Spend a budget evenly, and leave an endpoint alone that fails again and again."""

from __future__ import annotations

import math

from codegen_async.limits import Rate

_MARGIN = 1 / 600  # the limiter's window is a little longer than the server's; so is the grid, or bursts would form
_LONGEST_PAUSE = 30.0
_SHORTEST_GAP = 0.001  # seconds; more looks than that are no use, and timers are no finer
_LONGEST_GAP = 1e9  # thirty years, and not without end: of that no grid can be laid


class Pace:
    """Allow one request in each cell of a grid in time.

    Args:
        rate: the limit of the endpoint.
        share: the part of it that may be spent.
        phase: where the grid begins, in cells: two streams half a cell apart halve the wait of a single run.
    """

    def __init__(self, rate: Rate, share: float, phase: float) -> None:
        gap = rate.period * (1 + _MARGIN) / (rate.limit * share)
        self.gap: float = min(max(gap, _SHORTEST_GAP), _LONGEST_GAP)
        self.paused_until: float = -math.inf
        self._phase = phase
        self._next = -math.inf  # the first cell that is not used
        self._strikes = 0

    @property
    def cell(self) -> float:
        """When the first cell begins that is not used."""
        return self._next

    @property
    def ready(self) -> float:
        """When the next request may go."""
        return max(self._next, self.paused_until)

    def start(self, now: float) -> None:
        """Lay the grid, if it does not lie yet."""
        if self._next == -math.inf:
            self._next = now + self._phase * self.gap

    def spend(self, now: float) -> None:
        """Use the present cell. Those that were missed are lost: a pause is not followed by a burst."""
        self._next += self.gap * (math.floor(max(0.0, now - self._next) / self.gap) + 1)

    def praise(self) -> None:
        """Note that the endpoint was useful."""
        self._strikes = 0

    def blame(self, now: float) -> None:
        """Note that it was not; from the second time in a row on, it is left alone for 1 s, doubling to 30 s."""
        self._strikes += 1
        if self._strikes > 1:
            self.pause(now + min(_LONGEST_PAUSE, 2.0 ** min(self._strikes - 2, 10)))

    def pause(self, until: float) -> None:
        """Leave the endpoint alone until then."""
        self.paused_until = max(self.paused_until, until)
