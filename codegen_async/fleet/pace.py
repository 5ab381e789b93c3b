"""How a board goes on after a 429: as `limits.pacer` does in one process, for all members at once. Pure."""

from __future__ import annotations

from codegen_async.fleet.records import Pace
from codegen_async.limits.rates import Rate
from codegen_async.limits.steps import SLOWEST, calm_after, pace_at


class Tokens:
    """Give out the tokens of a board.

    Args:
        pace: the board's, which is changed.
        rate: the limit.
        stated: whether the server states it; what it does not is never sent in bursts.
        opens: when the silence that a server asked for is over; no token is there before.
    """

    def __init__(self, pace: Pace, rate: Rate, *, stated: bool, opens: float) -> None:
        self._pace = pace
        self._rate = rate
        self._least = 0 if stated else 1
        self._opens = opens
        pace.step = max(pace.step, self._least)

    @property
    def per_second(self) -> float | None:
        """Tokens that come back per second; None while bursts are allowed."""
        return pace_at(self._rate, self._pace.step)

    def slow_down(self, taken_at: float, now: float) -> None:
        """React to a 429 for a request whose slot was granted at `taken_at`."""
        pace = self._pace
        if taken_at <= pace.since:
            return  # sent before the last step was taken: the same news again
        pace.relapses += not pace.step
        self._change(min(pace.step + 1, SLOWEST), now)

    def speed_up(self, now: float) -> None:
        """Take back the steps whose time is over."""
        pace = self._pace
        while pace.step > self._least and now >= pace.since + self._calm():
            self._change(pace.step - 1, pace.since + self._calm())

    def at(self, place: int, now: float) -> float:
        """Return when the token is there that so many others precede."""
        per_second = self.per_second
        if per_second is None:
            return now
        return max(now, self._pace.next + (place + 1 - self._capacity) / per_second)

    def take(self, count: int, now: float) -> None:
        """Take so many, which are there."""
        per_second = self.per_second
        if per_second is not None:
            self._pace.next = max(self._pace.next, now) + count / per_second

    @property
    def _capacity(self) -> int:
        return 1 if self._pace.step or self._rate.burst is None else self._rate.burst

    def _calm(self) -> float:
        return calm_after(self._rate, self._pace.step, self._pace.relapses)

    def _change(self, step: int, since: float) -> None:
        self._pace.step, self._pace.since = step, since
        per_second = self.per_second
        if per_second is not None:
            self._pace.next = max(since, self._opens) + self._capacity / per_second
