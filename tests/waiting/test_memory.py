"""What was seen of an ended run is not asked for again, and those who ask at once share a request."""

import asyncio

import pytest

from codegen_async.codegen.models import AgentRun
from codegen_async.errors import ClientClosedError, NotFoundError
from codegen_async.models import Phase
from codegen_async.polling import ListPoll, Stream
from codegen_async.waiting import Waiting
from codegen_async.waiting.ends import ENDED_FOR, Memory
from tests.waiting.fakes import Remote, Run, begin, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


async def look(waiting: Waiting[Run], remote: Remote, run_id: int, max_age: float | None = None) -> Run:
    return await waiting.look(run_id, lambda: remote.get(run_id, remote.slot(Stream.GET)), max_age=max_age)


async def test_an_ended_run_is_not_asked_for_again() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(20)
        remote.end(1)
        final = await wait
        asked = remote.requests
        for _ in range(20):
            assert await look(waiting, remote, 1) is final
            assert await waiting.wait_for_run(1) is final
            assert [run async for run in waiting.watch([1])] == [final]
        assert remote.requests == asked


async def test_an_end_is_believed_for_minutes_and_not_for_ever() -> None:
    remote = Remote()
    remote.start(1)
    remote.end(1)
    async with waiting_on(remote) as waiting:
        await look(waiting, remote, 1)
        remote.resume(1)  # by somebody else
        await asyncio.sleep(ENDED_FOR - 10)
        assert (await look(waiting, remote, 1)).phase is Phase.SUCCEEDED
        await asyncio.sleep(20)
        assert (await look(waiting, remote, 1)).phase is Phase.RUNNING


@pytest.mark.parametrize("what", ["resume", "notice", "page", "asking for now"])
async def test_what_is_known_better_is_forgotten(what: str) -> None:
    remote = Remote()
    remote.start(1)
    remote.end(1)
    async with waiting_on(remote) as waiting:
        await look(waiting, remote, 1)
        remote.resume(1)
        if what == "resume":
            waiting.reopened(1)
        elif what == "notice":
            waiting.notify(1)
        elif what == "page":
            poll = ListPoll(0, 100, None)
            waiting.seen_page(poll, remote.list_page(poll))
        else:
            assert (await look(waiting, remote, 1, 0.0)).phase is Phase.RUNNING
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(60)
        assert not wait.done()
        remote.end(1)
        assert (await wait).life == 1


async def test_an_end_from_before_a_resume_is_not_remembered() -> None:
    remote = Remote()
    remote.start(1)
    remote.end(1)
    async with waiting_on(remote) as waiting:
        waiting.reopened(1)
        await look(waiting, remote, 1)  # the server shows the old end for a moment
        remote.resume(1)
        assert (await look(waiting, remote, 1)).phase is Phase.RUNNING


async def test_running_runs_are_asked_for_each_time() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        for _ in range(3):
            await look(waiting, remote, 1)
        assert remote.requests == 3


async def test_looks_that_may_be_old_share_a_request() -> None:
    remote = Remote()
    remote.start(1)
    remote.latency = 1.0
    async with waiting_on(remote) as waiting:
        runs = await asyncio.gather(*(look(waiting, remote, 1, 10.0) for _ in range(20)))
        assert {id(run) for run in runs} == {id(remote.runs[1])}
        assert remote.requests == 1
        await look(waiting, remote, 1, 10.0)
        assert remote.requests == 1
        await asyncio.sleep(10)
        await asyncio.gather(*(look(waiting, remote, 1, 10.0) for _ in range(20)))
        assert remote.requests == 2


async def test_a_request_that_is_too_old_is_not_joined() -> None:
    remote = Remote()
    remote.start(1)
    remote.latency = 5.0
    async with waiting_on(remote) as waiting:
        first = begin(look(waiting, remote, 1, 3.0))
        await asyncio.sleep(4)
        await look(waiting, remote, 1, 3.0)
        assert remote.requests == 2
        await first


async def test_an_answer_is_as_old_as_its_question_however_slowly_it_came() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, page=None) as waiting:
        await look(waiting, remote, 1, 60.0)
        remote.latency = 20.0
        wait = begin(waiting.wait_for_run(1, latency=100.0))
        await asyncio.sleep(21)
        remote.latency = 0.1
        asked = remote.requests
        await look(waiting, remote, 1, 10.0)
        assert remote.requests == asked + 1
        wait.cancel()


