"""No more runs at once than a server allows: given, or learned from its refusals."""

import asyncio
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.limits import Concurrency, ConcurrencyState, Limits, Permit, Rate
from tests.limits.simulation import on_virtual_clock, run


async def a_tick() -> None:
    await asyncio.sleep(0)


@on_virtual_clock
async def test_without_a_limit_nobody_waits() -> None:
    concurrency = Concurrency()
    for _ in range(1000):
        await concurrency.take()
    assert concurrency.state == ConcurrencyState(None, "assumed", 1000, 0)


@on_virtual_clock
async def test_who_finds_no_room_waits_until_a_run_ends_in_the_order_of_arrival() -> None:
    concurrency, served = Concurrency(2), list[int]()
    first, second = await concurrency.take(), await concurrency.take()

    async def start(number: int) -> None:
        await concurrency.take()
        served.append(number)

    waiting = [asyncio.create_task(start(number)) for number in range(3)]
    await asyncio.sleep(1000.0)
    assert (served, concurrency.state) == ([], ConcurrencyState(2, "stated", 2, 3))
    first.release()
    first.release()
    await a_tick()
    assert served == [0]
    waiting[1].cancel()
    second.release()
    await a_tick()
    await a_tick()
    assert (served, concurrency.state) == ([0, 2], ConcurrencyState(2, "stated", 2, 0))


@on_virtual_clock
async def test_a_refusal_teaches_how_many_go_on_and_one_more_is_tried_each_minute() -> None:
    concurrency = Concurrency()
    permits = [await concurrency.take() for _ in range(5)]
    permits.pop().full()
    permits.pop().full()
    assert concurrency.state == ConcurrencyState(3, "learned", 3, 0)
    began = asyncio.get_running_loop().time()
    times = list[float]()
    for _ in range(2):
        await concurrency.take()
        times.append(asyncio.get_running_loop().time() - began)
    assert times == [pytest.approx(60.0), pytest.approx(120.0)]


@on_virtual_clock
async def test_a_limit_that_the_refusal_tells_or_the_user_states_is_never_tried_beyond() -> None:
    for concurrency, told in ((Concurrency(), 2), (Concurrency(2), None), (Concurrency(2), 10)):
        first = await concurrency.take()
        (await concurrency.take()).full(told)
        assert concurrency.state == ConcurrencyState(1, "learned", 1, 0)
        await concurrency.take()  # a minute later: others may use the account, and one of them may have ended
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10_000.0):
                await concurrency.take()
        first.release()
        await concurrency.take()


@on_virtual_clock
async def test_where_no_run_is_ours_one_is_tried_a_minute_later() -> None:
    concurrency = Concurrency()
    (await concurrency.take()).full()
    began = asyncio.get_running_loop().time()
    await concurrency.take()
    assert asyncio.get_running_loop().time() - began == pytest.approx(60.0)


@on_virtual_clock
async def test_a_run_that_goes_on_already_counts() -> None:
    concurrency = Concurrency(1)
    running = concurrency.adopt()
    waiting = asyncio.create_task(concurrency.take())
    await asyncio.sleep(100.0)
    assert not waiting.done()
    running.release()
    (await waiting).release()
    assert concurrency.state.running == 0


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_a_limit_is_a_whole_number_of_runs(limit: int) -> None:
    with pytest.raises(ValueError, match="limit: expected a whole number of runs"):
        Concurrency(limit)
    with pytest.raises(ValueError, match="limit: expected a whole number of runs"):
        Permit(Concurrency()).full(limit)


def test_on_another_loop_the_runs_go_on_and_who_waited_is_gone() -> None:
    limits = Limits({"all": Rate(1, 1.0)}, concurrency=Concurrency(1))

    async def first() -> Permit:
        permit = await limits.concurrency.take()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await limits.concurrency.take()
        return permit

    async def second(permit: Permit) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await limits.concurrency.take()
        limits.follow()
        waiting = asyncio.create_task(limits.concurrency.take())
        await a_tick()
        assert limits.concurrency.state == ConcurrencyState(1, "stated", 1, 1)
        permit.release()
        await waiting

    run(second(run(first())))


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 5), st.booleans())
def test_whoever_comes_and_goes_no_place_is_lost_and_a_server_with_a_cap_is_not_asked_in_vain_for_long(
    seed: int, cap: int, stated: bool
) -> None:
    async def main() -> None:
        rnd = random.Random(seed)
        concurrency = Concurrency(cap if stated else None)
        running = refused = started = 0

        async def one_run() -> None:
            nonlocal running, refused, started
            while True:
                permit = await concurrency.take()
                try:
                    await asyncio.sleep(rnd.uniform(0.0, 1.0))  # the create
                    if running < cap:
                        break
                except BaseException:
                    permit.release()
                    raise
                refused += 1
                permit.full(cap if rnd.random() < 0.5 else None)
            running += 1
            started += 1
            try:
                await asyncio.sleep(rnd.uniform(0.0, 30.0))
            finally:
                running -= 1
                permit.release()

        tasks = list[asyncio.Task[None]]()
        for _ in range(40):
            tasks.append(asyncio.create_task(one_run()))
            if rnd.random() < 0.3:
                rnd.choice(tasks).cancel()
            await asyncio.sleep(rnd.choice([0.0, rnd.uniform(0.0, 5.0)]))
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (concurrency.state.running, concurrency.state.queue_length) == (0, 0)
        assert not (stated and refused)
        assert sum(not task.cancelled() for task in tasks) <= started <= 40
        loop_time = asyncio.get_running_loop().time() - 1000.0
        assert refused <= 40 + loop_time / 60.0

    run(main())
