"""Processes that wait for runs on one model of the server, for `fleet_polling.py`: real waits, real looks shared.

Only what lies beneath is made up: the server and its runs (`_polling_model`), legs of 20 to 150 ms, and the bus. All
processes spend one set of limiters, as a fleet does, but one that costs nothing.
"""

from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from benchmarks._fleet_air import AirBus
from benchmarks._polling_model import CREATE_PERIOD, CREATES, LIMIT, PERIOD, Result, World
from codegen_async.fleet.looks import Looks
from codegen_async.limits import Limits, Priority, Rate, Slot
from codegen_async.models import Phase
from codegen_async.polling import Listing, ListPoll, PollSchedule, Stream
from codegen_async.waiting import Page, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from benchmarks._fleet_air import Air
    from benchmarks._polling_model import Law, Run
    from codegen_async.models import RunId

RATE = Rate(LIMIT, PERIOD)
_EPOCH = 1.7e9
_LEG = (0.02, 0.15)  # seconds one way
_SPREAD = 5.0  # seconds over which waits begin
_WARM = 300.0  # seconds until a steady state is counted


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot."""

    id: int
    phase: Phase
    status: str
    created: float
    web_url: str | None = None
    source_type: str | None = "API"

    @property
    def created_time(self) -> datetime:
        return datetime.fromtimestamp(self.created, UTC)


class SeenWire:
    """Writes snapshots as JSON."""

    def write(self, run: Seen) -> bytes:
        return msgspec.json.encode(run)

    def read(self, content: bytes, phase: Phase) -> Seen:
        return msgspec.structs.replace(msgspec.json.decode(content, type=Seen), phase=phase)


class Stage(World):
    """The model of the server, on the loop's clock."""

    def __init__(self, law: Law, seed: int) -> None:
        super().__init__(law, seed)
        self._began = asyncio.get_running_loop().time()
        self._legs = random.Random(seed)
        self._creating = Limits({"create": Rate(CREATES, CREATE_PERIOD)})
        self.limits = Limits({"get": RATE, "list": RATE})
        self.late: list[float] = []
        """Seconds from each end until it was known."""
        self.finished = asyncio.Event()
        self.wanted = 0
        self.copies = 1
        """How many wait for each run."""

    def tick(self) -> float:
        self.now = asyncio.get_running_loop().time() - self._began
        return self.now

    async def leg(self) -> None:
        await asyncio.sleep(self._legs.uniform(*_LEG))
        self.tick()

    def snapshot(self, run: Run) -> Seen:
        ended = run.ended <= self.now
        return Seen(
            id=run.number,
            phase=Phase.SUCCEEDED if ended else Phase.RUNNING,
            status="COMPLETE" if ended else "ACTIVE",
            created=_EPOCH + run.created,
        )

    def count_from_now(self) -> None:
        self.late.clear()
        self.gets.forget()
        self.lists.forget()

    def known(self, run: Run) -> None:
        """Take in that somebody knows of an end."""
        self.late.append(self.tick() - run.ended)
        if self.wanted and len(self.late) >= self.wanted * self.copies:
            self.finished.set()

    async def create(self) -> Run:
        async with self._creating.slot("create", Priority.INTERACTIVE) as slot:
            slot.sent()
            await self.leg()
            run = self._append(self.now, self.now + self._law.draw(self._rng), mine=True)
            await self.leg()
            slot.answered()
        return run

    def result(self) -> Result:
        refused = self.gets.refused + self.lists.refused
        assert not refused, "429"
        requests = self.copies * (self.gets.requests + self.lists.requests)  # for each run that was waited for
        return Result(self.late, requests, refused, 0.0)


