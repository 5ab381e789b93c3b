"""Whatever happens in whatever order, every wait ends once and right, and nothing is left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from codegen_async.errors import (
    AuthenticationError,
    NotFoundError,
    RunBlockedError,
    ServerError,
    WaitTimeoutError,
)
from codegen_async.models import Phase
from codegen_async.polling import Listing, ListPoll, PollSchedule
from codegen_async.testing import VirtualLoop
from codegen_async.waiting import Waiting
from tests.waiting.fakes import RATE, Remote, Run, answer, down

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds after which a truth that nothing hides must have been told: latency, grace, and the pause after an outage."""

picks = st.integers(min_value=0, max_value=999)
timeouts = st.sampled_from([None, 0.0, 0.5, 7.0, 300.0])
latencies = st.sampled_from([None, 0.0, 1.0, 20.0])


class Wait:
    """One wait, and what must be true of its outcome."""

    def __init__(self, ids: Sequence[int], began: float, timeout: float | None, lives: dict[int, int]) -> None:
        self.ids = ids
        self.began = began
        self.deadline = None if timeout is None else began + timeout
        self.lives = lives  # what is from before a resume that was known when the wait began is no answer
        self.seen: list[Run] = []
        self.task: asyncio.Task[None] | None = None
        self.ended_at = 0.0
        self.cancelled = False

    @property
    def done(self) -> bool:
        return self.task is not None and self.task.done()


