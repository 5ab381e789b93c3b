"""All waits of a client share one driver, and leave nothing behind."""

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator

import pytest

from codegen_async.errors import WaitTimeoutError
from codegen_async.limits import Slot
from codegen_async.models import Phase, RunId
from codegen_async.polling import ListPoll, Stream
from tests.waiting.fakes import Remote, Run, begin, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def tasks_of_others(*mine: asyncio.Task[Run]) -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task(), *mine}


async def at_rest(remote: Remote) -> None:
    """Assert that nothing is left of any wait, without closing anything."""
    await asyncio.sleep(remote.latency + 0.01)  # a request under way comes to its end
    assert tasks_of_others() == set()
    assert remote.open_slots == 0
    asked = remote.requests
    await asyncio.sleep(600)
    assert remote.requests == asked


async def test_waits_have_no_tasks_of_their_own() -> None:
    remote = Remote()
    remote.start(*range(1, 501))
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(0)
        drivers = tasks_of_others(*waits)
        assert len(drivers) == len(Stream)
        await asyncio.sleep(100)
        assert drivers <= tasks_of_others(*waits)
        remote.end(*remote.runs)
        await asyncio.gather(*waits)
        await at_rest(remote)


async def test_one_run_waited_for_by_many_is_asked_for_once() -> None:
    remote = Remote()
    remote.start(7)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(7)) for _ in range(50)]
        await asyncio.sleep(99)
        assert remote.requests <= 21
        final = remote.move(7, Phase.SUCCEEDED)
        assert await asyncio.gather(*waits) == [final] * 50


async def test_a_cancelled_wait_disturbs_no_other() -> None:
    remote = Remote()
    remote.start(1, 2, 3)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2, 2, 3)]
        await asyncio.sleep(20)
        waits[0].cancel()
        waits[1].cancel()
        await asyncio.sleep(20)
        assert [wait.cancelled() for wait in waits] == [True, True, False, False]
        remote.end(1, 2, 3)
        assert [run.id for run in await asyncio.gather(*waits[2:])] == [2, 3]


async def test_an_end_that_comes_in_the_moment_of_a_cancellation_disturbs_nobody() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(1)) for _ in range(2)]
        await asyncio.sleep(1)
        waits[0].cancel()
        waiting.seen(remote.move(1, Phase.SUCCEEDED))
        assert (await waits[1]).phase is Phase.SUCCEEDED
        assert waits[0].cancelled()


async def test_a_wait_that_timed_out_disturbs_no_other() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        for run_id in (1, 1, 2):
            with pytest.raises(WaitTimeoutError):
                await waiting.wait_for_run(run_id, timeout=7.0)
        remote.end(1, 2)
        assert [run.id for run in await asyncio.gather(*waits)] == [1, 2]


async def test_a_run_nobody_waits_for_any_more_is_not_asked_for() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote, page=None) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        await asyncio.sleep(20)
        waits[0].cancel()
        await asyncio.sleep(1)
        before = len(remote.gets)
        await asyncio.sleep(100)
        assert set(remote.gets[before:]) == {2}
        waits[1].cancel()


async def test_requests_long_past_are_forgotten() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote, latency=1.0) as waiting:
        wait = begin(waiting.wait_for_runs([1, 2]))
        await asyncio.sleep(600)
        assert remote.requests > 500
        gc.collect()
        tasks = [task for task in gc.get_objects() if isinstance(task, asyncio.Task)]
        assert len(tasks) < 20
        wait.cancel()


async def test_when_the_last_wait_is_cancelled_everything_stops() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        await asyncio.sleep(33)
        for wait in waits:
            wait.cancel()
        await at_rest(remote)


async def test_when_the_last_wait_ends_everything_stops_and_the_next_begins_anew() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        for _ in range(3):
            remote.move(1, Phase.RUNNING)
            wait = begin(waiting.wait_for_run(1))
            await asyncio.sleep(12)
            remote.end(1)
            assert (await wait).phase is Phase.SUCCEEDED
            await at_rest(remote)


async def test_a_driver_that_stands_in_line_for_a_slot_leaves_with_the_last_wait() -> None:
    remote = Remote()
    remote.start(1)
    for gate in remote.gates.values():
        gate.clear()  # as after a 429 with a long Retry-After
    async with waiting_on(remote) as waiting:
        with pytest.raises(WaitTimeoutError):
            await waiting.wait_for_run(1, timeout=10.0)
        await at_rest(remote)
        wait = begin(waiting.wait_for_run(1))
        remote.end(1)
        await asyncio.sleep(1)
        for gate in remote.gates.values():
            gate.set()
        assert (await wait).phase is Phase.SUCCEEDED


async def test_a_wait_that_begins_in_the_moment_the_last_one_ends_is_served() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        first = begin(waiting.wait_for_run(1))
        await asyncio.sleep(1)
        first.cancel()
        first.add_done_callback(lambda _: chained.append(begin(waiting.wait_for_run(2))))
        chained: list[asyncio.Task[Run]] = []
        await asyncio.sleep(20)
        remote.end(2)
        assert (await chained[0]).id == 2


async def test_leaving_a_loop_early_leaves_nothing_behind() -> None:
    remote = Remote()
    remote.start(1, 2, 3)
    remote.end(1)
    async with waiting_on(remote) as waiting:
        async for run in waiting.as_completed([1, 2, 3]):
            assert run.id == 1
            break
        await at_rest(remote)
        async for run in waiting.watch([1, 2, 3]):
            assert run.id in {1, 2, 3}
            break
        await at_rest(remote)


