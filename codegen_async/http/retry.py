"""How long to wait before a request is tried again. Pure functions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC

import msgspec

LONGEST_RETRY_AFTER = 3600.0
"""Seconds. Who asks for more is taken to ask for this, so that one wrong header cannot stop a client for days."""

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


class Backoff(msgspec.Struct, frozen=True):
    """Space out attempts: exponential with full jitter, so that clients that failed together do not return together.

    Attributes:
        first: upper bound of the first delay, seconds.
        ceiling: upper bound of every delay, seconds.
    """

    first: float = 0.5
    ceiling: float = 20.0

    def delay(
        self,
        attempt: int,
        *,
        retry_after: float | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> float:
        """Return the seconds to wait after the given attempt (1 is the first); `retry_after` wins."""
        if retry_after is not None:
            return retry_after
        doublings = min(attempt - 1, 32)  # 2.0**1024 would overflow
        return jitter(0.0, min(self.ceiling, self.first * 2.0**doublings))


def parse_retry_after(value: str | None, date: str | None = None) -> float | None:
    """Return the seconds a `Retry-After` header asks for, or None if it says nothing clear.

    Args:
        value: the header: seconds (RFC 9110; decimals are tolerated) or an HTTP date.
        date: the `Date` header of the same answer. A date is read against it, never against the local clock, which
            may be wrong.
    """
    if value is None:
        return None
    text = value.strip(" \t")
    if _SECONDS.fullmatch(text):  # float() alone would accept "nan", "inf" and "1_000"
        return min(float(text), LONGEST_RETRY_AFTER)
    then, now = parse_date(text), parse_date(date or "")
    if then is None or now is None:
        return None
    return min(max(0.0, then - now), LONGEST_RETRY_AFTER)


def parse_date(text: str) -> float | None:
    """Return the seconds since 1970 of an HTTP date, or None if it is none."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import and rarely needed

    try:
        moment = parsedate_to_datetime(text)
        # The obsolete forms name no zone and mean GMT (RFC 9110); without one, Python would take the machine's own.
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
