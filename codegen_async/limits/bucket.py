"""Tokens that come back evenly: aiolimiter's bucket, for those who wait in a line of their own."""

from __future__ import annotations

import math

from aiolimiter import AsyncLimiter

_MOMENT = 0.001  # seconds; a token that rounding withholds is asked for again so much later


class Bucket:
    """Give out tokens: at most `capacity` at once, and `pace` per second in the long run.

    Args:
        pace: tokens that come back per second.
        capacity: tokens it holds.
    """

    def __init__(self, pace: float, capacity: int) -> None:
        self._pace = pace
        self._capacity = capacity
        self._limiter = AsyncLimiter(capacity, capacity / pace)
        self._full_at = -math.inf  # aiolimiter does not tell when it has a token again
        self._withheld_until = -math.inf

    def ready_at(self, now: float) -> float:
        """Return when there is a token to take."""
        if self._limiter.has_capacity():
            return now
        self._withheld_until = now + _MOMENT
        return self.next_token(now)

    def take(self, now: float) -> None:
        """Take a token, which is there."""
        self._spend(1, now)

    def empty(self, now: float) -> None:
        """Take all tokens from a new one."""
        self._spend(self._capacity, now)

    def next_token(self, now: float, ahead: int = 0) -> float:
        """Return when there is a token, after those for so many others."""
        token = self._full_at + (1 + ahead - self._capacity) / self._pace
        return max(now, token, self._withheld_until)

    def _spend(self, tokens: int, now: float) -> None:
        self._full_at = max(self._full_at, now) + tokens / self._pace
        try:
            self._limiter.acquire(tokens).send(None)  # runs through without a pause, since there is capacity
        except StopIteration:
            return
        raise AssertionError("a bucket with capacity made its caller wait")
