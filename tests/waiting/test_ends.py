"""A wait ends with the run's end, at the time and cost that were promised."""

import asyncio

import pytest

from codegen_async import limits
from codegen_async.errors import WaitTimeoutError
from codegen_async.models import Phase
from codegen_async.polling import ListPoll, Stream
from codegen_async.waiting import Page
from tests.waiting.fakes import Remote, Run, begin, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


@pytest.mark.parametrize("end", [Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED])
async def test_a_wait_returns_the_final_snapshot_whatever_the_end_was(end: Phase) -> None:
    remote = Remote()
    remote.start(7)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(7))
        await asyncio.sleep(100)
        assert not wait.done()
        final = remote.move(7, end)
        assert await wait is final


async def test_an_end_is_seen_within_the_latency_and_the_way_of_one_request() -> None:
    remote = Remote()
    remote.start(7)
    async with waiting_on(remote, latency=5.0) as waiting:
        wait = begin(waiting.wait_for_run(7))
        for _ in range(20):
            await asyncio.sleep(3.3)
        remote.end(7)
        ended = now()
        await wait
        assert now() - ended <= 5.0 + 2 * remote.latency


async def test_a_final_snapshot_needs_no_request() -> None:
    remote = Remote()
    async with waiting_on(remote) as waiting:
        given = Run(id=7, phase=Phase.FAILED)
        assert await waiting.wait_for_run(given) is given
        assert [run async for run in waiting.as_completed([given])] == [given]
        assert await waiting.wait_for_runs([given, given]) == [given, given]
        assert [run async for run in waiting.watch([given])] == [given]
        await asyncio.sleep(60)
        assert remote.requests == 0


async def test_an_id_is_asked_for_at_once() -> None:
    remote = Remote()
    remote.start(7)
    remote.end(7)
    async with waiting_on(remote, latency=3600.0) as waiting:
        asked = now()
        assert (await waiting.wait_for_run(7)).phase is Phase.SUCCEEDED
        assert remote.asked_at == [pytest.approx(asked, abs=0.01)]


async def test_an_id_is_asked_for_at_once_though_others_are_not_due() -> None:
    remote = Remote()
    remote.start(7, 8)
    remote.end(8)
    async with waiting_on(remote, page=None, latency=3600.0) as waiting:
        other = begin(waiting.wait_for_run(7))
        await asyncio.sleep(1000)
        asked = now()
        assert (await waiting.wait_for_run(8)).phase is Phase.SUCCEEDED
        assert now() - asked < 1.0 + remote.latency
        other.cancel()


async def test_a_fresh_snapshot_is_not_asked_for_again_before_the_latency() -> None:
    remote = Remote()
    remote.start(7)
    async with waiting_on(remote, latency=5.0) as waiting:
        began = now()
        wait = begin(waiting.wait_for_run(remote.runs[7]))
        remote.end(7)
        await wait
        assert [asked - began for asked in remote.asked_at] == [pytest.approx(5.0, abs=1.0)]


async def test_a_timeout_carries_the_last_snapshot_and_waiting_can_be_taken_up_again() -> None:
    remote = Remote()
    remote.start(7)
    async with waiting_on(remote) as waiting:
        began = now()
        with pytest.raises(TimeoutError) as caught:
            await waiting.wait_for_run(7, timeout=60.0)
        assert now() - began == pytest.approx(60.0, abs=0.01)
        error = caught.value
        assert isinstance(error, WaitTimeoutError)
        assert (error.run_id, error.run) == (7, remote.runs[7])
        assert str(error) == "run 7 is still running, and the time given is over"
        remote.end(7)
        assert (await waiting.wait_for_run(7, timeout=60.0)).phase is Phase.SUCCEEDED


async def test_a_timeout_before_the_first_answer_says_so() -> None:
    remote = Remote()
    remote.start(7)
    remote.latency = 50.0
    async with waiting_on(remote) as waiting:
        with pytest.raises(WaitTimeoutError, match="run 7 was not seen yet") as caught:
            await waiting.wait_for_run(7, timeout=3.0)
        assert caught.value.run is None


async def test_no_patience_at_all_is_no_error_of_the_caller() -> None:
    remote = Remote()
    remote.start(7)
    async with waiting_on(remote) as waiting:
        with pytest.raises(WaitTimeoutError):
            await waiting.wait_for_run(7, timeout=0.0)
        given = remote.move(7, Phase.SUCCEEDED)
        assert await waiting.wait_for_run(given, timeout=0.0) is given


async def test_results_come_in_the_order_asked_for() -> None:
    remote = Remote()
    remote.start(1, 2, 3, 4)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_runs([3, remote.runs[1], 4, 2]))
        for run_id in (2, 4, 3, 1):
            await asyncio.sleep(20)
            remote.end(run_id)
        assert [run.id for run in await wait] == [3, 1, 4, 2]


async def test_runs_are_yielded_as_they_end() -> None:
    remote = Remote()
    remote.start(1, 2, 3)
    remote.end(3)
    async with waiting_on(remote) as waiting:
        ended: list[int] = []
        async for run in waiting.as_completed([1, 2, 3]):
            assert run.phase.is_terminal
            ended.append(run.id)
            remote.end({3: 1}.get(run.id, 2))
        assert ended == [3, 1, 2]


async def test_a_run_named_twice_is_one_run() -> None:
    remote = Remote()
    remote.start(1, 2)
    remote.end(1, 2)
    async with waiting_on(remote, page=None) as waiting:
        assert [run.id for run in await waiting.wait_for_runs([1, 2, 1, 1])] == [1, 2, 1, 1]
        assert sorted([run.id async for run in waiting.as_completed([1, 2, 1])]) == [1, 2]
        assert sorted([run.id async for run in waiting.watch([2, 2, 1])]) == [1, 2]
        assert remote.requests == 2  # their ends are remembered