async def test_an_exception_in_the_body_of_a_loop_leaves_nothing_behind() -> None:
    remote = Remote()
    remote.start(1, 2, 3)
    remote.end(1)

    async def look(runs: AsyncIterator[Run]) -> None:
        async for run in runs:
            raise LookupError(run.id)

    async with waiting_on(remote) as waiting:
        for runs in (waiting.as_completed, waiting.watch):
            with pytest.raises(LookupError):
                await look(runs([1, 2, 3]))
        await at_rest(remote)


async def test_a_loop_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_runs([1, 2])), begin(_next_of(waiting.as_completed([1, 2])))]
        await asyncio.sleep(30)
        for wait in waits:
            wait.cancel()
        await at_rest(remote)
        assert [wait.cancelled() for wait in waits] == [True, True]


async def test_an_iterator_never_begun_costs_nothing() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        waiting.as_completed([1])
        waiting.watch([1])
        await at_rest(remote)
        assert remote.requests == 0


async def test_the_most_impatient_wait_decides_and_the_pace_relaxes_when_it_leaves() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, page=None) as waiting:

        async def asked_in(seconds: float) -> int:
            before = remote.requests
            await asyncio.sleep(seconds)
            return remote.requests - before

        patient = begin(waiting.wait_for_run(1, latency=60.0))
        assert await asked_in(600) <= 11
        hasty = begin(waiting.wait_for_run(1, latency=2.0))
        middle = begin(waiting.wait_for_run(1, latency=20.0))
        assert 270 <= await asked_in(600) <= 301
        hasty.cancel()
        await asyncio.sleep(2)
        assert 28 <= await asked_in(600) <= 31
        middle.cancel()
        await asyncio.sleep(20)
        assert 9 <= await asked_in(600) <= 11
        patient.cancel()


async def test_a_wait_answered_from_what_is_known_does_not_quicken_the_pace() -> None:
    remote = Remote()
    remote.start(1, phase=Phase.BLOCKED)
    async with waiting_on(remote, page=None) as waiting:
        watching = waiting.watch([1], latency=60.0)
        assert (await anext(watching)).phase is Phase.BLOCKED
        assert [run.phase async for run in waiting.as_completed([1], latency=0.0)] == [Phase.BLOCKED]
        before = remote.requests
        rest = begin(_next_of(watching))
        await asyncio.sleep(600)
        assert remote.requests - before <= 11
        remote.end(1)
        assert (await rest).phase is Phase.SUCCEEDED


async def _next_of(runs: AsyncIterator[Run]) -> Run:
    return await anext(runs)


async def test_who_joins_a_wait_learns_at_once_what_is_known() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, latency=600.0) as waiting:
        first = begin(waiting.wait_for_run(1))
        await asyncio.sleep(10)
        asked = remote.requests
        began = now()
        assert await anext(waiting.watch([1])) is remote.runs[1]
        assert now() - began < 0.01
        with pytest.raises(WaitTimeoutError) as caught:
            await waiting.wait_for_run(1, timeout=0.5)
        assert caught.value.run is remote.runs[1]
        assert remote.requests == asked
        first.cancel()


async def test_what_the_user_reads_is_news_for_the_waits() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote, page=None, latency=5.0) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        await asyncio.sleep(1)
        asked = remote.requests
        for _ in range(40):
            await asyncio.sleep(2)
            waiting.seen(remote.runs[1])
            waiting.seen(remote.runs[2])
        assert remote.requests == asked
        ended = now()
        waiting.seen(remote.move(1, Phase.FAILED))
        waiting.seen(remote.move(2, Phase.SUCCEEDED))
        assert [run.phase for run in await asyncio.gather(*waits)] == [Phase.FAILED, Phase.SUCCEEDED]
        assert now() - ended < 0.01
        assert remote.requests == asked


async def test_a_page_the_user_reads_is_news_for_the_waits() -> None:
    remote = Remote()
    remote.start(*range(1, 21))
    async with waiting_on(remote, latency=5.0) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(1)
        poll = ListPoll(0, 100, "API")
        waiting.seen_page(poll, remote.list_page(poll))
        asked = remote.requests
        for _ in range(40):
            await asyncio.sleep(2)
            waiting.seen_page(poll, remote.list_page(poll))
        assert remote.requests == asked
        remote.end(*remote.runs)
        ended = now()
        waiting.seen_page(poll, remote.list_page(poll))
        assert len(await asyncio.gather(*waits)) == 20
        assert now() - ended < 0.01
        assert remote.requests == asked


async def test_the_driver_does_not_run_in_the_context_of_whoever_waited_first() -> None:
    spans: contextvars.ContextVar[str] = contextvars.ContextVar("spans")
    heard: list[str] = []

    class Listening(Remote):
        async def get(self, run_id: RunId, slot: Slot) -> Run:
            heard.append(spans.get("none"))
            return await super().get(run_id, slot)

    remote = Listening()
    remote.start(1)
    remote.end(1)
    async with waiting_on(remote, page=None) as waiting:
        spans.set("the first caller's")
        await waiting.wait_for_run(1)
    assert heard == ["none"]


async def test_a_wait_failed_and_cancelled_in_one_moment_is_not_reported_as_unretrieved() -> None:
    remote = Remote()
    remote.start(1)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(1, timeout=patience)) for patience in (None, 60.0)]
        await asyncio.sleep(1)
        closing = waiting.aclose()
        _ = [wait.cancel() for wait in waits]
        await closing
        await asyncio.wait(waits)
        assert [wait.cancelled() for wait in waits] == [True, True]
    waits.clear()
    gc.collect()
    assert complaints == []
