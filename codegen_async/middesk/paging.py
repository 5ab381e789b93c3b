"""Walk through numbered pages, of which neither the first number nor the order is documented."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Protocol, TypeVar

from codegen_async.arguments import LARGEST_ID, check_int

_PAGES_WITHOUT_NEWS = 2
_MOST_IDLE = 100  # pages without news, whatever the total says

_log = logging.getLogger("codegen_async")


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)
T_co = TypeVar("T_co", bound=_Named, covariant=True)


class _Page(Protocol[T_co]):
    @property
    def data(self) -> Sequence[T_co]: ...
    @property
    def has_more(self) -> bool: ...
    @property
    def total_count(self) -> int | None: ...
    @property
    def unreadable(self) -> int: ...


class _Pages(Protocol[T_co]):
    def __call__(self, *, page: int | None, per_page: int | None) -> Awaitable[_Page[T_co]]: ...


async def walk(pages: _Pages[T], page_size: int | None) -> AsyncGenerator[T]:
    """Yield what is on all pages, each item once, and leave out none that is there all the time.

    The first request names no number, and the next asks for page 1, which may show the same again. Where the total has
    shrunk, what was deleted from pages seen before has moved others onto these: as many pages are read once more.
    """
    per_page = None if page_size is None else check_int("page_size", page_size, 1, LARGEST_ID)
    seen: set[str] = set()
    number: int | None = None
    total = without_news = idle = 0
    while without_news <= _PAGES_WITHOUT_NEWS and idle <= _MOST_IDLE:
        page = await pages(page=number, per_page=per_page)
        news = [item for item in page.data if item.id not in seen]
        seen.update(item.id for item in news)
        for item in news:
            yield item
        deleted, total = max(0, total - (page.total_count or 0)) if number else 0, page.total_count or 0
        idle = 0 if news else idle + 1
        if deleted and total and (news or not page.data):  # a page that was seen before hides nothing before it
            number = max(0, (number or 0) - -(-deleted // max(1, len(page.data) + page.unreadable)))
            without_news = 0
            continue
        if not page.has_more or not (page.data or page.unreadable):
            return
        without_news = 0 if news else without_news + 1
        number = (number or 0) + 1
    _log.warning("middesk: a list shows the same again and again, and is left; it says that there is more")


def check_place(page: object, per_page: object) -> tuple[int | None, int | None]:
    """Return the number of a page and its size if they can be right; None is left to the server."""
    return (
        None if page is None else check_int("page", page, 0, LARGEST_ID),
        None if per_page is None else check_int("per_page", per_page, 1, LARGEST_ID),
    )
