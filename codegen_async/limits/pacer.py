"""Spread requests evenly, with aiolimiter's token bucket."""

from __future__ import annotations

import math

from aiolimiter import AsyncLimiter

from codegen_async.limits.rates import Rate

_PACE = 0.95  # of the rate: even a server that estimates its window from two counters refuses nothing at this pace
_SLOWEST = 6  # steps; the pace halves with each beyond the first
_CALM = 10.0  # periods without a 429 until the pace is raised by one step
_RELAPSES = 6  # the calm before a return to bursts is doubled so often at most
_MOMENT = 0.001  # seconds; no loop's timer fires earlier than that before its time


class Pacer:
    """Spread requests evenly where bursts are unwanted: by the user, or since a 429 that the rule does not explain."""

    def __init__(self, rate: Rate, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._step = 0  # 0: bursts allowed; 1: paced; 2, 3, ...: the pace halved again and again
        self._since = -math.inf
        self._relapses = 0
        self._bucket: AsyncLimiter | None = None
        self.next_token: float = -math.inf  # when a bucket that is empty holds one again, in loop time

    @property
    def pace(self) -> float | None:
        """Requests per second the token bucket lets through, None while there is none."""
        full = self._rate.limit / self._rate.period
        if self._step:
            return full * _PACE / 2.0 ** (self._step - 1)
        return full if self._burst < self._rate.limit else None

    def slow_down(self, taken_at: float, now: float, resume_at: float) -> None:
        """React to a 429 for a request whose slot was taken at `taken_at`; nothing is sent before `resume_at`."""
        if taken_at < self._since:
            return  # sent before the last step was taken: the same news again
        self._relapses += not self._step
        self._change(min(self._step + 1, _SLOWEST), max(now, resume_at))

    def token(self, now: float) -> bool:
        """Take a token; True where there is no need for one."""
        self.speed_up(now)
        pace = self.pace
        if pace is None:
            return True
        if self._bucket is None:
            capacity = 1 if self._step else self._burst
            self._bucket = AsyncLimiter(capacity, capacity / pace)
        if not self._bucket.has_capacity():
            self.next_token = max(self.next_token, now + _MOMENT)
            return False
        self.next_token = now + 1 / pace
        try:
            self._bucket.acquire().send(None)  # runs through without a pause, since there is capacity
        except StopIteration:
            return True
        raise AssertionError("a bucket with capacity made its caller wait")

    def speed_up(self, now: float) -> None:
        """Take back the steps whose time is over."""
        while self._step and now >= self._since + self._calm():
            self._change(self._step - 1, self._since + self._calm())

    def _calm(self) -> float:
        # A server that has refused every return to bursts so far is asked for one less and less often.
        doublings = min(self._relapses - 1, _RELAPSES) if self._step == 1 else 0
        return _CALM * self._rate.period * 2.0**doublings

    def _change(self, step: int, since: float) -> None:
        self._step = step
        self._since = since
        self._bucket = None