async def test_no_runs_are_done_at_once() -> None:
    remote = Remote()
    async with waiting_on(remote) as waiting:
        assert await waiting.wait_for_runs([]) == []
        assert [run async for run in waiting.as_completed([])] == []
        assert [run async for run in waiting.watch([], timeout=0.0)] == []
        assert remote.requests == 0


async def test_a_slow_consumer_loses_nothing() -> None:
    remote = Remote()
    remote.start(*range(1, 11))
    async with waiting_on(remote) as waiting:
        remote.end(*range(1, 11))
        ended: list[int] = []
        async for run in waiting.as_completed(range(1, 11), timeout=1000.0):
            ended.append(run.id)
            await asyncio.sleep(30)
        assert sorted(ended) == list(range(1, 11))


async def test_a_timeout_of_many_names_one_that_has_not_ended_and_ends_after_what_had_come() -> None:
    remote = Remote()
    remote.start(1, 2, 3)
    remote.end(2)
    async with waiting_on(remote) as waiting:
        began = now()
        ended = waiting.as_completed([1, 2, 3], timeout=60.0)
        assert (await anext(ended)).id == 2
        with pytest.raises(WaitTimeoutError) as caught:
            await anext(ended)
        assert (caught.value.run_id, caught.value.run) == (1, remote.runs[1])
        assert now() - began == pytest.approx(60.0, abs=0.01)


async def test_every_change_of_phase_is_watched_until_all_have_ended() -> None:
    remote = Remote()
    remote.start(1, 2, phase=Phase.PENDING)
    async with waiting_on(remote) as waiting:
        shown: list[tuple[object, Phase]] = []

        async def look() -> None:
            async for run in waiting.watch([1, 2]):
                shown.append((run.id, run.phase))  # noqa: PERF401 - read while it grows

        watching = begin(look())
        for run_id, phase in [(1, Phase.RUNNING), (1, Phase.BLOCKED), (2, Phase.FAILED), (1, Phase.SUCCEEDED)]:
            await asyncio.sleep(20)
            assert not watching.done()
            remote.move(run_id, phase)
        await watching
        assert sorted(shown[:2]) == [(1, Phase.PENDING), (2, Phase.PENDING)]
        assert shown[2:] == [(1, Phase.RUNNING), (1, Phase.BLOCKED), (2, Phase.FAILED), (1, Phase.SUCCEEDED)]


async def test_a_block_is_watched_once_though_a_slow_page_shows_what_was_before() -> None:
    class Early(Remote):
        async def page(self, poll: ListPoll, slot: limits.Slot) -> Page[Run]:
            asked.set()
            page = self.list_page(poll)
            await super().page(poll, slot)
            return page

    asked = asyncio.Event()
    remote = Early()
    remote.start(*range(1, 11))
    remote.page_latency = 3.0
    shown: list[Phase] = []
    async with waiting_on(remote) as waiting:

        async def watch() -> None:
            async for run in waiting.watch(remote.runs):
                shown.extend([run.phase] * (run.id == 5))

        watching = begin(watch())
        await asyncio.sleep(60)
        asked.clear()
        await asked.wait()
        await asyncio.sleep(0.1)
        remote.move(5, Phase.BLOCKED)
        waiting.notify(5)
        await asyncio.sleep(30)
        remote.end(*remote.runs)
        await watching
    assert shown == [Phase.RUNNING, Phase.BLOCKED, Phase.SUCCEEDED]


async def test_the_request_is_chosen_when_its_slot_is_granted() -> None:
    remote = Remote()
    remote.start(1, 2)
    remote.gates[Stream.GET].clear()
    async with waiting_on(remote, page=None) as waiting:
        first = begin(waiting.wait_for_run(1))
        await asyncio.sleep(10)  # the driver stands in line for a slot
        second = begin(waiting.wait_for_run(2))
        await asyncio.sleep(0)
        waiting.notify(2)
        remote.end(1, 2)
        remote.gates[Stream.GET].set()
        await asyncio.gather(first, second)
        assert remote.gets == [2, 1]


async def test_a_slot_that_came_too_late_is_given_back_unused() -> None:
    remote = Remote()
    remote.start(1, 2)
    remote.gates[Stream.GET].clear()
    async with waiting_on(remote, page=None) as waiting:
        other = begin(waiting.wait_for_run(remote.runs[2], latency=600.0))
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(10)
        waiting.seen(remote.move(1, Phase.SUCCEEDED))
        await wait
        remote.gates[Stream.GET].set()
        await asyncio.sleep(10)
        assert remote.requests == 0
        assert remote.open_slots == 0
        other.cancel()


async def test_a_notice_is_looked_into_at_once() -> None:
    remote = Remote()
    remote.start(*range(1, 31))
    async with waiting_on(remote, latency=60.0) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(100)
        remote.end(5)
        ended = now()
        waiting.notify(5)
        await waits[4]
        assert now() - ended <= 1.0 + remote.latency
        waiting.notify(999)  # nobody waits for it
        asked = remote.requests
        await asyncio.sleep(1)
        assert remote.requests == asked
        for wait in waits:
            wait.cancel()


@pytest.mark.parametrize("seconds", [0.5, 0.3])
async def test_an_end_that_comes_in_the_moment_of_the_timeout_is_not_lost(seconds: float) -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_runs([1], timeout=seconds))
        await asyncio.sleep(0)
        ended = Run(id=1, phase=Phase.SUCCEEDED)
        asyncio.get_running_loop().call_at(now() + seconds, waiting.seen, ended)
        assert await wait == [ended]
