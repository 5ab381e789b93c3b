"""One slot from hand to hand: what it costs, when it comes back, and what a limiter refuses."""

import asyncio
import logging
import math
from collections.abc import Mapping
from contextlib import suppress

import pytest

from codegen_async.limits import LimiterState, Limits, Priority, Rate, Slot, WindowLimiter
from tests.limits.simulation import on_virtual_clock, run

RATE = Rate(2, 10.0)
MARGIN = 10.0 / 600
I, B = Priority.INTERACTIVE, Priority.BACKGROUND  # noqa: E741 - as in the order of a line


def now() -> float:
    return asyncio.get_running_loop().time()


async def enter(slot: Slot) -> Slot:
    return await slot.__aenter__()


def counts(state: LimiterState) -> tuple[int, int, int, int]:
    return state.available, state.in_flight, state.cooling, state.queue_length


# -- when a slot comes back


@on_virtual_clock
async def test_a_slot_that_sent_nothing_is_free_at_once() -> None:
    limiter = WindowLimiter(RATE)
    async with limiter.slot():
        assert counts(limiter.state) == (1, 1, 0, 0)
    assert counts(limiter.state) == (2, 0, 0, 0)


@on_virtual_clock
async def test_an_answered_slot_is_free_a_period_and_a_margin_after_the_answer() -> None:
    limiter = WindowLimiter(RATE)
    async with limiter.slot() as slot:
        slot.sent()
        await asyncio.sleep(3.0)
        slot.answered()
        back_at = now() + 10.0 + MARGIN
        await asyncio.sleep(1.0)  # reading the body costs nothing
    assert counts(limiter.state) == (1, 0, 1, 0)
    await asyncio.sleep(back_at - now() - 0.001)
    assert counts(limiter.state) == (1, 0, 1, 0)
    await asyncio.sleep(0.001)
    assert counts(limiter.state) == (2, 0, 0, 0)


@pytest.mark.parametrize("lateness", [0.0, 5.0, 60.0])
@on_virtual_clock
async def test_a_slot_with_unknown_outcome_cools_for_the_lateness_longer(lateness: float) -> None:
    limiter = WindowLimiter(Rate(1, 10.0), lateness=lateness)
    with suppress(TimeoutError):
        async with limiter.slot() as slot, asyncio.timeout(2.0):
            slot.sent()
            await asyncio.sleep(30.0)
    assert limiter.next_free == pytest.approx(now() + 10.0 + MARGIN + lateness)


@on_virtual_clock
async def test_a_slot_is_given_back_once_however_often_it_is_told() -> None:
    limiter = WindowLimiter(RATE)
    async with limiter.slot() as slot:
        slot.sent()
        slot.answered()
        slot.answered()
        slot.close()
    slot.close()
    assert counts(limiter.state) == (1, 0, 1, 0)


@on_virtual_clock
async def test_a_slot_that_was_never_taken_gives_nothing_back() -> None:
    limiter = WindowLimiter(RATE)
    slot = limiter.slot()
    slot.answered()
    slot.close()
    assert counts(limiter.state) == (2, 0, 0, 0)


@on_virtual_clock
async def test_a_slot_that_is_held_can_be_entered_again_and_is_the_same_slot() -> None:
    limiter = WindowLimiter(RATE)
    slot = await enter(limiter.slot())
    async with slot:
        assert limiter.state.in_flight == 1
    assert limiter.state.in_flight == 0


@pytest.mark.parametrize("used", [False, True])
@on_virtual_clock
async def test_a_slot_is_good_for_one_request(used: bool) -> None:
    limiter = WindowLimiter(RATE)
    async with limiter.slot() as slot:
        if used:
            slot.sent()
            slot.answered()
    with pytest.raises(RuntimeError, match="new one for each request"):
        await enter(slot)


@on_virtual_clock
async def test_the_state_tells_who_flies_cools_and_waits() -> None:
    limiter = WindowLimiter(RATE)
    first, second = await enter(limiter.slot()), await enter(limiter.slot())
    assert limiter.next_free == math.inf
    waiting = asyncio.create_task(enter(limiter.slot()))
    await asyncio.sleep(1.0)
    assert counts(limiter.state) == (0, 2, 0, 1)
    first.answered()
    assert counts(limiter.state) == (0, 1, 1, 1)
    assert limiter.next_free == pytest.approx(now() + 10.0 + MARGIN)
    second.close()  # nothing was sent: its slot goes to the caller who waits
    await waiting
    assert counts(limiter.state) == (0, 1, 1, 0)
    assert limiter.queue_length == 0


