"""Executors of one batch that are killed and frozen again and again, at a server that loses answers."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from codegen_async import CodegenClient, Rate, Timeouts
from codegen_async.batch.codegen import CodegenMaker
from codegen_async.batch.items import Item, State, Task
from codegen_async.batch.journal import Journal
from codegen_async.batch.making import Search
from codegen_async.batch.readers import read_outcomes
from codegen_async.codegen.models import AgentRun
from codegen_async.engine.batch import DBOSBatch
from codegen_async.engine.database import open_database
from codegen_async.errors import JournalError
from codegen_async.limits import Slot
from codegen_async.testing import FastLoop, Fault
from tests.batch.kill_processes import SETTLE, SPEED, TOKEN, Weather
from tests.batch.surviving import faults_found, serving, started

LEASE = 40.0
TIMEOUTS = Timeouts(connect=5.0, read=6.0, total=12.0)
WEATHER = Weather(
    rate=(30, 60.0), losses=((Fault.RESET_BEFORE, 0.10), (Fault.RESET_AFTER, 0.10), (Fault.DROP_AFTER, 0.10))
)
RATES = {"create": Rate(10, 60.0)}  # of each executor


class _Search:
    """Find nothing, and take that for proof: what a step does that has no key to look for."""

    over = 0

    async def settle(self, *, over: bool = False) -> tuple[AgentRun | None, bool]:
        del over
        return None, True

    async def decide(self) -> tuple[AgentRun | None, bool]:
        return None, True

    def forget(self) -> None:
        """Remember nothing."""


class _Keyless(CodegenMaker):
    """Make runs without the keys of their items, as workflows are usually written."""

    async def send(self, task: Task, key: str, slot: Slot) -> AgentRun:
        del key
        return await super().send(task, uuid.uuid4().hex, slot)

    async def search(self, item: Item, journal: Journal) -> Search[AgentRun]:
        del item, journal
        return _Search()

    async def strange(self, item: Item, run: AgentRun) -> str | None:
        del item, run
        return None


class _KeylessBatch(DBOSBatch[AgentRun, int]):
    def _new_maker(self) -> Any:
        return _Keyless(self._client, None)


def execute(address: tuple[str, int], url: str, prompts: Sequence[str], resent: str | None, keyless: bool) -> None:
    """Be an executor until the batch has come to its end."""
    try:
        with asyncio.Runner(loop_factory=lambda: FastLoop(SPEED)) as runner:
            runner.run(_execute(address, url, prompts, resent, keyless=keyless))
    except Exception:
        traceback.print_exc(file=sys.stdout)  # which is what is shown of a test
        raise


async def _execute(
    address: tuple[str, int], url: str, prompts: Sequence[str], resent: str | None, *, keyless: bool
) -> None:
    base_url, org_id = address
    kind = _KeylessBatch if keyless else DBOSBatch
    async with (
        CodegenClient(TOKEN, org_id=org_id, base_url=base_url, rates=RATES, settle=SETTLE, timeouts=TIMEOUTS) as client,
        kind(client, url, lease=LEASE, clock=lambda: time.time() * SPEED) as batch,
    ):
        for number, prompt in enumerate(prompts):
            batch.add(prompt, key=f"k{number}")
        if resent is not None:
            await batch.resend(resent)
        async for outcome in batch.run():
            if not outcome.succeeded and outcome.state is not State.UNKNOWN:
                raise AssertionError(outcome)


@dataclass(kw_only=True)
class Figures:
    """What a campaign came to."""

    kills: int = 0
    freezes: int = 0
    crashes: int = 0
    decided: int = 0
    missing: int = 0
    doubled: int = 0
    seconds: float = 0.0
    restarts: int = 0

    def row(self) -> Mapping[str, object]:
        return vars(self)


def campaign(
    url: str,
    seed: int,
    *,
    items: int = 60,
    executors: int = 3,
    keyless: bool = False,
    weather: Weather | None = None,
    patience: float = 300.0,
    restart: Callable[[], None] | None = None,
) -> Figures:
    """Run a batch to its end by executors of which one is killed or frozen every 1 to 3 s.

    Args:
        url: the database.
        seed: of the server's faults, and of what happens to executors.
        items, executors: how many.
        keyless: whether the workflows create without keys.
        weather: of the server. Default: it loses 30 % of its answers to creates.
        patience: seconds until it is given up.
        restart: crashes the database and starts it again; called now and then.
    """
    rng = random.Random(seed)
    prompts = [f"item {number}" for number in range(items)]
    weather = weather or WEATHER
    began, figures = time.monotonic(), Figures()
    with serving(seed, weather) as server:
        crew = Crew(rng, figures, lambda: started(execute, server.address, url, prompts, None, keyless), executors)
        while not is_done(url) and time.monotonic() - began < patience:
            time.sleep(rng.uniform(1.0, 3.0))
            crew.trouble(restart)
        crew.leave()
        while unknown := [one.key for one in read_outcomes(open_database(url)) if one.state is State.UNKNOWN]:
            figures.decided += 1  # as a person would: its run shows whether the others could be found
            resent = unknown[0]
            Crew(rng, figures, lambda: started(execute, server.address, url, prompts, resent, keyless), 1).leave()  # noqa: B023 - at once
        figures.missing, figures.doubled = faults_found(server.report(), prompts)
    figures.seconds = time.monotonic() - began
    return figures


class Crew:
    """The executors that are alive, or believed to be."""

    def __init__(self, rng: random.Random, figures: Figures, new: Callable[[], BaseProcess], size: int) -> None:
        self._rng = rng
        self._figures = figures
        self._new = new
        self._members = [new() for _ in range(size)]
        self._frozen: list[tuple[threading.Timer, BaseProcess]] = []

    def trouble(self, restart: Callable[[], None] | None) -> None:
        """Kill one, or freeze it for longer than a lease; or restart the database."""
        place = self._rng.randrange(len(self._members))
        victim, luck = self._members[place], self._rng.random()
        if victim.exitcode is not None:
            self._count(victim)
            self._members[place] = self._new()
        elif luck < 0.1 and restart is not None:
            self._figures.restarts += 1
            restart()
        elif luck < 0.7 or any(victim is one and thaw.is_alive() for thaw, one in self._frozen):
            self._figures.kills += 1
            victim.kill()
            self._members[place] = self._new()
        else:
            self._figures.freezes += 1
            _signal(victim, signal.SIGSTOP)
            # On a thread of its own: it may hold what everybody waits for, who looks after all this included.
            thaw = threading.Timer(LEASE / SPEED * self._rng.uniform(1.2, 2.0), _signal, (victim, signal.SIGCONT))
            thaw.start()
            self._frozen.append((thaw, victim))

    def leave(self) -> None:
        """Let all come to the end."""
        for thaw, _ in self._frozen:
            thaw.join()
        for one in self._members:
            one.join(120.0)
            if one.exitcode is None:
                one.kill()
                one.join()
                self._figures.crashes += 1
            self._count(one)

    def _count(self, one: BaseProcess) -> None:
        self._figures.crashes += one.exitcode not in (0, -signal.SIGKILL)


def _signal(one: BaseProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has come to its end just now
        os.kill(one.pid or 0, number)


def is_done(url: str) -> bool:
    """Whether all items of a batch have come to something."""
    try:
        states = [one.state for one in read_outcomes(open_database(url))]
    except JournalError:  # it is not there yet, or restarts
        return False
    return bool(states) and not {State.PLANNED, State.SENDING, State.CREATED} & {*states}
