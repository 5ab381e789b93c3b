"""Runs that need a person, and runs that are taken up again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from codegen_async.errors import ClientClosedError, RunBlockedError, WaitTimeoutError
from codegen_async.models import Phase
from codegen_async.polling import ListPoll
from codegen_async.waiting import Page, Waiting
from tests.waiting.fakes import Remote, Run, begin, down, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def answering(
    remote: Remote, waiting: Waiting[Run], *, thinks: float = 60.0, log: list[float] | None = None
) -> Callable[[Run], Awaitable[None]]:
    """Return a handler that thinks a while and then resumes the run as the client does."""

    async def answer(run: Run) -> None:
        assert run.phase is Phase.BLOCKED
        if log is not None:
            log.append(now())
        await asyncio.sleep(thinks)
        resumed = remote.resume(run.id)
        waiting.reopened(run.id)
        waiting.seen(resumed)

    return answer


async def test_a_blocked_run_raises_with_its_snapshot() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(20)
        blocked = remote.move(1, Phase.BLOCKED)
        with pytest.raises(RunBlockedError, match="run 1 needs a person") as caught:
            await wait
        assert (caught.value.run_id, caught.value.run) == (1, blocked)


async def test_a_blocked_snapshot_raises_without_a_request() -> None:
    remote = Remote()
    async with waiting_on(remote) as waiting:
        with pytest.raises(RunBlockedError):
            await waiting.wait_for_run(Run(id=1, phase=Phase.BLOCKED))
        assert remote.requests == 0


async def test_a_blocked_run_is_a_result_of_waits_for_many() -> None:
    remote = Remote()
    remote.start(1, 2)
    remote.end(1)
    remote.move(2, Phase.BLOCKED)
    async with waiting_on(remote) as waiting:
        runs = await waiting.wait_for_runs([1, 2])
        assert [run.phase for run in runs] == [Phase.SUCCEEDED, Phase.BLOCKED]
        assert {run.id async for run in waiting.as_completed([1, 2])} == {1, 2}


async def test_a_handler_is_asked_each_time_and_waiting_goes_on() -> None:
    remote = Remote()
    remote.start(1)
    log: list[float] = []
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(1, on_blocked=answering(remote, waiting, log=log)))
        for rounds in (1, 2, 3):
            await asyncio.sleep(30)
            remote.move(1, Phase.BLOCKED)
            await asyncio.sleep(120)
            assert len(log) == rounds
            assert not wait.done()
        remote.end(1)
        assert await wait == Run(id=1, phase=Phase.SUCCEEDED, life=3)


async def test_the_time_of_a_handler_does_not_count() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        handler = answering(remote, waiting, thinks=1000.0)
        began = now()
        wait = begin(waiting.wait_for_run(1, timeout=100.0, on_blocked=handler))
        await asyncio.sleep(30)
        remote.move(1, Phase.BLOCKED)
        with pytest.raises(WaitTimeoutError):
            await wait
        assert now() - began == pytest.approx(1100.0, abs=1.0)


async def test_the_run_is_left_alone_while_the_handler_thinks_and_others_are_not() -> None:
    remote = Remote()
    remote.start(1, 2)
    remote.move(1, Phase.BLOCKED)
    log: list[float] = []
    async with waiting_on(remote, page=None) as waiting:
        handler = answering(remote, waiting, thinks=500.0, log=log)
        other = begin(waiting.wait_for_run(2))
        wait = begin(waiting.wait_for_run(1, on_blocked=handler))
        await asyncio.sleep(10)
        assert len(log) == 1
        before = len(remote.gets)
        await asyncio.sleep(400)
        assert set(remote.gets[before:]) == {2}
        remote.end(2)
        assert (await other).id == 2
        await asyncio.sleep(200)
        assert remote.gets[-1] == 1
        remote.end(1)
        assert (await wait).life == 1


async def test_the_run_is_looked_at_as_soon_as_the_handler_is_done() -> None:
    remote = Remote()
    remote.start(1)
    remote.move(1, Phase.BLOCKED)
    done: list[float] = []

    async def answer(run: Run) -> None:
        remote.resume(run.id)
        done.append(now())

    async with waiting_on(remote, latency=600.0) as waiting:
        wait = begin(waiting.wait_for_run(1, on_blocked=answer))
        await asyncio.sleep(30)
        assert remote.asked_at[-1] == pytest.approx(done[0], abs=1.0)
        assert len(remote.asked_at) == 2
        wait.cancel()


async def test_an_error_of_the_handler_is_the_error_of_the_wait() -> None:
    remote = Remote()
    remote.start(1)
    remote.move(1, Phase.BLOCKED)

    async def give_up(_: Run) -> None:
        raise LookupError

    async with waiting_on(remote) as waiting:
        with pytest.raises(LookupError):
            await waiting.wait_for_run(1, on_blocked=give_up)
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_wait_cancelled_while_the_handler_thinks_cancels_the_handler() -> None:
    remote = Remote()
    remote.start(1)
    remote.move(1, Phase.BLOCKED)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(1, on_blocked=answering(remote, waiting)))
        await asyncio.sleep(10)
        wait.cancel()
        await asyncio.sleep(100)
        assert wait.cancelled()
        assert remote.runs[1].life == 0


async def test_a_client_closed_while_the_handler_thinks_is_said_afterwards() -> None:
    remote = Remote()
    remote.start(1)
    remote.move(1, Phase.BLOCKED)

    async def think(_: Run) -> None:
        await asyncio.sleep(60)

    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(1, on_blocked=think))
        await asyncio.sleep(10)
        await waiting.aclose()
        with pytest.raises(ClientClosedError):
            await wait


async def test_a_block_the_server_still_shows_after_the_handler_is_not_taken_for_a_new_one() -> None:
    remote = Remote()
    remote.start(1)
    blocked = remote.move(1, Phase.BLOCKED)
    asked: list[float] = []

    async def answer(_: Run) -> None:
        asked.append(now())

    async with waiting_on(remote, latency=1.0) as waiting:
        wait = begin(waiting.wait_for_run(1, on_blocked=answer))
        await asyncio.sleep(9)
        assert len(asked) == 1
        await asyncio.sleep(65)
        assert len(asked) == 2  # after a minute it is believed
        assert remote.runs[1] is blocked
        remote.end(1)
        assert (await wait).phase is Phase.SUCCEEDED


async def test_the_old_end_is_not_taken_for_the_new_one() -> None:
    remote = Remote()
    remote.start(1)
    remote.end(1)
    async with waiting_on(remote, latency=1.0) as waiting:
        old = await waiting.wait_for_run(1)
        waiting.reopened(1)
        waits = [begin(waiting.wait_for_run(run)) for run in (1, old)]
        many = begin(waiting.wait_for_runs([1]))
        await asyncio.sleep(8)
        waiting.seen(old)
        waiting.seen_page(*_first_page(remote))
        await asyncio.sleep(1)
        assert not any(wait.done() for wait in (*waits, many))  # the server was slow to show the resume
        remote.resume(1)
        await asyncio.sleep(60)
        assert not any(wait.done() for wait in (*waits, many))
        remote.end(1)
        assert [run.life for run in await asyncio.gather(*waits)] == [1, 1]
        assert (await many)[0].life == 1


def _first_page(remote: Remote) -> tuple[ListPoll, Page[Run]]:
    poll = ListPoll(0, 100, None)
    return poll, remote.list_page(poll)


async def test_a_new_end_within_the_grace_is_believed_after_it() -> None:
    remote = Remote()
    remote.start(1)
    remote.end(1)
    async with waiting_on(remote, latency=1.0) as waiting:
        waiting.reopened(1)
        remote.resume(1)
        began = now()
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(2)
        remote.end(1)
        assert (await wait).life == 1
        assert 60 <= now() - began <= 65


async def test_what_was_known_before_a_resume_is_forgotten_with_it() -> None:
    remote = Remote()
    remote.start(1)
    remote.move(1, Phase.BLOCKED)
    async with waiting_on(remote, latency=1.0) as waiting:
        watching = waiting.watch([1])
        assert (await anext(watching)).phase is Phase.BLOCKED
        waiting.reopened(1)
        remote.resume(1)
        remote.fault = down
        await asyncio.sleep(15)
        wait = begin(waiting.wait_for_run(1))  # begins after the grace, and nothing new has been seen yet
        await asyncio.sleep(1)
        assert not wait.done()
        remote.fault = lambda _: None
        await asyncio.sleep(60)
        remote.end(1)
        assert (await wait).life == 1
        await watching.aclose()


async def test_resuming_one_run_does_not_touch_another() -> None:
    remote = Remote()
    remote.start(1, 2)
    remote.end(1, 2)
    async with waiting_on(remote) as waiting:
        waiting.reopened(1)
        began = now()
        assert (await waiting.wait_for_run(2)).id == 2
        assert now() - began < 5


async def test_resumes_long_past_are_forgotten() -> None:
    remote = Remote()
    async with waiting_on(remote) as waiting:
        for run_id in range(1000):
            waiting.reopened(run_id)
            await asyncio.sleep(1)
        assert len(waiting._board._reopened) <= 10_000


async def test_a_resume_is_a_change_that_is_watched() -> None:
    remote = Remote()
    remote.start(1)
    remote.move(1, Phase.BLOCKED)
    async with waiting_on(remote) as waiting:
        watching = waiting.watch([1])
        phases = [(await anext(watching)).phase]
        waiting.reopened(1)
        waiting.seen(remote.resume(1))
        resumed = now()
        phases.append((await anext(watching)).phase)
        assert now() - resumed < 0.01
        remote.end(1)
        phases.extend([run.phase async for run in watching])
        assert phases == [Phase.BLOCKED, Phase.RUNNING, Phase.SUCCEEDED]
