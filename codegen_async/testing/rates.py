"""Rate limits as servers count them.

Each model is told when a request arrives and says whether it is admitted. None knows how a client paces
itself. `hit` returns None for an admitted request, else the seconds after which a retry may succeed.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Literal, Protocol

__all__ = [
    "FirstHitWindow",
    "FixedWindow",
    "RateModel",
    "RetryAfter",
    "SlidingLog",
    "TokenBucket",
    "TwoCounterWindow",
    "Window",
    "model",
    "retry_after_header",
    "worst_window",
]

Window = Literal["sliding", "fixed", "first-hit", "bucket", "two-counter"]
"""A way to count, by the names that `model` knows."""

RetryAfter = Literal["up", "nearest", "down", "decimal", "date", "zero"]
"""A way to write the seconds to wait: rounded up, to the nearest, or down; with decimals; as an HTTP date, which knows
whole seconds only; or as 0, whatever they are."""

# Refilled in steps, a full token may come out a rounding error short.
_ROUNDING = 1e-9


class RateModel(Protocol):
    """What a server asks of a rate limit."""

    def hit(self, now: float) -> float | None:
        """Count a request that arrives at `now` (seconds, never decreasing)."""
        ...


class _Model:
    """Hold what all models share: at most `limit` requests in `period` seconds.

    With `count_rejected`, a rejected request uses the limit up like an admitted one.
    """

    def __init__(self, limit: int, period: float, *, count_rejected: bool = False) -> None:
        self._limit = limit
        self._period = period
        self._count_rejected = count_rejected


class FixedWindow(_Model):
    """Count in windows that begin at `phase`, `phase + period`, and so on by the server's clock.

    A window ends when its time has come, so counting what was rejected changes nothing.
    """

    def __init__(self, limit: int, period: float, *, count_rejected: bool = False, phase: float = 0.0) -> None:
        super().__init__(limit, period, count_rejected=count_rejected)
        self._phase = phase
        self._window = -math.inf
        self._count = 0

    def hit(self, now: float) -> float | None:
        """Count a request."""
        window = (now - self._phase) // self._period
        if window > self._window:
            self._window, self._count = window, 0
        if self._count < self._limit:
            self._count += 1
            return None
        return self._phase + (window + 1) * self._period - now


class FirstHitWindow(_Model):
    """Open a window with the first request after the last window's end, as INCR with EXPIRE does.

    The window is not prolonged by what comes later, so counting what was rejected changes nothing.
    """

    def __init__(self, limit: int, period: float, *, count_rejected: bool = False) -> None:
        super().__init__(limit, period, count_rejected=count_rejected)
        self._end = -math.inf
        self._count = 0

    def hit(self, now: float) -> float | None:
        """Count a request."""
        if now >= self._end:
            self._end, self._count = now + self._period, 0
        if self._count < self._limit:
            self._count += 1
            return None
        return self._end - now


class SlidingLog(_Model):
    """Remember every request of the last `period` seconds, exactly: those in (now - period, now]."""

    def __init__(self, limit: int, period: float, *, count_rejected: bool = False) -> None:
        super().__init__(limit, period, count_rejected=count_rejected)
        self._log: deque[float] = deque()

    def hit(self, now: float) -> float | None:
        """Count a request."""
        while self._log and self._log[0] <= now - self._period:
            self._log.popleft()
        admitted = len(self._log) < self._limit
        if admitted or self._count_rejected:
            self._log.append(now)
        if admitted:
            return None
        # The request that has to leave the log so that only limit - 1 remain.
        return self._log[-self._limit] + self._period - now


class TokenBucket(_Model):
    """Pay each request from a bucket of `limit` tokens that refills evenly, `limit` tokens in `period`.

    A rejected request that counts takes the fraction of a token that has gathered.
    """

    def __init__(self, limit: int, period: float, *, count_rejected: bool = False) -> None:
        super().__init__(limit, period, count_rejected=count_rejected)
        self._tokens = float(limit)
        self._filled_at = -math.inf

    def hit(self, now: float) -> float | None:
        """Count a request."""
        gained = (now - self._filled_at) * self._limit / self._period
        self._tokens = min(float(self._limit), self._tokens + gained)
        self._filled_at = now
        if self._tokens + _ROUNDING >= 1:
            self._tokens -= 1
            return None
        if self._count_rejected:
            self._tokens = 0.0
        return (1 - self._tokens) * self._period / self._limit


class TwoCounterWindow(_Model):
    """Estimate a sliding window from the counts of two fixed ones.

    The estimate is the previous window's count, weighted with the share of it that a sliding window would
    still cover, plus the current count. It may reject a client that never had more than `limit` requests
    in any window. A retry succeeds only after the time given, not on the moment.
    """

    def __init__(self, limit: int, period: float, *, count_rejected: bool = False, phase: float = 0.0) -> None:
        super().__init__(limit, period, count_rejected=count_rejected)
        self._phase = phase
        self._window = -math.inf
        self._previous = 0
        self._current = 0

    def hit(self, now: float) -> float | None:
        """Count a request."""
        self._advance(now)
        covered = self._window + 1 - (now - self._phase) / self._period
        admitted = self._previous * covered + self._current < self._limit
        if admitted or self._count_rejected:
            self._current += 1
        return None if admitted else self._retry_at() - now

    def _advance(self, now: float) -> None:
        window = (now - self._phase) // self._period
        if window > self._window:
            self._previous = self._current if window == self._window + 1 else 0
            self._window, self._current = window, 0

    def _retry_at(self) -> float:
        """Return when the estimate falls to the limit."""
        if self._current < self._limit:
            windows = self._window + 1 - (self._limit - self._current) / self._previous
        else:
            windows = self._window + 2 - self._limit / self._current
        return self._phase + windows * self._period


def model(window: Window, limit: int, period: float, *, count_rejected: bool = False, phase: float = 0.0) -> RateModel:
    """Return a model by name; `phase` (seconds) matters only to those whose windows follow the clock."""
    match window:
        case "sliding":
            return SlidingLog(limit, period, count_rejected=count_rejected)
        case "fixed":
            return FixedWindow(limit, period, count_rejected=count_rejected, phase=phase)
        case "first-hit":
            return FirstHitWindow(limit, period, count_rejected=count_rejected)
        case "bucket":
            return TokenBucket(limit, period, count_rejected=count_rejected)
        case "two-counter":
            return TwoCounterWindow(limit, period, count_rejected=count_rejected, phase=phase)


def retry_after_header(how: RetryAfter, seconds: float, date: datetime) -> str:
    """Return what a server whose clock shows `date` (UTC) writes into `Retry-After`."""
    match how:
        case "up":
            return str(math.ceil(seconds))
        case "nearest":
            return str(round(seconds))
        case "down":
            return str(math.floor(seconds))
        case "decimal":
            return f"{seconds:.3f}"
        case "date":
            return format_datetime(date + timedelta(seconds=seconds), usegmt=True)
        case "zero":
            return "0"


def worst_window(times: Iterable[float], period: float) -> int:
    """Return how many of `times` the fullest half-open window of `period` seconds holds."""
    ordered = sorted(times)
    return max((bisect_left(ordered, start + period) - first for first, start in enumerate(ordered)), default=0)
