"""Look for runs by their keys, and tell what a look proves.

A look decides only what it could have seen. That no run bears a key is proven by a walk through the list if

1. the walk was whole: newest first all the way, every row readable, each page joined to the one before, and it led down
   to a run that was there before the create, or to the end of the list;
2. it showed a run of ours that was sent after the create; where one was sent after the create was given up, such a
   one. A list that shows this one is no older than the run that is looked for;
3. it showed the runs of ours between the two, and each that has long been there, and all of them with their keys: so it
   leaves out none, and gives back keys;
4. no row is left that could be the run, its key lost or cut.

Whether the answer to a create gave the key back proves nothing: it is the list that is searched. What came before what
is told by moments, which are counted; no clock and no id is trusted with it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
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

_SUSPECTS = 5  # rows that are looked at by themselves

_CUT = ".*\u2026"  # what stands for what was cut off

_SIZES = 10  # of pages, one after the other

_OVERLAP = 10  # rows that are asked for again: deletions meanwhile move others up, past the next page


_moments = itertools.count(1)


def moment() -> int:
    """Return the number of this moment; later ones have larger numbers, in all threads and on all loops."""
    return next(_moments)


class Ours(NamedTuple):
    """What is known of a run of ours.

    Attributes:
        key: its key.
        begun: the moment before which it was not sent; 0 if that is not known.
        since: loop time since which it is known.
        sure: whether it was seen with its key; else the answer to its create named it, and showed no key.
    """

    key: str
    begun: int = 0
    since: float = -math.inf
    sure: bool = True


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Say which create is looked for.

    Attributes:
        key: its key.
        floor: the id of a run that existed before it was first sent; None or 0 if none is known.
        begun: the moment before which it was not sent; 0 if that is not known, for one of a former life.
        sent: the moment by which it was sent for the last time.
        over: the moment by which it was given up.
        ours: runs known from elsewhere, by id.
        later: the id and the key of a run that was sent after it was given up, in a later life than it.
    """

    key: str
    floor: int | None = None
    begun: int = 0
    sent: int = 0
    over: int = 0
    ours: Mapping[int, Ours] = msgspec.field(default_factory=dict[int, Ours])
    later: tuple[int, str] | None = None

    def all_ours(self, here: Mapping[int, Ours]) -> Mapping[int, Ours]:
        """Return all runs known to be ours, those that were made here among them."""
        later = {} if self.later is None else {self.later[0]: Ours(self.later[1], begun=self.over + 1)}
        return {**self.ours, **here, **later}