class ModelRemote:
    """Asks the model on behalf of all waits."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def slot(self, stream: Stream) -> Slot:
        return self._stage.limits.slot("get" if stream is Stream.GET else "list", Priority.BACKGROUND)

    async def get(self, run_id: RunId, slot: Slot) -> Seen:
        slot.sent()
        await self._stage.leg()
        run = self._stage.get(int(run_id))
        assert run is not None, "429"
        seen = self._stage.snapshot(run)
        await self._stage.leg()
        slot.answered()
        return seen

    async def page(self, poll: ListPoll, slot: Slot) -> Page[Seen]:
        slot.sent()
        await self._stage.leg()
        runs = self._stage.page(poll.skip, poll.limit)
        assert runs is not None, "429"
        page: Page[Seen] = Page([self._stage.snapshot(run) for run in runs], len(self._stage.runs))
        await self._stage.leg()
        slot.answered()
        return page


class Process:
    """One process that waits: alone, or as a member of a fleet."""

    def __init__(self, stage: Stage, name: str, latency: float, air: Air | None) -> None:
        schedule = PollSchedule(get=RATE, page=RATE, share=0.8, listing=Listing("API"))
        self.waiting: Waiting[Seen] = Waiting(ModelRemote(stage), schedule, latency=latency)
        self.name = name
        self._stage = stage
        self._bus = None if air is None else AirBus(air, name)
        self._looks: Looks[Seen] | None = None
        if self._bus is not None:
            self._looks = Looks(self.waiting.elsewhere, self._bus, "channel", SeenWire(), name=name)
            self._looks.start()
        self._rng = random.Random(name)
        self._waits: set[asyncio.Task[None]] = set()
        self.open: set[int] = set()
        """The runs that are waited for."""

    def wait(self, runs: Iterable[Run], *, replace: bool = False) -> None:
        """Wait for runs, each by itself, from its own moment on; `replace` each that is known to have ended."""
        for run in runs:
            self.open.add(run.number)
            task = asyncio.create_task(self._wait(run, self._rng.uniform(0, _SPREAD), replace=replace))
            self._waits.add(task)
            task.add_done_callback(self._waits.discard)

    async def _wait(self, run: Run, pause: float, *, replace: bool) -> None:
        await asyncio.sleep(pause)
        while True:
            self.open.add(run.number)
            self._stage.tick()  # the caller has created or read it just now
            await self.waiting.wait_for_run(self._stage.snapshot(run))
            self.open.discard(run.number)
            self._stage.known(run)
            if not replace:
                return
            run = await self._stage.create()

    @property
    def leads(self) -> bool:
        return self._looks is not None and self._looks.state.leads

    async def die(self) -> None:
        """End without a word."""
        if self._bus is not None:
            self._bus.cut()
        await self.aclose()

    async def aclose(self) -> None:
        for task in self._waits:
            task.cancel()
        await asyncio.gather(*self._waits, return_exceptions=True)
        if self._looks is not None:
            await self._looks.aclose()
        await self.waiting.aclose()


class Play(NamedTuple):
    """What is simulated.

    Attributes:
        runs: how many runs there are, over all processes.
        positions: of the list they stand in.
        latency: of all waits.
        steady: whether each run that has ended is replaced.
        shared: whether each process watches all of them.
        finished: how many ends are waited for.
    """

    title: str
    law: Law
    runs: int
    positions: int = 0
    latency: float = 5.0
    steady: bool = False
    shared: bool = False
    finished: int = 0

    @property
    def ends(self) -> int:
        """After how many ends it is over."""
        return self.finished or math.ceil(0.9 * self.runs)


class Cast(NamedTuple):
    """Who plays: how many processes, whether they share looks, on what air, and what befalls them."""

    title: str
    size: int = 8
    air: Callable[[], Air] | None = None
    plot: Callable[[Company], Coroutine[None, None, None]] | None = None


class Company:
    """The processes of one play.

    Attributes:
        air: what carries their hellos, if they share looks.
    """

    def __init__(self, stage: Stage, play: Play, cast: Cast) -> None:
        self.air = None if cast.air is None else cast.air()
        self._stage = stage
        self._play = play
        self._parts = [set[int]() for _ in range(cast.size)]
        for place, run in enumerate(stage.watched.values()):
            for part in self._parts if play.shared else (self._parts[place % cast.size],):
                part.add(run.number)
        self.processes = [self._enter(place) for place in range(cast.size)]

    def _enter(self, place: int, name: str = "") -> Process:
        process = Process(self._stage, name or f"{place:02}", self._play.latency, self.air)
        process.wait((self._stage.by_number[number] for number in self._parts[place]), replace=self._play.steady)
        return process

    async def replace_leader(self, name: str) -> None:
        """Kill who leads, and let another process go on with its runs 10 s later."""
        place = next((place for place, each in enumerate(self.processes) if each.leads), None)
        if place is None:
            return
        left = self.processes[place].open
        await self.processes[place].die()
        await asyncio.sleep(10)
        self._parts[place] = left
        self.processes[place] = self._enter(place, name)

    async def aclose(self) -> None:
        for process in self.processes:
            await process.aclose()


async def perform(play: Play, cast: Cast, seed: int) -> Result:
    """Play until so many ends are known, and return how late each was, and what it cost."""
    stage = Stage(play.law, seed)
    if play.steady:
        stage.steady(play.runs)
    else:
        stage.drain(play.runs, play.positions)
    company = Company(stage, play, cast)
    plot = None if cast.plot is None else asyncio.create_task(cast.plot(company))
    stage.copies = cast.size if play.shared else 1
    if play.steady:
        await asyncio.sleep(_WARM)
        stage.count_from_now()
    stage.wanted = play.ends
    await stage.finished.wait()
    result = stage.result()
    if plot is not None:
        plot.cancel()
        await asyncio.gather(plot, return_exceptions=True)
    await company.aclose()
    return result
