"""What a server says of the budget that is left, in the headers of its answers. Pure: no clock of ours is asked.

A moment in time is read against the `Date` of the same answer, never against the local clock, which may be wrong;
without a `Date` it says nothing. Whatever cannot be read, or cannot be meant, is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from codegen_async.numeric import is_number, is_whole

LONGEST_RESET = 86_400.0
"""Seconds. A budget that lasts longer is no rate limit, and who believed a wrong one would be silent for days."""

_MOST = 10**9  # as of a `Rate`
_ROUNDING = 1.0  # seconds; `Date` and whole seconds lose up to so much, and a moment too early is one too many
_EPOCH = 1e9  # seconds; a number from here on is a moment, one below it a duration
_MILLISECONDS = 1e11  # from here on the moment is given in these
_FAMILIES = tuple(
    tuple(name.format(part) for part in ("limit", "remaining", "reset"))
    for name in ("anthropic-ratelimit-requests-{}", "x-ratelimit-{}-requests", "x-ratelimit-{}", "ratelimit-{}")
)
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:d|h|ms|m|s))+", re.ASCII)
_PIECE = re.compile(r"([\d.]+)(ms|[dhms])", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_LIMIT = re.compile(
    r"(\d{1,15})(?:\s+per\s+(\d{1,9})?\s*(second|minute|hour|day)s?|\s*,.*?;\s*w=(\d{1,9})\b.*|\s*[,;].*)?",
    re.ASCII | re.IGNORECASE,
)
_WORDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}

RATE_HEADERS: tuple[str, ...] = tuple(name for family in _FAMILIES for name in family)
"""The names that `read_budget` looks for, in lower case; it wants `date` besides."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Say how many requests a server takes before a moment.

    Attributes:
        remaining: requests, at least 0.
        reset: seconds until that moment, counted from now; more than 0, at most a day.
        limit: requests that a whole period allows; None if the server does not say. At least 1 and `remaining`.
        period: seconds of that period; None if the server does not say.
    """

    remaining: int
    reset: float
    limit: int | None = None
    period: float | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.remaining) or self.remaining < 0:
            raise ValueError(f"remaining: expected a whole number of requests >= 0, got {self.remaining!r}")
        if not is_number(self.reset) or not 0 < self.reset <= LONGEST_RESET:
            raise ValueError(f"reset: expected seconds > 0, at most {LONGEST_RESET:.0f}, got {self.reset!r}")
        least = max(1, self.remaining)
        if self.limit is not None and (not is_whole(self.limit) or not least <= self.limit <= _MOST):
            raise ValueError(f"limit: expected {least}..{_MOST} requests, got {self.limit!r}")
        if self.period is not None and (not is_number(self.period) or not 1 / _MOST <= self.period <= _MOST):
            raise ValueError(f"period: expected seconds, {1 / _MOST:g}..{_MOST}, got {self.period!r}")


def read_budget(headers: Mapping[str, str]) -> Budget | None:
    """Return what the headers of an answer say of the budget of requests; None if they say nothing clear.

    Known are `x-ratelimit-*`, `x-ratelimit-*-requests`, `ratelimit-*` and `anthropic-ratelimit-requests-*`, each with
    `limit` ("100", "100 per 1 minute", "100, 100;w=60"), `remaining` and `reset` (seconds, "6m0s", "12ms", seconds or
    milliseconds since 1970, RFC 3339).

    Args:
        headers: names in lower case.
    """
    date = _http_date(headers.get("date", ""))
    for limit, remaining, reset in _FAMILIES:
        budget = _budget(headers.get(limit, ""), headers.get(remaining, ""), headers.get(reset, ""), date)
        if budget is not None:
            return budget
    return None


def _budget(limit: str, remaining: str, reset: str, date: float | None) -> Budget | None:
    if not _COUNT.fullmatch(remaining.strip()):
        return None
    seconds = _until(reset.strip(), date)
    if seconds is None:
        return None
    count, period = _limit_of(limit.strip())
    try:
        return Budget(remaining=int(remaining), reset=seconds, limit=count, period=period)
    except ValueError:
        return None


def _limit_of(text: str) -> tuple[int | None, float | None]:
    found = _LIMIT.fullmatch(text)
    if found is None:
        return None, None
    count, units, word, window = found.groups()
    seconds = float(window) if window else float(units or 1) * _WORDS[word.lower()] if word else 0.0
    return int(count), seconds or None


def _until(text: str, date: float | None) -> float | None:
    """Return the seconds until a budget is whole again, rather too many than too few; None if that is not clear."""
    if _DURATION.fullmatch(text):
        pieces = _PIECE.findall(text)
        whole = pieces[-1][1] != "ms" and "." not in pieces[-1][0]
        return _positive(sum(float(count) * _UNITS[unit] for count, unit in pieces), _ROUNDING if whole else 0.0)
    if not _NUMBER.fullmatch(text):
        return _since(date, _rfc3339(text))
    number = float(text)
    if number < _EPOCH:
        return _positive(number, 0.0 if "." in text else _ROUNDING)
    return _since(date, number / 1000 if number >= _MILLISECONDS else number)


def _since(date: float | None, moment: float | None) -> float | None:
    return None if date is None or moment is None else _positive(moment - date, _ROUNDING)


def _positive(seconds: float, rounding: float) -> float | None:
    """Return a time to come; one that is over, or just now, limits nothing any more."""
    return seconds + rounding if seconds > 0 else None


def _rfc3339(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _http_date(text: str) -> float | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import and rarely needed

    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