async def test_a_slow_answer_does_not_take_the_place_of_a_newer_one() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:

        async def slowly() -> Run:
            run = remote.runs[1]
            await asyncio.sleep(20)
            return run

        slow = begin(waiting.look(1, slowly, max_age=0))
        await asyncio.sleep(1)
        remote.end(1)
        await look(waiting, remote, 1, 10.0)
        assert (await slow).phase is Phase.RUNNING
        assert (await look(waiting, remote, 1)).phase is Phase.SUCCEEDED
        assert remote.requests == 1


async def test_who_leaves_a_shared_look_disturbs_no_other_and_the_last_one_ends_it() -> None:
    remote = Remote()
    remote.start(1)
    remote.latency = 10.0
    async with waiting_on(remote) as waiting:
        looks = [begin(look(waiting, remote, 1, 60.0)) for _ in range(3)]
        await asyncio.sleep(1)
        looks[0].cancel()
        await asyncio.sleep(1)
        assert [task.done() for task in looks] == [True, False, False]
        looks[1].cancel()
        assert (await looks[2]).id == 1
        again = begin(look(waiting, remote, 1, 0.5))
        await asyncio.sleep(1)
        assert remote.open_slots == 1
        again.cancel()
        await asyncio.sleep(0.1)
        assert remote.open_slots == 0


@pytest.mark.parametrize("steps", range(4))
async def test_who_comes_as_the_last_one_leaves_gets_a_look_of_its_own(steps: int) -> None:
    remote = Remote()
    remote.start(1)
    remote.latency = 2.0
    async with waiting_on(remote) as waiting:
        leaving = begin(look(waiting, remote, 1, 60.0))
        await asyncio.sleep(1)
        leaving.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
        assert (await look(waiting, remote, 1, 60.0)).id == 1
        assert leaving.cancelled()


async def test_a_shared_failure_is_an_error_of_its_own_for_each() -> None:
    remote = Remote()
    async with waiting_on(remote) as waiting:
        looks = (look(waiting, remote, 1, 10.0) for _ in range(3))
        errors = await asyncio.gather(*looks, return_exceptions=True)
        assert {type(error) for error in errors} == {NotFoundError}
        assert len({id(error) for error in errors}) == 3
        remote.start(1)
        assert (await look(waiting, remote, 1, 10.0)).id == 1


async def test_closing_ends_shared_looks_with_a_plain_error() -> None:
    remote = Remote()
    remote.start(1)
    remote.latency = 100.0
    async with waiting_on(remote) as waiting:
        looks = [begin(look(waiting, remote, 1, 10.0)) for _ in range(2)]
        await asyncio.sleep(1)
        began = now()
        await waiting.aclose()
        errors = await asyncio.gather(*looks, return_exceptions=True)
        assert [type(error) for error in errors] == [ClientClosedError] * 2
        assert now() - began < 1


async def test_a_run_may_be_nested_as_deeply_as_it_likes() -> None:
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"within": [deep]}
    run = AgentRun(id=1, organization_id=1, status="COMPLETE", metadata=deep)
    memory: Memory[AgentRun] = Memory()
    memory.keep(run, 0.0)
    assert memory.recall(1, 0.0) is run


async def test_memory_is_bounded_by_bytes_and_the_least_used_goes_first() -> None:
    memory: Memory[Run] = Memory(capacity=10_000)
    for number in range(1000):
        memory.keep(Run(id=number, phase=Phase.SUCCEEDED, status="x" * 200), 0.0)
        assert memory.recall(0, 1.0) is not None or number > 20
        assert memory.size <= 10_000
    assert 0 in memory
    assert 1 not in memory
    assert 999 in memory
    memory.keep(Run(id=5, phase=Phase.SUCCEEDED, status="x" * 20_000), 0.0)
    assert memory.size == 0
    memory.keep(Run(id=6, phase=Phase.SUCCEEDED, status="\ud800"), 0.0)
    memory.keep(Run(id=7, phase=Phase.SUCCEEDED), 0.0)
    assert 7 in memory
