"""Look for runs by their keys, and tell what a look proves.

A look decides only what it could have seen. That no run bears a key is proven by a walk through the list if

1. the walk was whole: newest first all the way, every row readable, each page joined to the one before;
2. it showed the runs that are known to be ours, and every one of these with its key: so the list gives back keys;
3. one of these is no younger than the create that is looked for can be, or else no row is left that could be its run:
   a server that gives back metadata only from some day on says nothing of the days before.

Whether the answer to a create gave the key back proves nothing: it is the list that is searched.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import msgspec

from codegen_async.arguments import LARGEST_PAGE
from codegen_async.codegen.models import AgentRun, AgentRunPage
from codegen_async.codegen.paging import is_last
from codegen_async.errors import APIError, own_copy

IDEMPOTENCY_KEY = "idempotency_key"
"""The metadata key that is reserved for the key of a create."""

PAGES_WITHOUT_FLOOR = 10
PAGES_TO_DECIDE = 2  # a list in another order may fill one with old runs

_OVERLAP = 10  # rows that are asked for again: deletions meanwhile move others up, past the next page


class Ours(NamedTuple):
    """What is known of a run of ours: its key, and since when (loop time)."""

    key: str
    since: float = -math.inf


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Say which create is looked for.

    Attributes:
        key: its key.
        floor: the id of a run that existed before it was first sent; None or 0 if none is known.
        until: an id that no run had before the create was over, for one of a former life; None for one of this life.
        ours: runs known from elsewhere, by id.
    """

    key: str
    floor: int | None = None
    until: int | None = None
    ours: Mapping[int, Ours] = msgspec.field(default_factory=dict[int, Ours])


class Sight(msgspec.Struct, dict=True):
    """What a walk through the list has shown.

    Attributes:
        runs: by id, newest first.
        whole: whether nothing can have been hidden between its first row and its last.
        unread: the bodies of pages of which not every row could be read.
    """

    runs: dict[int, AgentRun]
    whole: bool
    unread: list[bytes] = msgspec.field(default_factory=list[bytes])

    @cached_property
    def keyed(self) -> Mapping[str, AgentRun]:
        """The runs that bear a key, by key; of two the older."""
        newest_first = sorted(self.runs.values(), key=lambda run: run.id, reverse=True)
        return {key: run for run in newest_first if (key := key_of(run)) is not None}

    def may_hide(self, key: str) -> bool:
        """Whether a row that could not be read, or not its metadata, bears a key."""
        odd = any(key in str(run.odd.get("metadata", "")) for run in self.runs.values())
        return odd or any(key.encode() in body for body in self.unread)

    def proves(self, question: Question, ours: Mapping[int, Ours], settled: float) -> bool:
        """Whether the run that is asked for, which was not found, does not exist.

        Args:
            question: what is asked.
            ours: the runs known to be ours, by id.
            settled: loop time before which a run must have been known to be expected in the list.
        """
        floor = question.floor or 0
        due = [run_id for run_id, known in ours.items() if run_id > floor and known.since <= settled]
        if not self.whole or any(run_id not in self.runs for run_id in due):
            return False
        witnesses = [run_id for run_id in ours if run_id in self.runs]
        if any(key_of(self.runs[run_id]) != ours[run_id].key for run_id in witnesses):
            return False
        until = math.inf if question.until is None else question.until
        old = any(run_id <= until for run_id in witnesses)
        return old or (bool(witnesses) and not any(self._candidates(question, ours)))

    def _candidates(self, question: Question, ours: Mapping[int, Ours]) -> Iterator[AgentRun]:
        """Yield the rows that could be the run that is asked for, if keys were lost or cut."""
        for run in self.runs.values():
            if run.id > (question.floor or 0) and run.id not in ours and run.source_type in ("API", None):
                key = key_of(run)
                if key is None or question.key.startswith(key):
                    yield run


class Walks:
    """Walk through the newest runs; who asks while a walk waits to begin shares it."""

    def __init__(self, page: Callable[[int], Awaitable[tuple[AgentRunPage, bytes]]]) -> None:
        self._page = page
        self._lock = asyncio.Lock()
        self._tickets = itertools.count(1)
        self._waiting: dict[int, tuple[int | None, int]] = {}  # ticket: floor, pages
        self._served = 0  # the newest ticket that the last walk served
        self._sight = Sight({}, whole=False)
        self._failure: APIError | None = None

    async def walk(self, floor: int | None, pages: int = 1) -> Sight:
        """Return what a walk shows that began after this call, over so many pages at least.

        Args:
            floor: the id down to which it leads. None: it ends after ten pages.
            pages: to be read at least, where there are as many.

        Raises:
            APIError: that walk failed.
        """
        ticket = next(self._tickets)
        self._waiting[ticket] = (floor, PAGES_WITHOUT_FLOOR if floor is None else pages)
        try:
            async with self._lock:
                if self._served < ticket:
                    await self._walk()
                if self._failure is not None:
                    raise own_copy(self._failure)
                return self._sight
        finally:
            del self._waiting[ticket]
            if not self._waiting:
                self._sight = Sight({}, whole=False)  # it may be thousands of runs

    async def _walk(self) -> None:
        served = max(self._waiting)
        floors = [floor for floor, _ in self._waiting.values() if floor is not None]
        pages = max(pages for _, pages in self._waiting.values())
        sight = Sight({}, whole=False)
        failure: APIError | None = None
        try:
            sight = await self.collect(min(floors, default=None), pages)
        except APIError as error:
            failure = error.with_traceback(None)
        self._served, self._sight, self._failure = served, sight, failure

    async def collect(self, floor: int | None, pages: int = 1) -> Sight:
        """Read the list down to the floor, and so many pages of it at least.

        Raises:
            APIError: a page could not be had.
        """
        sight = Sight({}, whole=True)
        skip = 0
        tail: list[int] = []
        for number in itertools.count(1):
            page, body = await self._page(skip)
            ids = [run.id for run in page.items]
            news = [run for run in page.items if run.id not in sight.runs]
            length = len(ids) + page.unreadable
            joined = _is_falling(ids) and _is_joined(tail, ids, [run.id for run in news])
            sight.whole = sight.whole and not page.unreadable and joined
            sight.unread += [body] if page.unreadable else []
            sight.runs.update((run.id, run) for run in news)
            if not length or is_last(length, LARGEST_PAGE, page.size, page.total - skip - length):
                sight.whole = sight.whole and (length > 0 or skip >= page.total)  # else rows are kept back
                break
            if not news:  # it does not lead on
                sight.whole = False
                break
            if number >= pages and (floor is None or min(ids) <= floor):
                break
            tail = ids[-_OVERLAP:]
            skip += length - min(_OVERLAP, length - 1)
        return sight


def key_of(run: AgentRun) -> str | None:
    """Return the idempotency key that a run was created with."""
    key = (run.metadata or {}).get(IDEMPOTENCY_KEY)
    return key if isinstance(key, str) else None


def _is_falling(ids: list[int]) -> bool:
    return all(newer > older for newer, older in itertools.pairwise(ids))


def _is_joined(tail: list[int], ids: list[int], news: list[int]) -> bool:
    """Whether a page goes on where the one before ended: shows its last rows again, and behind them only older ones."""
    return not tail or (any(known in ids for known in tail) and all(run_id < tail[-1] for run_id in news))
