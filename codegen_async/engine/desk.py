"""Between the workflows of an engine and the one body of code that drives batches. Knows no engine.

A workflow holds one item and has three steps; the runner of a batch does the work of all of them, as it does for a
journal that one process has. The desk brings the two together:

- *intend*: the runner has a slot in its hand and claims an item. Only now is a workflow begun for it, which notes that
  the item is about to be sent.
- *create*: the workflow lets the runner go on, which sends the item, once. Its verdict (a run, refused, unknown, or
  planned again) is what the step returns. A workflow that comes to this step without the runner of its own process
  having claimed the item was taken over: the runner looks for its run first, as for an item of a former life.
- *wait*: the same for the end of the run.

What a verdict changes in the journal is written after the engine has recorded it, and the engine records only what the
present holder of a workflow says. So who was stopped and taken over changes nothing, and each sending is one recorded
step: what is to be sent again goes back to the planned items, and gets a slot and a workflow of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from codegen_async.batch.items import Item, State, Task
from codegen_async.engine.ledger import Held, Ledger, OvertakenError
from codegen_async.errors import JournalError
from codegen_async.models import RunId, RunLike

T = TypeVar("T")

Verdict = Mapping[str, Any]
"""What a step returns: plain JSON, of which nothing but ids and keys is ever large."""

_PATIENCE = 300.0  # seconds for which a workflow that was begun may not come to its create before it is given up
_SOON = 0.1  # seconds between two looks for the runner, which may be about to begin
_AVOID = 1.0  # seconds for which an item is left to whoever is about to take it


class Crew(Protocol):
    """Do the work; see `Runner`."""

    @property
    def is_on(self) -> bool:
        """Whether it can take up anything now."""
        ...

    @property
    def searches(self) -> int:
        """How many searches for runs have begun."""
        ...

    def take_up(self, item: Item) -> asyncio.Task[None]:
        """Go on with an item that another process has begun."""
        ...


class Flight:
    """An item on its way through a workflow of this process.

    Attributes:
        held: the item, and the workflow.
        floor: the id of a run that exists, where the runner has claimed it.
        claimed: whether the runner of this process has it in its hand, with a slot, and has not sent it.
        given: whether the runner has claimed it and goes to send it.
        failed: whether the runner is about to end with what went wrong.
        work: what the runner does for it, as far as it was seen.
    """

    def __init__(self, held: Held, *, floor: int = 0, claimed: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.held = held
        self.floor = floor
        self.claimed = claimed
        self.given: bool = False
        self.failed: bool = False
        self.work: asyncio.Task[Any] | None = None
        self.begun: asyncio.Future[bool] = loop.create_future()
        self.verdict: asyncio.Future[Verdict] = loop.create_future()
        self.noted: asyncio.Future[None] = loop.create_future()
        self.end: asyncio.Future[Verdict] = loop.create_future()

    def fail(self, error: JournalError) -> None:
        """Let the runner end with what went wrong for the workflow, if it waits for it."""
        waited_for = [self.begun] * self.claimed + [self.noted] * (self.work is not None and self.verdict.done())
        for future in waited_for:
            if not future.done():
                future.set_exception(error)
                self.failed = True


class Desk(Ledger):
    """Be the journal of a runner whose items come and go with workflows.

    Attributes:
        begin: begins a workflow for an item; returns whether it is one of this process.
        crew: does the work.
        most_runs: how many runs the batch may make, over all its lives and processes.
        is_looking: set once the runner has begun.
    """

    begin: Callable[[Held], Awaitable[bool]]
    crew: Crew | None = None
    most_runs: int | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.flights: dict[int, Flight] = {}
        self._avoided: dict[int, float] = {}
        self._adrift: set[int] = set()  # items whose flights are over, while the runner is still about to send them
        self.is_looking: asyncio.Event = asyncio.Event()
        self._is_settled = asyncio.Event()
        self._to_look = 0

    # -- for the runner

    def serve(self, crew: Crew, most_runs: int | None) -> None:
        """Be the desk of a runner from now on."""
        self.crew, self.most_runs, self._to_look = crew, most_runs, 0
        self._adrift.clear()  # the runner of before is over
        self.is_looking.clear()

    async def look_again(self) -> None:
        """Let what is unknown or stands still be looked at once more, and claim nothing before that has begun."""
        self._is_settled.clear()
        await super().look_again()
        self.is_looking.set()
        await self._is_settled.wait()

    def let_claim(self) -> None:
        """Let the runner claim items, as what others have left is taken up: new runs may show what of it is not."""
        self._is_settled.set()

    @property
    def is_about_to_look(self) -> bool:
        """Whether a run is to be looked for, and that has not begun."""
        coming = any(one.work is None and not one.begun.done() and not one.claimed for one in self.flights.values())
        return coming or (self.crew is not None and self.crew.searches < self._to_look)

    async def has_planned(self) -> bool:
        """Return whether anything is planned that nobody else is about to take."""
        return await self.next_planned(self._taken()) is not None

    async def others_have(self, *, planned: bool = False) -> bool:
        """Return whether anything is not at its end yet: whoever has it may die."""
        _, waiting, under_way = await self.pulse()
        return bool(waiting or (under_way and not planned))

    async def claim(self, floor: int) -> tuple[Item, Task] | None:
        """Take the planned item whose turn it is and begin a workflow for it; None if others have all there are."""
        while not await self._is_full() and (item := await self.next_planned(self._taken())) is not None:
            flight = Flight(Held(item.seq, item.key, ""), floor=floor, claimed=True)
            self.flights[item.seq] = flight
            try:
                begun = await self.begin(flight.held) and await self._boarded(flight)
                claimed = await self.claimed(flight.held) if begun else None
            except BaseException:
                self._drop(flight)
                raise
            if claimed is not None and self.flights.get(item.seq) is flight:
                flight.given = True
                return claimed
            self._give_up(flight)
            self._avoided[item.seq] = _now() + _AVOID
        return None

    async def _is_full(self) -> bool:
        """Whether all runs are made that may be: else workflows would begin for all there is, again and again."""
        return self.most_runs is not None and await self.runs_made() >= self.most_runs

    def _give_up(self, flight: Flight) -> None:
        """Claim a flight no more. If its workflow is only late, it goes on, and its item is looked for."""
        flight.claimed = False
        if flight.begun.done() or not flight.held.holder:
            self._drop(flight)

    async def _boarded(self, flight: Flight) -> bool:
        await asyncio.wait((flight.begun,), timeout=_PATIENCE)
        return _said(flight.begun) or False

    def _taken(self) -> Collection[int]:
        now = _now()
        self._avoided = {seq: until for seq, until in self._avoided.items() if until > now}
        return self.flights.keys() | self._avoided.keys() | self._adrift

    async def items(self, *_: State) -> AsyncGenerator[Item]:
        """Yield nothing: what other processes have begun comes with their workflows."""
        nothing: tuple[Item, ...] = ()
        for item in nothing:
            yield item

    async def created(self, seq: int, run_id: RunId) -> None:
        """Say that an item has a run; return when that is noted."""
        await self._say(seq, {"run": run_id})

    async def rejected(self, seq: int, error: str) -> None:
        """Say that an item was refused for good."""
        await self._say(seq, {"rejected": error})

    async def unknown(self, seq: int, error: str, *, likely_done: bool) -> None:
        """Say that nobody can tell whether an item has a run."""
        await self._say(seq, {"unknown": error, "likely_done": likely_done})

    async def put_back(self, seq: int, *, last: bool, parent: str | None = None) -> None:
        """Say that an item has no run and is to be planned again."""
        await self._say(seq, {"again": last, "parent": parent})

    async def ended(self, seq: int, run: RunLike | None, error: str | None = None) -> None:
        """Note the end of an item's run."""
        with self._ending(seq, "ended"):
            await super().ended(seq, run, error)

    async def stuck(self, seq: int, run: RunLike | None, error: str) -> None:
        """Note that the run of an item does not go on by itself."""
        with self._ending(seq, "stuck"):
            await super().stuck(seq, run, error)

    async def retry(self, seq: int, run: RunLike) -> None:
        """Plan another attempt for an item whose run has failed."""
        with self._ending(seq, "retried"):
            await super().retry(seq, run)

    async def _say(self, seq: int, verdict: Verdict) -> None:
        flight = self._own(seq)
        if not flight.verdict.done():
            flight.verdict.set_result(verdict)
        await flight.noted

    @contextmanager
    def _ending(self, seq: int, word: str) -> Generator[None]:
        flight = self._own(seq)
        with contextlib.suppress(OvertakenError):  # noted before, by who had it before, of the same run
            yield
        if not flight.end.done():
            flight.end.set_result({"end": word})

    def _own(self, seq: int) -> Flight:
        """Return the flight that the runner's task which calls this is for; end the task if that is over."""
        flight, task = self.flights.get(seq), asyncio.current_task()
        if flight is None or (flight.work is not task and not (flight.given and flight.work is None)):
            self._adrift.discard(seq)
            raise asyncio.CancelledError  # as if its flight had known it, and cancelled it
        flight.work = task
        return flight

    # -- for workflows

    @contextmanager
    def boarding(self, held: Held) -> Generator[Flight]:
        """Bring an item to the desk that a workflow of this process holds, until that is over, however it ends."""
        flight = self.flights.get(held.seq)
        if flight is None or not flight.claimed or flight.held.holder or flight.held.key != held.key:
            flight = Flight(held)
            if (other := self.flights.get(held.seq)) is not None:
                self._drop(other)
            self.flights[held.seq] = flight
        flight.held = held
        self.holders[held.seq] = held.holder
        try:
            yield flight
        except JournalError as error:
            flight.fail(error)
            raise
        finally:
            self._drop(flight)

    def _drop(self, flight: Flight) -> None:
        """Let nobody wait for a flight that is over, and nothing more be done for it."""
        seq = flight.held.seq
        if self.flights.get(seq) is flight:
            del self.flights[seq]
        if not flight.begun.done():
            flight.begun.set_result(False)
        verdict = _said(flight.verdict) if flight.noted.done() else None
        is_over = flight.failed or _said(flight.end) is not None or (verdict is not None and "run" not in verdict)
        if flight.work is not None and not is_over:
            flight.work.cancel()
        elif flight.given and flight.work is None:
            self._adrift.add(seq)

    async def intend(self, flight: Flight, floor: int) -> Verdict | None:
        """Take the item for the workflow; return the run that it has, if it has one, or None if it is not to be sent.

        Args:
            flight: from `boarding`.
            floor: the id of a run that exists, for an item that was not claimed here.
        """
        entry = await self.enter(flight.held, flight.floor or floor, self.most_runs, is_claimed=flight.claimed)
        return None if entry is None else {"floor": entry.floor, "run": entry.run}

    async def create(self, flight: Flight) -> Verdict:
        """Let the item be sent, if it was claimed here and not yet, else be looked for; return what came of it."""
        if flight.claimed:
            flight.claimed = False
            flight.begun.set_result(True)
        elif not await self._taken_up(flight, None):
            return {"gone": True}
        return await flight.verdict

    async def note(self, flight: Flight, verdict: Verdict) -> bool:
        """Write to the journal what the engine has recorded; return whether there is a run to wait for."""
        seq = flight.held.seq
        with contextlib.suppress(OvertakenError):  # written before, by who had it before
            if "run" in verdict:
                await super().created(seq, verdict["run"])
            elif "rejected" in verdict:
                await super().rejected(seq, verdict["rejected"])
            elif "unknown" in verdict:
                await super().unknown(seq, verdict["unknown"], likely_done=verdict["likely_done"])
            elif "again" in verdict:
                await super().put_back(seq, last=verdict["again"], parent=verdict["parent"])
        if not flight.verdict.done():
            flight.verdict.set_result(verdict)
        if not flight.noted.done():
            flight.noted.set_result(None)
        return "run" in verdict and await self.stands(flight.held) is State.CREATED

    async def wait(self, flight: Flight, run_id: RunId) -> Verdict:
        """Wait until the run of the item has come to its end, or stands still, and that is noted."""
        if flight.work is None and not await self._taken_up(flight, run_id):
            return {"gone": True}
        return await flight.end

    async def _taken_up(self, flight: Flight, run_id: RunId | None) -> bool:
        item = await self.item(flight.held.seq)
        if item is None or item.key != flight.held.key or (item.run_id is None) is not (run_id is None):
            return False
        while self.crew is None or not self.crew.is_on:  # noqa: ASYNC110 - it knows no events of others
            await asyncio.sleep(_SOON)
        self._to_look += run_id is None
        flight.work = self.crew.take_up(item)
        return True


def _said(future: asyncio.Future[T]) -> T | None:
    """Return what a future was told, if it was told anything; who waits for one and is cancelled cancels it too."""
    return future.result() if future.done() and not future.cancelled() else None


def _now() -> float:
    return asyncio.get_running_loop().time()
