"""Spread requests evenly where bursts are unwanted: by the user, or since a 429 that the rule does not explain."""

from __future__ import annotations

import math

from codegen_async.limits.bucket import Bucket
from codegen_async.limits.rates import Rate
from codegen_async.limits.steps import SLOWEST, calm_after, pace_at


class Pacer:
    """Decide how evenly requests are spread, and give out the tokens for that.

    Args:
        rate: the limit.
        bursts: whether they are allowed as long as there is no 429.
    """

    def __init__(self, rate: Rate, *, bursts: bool = True) -> None:
        self._least = 0 if bursts else 1
        self._step = self._least  # 0: bursts allowed; 1: paced; 2, 3, ...: the pace halved again and again
        self._since = -math.inf
        self._relapses = 0
        self.learn(rate)

    def learn(self, rate: Rate) -> None:
        """Go by this rate from now on."""
        self._rate = rate
        self._burst: int = rate.limit if rate.burst is None else rate.burst
        self._bucket: Bucket | None = None
        self.paced: bool = self.pace is not None
        """Whether who would pass needs a token."""

    def shift(self, seconds: float) -> None:
        """Go on with a clock that shows so much more, on another loop."""
        self._since += seconds
        self._bucket = None

    @property
    def pace(self) -> float | None:
        """Requests per second the token bucket lets through, None while there is none."""
        return pace_at(self._rate, self._step)

    def slow_down(self, taken_at: float, now: float, resume_at: float) -> None:
        """React to a 429 for a request whose slot was taken at `taken_at`; nothing is sent before `resume_at`."""
        if taken_at <= self._since:
            return  # sent before the last step was taken: the same news again
        self._relapses += not self._step
        self._change(min(self._step + 1, SLOWEST), max(now, resume_at), now)

    def ready_at(self, now: float) -> float:
        """Return when there is a token to take; now, if none is needed."""
        self.speed_up(now)
        bucket = self._present(now)
        return now if bucket is None else bucket.ready_at(now)

    def take(self, now: float) -> None:
        """Take a token, which is there."""
        bucket = self._present(now)
        if bucket is not None:
            bucket.take(now)

    def next_token(self, now: float, ahead: int = 0) -> float:
        """Return when there is a token, after those for so many others."""
        bucket = self._present(now)
        return now if bucket is None else bucket.next_token(now, ahead)

    def speed_up(self, now: float) -> None:
        """Take back the steps whose time is over."""
        while self._step > self._least and now >= self._since + self._calm():
            self._change(self._step - 1, self._since + self._calm(), now)

    def _calm(self) -> float:
        return calm_after(self._rate, self._step, self._relapses)

    def _present(self, now: float) -> Bucket | None:
        """Return the bucket of this step; the user's own is full in the beginning and empty after a step."""
        if self._bucket is None and (pace := self.pace) is not None:
            self._bucket = Bucket(pace, 1 if self._step else self._burst)
            if self._since > -math.inf:
                self._bucket.empty(now)
        return self._bucket

    def _change(self, step: int, since: float, now: float) -> None:
        self._step = step
        self._since = since
        self._bucket = None
        self.paced = self.pace is not None
        self._present(now)  # its first token comes a moment of this pace after the 429, not after the next call
