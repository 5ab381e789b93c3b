"""Drive a batch by DBOS: a workflow for each item, and take-over from executors that died.

An executor is one `run` of a batch in one process. It is alive while its counter in the database moves; who stands
still for a lease by the clock of another is dead for that one, whose engine then gives the workflows of the dead one to
whoever asks first. A sweep is repeated for ever, as a database that restarts may let one come to nothing, and it also
takes up what no workflow holds any more.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from codegen_async.batch.ending import until_done
from codegen_async.engine.alive import Watch
from codegen_async.engine.database import Database, reason_of_database
from codegen_async.engine.desk import Desk
from codegen_async.engine.ledger import Held, round_named, round_of
from codegen_async.errors import ConfigurationError, JournalError
from codegen_async.http.retry import Backoff

T = TypeVar("T")

_VERSION = "codegen-async-1"  # of the workflow below: what another one has begun is left to it
_WORKFLOW = "codegen_async.item"
_LOOKS = 8  # in a lease
_SOON = 0.2  # seconds until what was taken over is looked for again
_POLL = 1.0  # seconds between two looks at what others have done
_LIVE = ("PENDING", "ENQUEUED", "DELAYED")

_AGAIN = Backoff(first=0.5, ceiling=10.0)
# What is said to who makes the tables of the engine while another does so: that something is there, or was changed. The
# engine lets one after the other do it, but waits for 30 s at most.
_AT_ONCE = frozenset({"23505", "42701", "42704", "42710", "42P01", "42P06", "42P07", "XX000"})
_TRIES = 10  # if it is still said then, it is not because of another

_log = logging.getLogger("codegen_async")


def imported() -> Any:
    """Return the module `dbos`.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import dbos  # noqa: PLC0415 - only for those who use it
    except ImportError:
        raise ConfigurationError("a batch on DBOS needs: pip install 'codegen-async[dbos]'") from None
    return dbos


