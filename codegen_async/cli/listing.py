"""Show the first items of a list."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from codegen_async.arguments import LARGEST_ID, check_int
from codegen_async.cleaning import clean
from codegen_async.cli.errors import Exit, UsageError
from codegen_async.cli.output import Output
from codegen_async.cli.render import plain
from codegen_async.models import RunLike
from codegen_async.record import Model

M = TypeVar("M", bound=Model | RunLike)
R = TypeVar("R", bound=RunLike)

_AGO = re.compile("([0-9]{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_since(text: str) -> datetime:
    """Return the moment that is meant by so long ago (`90m`, `12h`, `7d`, `2w`) or a date, UTC where none is said.

    Raises:
        UsageError: it is neither.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        given = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        hint = "such as 90m, 12h, 7d, 2026-11-25 or 2026-11-25T08:00"
        raise UsageError(f"--since: expected a time, got {clean(text, 60)!r}", hint) from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


async def chosen(runs: AsyncGenerator[R], phases: Collection[str], since: datetime | None = None) -> AsyncGenerator[R]:
    """Yield those of the runs, newest first, that stand in one of the phases and were created since then."""
    async with aclosing(runs):
        async for run in runs:
            created = run.created_time
            if since is not None and created is not None and created < since:
                return
            if not phases or run.phase.value in phases:
                yield run


def check_limit(limit: int | None) -> float:
    """Return how many are wanted at most.

    Raises:
        InvalidArgumentError: it is no number >= 1.
    """
    return math.inf if limit is None else check_int("--limit", limit, 1, LARGEST_ID)


async def show_first(
    output: Output,
    listed: AsyncGenerator[M],
    limit: float,
    columns: Sequence[str],
    row_of: Callable[[M], Sequence[str]],
) -> Exit:
    """Show so many, and read no further."""
    items = [item async for item in _first(listed, limit)]
    if output.structured:
        output.records([plain(item) for item in items])
    else:
        output.table(columns, map(row_of, items))
    return Exit.OK


async def _first(listed: AsyncGenerator[M], limit: float) -> AsyncGenerator[M]:
    count = 0
    async with aclosing(listed):
        async for item in listed:
            yield item
            count += 1
            if count >= limit:
                return
