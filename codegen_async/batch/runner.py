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
import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TypeVar

import anyio
import msgspec

from codegen_async.batch.bounds import Bounds, Spending
from codegen_async.batch.items import Item, State, Task, idempotency_key
from codegen_async.batch.journal import Journal
from codegen_async.batch.places import OVERTAKEN
from codegen_async.batch.refusals import RunQuestions, paused
from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.searching import Question, Sight, key_of
from codegen_async.errors import (
    PASSING,
    REFUSALS,
    APIError,
    BatchPausedError,
    ConnectionFailedError,
    DecodeError,
    InvalidArgumentError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaExceededError,
    RateLimitedError,
    RedirectedError,
    RequestTimeoutError,
    RunBlockedError,
    StatusError,
)
from codegen_async.http.retry import Backoff
from codegen_async.limits import Slot, StaleSlotError
from codegen_async.models import Phase

T = TypeVar("T")

_log = logging.getLogger("codegen_async")

_UNSENT = (ConnectionFailedError, RequestTimeoutError, RateLimitedError)
_REFUSED = (*REFUSALS, RedirectedError)

_TELLING = 32  # characters of a key that tell whose it is

_ROUNDS = 3  # of looks, beyond the first, for one item; each needs a run that was created since

_OUTAGE = Backoff(first=1.0, ceiling=30.0)