class Executor:
    """Be one of the processes that drive a batch; made with `executing`.

    Args:
        dbos: the module.
        desk: where workflows and the runner meet.
        lease: seconds after which an executor that stands still is taken over.
        floor: returns the id of a run that exists, or 0.
        look: called when others have done something.
    """

    def __init__(
        self, dbos: Any, desk: Desk, *, lease: float, floor: Callable[[], int], look: Callable[[], None]
    ) -> None:
        self.name: str = uuid.uuid4().hex
        self.dbos = dbos
        self._desk = desk
        self._lease = lease
        self._floor = floor
        self._look = look
        self._rounds: dict[str, int] = {}  # of keys that were taken up more than once
        self._strays: set[str] = set()  # seen once to be lost
        self._swept = asyncio.Event()
        self._workflow: Any = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def register(self) -> None:
        """Tell the engine what to do with an item."""

        async def item(seq: int, key: str) -> Mapping[str, Any]:
            task = asyncio.current_task()
            if task is not None:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return await self._drive(Held(seq, key, self.dbos.DBOS.workflow_id))

        self._workflow = self.dbos.DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)(item)

    async def _drive(self, held: Held) -> Mapping[str, Any]:
        """Take an item through its three steps; what each returns is recorded, and not done again."""
        desk, step = self._desk, self.dbos.DBOS.run_step_async
        with desk.boarding(held) as flight:
            entry = await step({"name": "intend"}, desk.intend, flight, self._floor())
            if entry is None:
                return {"gone": True}
            verdict = {"run": entry["run"]}
            if entry["run"] is None:
                verdict = await step({"name": "create"}, desk.create, flight)
            if not await desk.note(flight, verdict):
                return verdict
            end: Mapping[str, Any] = await step({"name": "wait"}, desk.wait, flight, verdict["run"])
            return end

    # -- beginning workflows

    async def begin(self, held: Held) -> bool:
        """Begin a workflow for an item; return whether it has begun, here and now."""
        for number in range(self._rounds.get(held.key, 1), 2**31):
            handle = await self._outlast(functools.partial(self._started, round_named(held.key, number), held))
            if hasattr(handle, "task"):
                return True
            # It was begun before: by another, or here, where it may be about to end and comes to nobody's desk.
            if (await self._outlast(handle.get_status)).status in _LIVE:
                return False
            self._rounds[held.key] = number + 1  # that one is over, and the item is to be sent all the same
        raise AssertionError("unreachable")

    async def _started(self, name: str, held: Held) -> Any:
        with self.dbos.SetWorkflowID(name):
            return await self.dbos.DBOS.start_workflow_async(self._workflow, held.seq, held.key)

    async def _outlast(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what the engine returns; it waits for its database itself, but not if its name is not known for now.

        Raises:
            JournalError: its database says what does not pass.
        """
        from sqlalchemy.exc import DBAPIError, OperationalError  # noqa: PLC0415 - comes with the engine

        for attempt in itertools.count(1):
            try:
                return await call()
            except OperationalError as error:
                _log.warning("batch: the engine cannot go on yet: %s", reason_of_database(error.orig))
            except DBAPIError as error:
                reason = f"the engine cannot go on: {reason_of_database(error.orig)}"
                raise JournalError(str(self._desk.path), reason) from None
            await asyncio.sleep(_AGAIN.delay(attempt))
        raise AssertionError("unreachable")

    # -- watching the others

    async def watch(self) -> None:
        """Beat, look after what others leave, and tell what they do, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll())
            group.create_task(self._beat())
            group.create_task(self._keep_watch())
            group.create_task(self._begin())

    async def _poll(self) -> None:
        seen: object = None
        while True:
            if seen != (seen := await self._tried("look at what others do", self._desk.pulse())):
                self._look()
            await asyncio.sleep(_POLL)
            self._look()  # what was left to others may be left still

    async def _beat(self) -> None:
        """Stay alive for the others, however long a sweep takes."""
        while True:
            await self._tried("sign of life", self._desk.beat(self.name))
            await asyncio.sleep(self._lease / _LOOKS)

    async def _keep_watch(self) -> None:
        every = self._lease / _LOOKS
        watch = Watch(self._lease, every)
        while True:
            if await self._tried("sweep for what others have left", self._sweep(watch)):
                self._swept.set()
            await asyncio.sleep(every)

    async def _begin(self) -> None:
        """Take up what those have left who are gone, before anything else is created."""
        await self._desk.is_looking.wait()
        await self._swept.wait()
        until = asyncio.get_running_loop().time() + self._lease / 2
        while asyncio.get_running_loop().time() < until:
            if await self._tried("look at what others have left", self._left_behind()) is False:
                break
            await asyncio.sleep(_SOON)
        self._desk.let_claim()

    async def _tried(self, what: str, work: Awaitable[T]) -> T | None:
        """Return what comes of this, None if it failed: whatever its database says, who stops to watch is dead."""
        try:
            return await work
        except Exception:  # noqa: BLE001 - see above
            _log.warning("batch: a %s failed; another one follows", what, exc_info=True)
            return None

    async def _left_behind(self) -> bool:
        """Whether what was taken over has not come to anybody's desk yet."""
        found = await self._live()
        waiting = {one.workflow_id for one in found if one.status != "PENDING" or one.executor_id == self.name}
        aboard = {flight.held.holder for flight in self._desk.flights.values()}
        orphans = await self._orphaned({one.workflow_id for one in found})
        for held in orphans:
            await self._adopt(held)
        return bool(waiting - aboard or orphans) or self._desk.is_about_to_look

    async def _live(self) -> list[Any]:
        found: list[Any] = await self.dbos.DBOS.list_workflows_async(
            status=[*_LIVE], name=_WORKFLOW, load_input=False, load_output=False
        )
        return found

    async def _sweep(self, watch: Watch) -> bool:
        """Take up what nobody alive works on, and forget the dead."""
        found = await self._live()
        # Only now, as whoever has something has beaten before: else one that has just begun would be taken for dead.
        beats = await self._desk.beats()
        dead = watch.dead(beats, asyncio.get_running_loop().time()) - {self.name}
        alive = {*beats} - dead | {self.name}
        lost = {one.executor_id for one in found if one.status == "PENDING"} - alive
        if lost:
            _log.warning("batch: taking over what others had that stand still or are gone (%d)", len(lost))
            # Fenced by the names: what another has taken over meanwhile stays there.
            await asyncio.to_thread(self.dbos.DBOS._recover_pending_workflows, [*lost])  # noqa: SLF001 - the public way is not fenced
        aboard = {flight.held.holder for flight in self._desk.flights.values()}
        own = {one.workflow_id for one in found if one.status == "PENDING" and one.executor_id == self.name}
        strays = own - aboard
        for name in strays & self._strays:  # twice: it may just have been coming or going
            await self.dbos.DBOS.resume_workflow_async(name)
        self._strays = strays
        for held in await self._orphaned({one.workflow_id for one in found}):
            await self._adopt(held)
        await self._desk.bury(dead)
        return True

    async def _orphaned(self, live: set[str]) -> list[Held]:
        """Return the items that are under way, and that no workflow holds any more."""
        return [held for held in await self._desk.under_way_elsewhere() if held.holder not in live]

    async def _adopt(self, held: Held) -> None:
        self._rounds[held.key] = max(self._rounds.get(held.key, 1), round_of(held.holder))
        await self.begin(held)

    async def leave(self) -> None:
        """Let go of all workflows: others take them over at once, or the next run."""
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._desk.bury([self.name])


