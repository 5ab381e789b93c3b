"""What was seen of runs, for those who need no newer look; and looks that several share."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar, cast

import msgspec

from codegen_async.errors import ClientClosedError, own_copy
from codegen_async.models import RunId, RunLike

R = TypeVar("R", bound=RunLike)

ENDED_FOR = 300.0
"""Seconds for which an end that was seen is believed without asking: somebody else may have taken the run up again."""

MOST_BYTES = 8 * 2**20


class Memo(NamedTuple, Generic[R]):
    """A snapshot, when it was asked for, and what it weighs."""

    run: R
    at: float
    size: int


class Memory(Generic[R]):
    """Remember snapshots: of runs that stand still all, of others those that somebody wants to share.

    Args:
        capacity: bytes of memory it may hold; what was not used for longest goes first.
    """

    def __init__(self, capacity: int = MOST_BYTES) -> None:
        self._capacity = capacity
        self._memos: OrderedDict[RunId, Memo[R]] = OrderedDict()
        self.size: int = 0

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._memos

    def keep(self, run: R, at: float) -> None:
        """Remember a snapshot that was asked for at that time, unless one is that was asked for later."""
        if (known := self.at(run.id)) is not None and at < known:
            return
        self.drop(run.id)
        size = _size_of(run)
        self._memos[run.id] = Memo(run, at, size)
        self.size += size
        while self.size > self._capacity:
            self.drop(next(iter(self._memos)))

    def drop(self, run_id: RunId) -> None:
        """Forget what is known of a run."""
        if memo := self._memos.pop(run_id, None):
            self.size -= memo.size

    def at(self, run_id: RunId) -> float | None:
        """Return when what is remembered of a run was asked for; None if nothing is."""
        memo = self._memos.get(run_id)
        return None if memo is None else memo.at

    def recall(self, run_id: RunId, now: float, max_age: float | None = None) -> R | None:
        """Return a snapshot that is not older; by default one of an ended run, as long as it is believed."""
        memo = self._memos.get(run_id)
        if memo is None:
            return None
        if max_age is None:
            max_age = ENDED_FOR if memo.run.phase.is_terminal else 0.0
        if not max_age or now - memo.at > max_age:
            return None
        self._memos.move_to_end(run_id)
        return memo.run


def _size_of(value: object) -> int:
    """Return what a snapshot takes in memory: its text, which is nearly all of it, and what holds that."""
    size = 0
    ahead = [value]
    while ahead:  # without recursion: what is sent may be nested more deeply than Python calls may be
        one = ahead.pop()
        size += sys.getsizeof(one)
        if isinstance(one, str):
            size += 0 if one.isascii() else len(one)  # other text keeps its UTF-8, once it is written down
        elif isinstance(one, msgspec.Struct):
            ahead.extend(msgspec.structs.astuple(one))
        elif isinstance(one, Mapping):
            ahead.extend(itertools.chain.from_iterable(cast("Mapping[object, object]", one).items()))
        elif isinstance(one, list | tuple):
            ahead.extend(cast("list[object]", one))
    return size


class _Ride(Generic[R]):
    """A look under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[R], began: float) -> None:
        self.task = task
        self.began = began
        self.riders = 0


class Sharing(Generic[R]):
    """Let those who ask for the same at once share one request. It goes on as long as any of them waits."""

    def __init__(self) -> None:
        self._rides: dict[Hashable, _Ride[R]] = {}
        self._tasks: set[asyncio.Task[R]] = set()
        self._closed = False

    async def ask(self, what: Hashable, max_age: float, ask: Callable[[], Awaitable[R]]) -> R:
        """Return what a request brings that was begun no longer ago than that, or else a new one."""
        ride = self._rides.get(what)
        if ride is None or _now() - ride.began > max_age:
            ride = self._begin(what, ask)
        ride.riders += 1
        try:
            return await asyncio.shield(ride.task)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and ride.task.cancelled() and task is not None and not task.cancelling():
                raise ClientClosedError("the client was closed while this call was on") from None
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, each wants a traceback of its own
            raise own_copy(error) from None
        finally:
            ride.riders -= 1
            if not ride.riders:
                self._end(what, ride)
                ride.task.cancel()

    def _begin(self, what: Hashable, ask: Callable[[], Awaitable[R]]) -> _Ride[R]:
        async def look() -> R:
            return await ask()

        ride = _Ride(asyncio.create_task(look()), _now())
        self._rides[what] = ride
        self._tasks.add(ride.task)

        def arrive(task: asyncio.Task[R]) -> None:
            self._tasks.discard(task)
            self._end(what, ride)
            if not task.cancelled():
                task.exception()  # nobody may be left to look at it

        ride.task.add_done_callback(arrive)
        return ride

    def _end(self, what: Hashable, ride: _Ride[R]) -> None:
        """Let nobody join any more."""
        if self._rides.get(what) is ride:
            del self._rides[what]

    async def aclose(self) -> None:
        """End all looks, and leave no task behind."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