class Sight(msgspec.Struct, dict=True):
    """What a walk through the list has shown.

    Attributes:
        runs: by id, newest first.
        whole: whether nothing can have been hidden between its first row and its last.
        ended: whether its last row is the last of the list.
        unread: the bodies of pages of which not every row could be read.
    """

    runs: dict[int, AgentRun]
    whole: bool
    ended: bool = False
    unread: list[bytes] = msgspec.field(default_factory=list[bytes])

    @cached_property
    def keyed(self) -> Mapping[str, AgentRun]:
        """The runs that bear a key, by key; of two the older."""
        newest_first = sorted(self.runs.values(), key=lambda run: run.id, reverse=True)
        return {key: run for run in newest_first if (key := key_of(run)) is not None}

    def may_hide(self, key: str) -> bool:
        """Whether a row that could not be read, or not its metadata, bears a key."""
        odd = any(key in _as_sent(run.odd.get("metadata", "")) for run in self.runs.values())
        return odd or any(key.encode() in body for body in self.unread)

    def suspects(self, key: str) -> Sequence[AgentRun]:
        """Return rows that tell, held against their runs, whether it shows keys as they are: a few at most."""
        if self.keyed:
            return [run for shown, run in self.keyed.items() if is_cut_from(key, shown)][:_SUSPECTS]
        return [run for run in self.runs.values() if run.source_type in ("API", None)][:1]

    def loses_keys(self, ours: Mapping[int, Ours]) -> bool:
        """Whether it shows a run of ours without its key."""
        return any(key_of(self.runs[run_id]) != ours[run_id].key for run_id in ours.keys() & self.runs.keys())

    def proves(
        self, question: Question, ours: Mapping[int, Ours], seen: Mapping[int, int], settled: float = math.inf
    ) -> bool:
        """Whether the run that is asked for, which was not found, does not exist.

        Args:
            question: what is asked.
            ours: the runs known to be ours, by id.
            seen: the moments at which runs were first seen, by id.
            settled: loop time before which a run must have been known to be expected in the list.
        """
        floor = question.floor or 0
        after = question.over if any(known.begun > question.over for known in ours.values()) else question.sent
        later = [run_id for run_id in ours.keys() & self.runs.keys() if ours[run_id].begun > after]
        if not self._leads_to(floor) or not later or min(later) <= floor or self.loses_keys(ours):
            return False
        due = (
            run_id
            for run_id, known in ours.items()
            if known.sure
            and run_id > floor
            and (run_id < max(later) or known.since <= settled or known.begun <= question.over)
        )
        return all(run_id in self.runs for run_id in due) and not any(self._candidates(question, ours, seen))

    def _leads_to(self, floor: int) -> bool:
        return self.whole and (self.ended or floor in self.runs)

    def _candidates(self, question: Question, ours: Mapping[int, Ours], seen: Mapping[int, int]) -> Iterator[AgentRun]:
        """Yield the rows that could be the run that is asked for, if keys were lost or cut."""
        sources = {"API", None} | {self.runs[run_id].source_type for run_id in ours.keys() & self.runs.keys()}
        for run in self.runs.values():
            new = run.id > (question.floor or 0) and run.id not in ours
            if new and seen.get(run.id, math.inf) >= question.begun and run.source_type in sources:
                key = key_of(run)
                if key is None or is_cut_from(question.key, key):
                    yield run


class Walks:
    """Walk through the newest runs; who asks while a walk waits to begin shares it."""

    def __init__(self, page: Callable[[int, int], Awaitable[tuple[AgentRunPage, bytes]]]) -> None:
        self._page = page
        # No cache answers a walk with what another one was shown a while ago.
        self._sizes = itertools.cycle(range(LARGEST_PAGE, LARGEST_PAGE - _SIZES, -1))
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
        size = next(self._sizes)
        skip = 0
        total = math.inf  # the least that was told
        tail: list[int] = []
        for number in itertools.count(1):
            page, body = await self._page(skip, size)
            ids = [run.id for run in page.items]
            news = [run for run in page.items if run.id not in sight.runs]
            length = len(ids) + page.unreadable
            joined = _is_falling(ids) and _is_joined(tail, ids, [run.id for run in news])
            sight.whole = sight.whole and not page.unreadable and joined
            sight.unread += [body] if page.unreadable else []
            sight.runs.update((run.id, run) for run in news)
            total = min(total, page.total)
            if not length or is_last(length, size, page.size, page.total - skip - length):
                sight.ended = True
                sight.whole = sight.whole and len(sight.runs) >= total  # else rows are kept back
                break
            if not news:  # it does not lead on
                sight.whole = False
                break
            if number >= pages and (floor is None or min(ids) <= floor):
                break
            tail = ids[-_OVERLAP:]
            skip += length - min(_OVERLAP, length - 1)
        return sight


def _as_sent(value: object) -> str:
    """Return text in which a key of the value can be found, also where that could not be decoded."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, msgspec.Raw) else str(value)


def key_of(run: AgentRun) -> str | None:
    """Return the idempotency key that a run was created with."""
    key = (run.metadata or {}).get(IDEMPOTENCY_KEY)
    return key if isinstance(key, str) else None


def is_cut_from(key: str, shown: str) -> bool:
    """Whether what is shown may be this key, a part of it left out, or in other letters."""
    return shown.strip(_CUT).casefold() in key.casefold()


def _is_falling(ids: list[int]) -> bool:
    return all(newer > older for newer, older in itertools.pairwise(ids))


def _is_joined(tail: list[int], ids: list[int], news: list[int]) -> bool:
    """Whether a page goes on where the one before ended: shows its last rows again, and behind them only older ones."""
    return not tail or (any(known in ids for known in tail) and all(run_id < tail[-1] for run_id in news))