class Runner:
    """Run a batch once; see `Batch.run`.

    Args:
        client: an open client.
        journal: what is to be done.
        save_added: writes to the journal what was added meanwhile.
        bounds: where to stop creating.
        max_active: most items that may be under way at once, None for as many as the limit of creates allows.
        repo_id: the repository of tasks that name none.
        serving: whether to wait for more when nothing is left to do.
    """

    def __init__(
        self,
        client: CodegenClient,
        journal: Journal,
        save_added: Callable[[], Awaitable[None]],
        bounds: Bounds,
        *,
        max_active: int | None,
        repo_id: int | None,
        serving: bool,
    ) -> None:
        self.news: asyncio.Event = asyncio.Event()
        """Set when there may be outcomes to hand out, and at the end."""
        self._client = client
        self._creating = client.creating
        self._questions = RunQuestions(lambda: self._outlast(lambda: client.list_runs_page(limit=1)))
        self._journal = journal
        self._save_added = save_added
        self._bounds = bounds
        self._spending = Spending(bounds)
        self._repo_id = repo_id
        self._serving = serving
        self.max_active = max_active
        # A server that loses every answer must not make half the batch ambiguous.
        self._max_lookups = client.limits["create"].rate.limit
        self._active = 0  # items under way
        self._lookups = 0  # of these, being looked for
        # Of these, not found, until a run is created that was sent after this moment: it shows whether they would be.
        self._undecided: dict[asyncio.Future[bool], int] = {}
        self._changed = asyncio.Event()  # one of these numbers has
        self._taken_up = False
        self._keyed_from: float | None = None  # the oldest run that is seen to bear a key, once that was asked
        self._sent: dict[str, int] = {}  # runs of the batch that were created from another file, by key
        self._stopping = False
        self._paused = False
        self._patience = anyio.CancelScope()
        self._failures = 0  # creates in a row that did not reach the server
        self._resume_at = -math.inf
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
            async with asyncio.TaskGroup() as group:
                self._group = group
                if not self._taken_up:
                    await self._take_up()
                await self._create()
        except ExceptionGroup as group_failure:
            failure = group_failure.exceptions[0]
        if failure := failure or self._exhausted:
            raise failure

    async def _take_up(self) -> None:
        """Go on with what an earlier process has begun."""
        await self._outlast(self._creating.learn_floor)
        # Being a write, it also comes after all that an earlier run has left to be written.
        await self._journal.look_again()
        await self._journal.begin_at(self._creating.floor or 0)
        if self._journal.moved:
            await self._outlast(self._catch_up)
        self._spending.runs = await self._journal.runs_made()
        self._taken_up = True
        async for item in self._journal.items(State.SENDING, State.CREATED):
            if item.run_id is None:
                self._start(self._reconcile(item, "its sending was interrupted"))
            else:
                self._start(self._follow(item, item.run_id))

    async def _catch_up(self) -> None:
        """Find what was sent for this batch from another file: the one that this is a copy of, or a copy of it."""
        await asyncio.sleep(sum(self._creating.pauses))  # what was sent just before may not be shown yet
        sight = await self._creating.newest(await self._journal.first_floor() or 0)
        known = await self._journal.runs_by_key()
        if self._journal.moved == OVERTAKEN and not _proves(sight, known):
            await self._journal.give_back()
            raise JournalError(
                str(self._journal.path),
                "is a copy, and nothing proves that the list would show what was sent since; go on with the original, "
                "or, if nothing was sent from it, adopt this: --adopt, Batch(adopt=True)",
            )
        self._sent = {key: run.id for key, run in sight.keyed.items() if key.startswith(f"{self._journal.batch_id}-")}
        async for item in self._journal.items(State.PLANNED, State.REJECTED):
            for attempt in range(item.attempt, item.attempt + len(self._sent)):
                run_id = self._sent.get(idempotency_key(self._journal.batch_id, item.identity, attempt))
                if run_id is None:
                    break
                await self._journal.found(item.seq, attempt, run_id)
        if self._sent.keys() <= known.keys():  # else one may be that of an item that is added later
            await self._journal.settled()

    # -- creating

    async def _create(self) -> None:
        while True:
            self._changed.clear()
            await self._save_added()
            planned = not self._stopping and await self._journal.has_planned()
            if planned and self._has_room() and self._may_create():
                await self._launch()
            elif self._active > len(self._undecided) or self._changed.is_set():  # then what was read is old
                await self._changed.wait()
            elif self._undecided and not (planned and self._paused):
                self._tell_undecided(math.inf)  # nothing is left that could show it
                await self._changed.wait()
            elif not self._stopping and (planned or self._serving):
                await self._changed.wait()
            else:
                return

    def _has_room(self) -> bool:
        most = math.inf if self.max_active is None else self.max_active
        return self._active - len(self._undecided) < most and self._lookups < self._max_lookups

    def _may_create(self) -> bool:
        if self._paused or self._stopping:
            return False
        if objection := self._spending.objection():
            self._exhausted = BatchPausedError(f"the batch is paused and nothing is lost: {objection}")
            self.stop()
            return False
        return True

    async def _launch(self) -> None:
        slot = self._creating.slot()
        with anyio.CancelScope() as patience:
            self._patience = patience
            await asyncio.sleep(max(0.0, self._resume_at - _now()))
            await slot.__aenter__()
        if patience.cancel_called:
            slot.close()
            return
        try:
            claimed = await self._journal.claim(self._creating.floor or 0)
        except BaseException:
            slot.close()
            raise
        if claimed is None:
            slot.close()
        else:
            self._spending.runs += 1
            self._start(self._send(*claimed, slot)).add_done_callback(lambda _: slot.close())

    async def _send(self, item: Item, task: Task, slot: Slot) -> None:
        if (run_id := self._sent.get(item.key)) is not None:
            await self._journal.created(item.seq, run_id)
            await self._follow(item, run_id)
            return
        _log.debug("batch: sending %s", item.name)
        try:
            fields = await self._creating.prepare(**task.arguments(self._repo_id))
            run = await self._creating.attempt(fields, item.key, slot, renew=False)
        except OutcomeUnknownError as unknown:
            item = msgspec.structs.replace(item, likely_done=item.likely_done or unknown.likely_done)
            await self._reconcile(item, unknown.reason)
        except StaleSlotError:  # this process stood still, and may have been taken over: the journal knows
            await self._put_back(item, last=False)
        except _UNSENT as error:
            self._note_outage(error)
            await self._put_back(item, last=False)
        except QuotaExceededError as error:
            await self._put_back(item, last=False)
            self._exhausted = error
            self.stop()
        except (InvalidArgumentError, StatusError) as error:
            await self._refused(item, error)
        else:
            self._failures = 0
            await self._created(item, run)

    async def _refused(self, item: Item, error: InvalidArgumentError | StatusError) -> None:
        if isinstance(error, _REFUSED):  # it is not about this item
            await self._put_back(item, last=False)
            raise error
        await self._journal.rejected(item.seq, str(error))
        self._spending.runs -= 1
        self._spending.note_end(well=False)
        self.news.set()

    async def _put_back(self, item: Item, *, last: bool) -> None:
        await self._journal.put_back(item.seq, last=last)
        self._spending.runs -= 1

    def _note_outage(self, error: APIError) -> None:
        if _now() < self._resume_at or isinstance(error, RateLimitedError):
            return  # the same outage, or one that the limiter sees to
        self._failures += 1
        self._resume_at = _now() + _OUTAGE.delay(self._failures)
        _log.warning("batch: the server cannot be reached, creating goes on later: %s", error.reason)

    # -- what may have been created

    async def _reconcile(self, item: Item, reason: str) -> None:
        """Find out whether an item has a run."""
        question = self._creating.question(item.key, item.floor, await self._journal.neighbours(item))
        found, proven = await self._settle(question)
        told, rounds = question.over, _ROUNDS
        while not (found is not None or proven or item.likely_done) and rounds:
            rounds = rounds - 1 if await self._is_shown_since(told) else 0
            told = self._creating.begun
            found, proven = await (self._settle(question, over=True) if rounds else self._decide(question))
        if found is not None:
            await self._created(item, found)
        elif proven and not item.likely_done:
            self._creating.forget(item.key)
            await self._put_back(item, last=True)
        else:
            await self._give_up(item, reason)

    async def _decide(self, question: Question) -> tuple[AgentRun | None, bool]:
        return await self._outlast(lambda: self._creating.decide(question))

    async def _settle(self, question: Question, *, over: bool = False) -> tuple[AgentRun | None, bool]:
        self._lookups += 1
        try:
            return await self._outlast(lambda: self._creating.settle(question, over=over))
        finally:
            self._lookups -= 1
            self._changed.set()

    async def _is_shown_since(self, moment: int) -> bool:
        """Wait for a run that was sent after this moment, so that the list can show it; False if none can come."""
        if self._creating.begun > moment:
            return True
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._undecided[told] = moment
        self._changed.set()
        try:
            return await told
        finally:
            del self._undecided[told]
            self._changed.set()

    def _tell_undecided(self, begun: float) -> None:
        """Let go on who waits for a run that was sent as late as this; all, where none can come."""
        for told, moment in self._undecided.items():
            if begun > moment and not told.done():
                told.set_result(begun < math.inf)

    async def _give_up(self, item: Item, reason: str) -> None:
        why = "the server reported success" if item.likely_done else "nothing proves that the list would show it"
        _log.warning("batch: nobody knows whether %s has a run; it needs attention", item.name)
        error = f"{reason}; no run was found, but as {why}, it is not sent again; decide, then call resend(key)"
        await self._journal.unknown(item.seq, error, likely_done=item.likely_done)
        self.news.set()

    # -- what was created

    async def _created(self, item: Item, run: AgentRun) -> None:
        _log.debug("batch: %s has run %s", item.name, run.id)
        await self._journal.created(item.seq, run.id)
        self._tell_undecided(self._creating.begun)
        await self._follow(item, run)

    async def _follow(self, item: Item, run: AgentRun | int) -> None:
        run_id = run if isinstance(run, int) else run.id
        try:
            final = await self._questions.ask(lambda: self._client.wait_for_run(run))
            ended = await self._ended(item, final)
        except NotFoundError:
            error = f"run {run_id} is not found; the next run of the batch looks for it again, retry(key) makes another"
            await self._journal.stuck(item.seq, None, error)
        except RunBlockedError as blocked:
            snapshot = blocked.run if isinstance(blocked.run, AgentRun) else None
            await self._stuck(item, snapshot, str(blocked))
        except (DecodeError, InvalidRequestError, *REFUSALS) as unseen:
            await self._journal.stuck(item.seq, None, str(unseen))
        else:
            if not ended:
                return
        _log.debug("batch: %s has ended", item.name)
        self.news.set()

    async def _stuck(self, item: Item, run: AgentRun | None, error: str) -> None:
        strange = None if run is None else await self._strange(item, run)
        await self._journal.stuck(item.seq, run if strange is None else None, strange or error)

    async def _ended(self, item: Item, run: AgentRun) -> bool:
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

    async def _strange(self, item: Item, run: AgentRun) -> str | None:
        """Return what is wrong if a run is not that of its item but a stranger's of the same id."""
        if key_of(run) is None and await self._shows_key_of(item, run.id):
            # A list may show less.
            run = await self._questions.ask(lambda: self._outlast(lambda: self._creating.fetch(run.id)))
            if key_of(run) is None:
                return f"run {run.id} bears no key: it is not the one of this prompt"
        key = key_of(run)
        if key is None or item.key.startswith(key[:_TELLING]):  # some servers cut them short
            return None
        return f"run {run.id} bears another key: it is not the one of this prompt"

    async def _shows_key_of(self, item: Item, run_id: int) -> bool:
        """Whether the server gives back the keys of runs as old as this one."""
        if self._keyed_from is None:
            sight = await self._outlast(lambda: self._creating.newest(item.floor or 0))
            self._keyed_from = min((run.id for run in sight.keyed.values()), default=math.inf)
        return self._keyed_from <= run_id

    # -- tasks

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        self._active += 1
        task = self._group.create_task(work)
        task.add_done_callback(self._left)
        return task

    def _left(self, _: object) -> None:
        self._active -= 1
        self._changed.set()

    async def _outlast(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call that changes nothing until no outage spoils it."""
        for attempt in itertools.count(1):
            try:
                return await call()
            except PASSING as error:
                level = logging.WARNING if attempt == 1 else logging.DEBUG
                _log.log(level, "batch: the server cannot be asked, trying again: %s", error.reason)
            await asyncio.sleep(_OUTAGE.delay(attempt))
        raise AssertionError("unreachable")


def _proves(sight: Sight, known: Mapping[str, int | None]) -> bool:
    """Whether a walk through the list has shown the runs of all keys that are to be found."""
    seen = {run_id: key for key, run_id in known.items() if run_id is not None and run_id in sight.runs}
    shown = all(key_of(sight.runs[run_id]) == key for run_id, key in seen.items())
    newest = max((run_id for run_id in known.values() if run_id is not None), default=None)
    return shown and sight.whole and bool(sight.keyed) and (newest is None or newest in seen)


def _now() -> float:
    return asyncio.get_running_loop().time()