def _made(executor: Executor, database: Database) -> Any:
    return executor.dbos.DBOS(
        config={
            "name": "codegen-async",
            "system_database_url": database.url(),
            "executor_id": executor.name,
            "application_version": _VERSION,
            "serializer": executor.dbos.DBOSPortableJSONSerializer(),
            "log_level": "CRITICAL",
        }
    )


async def _launch(executor: Executor, database: Database) -> None:
    """Start the engine, as soon as its database lets it.

    Raises:
        JournalError: it does not let it, and that does not pass.
    """
    from sqlalchemy.exc import DBAPIError, OperationalError  # noqa: PLC0415 - comes with the engine

    for attempt in itertools.count(1):
        try:
            engine = await asyncio.to_thread(_made, executor, database)
            executor.register()
            # It would find the loop that it is to use by itself if it were launched on it, and hold that up for long.
            engine._background_event_loop.set_main_loop()  # noqa: SLF001 - the only way to launch it beside the loop
            await asyncio.to_thread(executor.dbos.DBOS.launch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has no place among the errors of a batch
            is_made = isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _AT_ONCE
            if not isinstance(error, OperationalError) and not (is_made and attempt < _TRIES):
                raise JournalError(database.name, f"the engine cannot start: {reason_of_database(error)}") from None
            reason = reason_of_database(getattr(error, "orig", error))
            _log.warning("batch: %s: the engine cannot start yet: %s", database.name, reason)
        else:
            return
        await _destroy(executor.dbos)
        await asyncio.sleep(_AGAIN.delay(attempt))


@asynccontextmanager
async def executing(
    database: Database, desk: Desk, *, lease: float, floor: Callable[[], int], look: Callable[[], None]
) -> AsyncGenerator[None]:
    """Be an executor of a batch inside the block; one at a time in a process, as the engine is.

    Raises:
        ConfigurationError: the engine is not installed, or in use.
    """
    dbos = imported()
    if getattr(dbos._dbos, "_dbos_global_instance", None) is not None:  # noqa: SLF001 - there is no public way to ask
        raise ConfigurationError("DBOS is in use by this process already, and can do one thing at a time")
    executor = Executor(dbos, desk, lease=lease, floor=floor, look=look)
    await desk.beat(executor.name)  # before it has anything that others could take over
    try:
        await _launch(executor, database)
        desk.begin = executor.begin
        watching = asyncio.create_task(executor.watch())
        try:
            yield
        finally:
            watching.cancel()
            await until_done(watching)
            await executor.leave()
    finally:
        await _destroy(dbos)


async def _destroy(dbos: Any) -> None:
    """End the engine, and give the loop threads of its own again: it has those of the engine."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
    destroy = functools.partial(dbos.DBOS.destroy, workflow_completion_timeout_sec=0, destroy_registry=True)
    await until_done(loop.run_in_executor(None, destroy))
