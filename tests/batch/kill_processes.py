"""The processes of the kill loop: a server that survives, and drivers that do not."""

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self, TypedDict

import msgspec
from aiohttp import web

from codegen_async import CodegenClient, OutcomeUnknownError, Rate, RateLimitedError, Timeouts
from codegen_async.batch import holder, lease
from codegen_async.batch.batch import Batch
from codegen_async.batch.commits import Committer
from codegen_async.batch.items import State
from codegen_async.batch.journal import Journal
from codegen_async.errors import JournalError
from codegen_async.hosted.steady import HOST
from codegen_async.limits import WindowLimiter
from codegen_async.posix import fcntl
from codegen_async.testing import CodegenServer, FastLoop, Fault, Life

SPEED = 12.0
"""All clocks, the server's and the drivers', run this much faster than life."""

TOKEN = "simulated"
LIFE = Life(median=10.0, sigma=0.5, outcomes={"COMPLETE": 1})
LATENCY = (0.0, 0.3)
SETTLE = 8.0
# Of the answers to creates, half are lost or late, whether the work was done or not.
LOSSES = (
    (Fault.RESET_BEFORE, 0.10),
    (Fault.RESET_AFTER, 0.11),
    (Fault.DROP_BEFORE, 0.12),
    (Fault.DROP_AFTER, 0.13),
    (Fault.ERROR_AFTER, 0.10),
    (Fault.SLOW_HEADERS, 0.12),
)
PATIENCE = Timeouts(connect=20.0, read=6.0, total=12.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What a server is like.

    Attributes:
        rate: creates, and in how many seconds.
        losses: of answers to creates, and how probable they are.
        lag: how many seconds lists are behind.
    """

    rate: tuple[int, float] = (10, 60.0)
    losses: Sequence[tuple[Fault, float]] = LOSSES
    lag: float = 0.0


FOUL = Weather()


class Report(TypedDict):
    """What the server says of a batch."""

    prompts: dict[str, int]
    violations: int
    worst: dict[str, tuple[int, int]]
    creates: int
    rejected: list[list[float]]  # when what was counted had arrived, in seconds before each request that was rejected
    still: float  # seconds for which the server has stood still at the longest


# -- the server


class _Lagging(CodegenServer):
    """A server whose lists show what was true a while ago."""

    lag = 0.0

    def _list(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        world, then = self.world, self.now() - self.lag
        now, runs = world.now, world.runs
        world.now = lambda: then
        world.runs = {run.id: run for run in runs.values() if run.created <= then}
        try:
            return super()._list(request, body)
        finally:
            world.now, world.runs = now, runs


def serve(pipe: Connection, seed: int, weather: Weather) -> None:
    """Serve until the pipe closes: send the URL, then a report for each thing received."""
    with asyncio.Runner(loop_factory=lambda: FastLoop(SPEED)) as runner:
        runner.run(_serve(pipe, seed, weather))


async def _serve(pipe: Connection, seed: int, weather: Weather) -> None:
    loop = asyncio.get_running_loop()
    rates = {"create": weather.rate}
    async with _Lagging(token=TOKEN, seed=seed, life=LIFE, latency=LATENCY, rates=rates) as server:
        server.lag = weather.lag
        for fault, probability in weather.losses:
            server.faults.add(fault, endpoint="create", times=None, probability=probability, seconds=9.0)
        pipe.send((server.url, server.org_id))
        pulse = _Pulse()
        beating = asyncio.create_task(pulse.beat())
        while True:
            try:
                await loop.run_in_executor(None, pipe.recv)
            except EOFError:
                beating.cancel()
                return
            pipe.send(_report(server, pulse.still))


class _Pulse:
    """Notice for how long the process stands still where the machine has too much to do."""

    def __init__(self) -> None:
        self.still: float = 0.0

    async def beat(self) -> None:
        loop, every = asyncio.get_running_loop(), 0.1
        while True:
            before = loop.time()
            await asyncio.sleep(every)
            self.still = max(self.still, loop.time() - before - every)


def _rejected(server: CodegenServer) -> list[list[float]]:
    return [
        [
            round(late.time - one.time, 2)
            for one in server.requests
            if one.endpoint == late.endpoint and 0 <= late.time - one.time < 2 * server.rates[late.endpoint][1]
        ]
        for late in server.requests
        if late.status == HTTPStatus.TOO_MANY_REQUESTS
    ]


def _report(server: CodegenServer, still: float) -> Report:
    return {
        "rejected": _rejected(server),
        "still": still,
        "prompts": dict(Counter(run.prompt for run in server.world.runs.values())),
        "violations": server.violations,
        "worst": {name: server.worst(name) for name in ("create", "get", "list")},
        "creates": sum(request.endpoint == "create" for request in server.requests),
    }


# -- the driver

STEPS = (
    "before claim",
    "after claim",
    "before created",
    "after created",
    "before ended",
    "after ended",
    "before put_back",
    "after put_back",
    "before handed_out",
    "after handed_out",
    "at commit",
    "at sent",
    "at answered",
)
"""Where a driver can die by itself: around each write to the journal, within a commit, and around each send."""


REFUSED = 3
"""What a driver ends with whose journal is refused."""
TAKEN_OVER = 4
"""What a driver ends with whose journal was taken over."""


def drive(
    address: tuple[str, int],
    path: Path,
    prompts: Sequence[str],
    step: str | None = None,
    count: int = 0,
    *,
    weather: Weather = FOUL,
) -> None:
    """Run the batch to its end; die when `step` is reached for the `count`th time."""
    if step is not None:
        _arm(step, itertools.count(count, -1))
    with asyncio.Runner(loop_factory=lambda: FastLoop(SPEED)) as runner:
        try:
            runner.run(_drive(address, path, prompts, weather=weather))
        except JournalError as refused:
            print(refused, file=sys.stderr)  # noqa: T201 - for whoever looks at a test that fails
            sys.exit(REFUSED)


def drive_without_locks(address: tuple[str, int], path: Path, prompts: Sequence[str]) -> None:
    """Run the batch to its end on a system whose locks do nothing; who does not answer soon is taken over."""
    sys.stderr = sys.stdout  # which is shown of slow tests that fail
    lease._OWN_LOCK = None
    fcntl.flock = lambda *_: None
    holder._ANSWER_EVERY, holder._LOOKS, holder._LOOK_EVERY = 0.02, 10, 0.02
    with asyncio.Runner(loop_factory=lambda: FastLoop(SPEED)) as runner:
        try:
            # No slot is used that is older than the settle time.
            timeouts = msgspec.structs.replace(PATIENCE, connect=2.0)
            runner.run(_drive(address, path, prompts, timeouts=timeouts))
        except JournalError as refused:
            print(refused, file=sys.stderr)  # noqa: T201 - for whoever looks at a test that fails
            sys.exit(TAKEN_OVER if "was taken over" in str(refused) else REFUSED)


async def _drive(
    address: tuple[str, int],
    path: Path,
    prompts: Sequence[str],
    *,
    weather: Weather = FOUL,
    timeouts: Timeouts = PATIENCE,
) -> None:
    url, org_id = address
    rates, settle = {"create": Rate(*weather.rate)}, SETTLE + weather.lag
    async with (
        CodegenClient(TOKEN, org_id=org_id, base_url=url, rates=rates, settle=settle, timeouts=timeouts) as client,
        Batch(client, path, clock=_wall_clock) as batch,
    ):
        for prompt in prompts:
            batch.add(prompt)
        await run_to_the_end(batch)
        report = await batch.audit()
        if not report.ok or report.runs != len(prompts):
            raise AssertionError(report)


async def run_to_the_end(batch: Batch) -> None:
    """Run a batch until each item has a run that has ended."""
    while undecided := await _run(batch):
        await batch.resend(undecided[0])  # its run shows whether the others could be found


async def _run(batch: Batch) -> list[str]:
    """Run a batch; return the keys of what was created last, and lost, so that nothing created since can show it."""
    outcomes = [outcome async for outcome in batch.run()]
    if strange := [outcome for outcome in outcomes if not (outcome.succeeded or outcome.state is State.UNKNOWN)]:
        raise AssertionError(strange)
    return [outcome.key for outcome in outcomes if outcome.state is State.UNKNOWN]


def _wall_clock() -> float:
    """Return the time by what tells ages in life where it can: a clock that nobody sets."""
    return (time.time() if HOST is None else HOST.running()) * SPEED


def _arm(step: str, countdown: "itertools.count[int]") -> None:
    def reached() -> None:
        if next(countdown) <= 1:
            os.kill(os.getpid(), signal.SIGKILL)

    when, place = step.split()
    if place == "commit":
        _die_within_commits(reached)
    elif when == "at":
        _die_in_slots(place, reached)
    else:
        _die_around(place, when, reached)


def _die_around(name: str, when: str, reached: Callable[[], None]) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(Journal, name)

    async def dying(*arguments: Any, **options: Any) -> Any:
        if when == "before":
            reached()
        result = await original(*arguments, **options)
        if when == "after":
            reached()
        return result

    setattr(Journal, name, dying)


def _die_within_commits(reached: Callable[[], None]) -> None:
    original = Committer._open

    def opening(self: Committer) -> None:
        original(self)

        def trace(statement: str) -> None:
            if statement == "COMMIT":  # about to be carried out
                reached()

        connection: sqlite3.Connection = self._opened
        connection.set_trace_callback(trace)

    setattr(Committer, "_open", opening)  # noqa: B010 - what it is, a patch


def _die_in_slots(name: str, reached: Callable[[], None]) -> None:
    """Die when the limiter is told that a request was sent or answered."""
    original = WindowLimiter.slot

    def slot(self: WindowLimiter, *arguments: Any) -> Any:
        made = original(self, *arguments)
        if self.rate.limit != 10:  # only creates
            return made
        return _Spy(made, name, reached)

    setattr(WindowLimiter, slot.__name__, slot)


class _Spy:
    """A slot that tells of one of its calls."""

    def __init__(self, slot: Any, name: str, reached: Callable[[], None]) -> None:
        self._slot = slot
        self._name = name
        self._reached = reached

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._slot, name)
        if name != self._name:
            return call

        def told(*arguments: Any) -> Any:
            result = call(*arguments)
            self._reached()
            return result

        return told

    async def __aenter__(self) -> Self:
        await self._slot.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._slot.__aexit__(*exc)


# -- a driver as it is usually written


def drive_naively(address: tuple[str, int], path: Path, prompts: Sequence[str], _: str | None, __: int) -> None:
    """Create what is not noted as created, and try again what fails: what the check must find fault with."""
    done = path.read_text().splitlines() if path.exists() else []
    with asyncio.Runner(loop_factory=lambda: FastLoop(SPEED)) as runner:
        runner.run(_drive_naively(address, path, [prompt for prompt in prompts if prompt not in done]))


async def _drive_naively(address: tuple[str, int], path: Path, prompts: Sequence[str]) -> None:
    url, org_id = address
    async with CodegenClient(TOKEN, org_id=org_id, base_url=url, timeouts=PATIENCE) as client:

        async def create(prompt: str) -> None:
            fields = await client.creating.prepare(prompt)
            while True:
                try:
                    async with client.creating.slot() as slot:
                        await client.creating.attempt(fields, json.dumps(prompt).replace(" ", "-"), slot)
                except (OutcomeUnknownError, RateLimitedError):
                    continue
                with path.open("a") as file:
                    file.write(f"{prompt}\n")
                return

        await asyncio.gather(*map(create, prompts))