class Waits(RuleBasedStateMachine):
    """Waits on a server that knows when each run ended, and when it could not be reached."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.remote = self.run(self.make_remote())
        self.schedule = PollSchedule(get=RATE, page=RATE, listing=Listing("API"))
        self.waiting = Waiting(self.remote, self.schedule, latency=5.0)
        self.truth: dict[int, Run] = {}
        """Every snapshot the server ever had, by its identity."""
        self.still_since: dict[int, float] = {}
        self.expected_life: dict[int, int] = {}
        self.deleted: set[int] = set()
        self.waits: list[Wait] = []
        self.hidden_until = -1.0
        self.refusing = False
        self.refused_until = -1.0
        self.next_id = 1
        self.start(Phase.RUNNING)

    async def make_remote(self) -> Remote:
        return Remote()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def pick(self, number: int) -> int:
        ids = list(self.remote.runs)
        return ids[number % len(ids)]

    def keep(self, run: Run) -> None:
        self.truth[id(run)] = run
        if run.phase.is_terminal:
            self.still_since[run.id] = self.loop.time()
        else:
            self.still_since.pop(run.id, None)

    # What the server does

    @rule(phase=st.sampled_from([Phase.PENDING, Phase.RUNNING]))
    def start(self, phase: Phase) -> None:
        self.remote.start(self.next_id, phase=phase)
        self.expected_life[self.next_id] = 0
        self.keep(self.remote.runs[self.next_id])
        self.next_id += 1

    @rule(number=picks, phase=st.sampled_from(list(Phase)))
    def move(self, number: int, phase: Phase) -> None:
        run_id = self.pick(number)
        if not self.remote.runs[run_id].phase.is_terminal:
            self.keep(self.remote.move(run_id, phase))

    @rule(number=picks, late=st.sampled_from([0.0, 3.0]))
    def resume(self, number: int, late: float) -> None:
        """Take a run up again as the client does; the server may go on showing the old end for a moment."""
        run_id = self.pick(number)
        if not self.remote.runs[run_id].phase.is_terminal:
            return
        self.expected_life[run_id] += 1

        async def call() -> None:
            self.waiting.reopened(run_id)
            if late:
                self.waiting.seen(self.remote.runs[run_id])
                await asyncio.sleep(late)
            self.keep(self.remote.resume(run_id))
            self.waiting.seen(self.remote.runs[run_id])

        self.run(call())

    @precondition(lambda self: len(self.remote.runs) > 1)
    @rule(number=picks)
    def delete(self, number: int) -> None:
        run_id = self.pick(number)
        del self.remote.runs[run_id]
        self.still_since.pop(run_id, None)
        self.deleted.add(run_id)

    @precondition(lambda self: not self.refusing)
    @rule(what=st.sampled_from([down, answer(ServerError, 502), answer(ServerError, 503)]), lists=st.booleans())
    def break_down(self, what: Any, lists: bool) -> None:
        self.remote.fault = lambda poll: what(poll) if lists or not isinstance(poll, ListPoll) else None
        self.hidden_until = float("inf")

    @rule()
    def recover(self) -> None:
        self.remote.fault = lambda _: None
        self.hidden_until = self.loop.time()
        self.refusing = False

    @rule(seconds=st.sampled_from([1.0, 60.0]))
    def refuse_the_token(self, seconds: float) -> None:
        self.remote.fault = answer(AuthenticationError, 401)
        self.refusing = True
        self.run(asyncio.sleep(seconds))
        self.refused_until = self.loop.time()
        self.recover()

    @rule(latency=st.sampled_from([0.01, 0.5, 4.0]))
    def change_the_latency(self, latency: float) -> None:
        self.remote.latency = latency

    # What users do

    @rule(number=picks, timeout=timeouts, latency=latencies, known=st.booleans())
    def wait(self, number: int, timeout: float | None, latency: float | None, known: bool) -> None:
        run_id = self.pick(number)
        run = self.remote.runs[run_id] if known and not self.is_reopened(run_id) else run_id

        async def wait(wait: Wait) -> None:
            wait.seen.append(await self.waiting.wait_for_run(run, timeout=timeout, latency=latency))

        self.begin(wait, [run_id], timeout)

    @rule(numbers=st.lists(picks, max_size=5), timeout=timeouts, latency=latencies, how=st.sampled_from(["all", "as"]))
    def wait_for_many(self, numbers: list[int], timeout: float | None, latency: float | None, how: str) -> None:
        ids = [self.pick(number) for number in numbers]

        async def wait(wait: Wait) -> None:
            if how == "all":
                runs = await self.waiting.wait_for_runs(ids, timeout=timeout, latency=latency)
                assert [run.id for run in runs] == ids
                wait.seen.extend({run.id: run for run in runs}.values())
            else:
                await self.collect(wait, self.waiting.as_completed(ids, timeout=timeout, latency=latency))

        self.begin(wait, sorted(set(ids)), timeout)

    @rule(numbers=st.lists(picks, min_size=1, max_size=3), timeout=timeouts)
    def watch(self, numbers: list[int], timeout: float | None) -> None:
        ids = sorted({self.pick(number) for number in numbers})

        async def watch(wait: Wait) -> None:
            shown: dict[int, list[Run]] = {run_id: [] for run_id in ids}
            async for run in self.waiting.watch(ids, timeout=timeout):
                shown[run.id].append(run)
            for changes in shown.values():
                assert all(before.phase is not after.phase for before, after in pairwise(changes))
                assert [run.phase.is_terminal for run in changes] == [False] * (len(changes) - 1) + [True]
                wait.seen.append(changes[-1])

        self.begin(watch, ids, timeout)

    async def collect(self, wait: Wait, runs: AsyncIterator[Run]) -> None:
        async for run in runs:
            wait.seen.append(run)

    @rule(number=picks)
    def look_and_leave(self, number: int) -> None:
        """Leave a loop after its first item, or when patience ends."""

        async def look() -> None:
            with contextlib.suppress(TimeoutError, NotFoundError):
                async for _ in self.waiting.watch([self.pick(number)], timeout=8.0):
                    break

        self.run(look())

    @precondition(lambda self: bool(self.waits))
    @rule(number=picks)
    def cancel(self, number: int) -> None:
        wait = self.waits[number % len(self.waits)]
        if wait.task is not None and not wait.done:
            wait.cancelled = wait.task.cancel()
            self.run(asyncio.sleep(0))

    @rule(number=picks, how=st.sampled_from(["get", "list", "notify"]))
    def look(self, number: int, how: str) -> None:
        """Bring in an answer of the user's own, or a webhook."""

        async def look() -> None:
            run_id = self.pick(number)
            if how == "notify":
                self.waiting.notify(run_id)
            elif how == "get":
                self.waiting.seen(self.remote.runs[run_id])
            else:
                poll = ListPoll(0, 100, "API")
                self.waiting.seen_page(poll, self.remote.list_page(poll))

        self.run(look())

    @rule(seconds=st.sampled_from([0.0, 0.3, 4.0, 11.0, 100.0, 700.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    # What must hold

    def begin(self, wait: Any, ids: list[int], timeout: float | None) -> None:
        record = Wait(ids, self.loop.time(), timeout, {run_id: self.expected_life[run_id] for run_id in ids})

        async def keep_time() -> None:
            try:
                await wait(record)
            finally:
                record.ended_at = self.loop.time()

        async def start() -> None:
            record.task = asyncio.create_task(keep_time())
            await asyncio.sleep(0)

        self.run(start())
        self.waits.append(record)

    def is_reopened(self, run_id: int) -> bool:
        return self.remote.runs[run_id].life < self.expected_life[run_id]

    @invariant()
    def every_wait_that_ended_ended_right(self) -> None:
        for wait in self.waits:
            if wait.done:
                self.check(wait)
        self.waits = [wait for wait in self.waits if not wait.done]

    def check(self, wait: Wait) -> None:
        assert wait.task is not None
        for run in wait.seen:
            assert self.truth[id(run)] is run
            assert run.phase.is_terminal or run.phase is Phase.BLOCKED
            assert run.life >= wait.lives[run.id]
        ids = [run.id for run in wait.seen]
        assert len(set(ids)) == len(ids)
        if wait.task.cancelled():
            assert wait.cancelled
            return
        error = wait.task.exception()
        if error is None:
            assert sorted(ids) == wait.ids
            return
        self.check_error(wait, error)

    def check_error(self, wait: Wait, error: BaseException) -> None:
        match error:
            case WaitTimeoutError(run_id=int(run_id)):
                assert wait.deadline is not None
                assert abs(wait.ended_at - wait.deadline) < 0.1
                assert run_id in wait.ids
                since = self.still_since.get(run_id, float("inf"))
                assert wait.deadline < max(since, self.hidden_until, wait.began) + PATIENCE
            case RunBlockedError():
                assert isinstance(error.run, Run)
                assert self.truth[id(error.run)] is error.run
                assert error.run.phase is Phase.BLOCKED
            case NotFoundError():
                assert self.deleted & set(wait.ids)
            case AuthenticationError():
                assert self.refused_until >= wait.began
            case _:
                raise error

    @invariant()
    def without_waits_nothing_is_watched(self) -> None:
        if not self.waits:
            self.run(asyncio.sleep(0))  # loops that were left are being closed
            assert len(self.schedule) == 0

    def teardown(self) -> None:
        self.recover()
        self.remote.latency = 0.1
        for run in list(self.remote.runs.values()):
            if not run.phase.is_terminal:
                self.keep(self.remote.move(run.id, Phase.SUCCEEDED))
        self.run(asyncio.sleep(PATIENCE))
        assert all(wait.done for wait in self.waits)
        self.every_wait_that_ended_ended_right()
        assert len(self.schedule) == 0
        assert asyncio.all_tasks(self.loop) == set()
        self.run(self.waiting.aclose())
        assert self.remote.open_slots == 0
        self.loop.close()


TestWaits = Waits.TestCase
TestWaits.settings = settings(max_examples=60, stateful_step_count=40)
