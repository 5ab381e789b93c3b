"""All waits of a client; see the package."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from codegen_async.errors import (
    APIError,
    ClientClosedError,
    RunBlockedError,
    WaitTimeoutError,
)
from codegen_async.events import Reporter
from codegen_async.models import Phase, RunId, RunLike
from codegen_async.polling import GetPoll, PagePoll, Poll, PollSchedule, Sighting
from codegen_async.waiting.board import Board, id_of, order_of, sighting_of
from codegen_async.waiting.driver import Driver
from codegen_async.waiting.elsewhere import Elsewhere
from codegen_async.waiting.ends import Sharing
from codegen_async.waiting.failures import Failures
from codegen_async.waiting.lasting import Grace, Standing, is_about_the_run
from codegen_async.waiting.listeners import Changes, Collector, Ending, Endings
from codegen_async.waiting.remote import Page, Remote

R = TypeVar("R", bound=RunLike)

_log = logging.getLogger("codegen_async")

_NOTED = 10  # runs that an error about several names
_ANSWER = 5.0  # seconds in which a call that needs no run has to be answered
_AT_ONCE = 100  # runs that are taken in before others get their turn


class Waiting(Generic[R]):
    """Serve all waits of a client from one stream of looks at the server.

    Args:
        remote: asks the server.
        schedule: decides what to ask next, and when.
        latency: seconds within which every watched run is looked at again, unless a wait says otherwise.
        grace: how long the server must deny a run until that is believed.
        is_old: tells a snapshot from before a resume that an answer may still show. Default: see `Resumed`.
        reporter: hears of every change of a phase. Default: nobody does.
        knows: tells whether a status word has a meaning. Default: any word has.
        end_of: returns what tells ends of a run apart, None where nothing does. Default: nothing does but the phase.
        without_run: makes a call that needs no run, to learn whether it is the token that is refused. Default: the API
            has none.
    """

    def __init__(
        self,
        remote: Remote[R],
        schedule: PollSchedule,
        *,
        latency: float,
        grace: Grace | None = None,
        is_old: Callable[[R], bool] | None = None,
        reporter: Reporter | None = None,
        knows: Callable[[str], bool] | None = None,
        end_of: Callable[[R], object | None] | None = None,
        without_run: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._schedule = schedule
        self._latency = latency
        self._driver = Driver(remote, schedule, self)
        self._board = Board(
            schedule, is_old, self._driver.rest, reporter or Reporter(), knows or _anything, end_of=end_of or _nothing
        )
        self._sharing: Sharing[R] = Sharing()
        self._failures = Failures(schedule, self._board, self._driver, grace or Grace(), without_run)
        self.elsewhere: Elsewhere[R] = Elsewhere(self._board, schedule, self._driver, self._failures)
        """For those who share looks with other processes."""
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
            answered = await on_blocked(snapshot)
            if isinstance(answered, type(snapshot)) and answered.id != snapshot.id:
                run = answered  # another run goes on in place of this one
                continue
            self.reopened(snapshot.id, snapshot)
            run = snapshot.id

    async def wait_for_runs(
        self, runs: Iterable[RunId | R], *, timeout: float | None = None, latency: float | None = None
    ) -> list[R]:
        """Return the final snapshots of runs, in the order given."""
        wanted = list(runs)
        final = {run.id: run async for run in self.as_completed(wanted, timeout=timeout, latency=latency)}
        return [final[id_of(run)] for run in wanted]

    async def gather_runs(
        self, runs: Iterable[RunId | R], *, timeout: float | None = None, latency: float | None = None
    ) -> list[R | Exception]:
        """Do as `wait_for_runs`, with the errors of single runs in their places."""
        wanted = list(runs)
        listener = Endings[R](self._seconds(latency))
        ended: dict[RunId, R | Exception] = {}
        try:
            async for run in self._collect(listener, wanted, timeout):
                ended[run.id] = run
        except Exception:
            told = ended.keys() | listener.failures.keys()
            if not told >= set(map(id_of, wanted)):
                raise  # it is about them all
        ended = {**listener.failures, **ended}
        return [ended[id_of(run)] for run in wanted]

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
        whole: bool = False,
    ) -> AsyncGenerator[R]:
        """Yield the first snapshot of each run and one for every change of its phase, or of anything (`whole`)."""
        return self._collect(Changes[R](self._seconds(latency), whole=whole), runs, timeout)

    # -- for the client

    @property
    def watched(self) -> int:
        """How many runs somebody waits for."""
        return self._board.waits

    def seen(self, run: R, *, read: bool = True, asked: float | None = None) -> None:
        """Take in a snapshot that a call of the user's own brought.

        Args:
            run: the snapshot.
            read: whether the call only reads.
            asked: when it began. Default: just now.
        """
        if read:
            self._board.witness(run, _now())
        self._failures.allowed(run.id)
        self._board.met((run.id,))
        asked = _now() if asked is None else asked
        self._schedule.sighted(sighting_of(run), asked)
        self._board.others.looked((run.id,), asked)
        self._board.tell(run, _now(), asked)
        self._driver.nudge()

    def seen_page(self, poll: PagePoll, page: Page[R]) -> None:
        """Take in a list page that a call of the user's own brought."""
        self._board.met(run.id for run in page.items)
        for run in page.items:
            if run.id in self._board.memory and not run.phase.is_terminal:
                self._board.memory.drop(run.id)
        self.listed(poll, page, _now())
        self._driver.nudge()

    async def look(
        self,
        run_id: RunId,
        ask: Callable[[], Awaitable[R]],
        *,
        max_age: float | None,
        enough: Callable[[R], bool] | None = None,
        patience: float | None = None,
    ) -> R:
        """Return a snapshot of a run: what is remembered, what is being asked for, or else what `ask` brings.

        Args:
            run_id: the run.
            ask: sends a request.
            max_age: seconds that the snapshot may be old. Default: ends are believed for a while, nothing else is.
            enough: whether a snapshot shows all that is wanted. Default: it does.
            patience: of `ask`; a request is shared with those of the same.
        """
        known = self._board.memory.recall(run_id, _now(), max_age)
        if known is not None and (enough is None or enough(known)):
            return known
        if not max_age:
            began = _now()
            run = await ask()
            self.seen(run, asked=began)
            return run

        async def share() -> R:
            began = _now()
            run = await ask()
            self.seen(run, asked=began)
            if not self._board.may_be_old(run, _now()):
                self._board.memory.keep(run, began)
            return run

        return await self._sharing.ask((run_id, enough, patience), max_age, share)

    def recall(self, run_id: RunId) -> R | None:
        """Return how a run has ended, if that was seen lately and is believed."""
        return self._board.memory.recall(run_id, _now())

    def notify(self, run_id: RunId) -> None:
        """Look at that run now: something is known to have happened to it."""
        self._board.memory.drop(run_id)
        self._board.others.notified(run_id, asks=run_id in self._board)
        self.hurry(run_id)

    def hurry(self, run_id: RunId) -> None:
        """Look at that run now, if somebody waits for it."""
        self._schedule.hurry(run_id, _now())
        self._driver.nudge()

    def reopened(self, run_id: RunId, before: R | None = None) -> None:
        """Take the end that run had for its end no more: it was resumed, and the server may still show the old one."""
        self._board.reopen(run_id, _now(), before)
        self._board.others.reopened(run_id, before)

    def may_be_old(self, run: R) -> bool:
        """Note a read of a run; return whether it may show what was before a resume."""
        self._board.witness(run, _now())
        return self._board.may_be_old(run, _now())

    def is_final(self, run_id: RunId, denied: Standing, error: APIError, *, known: bool) -> bool:
        """Note a failed look at a run; see `Failures`."""
        return self._failures.is_final(run_id, denied, error, known=known)

    async def aclose(self) -> None:
        """End all waits and leave no task behind."""
        self._closed = True
        self._board.abort(ClientClosedError("the client was closed while this wait was on"))
        await self._driver.aclose()
        await self._sharing.aclose()

    # -- waits

    async def _until_still(self, run: RunId | R, patience: float | None, latency: float | None) -> R:
        """Return the run's next snapshot in which it does not move by itself: ended or blocked."""
        listener = Ending[R](self._seconds(latency), asyncio.get_running_loop().create_future())
        run_id = id_of(run)
        self._add(run, listener)
        try:
            if patience is None:
                return await listener.future
            await asyncio.wait((listener.future,), timeout=max(0.0, patience))
            if listener.future.done():
                return listener.future.result()
            late = self._timed_out(run_id, listener.last)
        finally:
            self._board.remove(run_id, listener)
        raise late

    async def _collect(
        self, listener: Collector[R], runs: Iterable[RunId | R], patience: float | None
    ) -> AsyncGenerator[R]:
        wanted = {id_of(run): run for run in runs}
        listener.open = dict.fromkeys(wanted)
        until = None if patience is None else _now() + patience
        try:
            for number, run in enumerate(wanted.values(), 1):
                self._add(run, listener)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            while True:
                while listener.news:
                    await asyncio.sleep(0)  # many may be known, and who takes them in a loop must not keep the loop
                    yield listener.news.popleft()
                if listener.end is not None:
                    raise listener.end
                if not listener.open:
                    break
                in_time = await listener.arrival(until)
                if not in_time and listener.open and not listener.news:  # else something came in the last moment
                    late = {run_id: self._timed_out(run_id, last) for run_id, last in listener.open.items()}
                    listener.failures = {**late, **listener.failures}
                    break
        finally:
            for run_id in wanted:
                self._board.remove(run_id, listener)
        if listener.failures:
            raise _first_of(listener.failures)

    def _seconds(self, latency: float | None) -> float:
        return self._latency if latency is None else latency

    def _add(self, run: RunId | R, listener: Ending[R] | Collector[R]) -> None:
        if self._closed:
            raise ClientClosedError("the client is closed")
        if not self._board:
            self._failures.answered()  # what former waits have met says nothing of these
        if self._board.add(run, listener, _now()):
            self._driver.drive()

    def _timed_out(self, run_id: RunId, last: R | None) -> WaitTimeoutError:
        watched = self._board.get(run_id)
        trouble = (watched and watched.trouble) or self._driver.trouble
        state = "was not seen yet" if last is None else f"is still {last.phase}"
        why = "" if trouble is None else f"; the last answer was: {trouble.reason}"
        return WaitTimeoutError(f"run {run_id} {state}, and the time given is over{why}", run_id=run_id, run=last)

    # -- what polls bring

    def shown(self, poll: GetPoll, run: R, asked: float) -> None:
        """Take in the answer to a get; see `Outcomes`."""
        self._failures.allowed(run.id)
        self._board.others.looked((run.id,), asked)
        self._schedule.observed(poll, [sighting_of(run)], _now())
        self._board.witness(run, _now())
        if self._board.overtaken(run, asked):
            self.hurry(run.id)
        else:
            self._board.tell(run, _now(), asked)

    def listed(self, poll: PagePoll, page: Page[R], asked: float) -> None:
        """Take in a page; see `Outcomes`."""
        self._failures.answered()
        sure = page.sure and self._schedule.believes
        twice = _twice(page.items)
        rows = [row for row in page.items if row.id in self._board and row.id not in twice]
        wanted = {row.id for row in rows if self._says_more(row, page)}
        whole = {run.id: run for run in page.read() if run.id in wanted} if wanted else {}
        self._board.others.looked([row.id for row in rows if row.status is not None], asked)
        for row in rows:
            if row.status is not None and not row.phase.is_still:
                self._board.witness(row, _now())
        doubtful = {
            row.id
            for row in rows
            if row.id in wanted
            and (
                row.id not in whole
                or not (sure or self._is_no_news(whole[row.id]))
                or (row.phase.is_still and self._board.was_reopened(row.id, _now()))
            )
        }
        seen = [self._brief(row, doubtful, partial=row.id in twice) for row in page.items]
        self._schedule.observed(poll, seen, _now(), page.total, page.following)
        for row in rows:
            if row.id in whole and row.id not in doubtful:
                self._board.tell(whole[row.id], _now(), asked)
            elif row.id not in wanted and row.status is not None and (watched := self._board.get(row.id)):
                self._board.saw(row, watched, _now())

    def _says_more(self, row: RunLike, page: Page[R]) -> bool:
        """Whether a watched run looks different on a page from what is known of it."""
        watched = self._board.get(row.id)
        if watched is None or row.status is None:
            return False
        known = watched.run
        if page.whole is None or known is None or row.phase.is_still:
            return True
        return row.status != known.status or row.phase is not known.phase

    def _is_no_news(self, run: R) -> bool:
        """Whether a snapshot that may be incomplete, or older than what is known, tells nothing that matters."""
        watched = self._board.get(run.id)
        known = None if watched is None else watched.run
        changed = known is not None and known.phase is not run.phase
        return not (changed or run.phase.is_still) or self._board.may_be_old(run, _now())

    def _brief(self, row: RunLike, doubtful: Collection[RunId], *, partial: bool) -> Sighting:
        """Describe a run of a page; of foreign ones only where they stand matters."""
        if row.id not in self._board and row.id != self._schedule.witness:
            return Sighting(row.id, order=order_of(row.id, row))
        return sighting_of(row, doubtful=row.id in doubtful, partial=partial or row.status is None)

    def failed(self, poll: Poll, error: APIError) -> None:
        """Take in that a poll has failed; see `Outcomes`."""
        self._failures.failed(poll, error)
        if isinstance(poll, GetPoll) and is_about_the_run(error):
            self._board.others.refused(poll.run_id)

    def broke(self, error: Exception) -> None:
        """Take in a defect of ours; see `Outcomes`."""
        self._board.abort(error)


def _anything(_: str) -> bool:
    return True


def _nothing(_: object) -> None:
    return None


def _twice(rows: Sequence[RunLike]) -> Collection[RunId]:
    """Return the ids that stand in several rows of a page: nobody knows which of them is true."""
    return {run_id for run_id, times in Counter(row.id for row in rows).items() if times > 1}


def _first_of(failures: Mapping[RunId, Exception]) -> Exception:
    """Return the first failure, with a note about the others."""
    first, *others = failures.values()
    if others:
        ids = ", ".join(map(str, list(failures)[1 : 1 + _NOTED]))
        first.add_note(f"{len(others)} more did not end either: {ids}{', ...' if len(others) > _NOTED else ''}")
    return first


def _now() -> float:
    return asyncio.get_running_loop().time()