# -- bursts


@on_virtual_clock
async def test_a_smaller_burst_is_followed_by_an_even_spread() -> None:
    limiter = WindowLimiter(Rate(60, 30.0), burst=5)
    began = now()

    async def turn() -> float:
        async with limiter.slot() as slot:
            slot.sent()
            slot.answered()
            return now() - began

    turns = await asyncio.gather(*[turn() for _ in range(40)])
    assert turns == [pytest.approx(max(0, number - 4) * 0.5, abs=0.001) for number in range(40)]
    assert limiter.state.pace == 2.0


# -- a restart


@on_virtual_clock
async def test_requests_of_an_earlier_life_count() -> None:
    limiter = WindowLimiter(RATE)
    limiter.seed([12.0, 100.0])
    assert counts(limiter.state) == (1, 0, 1, 0)
    async with limiter.slot():
        assert limiter.next_free == pytest.approx(now() + 10.0 + MARGIN + 5.0 - 12.0)


@on_virtual_clock
async def test_of_too_many_earlier_requests_the_youngest_count() -> None:
    limiter = WindowLimiter(RATE)
    limiter.seed([14.0, 1.0, 13.0, 2.0])
    assert counts(limiter.state) == (0, 0, 2, 0)
    assert limiter.next_free == pytest.approx(now() + 10.0 + MARGIN + 5.0 - 2.0)


@on_virtual_clock
async def test_slots_that_have_cooled_unnoticed_can_be_taken_by_earlier_requests() -> None:
    limiter = WindowLimiter(RATE)
    for _ in range(RATE.limit):
        async with limiter.slot() as slot:
            slot.sent()
    await asyncio.sleep(100.0)
    limiter.seed([1.0, 1.0])
    assert counts(limiter.state) == (0, 0, 2, 0)


# -- what is refused


@on_virtual_clock
@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
async def test_a_hold_needs_seconds(seconds: float) -> None:
    limiter = WindowLimiter(RATE)
    with pytest.raises(ValueError, match="seconds: expected seconds >= 0"):
        limiter.hold(seconds)
    assert limiter.available == RATE.limit


@pytest.mark.parametrize("limit", [0, -1, 10**9 + 1, 10**400, pytest.param(10**5000, id="of 5001 digits")])
def test_a_rate_needs_a_limit(limit: int) -> None:
    with pytest.raises(ValueError, match="limit: expected"):
        Rate(limit, 1.0)


@pytest.mark.parametrize("period", [0.0, -1.0, math.inf, math.nan, 5e-324, 1e-10, 1.1e9, 1e308])
def test_a_rate_needs_a_period(period: float) -> None:
    with pytest.raises(ValueError, match="period: expected"):
        Rate(1, period)


@pytest.mark.parametrize("burst", [0, -1, 3])
def test_a_burst_lies_between_one_and_the_limit(burst: int) -> None:
    with pytest.raises(ValueError, match=r"burst: expected 1\.\.2"):
        WindowLimiter(RATE, burst=burst)


@pytest.mark.parametrize("seconds", [-0.001, math.inf, math.nan])
def test_margin_and_lateness_are_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="margin: expected"):
        WindowLimiter(RATE, margin=seconds)
    with pytest.raises(ValueError, match="lateness: expected"):
        WindowLimiter(RATE, lateness=seconds)


@pytest.mark.parametrize(
    ("rate", "margin"), [(Rate(60, 30.0), 0.05), (Rate(60, 60.0), 0.1), (Rate(20, 1.0), 0.005)], ids=str
)
def test_the_default_margin_is_a_six_hundredth_of_the_period_and_not_below_five_milliseconds(
    rate: Rate, margin: float
) -> None:
    assert WindowLimiter(rate).margin == pytest.approx(margin)


def test_a_second_event_loop_is_refused() -> None:
    limiter = WindowLimiter(RATE)

    async def use() -> None:
        async with limiter.slot():
            pass

    run(use())
    with pytest.raises(RuntimeError, match="another event loop"):
        run(use())


# -- several limits at once


def all_counts(limits: Limits) -> Mapping[str, tuple[int, int, int, int]]:
    return {name: counts(state) for name, state in limits.states.items()}


@on_virtual_clock
async def test_endpoints_do_not_wait_for_each_other() -> None:
    limits = Limits({"get": Rate(1, 10.0), "list": Rate(1, 10.0)})
    async with limits.slot("get", I), limits.slot("list", I):
        assert all_counts(limits) == {"get": (0, 1, 0, 0), "list": (0, 1, 0, 0)}
    assert limits["get"].available == 1


