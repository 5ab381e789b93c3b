"""Serve all waits of a client; see the package."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from codegen_async.errors import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    CodegenAsyncError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RunBlockedError,
    WaitTimeoutError,
)
from codegen_async.limits import Slot
from codegen_async.models import Phase, RunId, RunLike
from codegen_async.polling import GetPoll, ListPoll, Poll, PollSchedule, Sighting, Stream
from codegen_async.waiting.listeners import Changes, Collector, Ending, Endings, Listener

R = TypeVar("R", bound=RunLike)

_log = logging.getLogger("codegen_async")

GRACE = 5.0
"""Seconds for which a run that was just created may be unknown to the server (404)."""

REOPENED = 10.0
"""Seconds after a resume for which an end (or a block) shown may still be the old one."""

_UNREADABLE_AT_MOST = 5  # answers in a row about one run that cannot be read, until its waits end


class Page(msgspec.Struct, Generic[R], frozen=True):
    """Hold what a list page shows.

    Attributes:
        items: the runs, newest first.
        total: how many runs the list has in all; None if the page's positions mean nothing.
        sure: whether the items are as complete as what a get shows. If not, nobody is told of an end or another change
            before a get has confirmed it.
    """

    items: Sequence[R]
    total: int | None
    sure: bool = True


class Remote(Protocol[R]):
    """Ask the server; what a dialect hands to `Waiting`. Each call uses the slot it is given and is tried once."""

    def slot(self, stream: Stream) -> Slot:
        """Return a slot for a poll of that stream."""
        ...

    async def get(self, run_id: RunId, slot: Slot) -> R:
        """Read one run."""
        ...

    async def page(self, poll: ListPoll, slot: Slot) -> Page[R]:
        """Read one page of the list."""
        ...


class Waiting(Generic[R]):
    """Serve all waits of a client from one stream of looks at the server.

    Args:
        remote: asks the server.
        schedule: decides what to ask next, and when.
        latency: seconds within which every watched run is looked at again, unless a wait says otherwise.
        is_old: tells a snapshot from before a resume that an answer may still show. Default: every end or block shown
            within ten seconds of a resume may be that.
    """

    def __init__(
        self,
        remote: Remote[R],
        schedule: PollSchedule,
        *,
        latency: float,
        is_old: Callable[[R], bool] | None = None,
    ) -> None:
        self._remote = remote
        self._schedule = schedule
        self._latency = latency
        self._is_old = is_old
        self._watched: dict[RunId, _Watched[R]] = {}
        self._reopened: dict[RunId, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._drivers: dict[Stream, asyncio.Task[None]] = {}
        self._nudges = {stream: asyncio.Event() for stream in Stream}
        self._closed = False

    # -- for callers

    async def wait_for_run(
        self,
        run: RunId | R,
        *,
        timeout: float | None = None,
        latency: float | None = None,
        on_blocked: Callable[[R], Awaitable[object]] | None = None,
    ) -> R:
        """Return the final snapshot of a run, when it has one; see the client's method of this name."""
        budget = timeout
        while True:
            started = _now()
            snapshot = await self._until_still(run, budget, latency)
            if snapshot.phase is not Phase.BLOCKED:
                return snapshot
            if on_blocked is None:
                raise RunBlockedError(f"run {snapshot.id} needs a person", run_id=snapshot.id, run=snapshot)
            if budget is not None:
                budget -= _now() - started  # a person's time does not count
            await on_blocked(snapshot)
            self.reopened(snapshot.id)
            run = snapshot.id

    async def wait_for_runs(
        self,
        runs: Iterable[RunId | R],
        *,
        timeout: float | None = None,
        latency: float | None = None,
    ) -> list[R]:
        """Return the final snapshots of runs, in the order given."""
        wanted = list(runs)
        final = {run.id: run async for run in self.as_completed(wanted, timeout=timeout, latency=latency)}
        return [final[_id_of(run)] for run in wanted]

    def as_completed(
        self,
        runs: Iterable[RunId | R],
        *,
        timeout: float | None = None,
        latency: float | None = None,
    ) -> AsyncGenerator[R]:
        """Yield the final snapshot of each run as it ends."""
        return self._collect(Endings[R](self._seconds(latency)), runs, timeout)

    def watch(
        self,
        runs: Iterable[RunId | R],
        *,
        timeout: float | None = None,
        latency: float | None = None,
    ) -> AsyncGenerator[R]:
        """Yield the first snapshot of each run and one for every change of its phase, until all have ended."""
        return self._collect(Changes[R](self._seconds(latency)), runs, timeout)

    # -- for the client

    @property
    def watched(self) -> int:
        """How many runs somebody waits for."""
        return len(self._watched)

    def seen(self, run: R) -> None:
        """Take in a snapshot that a call of the user's own brought."""
        self._schedule.sighted(_sighting(run), _now())
        self._tell(run)
        self._nudge()

    def seen_page(self, poll: ListPoll, page: Page[R]) -> None:
        """Take in a list page that a call of the user's own brought."""
        self._observed(poll, page)
        self._nudge()

    def notify(self, run_id: RunId) -> None:
        """Look at that run now: something is known to have happened to it."""
        self._schedule.hurry(run_id, _now())
        self._nudge()

    def reopened(self, run_id: RunId) -> None:
        """Take no end of that run for its end for a while: it was resumed, and the server may show the old one."""
        now = _now()
        self._reopened = {known: until for known, until in self._reopened.items() if until > now}
        self._reopened[run_id] = now + REOPENED
        if run_id in self._watched:
            self._watched[run_id].run = None  # what was known is of its former life

    def was_reopened(self, run_id: RunId) -> bool:
        """Return whether that run was resumed so recently that the server may still show its old end."""
        return _now() < self._reopened.get(run_id, 0.0)

    async def aclose(self) -> None:
        """End all waits and leave no task behind."""
        self._closed = True
        self._fail_all(ClientClosedError("the client was closed while this wait was on"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- waits

    async def _until_still(self, run: RunId | R, patience: float | None, latency: float | None) -> R:
        """Return the run's next snapshot in which it does not move by itself: ended or blocked."""
        listener = Ending[R](self._seconds(latency), asyncio.get_running_loop().create_future())
        run_id = self._add(run, listener)
        try:
            if patience is None:
                return await listener.future
            await asyncio.wait((listener.future,), timeout=max(0.0, patience))
            if listener.future.done():
                return listener.future.result()
        finally:
            self._remove(run_id, listener)
        raise _timed_out(run_id, listener.last)

    async def _collect(
        self, listener: Collector[R], runs: Iterable[RunId | R], patience: float | None
    ) -> AsyncGenerator[R]:
        wanted = {_id_of(run): run for run in runs}
        listener.open = dict.fromkeys(wanted)
        until = None if patience is None else _now() + patience
        try:
            for run in wanted.values():
                self._add(run, listener)
            while listener.open or listener.news:
                if not listener.news and not await listener.arrival(until):
                    run_id, last = next(iter(listener.open.items()))
                    raise _timed_out(run_id, last)
                news = listener.news.popleft()
                if isinstance(news, Exception):
                    raise news
                yield news
        finally:
            for run_id in wanted:
                self._remove(run_id, listener)

    def _seconds(self, latency: float | None) -> float:
        return self._latency if latency is None else latency

    def _add(self, run: RunId | R, listener: Listener[R]) -> RunId:
        if self._closed:
            raise ClientClosedError("the client is closed")
        snapshot = None if isinstance(run, int | str) else run
        run_id = _id_of(run)
        now = _now()
        watched = self._watched.get(run_id)
        if watched is None:
            watched = self._watched[run_id] = _Watched(now)
        sighting = Sighting(run_id, order=_order(run_id, None)) if snapshot is None else _sighting(snapshot)
        self._schedule.add(sighting, now, latency=listener.latency, seen=snapshot is not None)
        known = watched.run or snapshot
        if known is None or self._may_be_old(known) or not listener.tell(known):
            watched.listeners.append(listener)
            self._drive()
        else:
            self._settle(run_id, watched)
        return run_id

    def _remove(self, run_id: RunId, listener: Listener[R]) -> None:
        watched = self._watched.get(run_id)
        if watched is None or listener not in watched.listeners:
            return
        watched.listeners.remove(listener)
        self._settle(run_id, watched)

    def _settle(self, run_id: RunId, watched: _Watched[R]) -> None:
        """Ask about the run no more often than those who still wait for it need."""
        if watched.listeners:
            self._schedule.relax(run_id, min(listener.latency for listener in watched.listeners))
        else:
            self._forget(run_id)

    def _forget(self, run_id: RunId) -> None:
        del self._watched[run_id]
        self._schedule.discard(run_id)
        if not self._watched:
            self._rest()

    def _tell(self, run: R) -> None:
        watched = self._watched.get(run.id)
        if watched is None or self._may_be_old(run):
            return
        watched.run = run
        watched.unreadable = 0
        staying = [listener for listener in watched.listeners if not listener.tell(run)]
        if len(staying) < len(watched.listeners):
            watched.listeners = staying
            self._settle(run.id, watched)

    def _may_be_old(self, run: R) -> bool:
        if self._is_old is not None:
            return self._is_old(run)
        return bool(self._reopened) and run.phase.is_still and self.was_reopened(run.id)

    def _fail(self, run_id: RunId, error: Exception) -> None:
        watched = self._watched.get(run_id)
        if watched is None:
            return
        self._forget(run_id)
        for listener in watched.listeners:
            listener.fail(run_id, _own_copy(error))

    def _fail_all(self, error: Exception) -> None:
        for run_id in list(self._watched):
            self._fail(run_id, error)

    # -- the driver

    def _drive(self) -> None:
        for stream in Stream:
            if stream not in self._drivers:
                self._drivers[stream] = self._start(self._run(stream))
        self._nudge()

    def _rest(self) -> None:
        """Stop the drivers, also where they stand in line for a slot; a request under way comes to its end."""
        for driver in self._drivers.values():
            driver.cancel()
        self._drivers.clear()

    async def _run(self, stream: Stream) -> None:
        """Ask and ask, as the schedule says, until cancelled because nobody waits."""
        try:
            while True:
                self._nudges[stream].clear()
                due = self._schedule.next_due(stream, _now())
                if due > _now():
                    await self._pause(stream, due)
                    continue
                slot = self._remote.slot(stream)
                await slot.__aenter__()
                self._use(slot, stream)
        except Exception as exc:  # noqa: BLE001 - a defect of ours must end the waits, not leave them hanging
            _log.exception("waiting failed; please report this")
            self._fail_all(exc)

    def _use(self, slot: Slot, stream: Stream) -> None:
        try:
            poll = self._schedule.next(stream, _now())
        except BaseException:
            slot.close()
            raise
        if poll is None:
            slot.close()
        else:
            # The task owns the slot, even if it is cancelled before it begins.
            self._start(self._ask(poll, slot)).add_done_callback(_closer(slot))

    async def _pause(self, stream: Stream, until: float) -> None:
        try:
            async with asyncio.timeout_at(until if until < math.inf else None):
                await self._nudges[stream].wait()
        except TimeoutError:
            self._nudge()  # time alone can move runs from one stream to the other

    def _nudge(self) -> None:
        for nudge in self._nudges.values():
            nudge.set()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        # Not in the context of whoever happens to wait first: its spans and log fields are not the driver's.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(self, poll: Poll, slot: Slot) -> None:
        try:
            if isinstance(poll, GetPoll):
                run = await self._remote.get(poll.run_id, slot)
                self._schedule.observed(poll, [_sighting(run)], _now())
                self._tell(run)
            else:
                self._observed(poll, await self._remote.page(poll, slot))
        except APIError as error:
            self._failed(poll, error)
        except Exception as exc:  # noqa: BLE001 - a defect of ours must end the waits, not leave them hanging
            _log.exception("waiting failed; please report this")
            self._fail_all(exc)
        self._nudge()

    def _observed(self, poll: ListPoll, page: Page[R]) -> None:
        watched = {run.id: run for run in page.items if run.id in self._watched}
        news = {run_id for run_id, run in watched.items() if not page.sure and self._is_news(run)}
        self._schedule.observed(poll, [self._brief(run, news) for run in page.items], _now(), page.total)
        for run_id, run in watched.items():
            if run_id not in news:
                self._tell(run)

    def _is_news(self, run: R) -> bool:
        """Whether a snapshot that may be incomplete, or older than what is known, tells something."""
        known = self._watched[run.id].run
        changed = known is not None and known.phase is not run.phase
        return (changed or run.phase.is_still) and not self._may_be_old(run)

    def _brief(self, run: R, news: Collection[RunId]) -> Sighting:
        """Describe a run of a page; of foreign ones only where they stand matters."""
        if run.id not in self._watched:
            return Sighting(run.id, order=_order(run.id, run))
        return _sighting(run, doubtful=run.id in news)

    def _failed(self, poll: Poll, error: APIError) -> None:
        if isinstance(error, AuthenticationError | PermissionDeniedError):
            self._fail_all(error)
        elif isinstance(poll, GetPoll) and self._is_final(poll.run_id, error):
            self._fail(poll.run_id, error)
        elif isinstance(poll, GetPoll) and isinstance(error, NotFoundError):
            self._unknown_yet(poll)
        else:
            self._schedule.failed(poll, _now())

    def _unknown_yet(self, poll: GetPoll) -> None:
        self._schedule.observed(poll, [], _now())
        if watched := self._watched.get(poll.run_id):  # whatever its latency, it is looked for when the grace is over
            asyncio.get_running_loop().call_at(watched.since + GRACE, self.notify, poll.run_id)

    def _is_final(self, run_id: RunId, error: APIError) -> bool:
        watched = self._watched.get(run_id)
        if watched is None:
            return False
        if isinstance(error, DecodeError):
            watched.unreadable += 1
            return watched.unreadable >= _UNREADABLE_AT_MOST
        if isinstance(error, NotFoundError):
            return _now() - watched.since >= GRACE
        return isinstance(error, InvalidRequestError)


class _Watched(Generic[R]):
    """A run somebody waits for."""

    __slots__ = ("listeners", "run", "since", "unreadable")

    def __init__(self, since: float) -> None:
        self.listeners: list[Listener[R]] = []
        self.run: R | None = None
        self.since = since
        self.unreadable = 0


def _id_of(run: RunId | RunLike) -> RunId:
    return run if isinstance(run, int | str) else run.id


def _order(run_id: RunId, run: RunLike | None) -> float | None:
    """What grows with creation: an integer id, else the time of creation."""
    if isinstance(run_id, int):
        return run_id
    return None if run is None or run.created_time is None else run.created_time.timestamp()


def _sighting(run: RunLike, *, doubtful: bool = False) -> Sighting:
    created = run.created_time
    return Sighting(
        run.id,
        order=_order(run.id, run),
        created=None if created is None else created.timestamp(),
        source=run.source_type,
        doubtful=doubtful,
    )


def _timed_out(run_id: RunId, last: RunLike | None) -> WaitTimeoutError:
    state = "was not seen yet" if last is None else f"is still {last.phase}"
    return WaitTimeoutError(f"run {run_id} {state}, and the time given is over", run_id=run_id, run=last)


def _own_copy(error: Exception) -> Exception:
    """Return the error for one more task: each wants a traceback of its own."""
    return copy.copy(error) if isinstance(error, CodegenAsyncError) else error


def _closer(slot: Slot) -> Callable[[object], None]:
    return lambda _: slot.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
