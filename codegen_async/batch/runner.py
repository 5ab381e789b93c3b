"""Drive the items of a journal to their ends.

The rules:
1. A create takes its slot, then writes `sending`, then is sent. So the time in the journal is that of the sending, and
   whatever dies leaves at most a window of creates whose outcome is unknown.
2. What may have been created is looked for before anything is created for it, and only what would have been found is
   sent again. The others go on meanwhile.
3. An outage of the server delays; it ends nothing. A refusal of the plan lets what runs come to its end, one of the
   token stops everything; both can be gone on from.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from functools import partial
from typing import Generic, TypeVar, cast

import anyio
import msgspec

from codegen_async.batch.bounds import Bounds, Spending
from codegen_async.batch.items import Item, State, Task
from codegen_async.batch.journal import Journal
from codegen_async.batch.making import Maker, Search, outlast, understood
from codegen_async.batch.outages import Attempt, Outages
from codegen_async.batch.refusals import RunQuestions, paused
from codegen_async.batch.seeing import Seeing
from codegen_async.batch.undecided import Undecided
from codegen_async.errors import (
    PASSING,
    REFUSALS,
    BatchPausedError,
    CapacityError,
    DecodeError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaExceededError,
    RedirectedError,
    RunBlockedError,
    StatusError,
)
from codegen_async.limits import Permit, Slot, StaleSlotError
from codegen_async.models import Phase, RunId, RunLike

R = TypeVar("R", bound=RunLike)

_log = logging.getLogger("codegen_async")

_REFUSED = (*REFUSALS, RedirectedError)

_ROUNDS = 3  # of looks, beyond the first, for one item; each needs a run that was created since


class Runner(Generic[R]):
    """Run a batch once; `Batch.run` says what `max_active` and the bounds are.

    Args:
        maker: makes the runs.
        journal: what is to be done.
        save_added: writes to the journal what was added meanwhile.
        answering: the numbers of the items whose runs are being answered, each with what is set when that is over.
        serving: whether to wait for more when nothing is left to do.
    """

    def __init__(
        self,
        maker: Maker[R],
        journal: Journal,
        save_added: Callable[[], Awaitable[None]],
        bounds: Bounds,
        answering: Mapping[int, asyncio.Event],
        *,
        max_active: int | None,
        serving: bool,
    ) -> None:
        self.news: asyncio.Event = asyncio.Event()
        """Set when there may be outcomes to hand out, and at the end."""
        self._maker = maker
        self._places = maker.places
        prove = partial(outlast, maker.prove)
        self._questions = RunQuestions(prove)
        self._journal = journal
        self._seeing = Seeing(journal)
        self._save_added = save_added
        self._bounds = bounds
        self._answering = answering
        self._spending = Spending(bounds)
        self._serving = serving
        self.max_active = max_active
        self._active = 0  # items under way
        self._lookups = 0  # of these, being looked for, or without what their runs are to belong to
        self._changed = asyncio.Event()  # one of these numbers has
        self._undecided = Undecided(lambda: maker.begun, self._changed.set)  # of these, they wait for others
        self._taken_up = False
        self._work: dict[int, asyncio.Task[None]] = {}  # what goes on with items, by their numbers
        self.answered: list[Item] = []
        """Whose runs were answered when nothing was under way any more, and are to be waited for."""
        self.is_on: bool = False
        """Whether it can take up anything now."""
        self.searches: int = 0
        """How many searches for runs have begun; what is sent from then on can show what they do not find."""
        self._stopping = False
        self._paused = False
        self._patience = anyio.CancelScope()
        self._outages = Outages(prove)
        self._exhausted: QuotaExceededError | BatchPausedError | None = None

    async def run(self) -> None:
        """Drive all items until nothing is left to do, or to be done now; called again, those planned since.

        Raises:
            BatchPausedError: the plan or the token does not allow to go on.
            JournalError: the journal cannot be written to.
            APIError: the server cannot be talked with.
        """
        try:
            await self._drive()
        except StatusError as error:  # what is about an item, or passes, does not come here
            refusal = error
        else:
            return
        raise paused(refusal) from refusal

    def stop(self) -> None:
        """Create no more; what runs comes to its end."""
        self._stopping = True
        self._patience.cancel()
        self.look()

    def pause(self) -> None:
        """Create no more until `resume`; what runs goes on."""
        self._paused = True
        self._patience.cancel()

    def resume(self) -> None:
        """Create again."""
        self._paused = False
        self.look()

    def look(self) -> None:
        """Look again at what is to be done."""
        self._changed.set()

    async def _drive(self) -> None:
        failure: Exception | None = None
        try:
            with self._maker.hearing(self._seeing.hear):
                async with self._seeing.writing(), asyncio.TaskGroup() as group:
                    self._group, self.is_on = group, True
                    if not self._taken_up:
                        await self._take_up()
                    while self.answered:
                        self.take_up(self.answered.pop())
                    await self._create()
                    self.is_on = False  # nothing is under way any more
        except ExceptionGroup as group_failure:
            failure = group_failure.exceptions[0]
        finally:
            self.is_on = False
        if failure := failure or self._exhausted:
            raise failure

    async def _take_up(self) -> None:
        """Go on with what an earlier process has begun."""
        await outlast(lambda: self._maker.begin(self._journal))
        # Being a write, it also comes after all that an earlier run has left to be written.
        await self._journal.look_again()
        await self._journal.begin_at(self._maker.floor)
        if self._journal.moved:
            await outlast(lambda: self._maker.catch_up(self._journal))
        self._spending.runs = await self._journal.runs_made()
        self._taken_up = True
        async for item in self._journal.items(State.SENDING, State.CREATED):
            if item.seq not in self._work:  # which it is if it was answered meanwhile
                self.take_up(item)

    def take_up(self, item: Item) -> asyncio.Task[None]:
        """Go on with an item that another process has begun."""
        if item.run_id is None:
            return self._start(item, self._reconcile(item, "its sending was interrupted"))
        return self._start(item, self._follow(item, item.run_id))

    @contextlib.contextmanager
    def answering(self, item: Item) -> Generator[None]:
        """Do not end, and note nothing more of an item, while it is written down that its run was answered."""
        self._active += 1
        self._let_go(item)
        try:
            yield
        finally:
            self._left(item)

    def go_on_with(self, item: Item) -> None:
        """Wait for the run of an item that was answered."""
        self._let_go(item)
        if self.is_on:
            self.take_up(item)
        else:
            self.answered.append(item)

    def _let_go(self, item: Item) -> None:
        if work := self._work.get(item.seq):
            work.cancel()  # from here on it writes nothing

    # -- creating

    async def _create(self) -> None:
        while True:
            self._changed.clear()
            await self._save_added()
            planned = not self._stopping and await self._journal.has_planned()
            if planned:
                await self._maker.learn(self._journal)  # there may have been nothing when it began
            if planned and self._has_room() and self._may_create():
                await self._launch()
            elif self._active > len(self._undecided) or self._changed.is_set():  # then what was read is old
                await self._changed.wait()
            elif self._undecided and not (planned and self._paused) and not await self._may_show():
                self._undecided.give_up()
                await self._changed.wait()
            elif not self._stopping and (planned or self._serving or await self._journal.others_have()):
                await self._changed.wait()
            else:
                return

    async def _may_show(self) -> bool:
        """Whether anything may come to be sent that others have now: it could show what was not found."""
        return not self._stopping and await self._journal.others_have(planned=True)

    def _has_room(self) -> bool:
        most = math.inf if self.max_active is None else self.max_active
        return self._active - len(self._undecided) < most and self._lookups < self._maker.most_lookups

    def _may_create(self) -> bool:
        if self._paused or self._stopping:
            return False
        if objection := self._spending.objection():
            self._exhausted = BatchPausedError(f"the batch is paused and nothing is lost: {objection}")
            self.stop()
            return False
        return True

    async def _launch(self) -> None:
        """Send the next item, once there is room for one more run and a slot for its create."""
        with contextlib.ExitStack() as undoing:
            slot = self._maker.slot()
            undoing.callback(slot.close)
            permit: Permit | None = None
            with anyio.CancelScope() as patience:
                self._patience = patience
                await self._outages.wait()
                permit = await self._places.take()
                undoing.callback(permit.release)
                await slot.__aenter__()
            if permit is None or patience.cancel_called:
                return
            claimed = await self._journal.claim(self._maker.floor)
            if claimed is None:
                self._spending.runs = await self._journal.runs_made()  # others may have made some
                return
            self._spending.runs += 1
            given_back = undoing.pop_all()
            attempt = self._outages.attempt()
            given_back.callback(attempt.close)
            sending = self._start(claimed[0], self._send(*claimed, slot, permit, attempt))
            sending.add_done_callback(lambda _: given_back.close())

    async def _send(self, item: Item, task: Task, slot: Slot, permit: Permit, attempt: Attempt) -> None:
        if (run_id := await outlast(lambda: self._maker.sent_elsewhere(item.key))) is not None:
            attempt.close()
            self._places.keep(run_id, permit)
            await self._journal.created(item.seq, run_id)
            await self._follow(item, run_id)
            return
        try:
            if self._maker.needs_parent(item, task):
                slot.close()  # it is made within limits of its own
                await self._make_parent(item, task, attempt)
                return
            _log.debug("batch: sending %s", item.name)
            run = await self._maker.send(task, item.key, slot)
        except OutcomeUnknownError as unknown:
            attempt.failed(unknown)
            item = msgspec.structs.replace(item, likely_done=item.likely_done or unknown.likely_done)
            await self._reconcile(item, unknown.reason, permit, attempt)
        except CapacityError:  # who waits for a place from now on waits for the end of a run
            permit.full()
            await self._put_back(item, last=False)
        except StaleSlotError:  # this process stood still, and may have been taken over: the journal knows
            await self._put_back(item, last=False)
        except PASSING as error:  # else its outcome would be unknown: nothing was done
            attempt.failed(error)
            await self._put_back(item, last=False)
        except QuotaExceededError as error:
            await self._put_back(item, last=False)
            self._exhausted = error
            self.stop()
        except (InvalidArgumentError, StatusError) as error:
            await self._refused(item, error, attempt)
        else:
            attempt.came_through()
            await self._created(item, run, permit)

    async def _make_parent(self, item: Item, task: Task, attempt: Attempt) -> None:
        """Make what the run of an item is to belong to, and note it; when its turn comes again, it is sent."""
        parent = None
        try:
            with self._looking_up():
                parent = await self._maker.parent(task)
        except PASSING as error:  # one that was made in vain does no harm
            attempt.failed(error)
        await self._put_back(item, last=False, parent=parent)

    async def _refused(self, item: Item, error: InvalidArgumentError | StatusError, attempt: Attempt) -> None:
        if isinstance(error, _REFUSED):  # it is not about this item
            await self._put_back(item, last=False)
            raise error
        if isinstance(error, StatusError):
            attempt.came_through()
        await self._journal.rejected(item.seq, str(error))
        self._spending.runs -= 1
        self._spending.note_end(well=False)
        self.news.set()

    async def _put_back(self, item: Item, *, last: bool, parent: str | None = None) -> None:
        await self._journal.put_back(item.seq, last=last, parent=parent)
        self._spending.runs -= 1

    # -- what may have been created

    async def _reconcile(
        self, item: Item, reason: str, permit: Permit | None = None, attempt: Attempt | None = None
    ) -> None:
        """Find out whether an item has a run; `permit` is the place of that, `attempt` its create of this life."""
        search = await self._maker.search(item, self._journal)
        self.searches += 1
        found, proven = await self._settle(search)
        if found is None and permit is not None:
            permit.release()  # what waits for another run to be created must not keep that from it
        told, rounds = search.over, _ROUNDS
        while not (found is not None or proven or item.likely_done) and rounds:
            rounds = rounds - 1 if await self._undecided.is_shown_since(told) else 0
            told = self._maker.begun
            found, proven = await (self._settle(search, over=True) if rounds else understood(search.decide))
        if found is not None:
            if attempt is not None:
                attempt.came_through()
            await self._created(item, found, permit)
        elif proven and not item.likely_done:
            search.forget()
            await self._put_back(item, last=True)
        else:
            await self._give_up(item, reason)

    async def _settle(self, search: Search[R], *, over: bool = False) -> tuple[R | None, bool]:
        with self._looking_up():
            return await understood(lambda: search.settle(over=over))

    @contextlib.contextmanager
    def _looking_up(self) -> Generator[None]:
        self._lookups += 1
        try:
            yield
        finally:
            self._lookups -= 1
            self._changed.set()

    async def _give_up(self, item: Item, reason: str) -> None:
        why = "the server reported success" if item.likely_done else "nothing proves that the list would show it"
        _log.warning("batch: nobody knows whether %s has a run; it needs attention", item.name)
        error = f"{reason}; no run was found, but as {why}, it is not sent again; decide, then call resend(key)"
        await self._journal.unknown(item.seq, error, likely_done=item.likely_done)
        self.news.set()

    # -- what was created

    async def _created(self, item: Item, run: R, permit: Permit | None) -> None:
        _log.debug("batch: %s has run %s", item.name, run.id)
        self._places.keep(run.id, permit)
        await self._journal.created(item.seq, run.id)
        self._undecided.created()
        await self._follow(item, run)

    async def _follow(self, item: Item, run: R | RunId) -> None:
        run_id = run if isinstance(run, int | str) else run.id
        self._places.keep(run_id)
        ended = True
        try:
            with self._seeing.following(run_id, item.seq):
                final = await self._questions.ask(lambda: self._maker.wait(run))
            ended = await self._ended(item, final)
        except NotFoundError:
            error = f"run {run_id} is not found; the next run of the batch looks for it again; a retry makes another"
            await self._journal.stuck(item.seq, None, error)
        except RunBlockedError as blocked:
            while over := self._answering.get(item.seq):  # who answers looked first; if it goes on, this does not
                await over.wait()
            await self._stuck(item, cast("R | None", blocked.run), str(blocked))
        except (DecodeError, InvalidRequestError, *REFUSALS) as unseen:
            await self._journal.stuck(item.seq, None, str(unseen))
        self._places.free(run_id)  # one that waits for a person may count no more; if it does, the server says so
        if ended:
            _log.debug("batch: %s has ended", item.name)
            self.news.set()

    async def _stuck(self, item: Item, run: R | None, error: str) -> None:
        strange = None if run is None else await self._strange(item, run)
        await self._journal.stuck(item.seq, run if strange is None else None, strange or error)

    async def _ended(self, item: Item, run: R) -> bool:
        """Note the end of a run; return whether the item has an outcome."""
        if strange := await self._strange(item, run):
            await self._journal.stuck(item.seq, None, strange)
            return True
        if run.phase is not Phase.CANCELLED:  # somebody's wish, neither good nor bad
            self._spending.note_end(well=run.phase is Phase.SUCCEEDED)
        if run.phase is Phase.FAILED and item.attempt < self._bounds.max_attempts:
            await self._journal.retry(item.seq, run)
            return False
        await self._journal.ended(item.seq, run)
        return True

    async def _strange(self, item: Item, run: R) -> str | None:
        return await self._questions.ask(lambda: outlast(lambda: self._maker.strange(item, run)))

    # -- tasks

    def _start(self, item: Item, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        self._active += 1
        task = self._work[item.seq] = self._group.create_task(work)
        task.add_done_callback(lambda ended: self._left(item, ended))
        return task

    def _left(self, item: Item, ended: asyncio.Task[None] | None = None) -> None:
        if self._work.get(item.seq) is ended:
            self._work.pop(item.seq, None)
        self._active -= 1
        self._changed.set()
