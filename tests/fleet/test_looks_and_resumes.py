"""No wait of a fleet ends by what was before a resume: whoever is late, frozen, cut off or new in it."""

import asyncio

import pytest

from benchmarks._fleet_air import Air
from codegen_async.models import Phase
from tests.fleet.looking import Worker, fleet, leaders
from tests.waiting.fakes import Remote, Run, begin, now

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


async def ended_everywhere(remote: Remote, workers: list[Worker]) -> Run:
    """Let run 1 run, and end, in the sight of all."""
    remote.start(1)
    waits = [begin(worker.waiting.wait_for_run(1)) for worker in workers]
    await asyncio.sleep(10)
    remote.end(1)
    await asyncio.gather(*waits)
    return remote.runs[1]


@pytest.mark.parametrize("lost", [0.0, 0.3])
@pytest.mark.parametrize("who", [0, 2])
async def test_all_wait_for_the_new_end_of_a_run_that_one_took_up_again(who: int, lost: float) -> None:
    remote, air = Remote(), Air()
    async with fleet(remote, 3, air) as workers:
        old = await ended_everywhere(remote, workers)
        air.lost = lost
        workers[who].waiting.reopened(1, old)
        await asyncio.sleep(3 if lost else 0.1)
        waits = [begin(worker.waiting.wait_for_run(1)) for worker in workers]
        await asyncio.sleep(20)
        assert not any(wait.done() for wait in waits)  # the server shows the old end for a while
        remote.resume(1)
        await asyncio.sleep(60)
        remote.end(1)
        ended = now()
        assert [run.life for run in await asyncio.gather(*waits)] == [1, 1, 1]
        assert now() - ended <= (60 if lost else 6)


async def test_who_leads_and_does_not_know_of_a_resume_is_not_believed() -> None:
    remote, air = Remote(), Air()
    async with fleet(remote, 2, air) as workers:
        await ended_everywhere(remote, workers)
        air.may_pass = lambda a, _: a == "w0"  # the leader hears nothing
        workers[1].waiting.reopened(1)
        await asyncio.sleep(1)
        wait = begin(workers[1].waiting.wait_for_run(1))
        leading = begin(workers[0].waiting.wait_for_run(1))
        assert (await leading).life == 0  # which has its end, for all that is known here
        await asyncio.sleep(30)
        assert not wait.done()
        remote.resume(1)
        air.may_pass = lambda _, __: True
        await asyncio.sleep(60)
        remote.end(1)
        assert (await wait).life == 1


async def test_a_leader_that_missed_a_resume_is_told_again_when_it_tells_an_old_end() -> None:
    remote, air = Remote(), Air()
    async with fleet(remote, 3, air) as workers:
        await ended_everywhere(remote, workers)
        air.may_pass = lambda a, b: (a, b) != ("w1", "w0")
        workers[1].waiting.reopened(1)
        await asyncio.sleep(70)  # longer than it is said again
        air.may_pass = lambda _, __: True
        await asyncio.sleep(5)
        wait = begin(workers[1].waiting.wait_for_run(1))
        await asyncio.sleep(30)
        assert not wait.done()
        remote.resume(1)
        await asyncio.sleep(50)
        remote.end(1)
        assert (await wait).life == 1


async def test_what_a_frozen_member_hears_afterwards_ends_no_wait() -> None:
    remote, air = Remote(), Air()
    async with fleet(remote, 3, air) as workers:
        remote.start(1)
        first = begin(workers[1].waiting.wait_for_run(1))
        await asyncio.sleep(10)
        workers[2].bus.open.clear()
        remote.end(1)
        old = await first
        workers[1].waiting.reopened(1, old)
        remote.resume(1)
        await asyncio.sleep(100)
        wait = begin(workers[2].waiting.wait_for_run(1))
        await asyncio.sleep(0)
        workers[2].bus.open.set()  # all of it comes at once: the end, and the resume
        await asyncio.sleep(30)
        assert not wait.done()
        remote.end(1)
        assert (await wait).life == 1


async def test_what_a_frozen_leader_says_afterwards_ends_no_wait() -> None:
    remote, air = Remote(), Air()
    remote.start(1)
    async with fleet(remote, 3, air) as workers:
        waits = [begin(workers[place].waiting.wait_for_run(1)) for place in (1, 2)]
        await asyncio.sleep(10)
        said = air.send
        late: list[tuple[str, str, bytes]] = []

        def send(sender: str, channel: str, message: bytes) -> None:
            if sender == "w0":
                late.append((sender, channel, message))
            else:
                said(sender, channel, message)

        air.send = send  # type: ignore[method-assign]
        workers[0].bus.open.clear()
        remote.end(1)
        await asyncio.gather(*waits)
        assert leaders(workers[1:]) == ["w1"]
        workers[1].waiting.reopened(1)
        remote.resume(1)
        await asyncio.sleep(0.1)
        again = [begin(workers[place].waiting.wait_for_run(1)) for place in (1, 2)]
        await asyncio.sleep(30)
        air.send = said  # type: ignore[method-assign]
        for words in late:
            said(*words)
        workers[0].bus.open.set()
        await asyncio.sleep(30)
        assert not any(wait.done() for wait in again)
        remote.end(1)
        assert [run.life for run in await asyncio.gather(*again)] == [1, 1]


async def test_a_new_leader_knows_the_resumes_of_others() -> None:
    remote = Remote()
    async with fleet(remote, 3) as workers:
        old = await ended_everywhere(remote, workers)
        workers[2].waiting.reopened(1, old)
        await asyncio.sleep(1)
        wait = begin(workers[2].waiting.wait_for_run(1))
        await workers[0].die()
        await asyncio.sleep(30)
        assert leaders(workers) == ["w1"]
        assert not wait.done()
        remote.resume(1)
        await asyncio.sleep(40)
        remote.end(1)
        assert (await wait).life == 1


async def test_a_block_that_one_has_answered_asks_nobody_else_again() -> None:
    remote = Remote()
    remote.start(1)
    answered: set[tuple[str, int]] = set()  # by whom, as only who has answered knows of it

    def is_old(name: str, run: Run) -> bool:
        return run.phase is Phase.BLOCKED and (name, run.life) in answered

    async with fleet(remote, 2, is_old=is_old) as workers:
        asked: list[int] = []

        async def answer(run: Run) -> None:
            asked.append(run.life)
            answered.add(("w0", run.life))

        async def nobody(run: Run) -> None:
            raise AssertionError(f"run {run.id} was answered")

        waits = [begin(workers[0].waiting.wait_for_run(1, on_blocked=answer))]
        await asyncio.sleep(10)
        remote.move(1, Phase.BLOCKED)
        await asyncio.sleep(6)
        assert asked == [0]
        waits.append(begin(workers[1].waiting.wait_for_run(1, on_blocked=nobody)))
        await asyncio.sleep(20)  # the server shows the block for a while
        remote.resume(1)
        await asyncio.sleep(50)
        remote.end(1)
        assert [run.phase for run in await asyncio.gather(*waits)] == [Phase.SUCCEEDED] * 2
        assert asked == [0]