@on_virtual_clock
async def test_a_ceiling_counts_all_endpoints_together() -> None:
    limits = Limits({"get": RATE, "list": RATE}, ceiling=Rate(1, 10.0))
    async with limits.slot("get", I) as slot:
        waiting = asyncio.create_task(enter(limits.slot("list", I)))
        await asyncio.sleep(1.0)
        assert all_counts(limits) == {"get": (1, 1, 0, 0), "list": (0, 0, 0, 1), "ceiling": (0, 1, 0, 1)}
        slot.sent()
        slot.answered()
        assert all_counts(limits)["get"] == (1, 0, 1, 0)
    (await waiting).close()
    assert now() == pytest.approx(1001.0 + 10.0 + MARGIN, abs=0.001)
    assert all_counts(limits) == {"get": (2, 0, 0, 0), "list": (2, 0, 0, 0), "ceiling": (1, 0, 0, 0)}


@on_virtual_clock
async def test_a_caller_whom_the_ceiling_delays_holds_no_slot_of_the_endpoint() -> None:
    limits = Limits({"get": RATE}, ceiling=Rate(1, 10.0))
    async with limits.slot("get", I):
        waiting = asyncio.create_task(enter(limits.slot("get", I)))
        await asyncio.sleep(1.0)
        assert all_counts(limits) == {"get": (0, 1, 0, 1), "ceiling": (0, 1, 0, 1)}
        waiting.cancel()
        await asyncio.sleep(0)
        assert all_counts(limits) == {"get": (1, 1, 0, 0), "ceiling": (0, 1, 0, 0)}


@on_virtual_clock
async def test_a_caller_who_leaves_in_the_moment_of_his_turn_gives_both_slots_back() -> None:
    limits = Limits({"get": RATE}, ceiling=Rate(1, 10.0))
    async with limits.slot("get", I):
        waiting = asyncio.create_task(enter(limits.slot("get", I)))
        await asyncio.sleep(1.0)
    waiting.cancel()
    await asyncio.sleep(0)
    assert waiting.cancelled()
    assert all_counts(limits) == {"get": (2, 0, 0, 0), "ceiling": (1, 0, 0, 0)}


@on_virtual_clock
async def test_a_request_that_may_have_been_sent_cools_under_the_ceiling_as_well() -> None:
    limits = Limits({"get": RATE}, ceiling=RATE)
    async with limits.slot("get", I) as slot:
        slot.sent()
    assert all_counts(limits) == {"get": (1, 0, 1, 0), "ceiling": (1, 0, 1, 0)}


@on_virtual_clock
async def test_a_429_closes_the_gates_of_the_endpoint_and_the_ceiling() -> None:
    limits = Limits({"get": RATE, "list": RATE}, ceiling=RATE)
    async with limits.slot("get", B) as slot:
        slot.sent()
        slot.rejected(7.0)
    assert {name: state.held_for for name, state in limits.states.items()} == {
        "get": pytest.approx(7.0),
        "list": 0.0,
        "ceiling": pytest.approx(7.0),
    }


# -- what the log says of the line


@on_virtual_clock
async def test_who_will_wait_long_is_told_how_long_and_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "codegen_async")
    limits = Limits({"create": Rate(10, 60.0)})

    async def call() -> None:
        async with limits.slot("create", Priority.INTERACTIVE) as slot:
            slot.sent()
            slot.answered()

    await asyncio.gather(*(call() for _ in range(12)))
    [record] = [record for record in caplog.records if record.levelno == logging.INFO]
    assert record.getMessage() == (
        "create: waiting about 60 s for a slot: 10 requests within 60 s are allowed, and that many are used;"
        " 0 waiting already"
    )


@on_virtual_clock
async def test_a_short_wait_is_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "codegen_async")
    limits = Limits({"all": Rate(1, 1.0)})
    for _ in range(3):
        async with limits.slot("all", Priority.INTERACTIVE) as slot:
            slot.sent()
            slot.answered()
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


@on_virtual_clock
async def test_waiting_for_the_ceiling_does_not_make_a_slot_too_old() -> None:
    limits = Limits({"get": Rate(60, 30.0)}, ceiling=Rate(1, 40.0))
    for _ in range(2):
        async with limits.slot("get", Priority.INTERACTIVE) as slot:
            slot.sent()  # would raise
