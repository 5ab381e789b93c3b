"""Ten thousand waits cost little, a hundred thousand not much more."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import closing

import pytest

from codegen_async.waiting import Waiting
from tests.waiting.fakes import Remote, Run, begin, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

MANY = 10_000
KB = 1024


def crowd(size: int) -> Remote:
    remote = Remote()
    remote.start(*range(1_000_000, 1_000_000 + size))
    return remote


async def test_ten_thousand_waits_end_at_the_cost_of_the_pages_that_show_them() -> None:
    remote = crowd(MANY)
    async with waiting_on(remote, latency=60.0) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(600)
        assert not any(wait.done() for wait in waits)
        remote.end(*remote.runs)
        ended, asked = now(), remote.requests
        assert [run.id for run in await asyncio.gather(*waits)] == list(remote.runs)
        # 100 pages show them all; 1.6 pages a second may be asked for.
        assert now() - ended <= 100 / 1.6 + 15
        assert remote.requests - asked <= 2 * 130


async def test_a_thousand_waits_for_one_run_cost_what_one_costs() -> None:
    remote = crowd(1)
    async with waiting_on(remote, latency=5.0) as waiting:
        (run_id,) = remote.runs
        waits = [begin(waiting.wait_for_run(run_id)) for _ in range(1000)]
        await asyncio.sleep(100)
        assert remote.requests <= 22
        remote.end(run_id)
        assert {id(run) for run in await asyncio.gather(*waits)} == {id(remote.runs[run_id])}


async def test_cancelling_ten_thousand_waits_in_one_moment_leaves_nothing() -> None:
    remote = crowd(MANY)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(10)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_callbacks_go_with_requests_not_with_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = crowd(3000)
    async with waiting_on(remote, latency=600.0) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(1000)
        loop = asyncio.get_running_loop()
        calls = 0

        def counting(call: Callable[..., object]) -> Callable[..., object]:
            def count(*args: object, **options: object) -> object:
                nonlocal calls
                calls += 1
                return call(*args, **options)

            return count

        monkeypatch.setattr(loop, "call_soon", counting(loop.call_soon))
        monkeypatch.setattr(loop, "call_at", counting(loop.call_at))
        asked = remote.requests
        await asyncio.sleep(3600)
        asked = remote.requests - asked
        assert 150 <= asked <= 300  # an hour of looking at 30 pages each ten minutes
        assert calls <= 30 * asked
        for wait in waits:
            wait.cancel()


async def weigh(waiting: Waiting[Run], ids: Iterable[int]) -> tuple[float, float]:
    """Return the bytes that a run costs in `as_completed`, and that a `wait_for_run` of its own costs."""
    ids = list(ids)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        together = begin(_first(waiting, ids))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        as_completed = tracemalloc.get_traced_memory()[0] - before
        together.cancel()
        await asyncio.wait([together])
        await asyncio.sleep(1)
        del together
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        # Stepped by hand: a task is the caller's, and not what waiting costs.
        waits = [waiting.wait_for_run(run_id) for run_id in ids]
        for wait in waits:
            wait.send(None)
        gc.collect()
        alone = tracemalloc.get_traced_memory()[0] - before
        for wait in waits:
            with closing(wait):
                pass
        return as_completed / len(ids), alone / len(ids)
    finally:
        tracemalloc.stop()


async def _first(waiting: Waiting[Run], ids: list[int]) -> Run:
    return await anext(waiting.as_completed(ids))


@pytest.mark.parametrize("size", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_a_wait_costs_less_than_a_kilobyte(size: int) -> None:
    remote = crowd(size)
    async with waiting_on(remote) as waiting:
        together, alone = await weigh(waiting, remote.runs)
        assert together < KB
        # Two frames of the caller's own coroutine come on top, of 280 bytes each.
        assert alone < KB + 2 * 300


@pytest.mark.slow
async def test_a_hundred_thousand_runs_are_waited_for() -> None:
    remote = crowd(100_000)
    async with waiting_on(remote, latency=60.0) as waiting:
        ended: list[object] = []

        async def collect() -> None:
            async for run in waiting.as_completed(remote.runs):
                ended.append(run.id)  # noqa: PERF401 - looked at while it grows

        collecting = begin(collect())
        await asyncio.sleep(60)
        remote.end(*remote.runs)
        moment, asked = now(), remote.requests
        await collecting
        assert sorted(map(str, ended)) == sorted(map(str, remote.runs))
        assert now() - moment <= 1000 / 1.6 * 1.3
        assert remote.requests - asked <= 2 * 1300
