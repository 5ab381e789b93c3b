"""Leave a batch at any point, by cancels: its lock is given back, and nothing is lost, left running or swallowed.

What a cancel hits depends on where the threads are. So three ways of aiming are used: at each turn of the loop, a turn
being what the loop does between two looks at what is ready; at each point at which the task waits, the same on every
loop; and at each piece of work of a journal's thread, which is held there until all cancels have come.
"""

import asyncio
import contextlib
import gc
import tempfile
import threading
from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvloop

from codegen_async.batch.batch import Batch
from codegen_async.batch.items import State
from codegen_async.testing import CodegenServer, VirtualLoop
from tests.batch.helpers import SHORT, client_of, journal_at, loop_time, opened, run_all
from tests.support.canary import CANARY
from tests.support.turns import HeldThread, Stepped, TurningLoop, repeat

Life = Callable[[CodegenServer, Path, list[str]], Coroutine[Any, Any, None]]
Aim = Callable[["Trial"], None]

Loops = Callable[[], AbstractEventLoop]

LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]


async def in_a_block(server: CodegenServer, path: Path, done: list[str]) -> None:
    async with client_of(server) as client, Batch(client, path, clock=loop_time) as batch:
        batch.add("do 0")
        batch.add("do 1")
        await batch.save()
        done.append("saved")
        await run_all(batch)
        await batch.status()
        await batch.under_way()
    done.append("left")


async def without_a_block(server: CodegenServer, path: Path, done: list[str]) -> None:
    async with client_of(server) as client:
        batch = Batch(client, path, clock=loop_time)
        try:
            await batch.open()
            batch.add("do 0")
            batch.add("do 1")
            async with contextlib.aclosing(batch.serve()) as outcomes:
                async for _ in outcomes:
                    done.append("saved")
                    batch.stop()
        finally:
            await batch.aclose()
    done.append("left")


async def with_nothing_sent(server: CodegenServer, path: Path, done: list[str]) -> None:
    async with client_of(server) as client, Batch(client, path) as batch:
        batch.add("do 0")
        await batch.save()
        batch.add("do 1")
        await batch.status()
        done.append("saved")
    done.append("left")


