"""Walk through pages that are asked for by how many items to leave out, while items come and go."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Protocol, TypeVar

from codegen_async.arguments import LARGEST_ID, LARGEST_PAGE, check_int
from codegen_async.codegen.models import AgentRunLog, AgentRunLogs

_PAGES_WITHOUT_NEWS = 5  # that many can come of new items, which push others back

MOST_IDLE = 100
"""Pages without news, beyond those of a way back to the beginning, on which no list leads on."""

_log = logging.getLogger("codegen_async")


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


T = TypeVar("T", bound=_Numbered)
T_co = TypeVar("T_co", bound=_Numbered, covariant=True)


class _Page(Protocol[T_co]):
    @property
    def items(self) -> Sequence[T_co]: ...
    @property
    def total(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def unreadable(self) -> int: ...


class _Pager(Protocol[T_co]):
    def __call__(self, *, skip: int, limit: int) -> Awaitable[_Page[T_co]]: ...


def check_place(skip: object, limit: object) -> tuple[int, int]:
    """Return how many items are left out before a page and how many are on it, if they can be right."""
    return check_int("skip", skip, 0, LARGEST_ID), check_int("limit", limit, 1, LARGEST_PAGE)


def is_last(length: int, asked: int, size: int | None, left: int) -> bool:
    """Whether no page follows: this one is short, by the size asked for or a smaller one, and the total leaves none."""
    return left <= 0 and length < (min(asked, size) if size and size > 0 else asked)


async def walk(page_at: _Pager[T], page_size: int) -> AsyncGenerator[T]:
    """Yield what is on all pages, each item once, and leave out none that is there all the time.

    Items that are deleted from pages seen before move others onto these. They do so by no more than the total has
    shrunk. Then a page only counts if it begins with an item that was seen, or is what it was before the one further
    back was asked for. An empty page is the last only if the total says so.

    Args:
        page_at: asks for a page.
        page_size: items asked for at a time.

    Raises:
        InvalidArgumentError: the page size cannot be right.
    """
    check_int("page_size", page_size, 1, LARGEST_PAGE)
    seen: set[int] = set()
    skip, total, back, without_news, idle = 0, 0, False, 0, 0
    doubted: int | None = 0  # the first item of the page for which one further back was asked
    while idle <= MOST_IDLE + 2 * len(seen) // page_size:
        page = await page_at(skip=skip, limit=page_size)
        grown, total = page.total - total, page.total
        first = page.items[0].id if page.items else None
        if skip and seen and first not in seen and first != doubted and total > 0 and (back or grown < 0):
            skip = max(0, skip - max(-grown, page_size // 2, 1))
            back, doubted, idle = True, first, idle + 1
            continue
        news = [item for item in page.items if item.id not in seen]
        seen.update(item.id for item in news)
        for item in news:
            yield item
        length = len(page.items) + page.unreadable
        if is_last(length, page_size, page.size, total - skip - length):
            return
        without_news = 0 if news or page.unreadable or back or grown > 0 else without_news + 1
        if without_news > _PAGES_WITHOUT_NEWS or (without_news and skip + length >= total):
            break
        skip += length or page_size
        back, idle = False, 0 if news else idle + 1
    tell_of_repetition(len(seen), total)


def tell_of_repetition(seen: int, total: int | None) -> None:
    """Say in the log that a list which shows the same again and again was left before all was seen, if it was."""
    if seen < (total or 0):
        _log.warning("codegen: a list shows the same again and again, and is left after %d of %d items", seen, total)


def new_rows(page: AgentRunLogs, before: AgentRunLogs | None, skip: int) -> Sequence[AgentRunLog]:
    """Return the rows of a page that the page before did not show; rows have no ids.

    They are only compared where the server has left out fewer rows than it was asked to, as its page number tells, or
    else that nothing has changed.
    """
    if before is None:
        return page.logs
    numbered = page.page is not None and page.size
    misplaced = (page.page or 0) < skip // (page.size or 1) + 1 if numbered else page.logs == before.logs
    return page.logs[_overlap(before.logs, page.logs) :] if misplaced else page.logs


def _overlap(before: Sequence[AgentRunLog], after: Sequence[AgentRunLog]) -> int:
    longest = min(len(before), len(after))
    return next((n for n in range(longest, 0, -1) if before[-n:] == after[:n]), 0)