class Trial:
    """Live a life of a batch that is cancelled somewhere, and look at what it leaves."""

    def __init__(self, life: Life, aim: Aim, *, sends: bool = True) -> None:
        self.life = life
        self.aim = aim
        self.sends = sends
        self.cancels = 0
        self.turns = 0
        self.done: list[str] = []
        self.problems: list[dict[str, Any]] = []
        self.task: asyncio.Task[None] | None = None

    def run(self, loop_factory: Callable[[], AbstractEventLoop]) -> "Trial":
        with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(self._run(Path(folder) / "batch.db"))
        assert not self.problems
        return self

    async def _run(self, path: Path) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.problems.append(context))
        async with CodegenServer(token=CANARY) as server:
            server.world.script = SHORT
            task = self._start(self.life(server, path, self.done))
            await asyncio.wait((task,))
            assert [task for task in asyncio.all_tasks() if "codegen_async/" in _file(task)] == []
            if isinstance(loop := task.get_loop(), TurningLoop):
                self.turns = loop.turn
                loop.hooks.clear()
            if self.cancels:
                assert task.cancelled()
            else:
                task.result()
            self.task = None
            del task  # its traceback holds the journal
            await asyncio.to_thread(_look_at_what_is_left, path.parent)
            await (self._go_on(server, path) if self.sends else self._look(path))

    def _start(self, life: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        self.task = asyncio.get_running_loop().create_task(Stepped(life, self._at))
        self.steps: dict[int, Callable[[], object]] = {}
        self.aim(self)
        return self.task

    def _at(self, step: int) -> None:
        self.steps.pop(step, lambda: None)()
        self.last_step = step

    def cancel(self) -> None:
        if self.task is not None:
            self.cancels += self.task.cancel()

    async def _look(self, path: Path) -> None:
        async with journal_at(path) as journal:
            items = sum((await journal.counts()).values())
            assert items == 2 if "saved" in self.done else items <= 2

    async def _go_on(self, server: CodegenServer, path: Path) -> None:
        async with opened(server, path) as batch:
            if "saved" not in self.done:
                batch.add("do 0")
                batch.add("do 1")
            outcomes = await run_all(batch)
            # What was claimed and never sent looks as if it might have been: here nothing proves what a list shows.
            asked = [outcome for outcome in outcomes if not outcome.succeeded]
            assert {outcome.state for outcome in asked} <= {State.UNKNOWN}
            assert not {outcome.prompt for outcome in asked} & prompts_of(server).keys()
            await batch.resend(*(outcome.key for outcome in asked))
            await run_all(batch)
            assert (await batch.audit()).ok
        assert prompts_of(server) == {"do 0": 1, "do 1": 1}


def prompts_of(server: CodegenServer) -> Counter[str]:
    return Counter(run.prompt for run in server.world.runs.values())


def _file(task: "asyncio.Task[Any]") -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return "" if code is None else str(code.co_filename)


def _look_at_what_is_left(folder: Path) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("codegen"):
            thread.join(60)
            assert not thread.is_alive()
    if _open_files(folder):
        gc.collect()  # the memory of a journal is unmapped when nobody has it, not the traceback of a cancel either
    assert _open_files(folder) == []


def _open_files(folder: Path) -> list[Path]:
    found = []
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(handle.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def at_turns(*turns: int) -> Aim:
    """Cancel at these turns of the loop."""

    def aim(trial: Trial) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TurningLoop)
        loop.turn = 0
        loop.hooks = dict.fromkeys(turns, trial.cancel)

    return aim


def at_steps(*steps: int) -> Aim:
    """Cancel when the task begins to wait for these times."""

    def aim(trial: Trial) -> None:
        loop = asyncio.get_running_loop()
        trial.steps = {step: lambda: loop.call_soon(trial.cancel) for step in steps}

    return aim


def while_held(job: int, cancels: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> Aim:
    """Cancel so many times while the journal's thread is held at a piece of work."""

    def aim(trial: Trial) -> None:
        held = HeldThread(job, after=after, then=lambda released: repeat(trial.cancel, cancels, released))
        held.install(monkeypatch)

    return aim


def turns_of(life: Life) -> int:
    return Trial(life, at_turns()).run(TurningLoop).turns


@pytest.mark.sampled(2)
@pytest.mark.parametrize("life", [in_a_block, without_a_block])
def test_a_cancel_at_any_turn_of_the_loop_leaves_nothing_behind(life: Life) -> None:
    for turn in range(0, turns_of(life), 3):
        Trial(life, at_turns(turn)).run(TurningLoop)


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0, 1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("life", [in_a_block, without_a_block])
def test_one_or_two_cancels_at_every_turn_of_the_loop_leave_nothing_behind(life: Life, gap: int) -> None:
    for turn in range(turns_of(life)):
        Trial(life, at_turns(turn, turn + gap)).run(TurningLoop)


@pytest.mark.slow
def test_any_two_cancels_while_it_is_opened_and_closed_leave_nothing_behind() -> None:
    turns = turns_of(with_nothing_sent)
    for first in range(turns):
        for second in range(first, turns):
            Trial(with_nothing_sent, at_turns(first, second), sends=False).run(TurningLoop)


@pytest.mark.parametrize("loop_factory", LOOPS)
@pytest.mark.parametrize("cancels", [1, 2])
def test_cancels_at_each_point_where_it_waits_leave_nothing_behind(loop_factory: Loops, cancels: int) -> None:
    steps = Trial(with_nothing_sent, at_steps(), sends=False).run(loop_factory).last_step
    for step in range(steps + 1):
        Trial(with_nothing_sent, at_steps(*range(step, step + cancels)), sends=False).run(loop_factory)


def jobs_of(life: Life, monkeypatch: pytest.MonkeyPatch) -> int:
    held = HeldThread(-1, after=False, then=lambda _: None)
    with monkeypatch.context() as patching:
        held.install(patching)
        Trial(life, at_steps(), sends=False).run(asyncio.SelectorEventLoop)
    return held.jobs - 4  # of those that look at it afterwards: open, read twice, close


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("cancels", [1, 2, 3])
@pytest.mark.parametrize("loop_factory", LOOPS)
def test_cancels_while_the_thread_is_at_work_leave_nothing_behind(
    loop_factory: Loops, cancels: int, *, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in range(jobs_of(with_nothing_sent, monkeypatch)):
        with monkeypatch.context() as patching:
            Trial(with_nothing_sent, while_held(job, cancels, patching, after=after), sends=False).run(loop_factory)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("cancels", [1, 2, 3])
@pytest.mark.parametrize("life", [in_a_block, without_a_block])
def test_cancels_of_a_run_while_the_thread_is_at_work_leave_nothing_behind(
    life: Life, cancels: int, *, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, trial = 0, None
    while trial is None or trial.cancels:
        with monkeypatch.context() as patching:
            trial = Trial(life, while_held(job, cancels, patching, after=after))
            trial.run(VirtualLoop)
        job += 1
    assert job > 20


# -- other ways to be cancelled


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_a_scope_that_is_cancelled_leaves_nothing_behind(loop_factory: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scoped(server: CodegenServer, path: Path, done: list[str]) -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await with_nothing_sent(server, path, done)
        assert scope.cancelled_caught or "left" in done  # nothing waits any more that could be cancelled

    def cancel(released: Callable[[], None]) -> None:
        scopes[-1].cancel()
        asyncio.get_running_loop().call_later(0.01, released)  # it is cancelled anew at each turn until then

    scopes: list[anyio.CancelScope] = []
    for job in range(jobs_of(with_nothing_sent, monkeypatch)):
        with monkeypatch.context() as patching:
            HeldThread(job, after=True, then=cancel).install(patching)
            Trial(scoped, at_steps(), sends=False).run(loop_factory)


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_a_timeout_leaves_nothing_behind(loop_factory: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    async def timed(server: CodegenServer, path: Path, done: list[str]) -> None:
        timeouts.append(timeout := asyncio.timeout(None))
        with contextlib.suppress(TimeoutError):
            async with timeout:
                await with_nothing_sent(server, path, done)
        assert timeout.expired()

    def expire(released: Callable[[], None]) -> None:
        timeouts[-1].reschedule(asyncio.get_running_loop().time())
        asyncio.get_running_loop().call_later(0.01, released)

    timeouts: list[asyncio.Timeout] = []
    for job in range(jobs_of(with_nothing_sent, monkeypatch)):
        with monkeypatch.context() as patching:
            HeldThread(job, after=True, then=expire).install(patching)
            Trial(timed, at_steps(), sends=False).run(loop_factory)
