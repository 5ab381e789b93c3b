"""Limiters that share a board: who is served, who waits, what is given back, and what happens without the store."""

import asyncio
import logging
import math
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from unittest import mock

import msgspec
import pytest

from codegen_async.errors import ClientClosedError
from codegen_async.fleet.board import Terms
from codegen_async.fleet.limits import FleetLimits
from codegen_async.fleet.records import Board, Entry, read, write
from codegen_async.fleet.store import Reply, StoreAwayError
from codegen_async.limits import Budget, Priority, Rate, StaleSlotError
from tests.fleet.hosts import on_hosts
from tests.fleet.shelf import Line, Shelf

RATE = Rate(4, 10.0)
TERMS = Terms()


def shelf_of() -> Shelf:
    return Shelf(random.Random(1), began=-1e6)


def limits_on(
    shelf: Shelf, rate: Rate | tuple[Rate, ...] = RATE, *, terms: Terms = TERMS, ceiling: Rate | None = None
) -> FleetLimits:
    line = Line(shelf, random.Random(2))
    return FleetLimits(
        {"get": rate, "list": rate}, open_store=lambda: line, key_of=lambda name: name, terms=terms, ceiling=ceiling
    )


@asynccontextmanager
async def opened(*several: FleetLimits) -> Any:
    """Open limits, and close them."""
    for limits in several:
        limits.follow()
    try:
        yield
    finally:
        for limits in several:
            await limits.aclose()


async def call(limits: FleetLimits, endpoint: str = "get", priority: Priority = Priority.INTERACTIVE) -> float:
    """Send a request that is answered at once; return when."""
    async with limits.slot(endpoint, priority) as slot:
        slot.sent()
        slot.answered()
    return now()


def now() -> float:
    return asyncio.get_running_loop().time()


@on_hosts
async def test_members_share_one_budget() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        began = now()
        served = await asyncio.gather(*(call(limits) for limits in (one, other) for _ in range(4)))
        assert sorted(at - began > 10.0 for at in served) == [False] * 4 + [True] * 4
        assert max(served) - began < 10.1


@on_hosts
async def test_who_calls_again_while_slots_are_free_waits_for_the_store_alone() -> None:
    limits = limits_on(shelf_of(), Rate(100, 10.0))
    async with opened(limits):
        began = now()
        for _ in range(20):
            await call(limits)
        assert now() - began < 20 * 0.008


@on_hosts
async def test_who_has_less_is_served_first() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        await asyncio.gather(*(call(one) for _ in range(4)))
        many = [asyncio.create_task(call(one)) for _ in range(40)]
        await asyncio.sleep(1.0)
        few = [asyncio.create_task(call(other)) for _ in range(2)]
        await asyncio.sleep(10.0)
        assert [task.done() for task in few] == [True, True]
        assert sum(task.done() for task in many) == 2
        for task in many:
            task.cancel()


@on_hosts
async def test_a_background_caller_is_passed_by_four_of_another_process() -> None:
    shelf = shelf_of()
    polite, rude = limits_on(shelf, Rate(1, 1.0)), limits_on(shelf, Rate(1, 1.0))
    async with opened(polite, rude):
        await call(rude)
        waiting = [asyncio.create_task(call(rude)) for _ in range(20)]
        await asyncio.sleep(0.1)
        began = now()
        assert 3.0 < await call(polite, priority=Priority.BACKGROUND) - began < 6.5
        for task in waiting:
            task.cancel()


@on_hosts
async def test_a_caller_that_leaves_costs_no_slot() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        leavers = [asyncio.create_task(call(one)) for _ in range(10)]
        await asyncio.sleep(0.0025)  # some are served, some wait
        for task in leavers:
            task.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)
        await asyncio.sleep(11.0)
        began = now()
        assert max(await asyncio.gather(*(call(other) for _ in range(4)))) - began < 0.1


@on_hosts
async def test_an_unused_slot_comes_back_to_all_at_once() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf, Rate(1, 100.0)), limits_on(shelf, Rate(1, 100.0))
    async with opened(one, other):
        async with one.slot("get", Priority.INTERACTIVE):
            waiting = asyncio.create_task(call(other))
            await asyncio.sleep(1.0)
            assert not waiting.done()
        began = now()
        assert await waiting - began < 5.5


@on_hosts
async def test_a_grant_that_has_grown_old_is_not_used() -> None:
    limits = limits_on(shelf_of())
    async with opened(limits):
        async with limits.slot("get", Priority.INTERACTIVE) as slot:
            await asyncio.sleep(15.1)
            with pytest.raises(StaleSlotError):
                slot.sent()
        await asyncio.sleep(0.5)
        assert limits["get"].available == 4


@on_hosts
async def test_several_rates_and_a_ceiling_hold_at_once() -> None:
    shelf = shelf_of()
    rates = (Rate(4, 10.0), Rate(5, 100.0))
    one, other = (limits_on(shelf, rates, ceiling=Rate(6, 100.0)) for _ in range(2))
    async with opened(one, other):
        began = now()
        tasks = [asyncio.create_task(call(limits)) for limits in (one, other) for _ in range(4)]
        await asyncio.sleep(5.0)
        assert sum(task.done() for task in tasks) == 4
        await asyncio.sleep(15.0)
        assert sum(task.done() for task in tasks) == 5
        lists = [asyncio.create_task(call(limits, "list")) for limits in (one, other) for _ in range(2)]
        await asyncio.sleep(30.0)
        assert sum(task.done() for task in lists) == 1  # the sixth under the ceiling
        await asyncio.gather(*tasks, *lists)
        assert now() - began > 100.0
        assert set(shelf.values) == {"get", "get:2", "list", "list:2", "ceiling"}


@on_hosts
async def test_all_hear_of_a_429_and_go_on_paced() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        await call(other)
        async with one.slot("get", Priority.INTERACTIVE) as slot:
            slot.sent()
            slot.rejected(30.0)
        await asyncio.sleep(0.1)
        began = now()
        first = await call(other)
        assert 29.0 < first - began < 40.0
        assert await call(one) - first > 2.0
        board = read(shelf.values["get"][1])
        assert board is not None
        assert board.pace.rejections == 1


@on_hosts
async def test_all_learn_what_headers_tell_one() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf, ()), limits_on(shelf, ())
    async with opened(one, other):
        async with one.slot("get", Priority.INTERACTIVE) as slot:
            slot.sent()
            slot.heard(Budget(remaining=2, reset=5.0, limit=3, period=20.0))
            slot.answered()
        await asyncio.sleep(1.0)
        await call(other)
        assert other["get"].rate == Rate(3, 20.0)
        assert other["get"].state.source == "learned"


@on_hosts
async def test_seeded_requests_count_for_all() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        one.seed("get", [1.0, 1.0, 1.0, 1.0])
        await asyncio.sleep(0.1)
        began = now()
        assert 13.0 < await call(other) - began < 16.0


@on_hosts
async def test_while_the_store_is_away_calls_wait_and_nothing_fails() -> None:
    shelf = shelf_of()
    limits = limits_on(shelf)
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("codegen_async").addHandler(handler)
    async with opened(limits):
        await call(limits)
        shelf.is_away = True
        tasks = [asyncio.create_task(call(limits, endpoint)) for endpoint in ("get", "list")]
        await asyncio.sleep(60.0)
        assert not any(task.done() for task in tasks)
        state = limits.states["get"].fleet
        assert state is not None
        assert 55.0 < state.away_for < 61.0
        assert limits["get"].expected_wait() > 55.0  # so that who has less patience is told at once
        shelf.is_away = False
        began = now()
        assert max(await asyncio.gather(*tasks)) - began < 2.5
    logging.getLogger("codegen_async").removeHandler(handler)
    assert [message.partition(" (")[0] for message in messages if message.startswith("fleet")] == [
        "fleet: the store is away",
        messages[-1],
    ]
    assert messages[-1].startswith("fleet: the store is back after")


@on_hosts
async def test_kept_slots_go_on_for_a_while_without_the_store() -> None:
    shelf = shelf_of()
    limits = limits_on(shelf, terms=msgspec.structs.replace(TERMS, keep=1, keep_for=30.0))
    async with opened(limits):
        await call(limits)
        shelf.is_away = True
        await asyncio.sleep(11.0)
        served = [await call(limits), await call(limits)]
        assert 10.0 < served[1] - served[0] < 10.1
        late = asyncio.create_task(call(limits))
        await asyncio.sleep(100.0)
        assert not late.done()
        shelf.is_away = False
        await late


@on_hosts
async def test_a_slot_that_was_kept_is_kept_no_more_where_others_may_have_taken_it() -> None:
    shelf = shelf_of()
    terms = msgspec.structs.replace(TERMS, keep=1, keep_for=30.0)
    one, other = limits_on(shelf, terms=terms), limits_on(shelf, terms=terms)
    async with opened(one, other):
        await asyncio.gather(call(one), call(other))
        line = one._open_store()
        assert isinstance(line, Line)
        line.is_cut = True
        await asyncio.sleep(TERMS.life(10.0) + TERMS.step + 31.0)
        served = await asyncio.gather(*(call(other) for _ in range(4)))  # with the slot that the first one kept
        line.is_cut = False
        assert await call(one) - served[0] > 10.0


@on_hosts
async def test_who_leaves_leaves_what_cools_and_nothing_else() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(other):
        async with opened(one):
            await call(one)
            await asyncio.gather(*(call(one) for _ in range(2)))
        (entry,) = _entries(shelf)
        assert (len(entry.cooling), entry.away, entry.wanted, entry.kept) == (3, [], [0, 0], 0)
        began = now()
        assert await call(other) - began < 0.1


@on_hosts
async def test_a_store_that_is_away_delays_the_end_by_a_second() -> None:
    shelf = shelf_of()
    limits = limits_on(shelf)
    limits.follow()
    await call(limits)
    shelf.is_away = True
    began = now()
    await limits.aclose()
    assert now() - began < 1.1


@on_hosts
async def test_states_show_with_whom_a_limit_is_shared() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        await asyncio.gather(*(call(one) for _ in range(3)))
        await call(other)
        fleet = other.states["get"].fleet
        assert fleet is not None
        assert [(member.slots, member.is_own) for member in sorted(fleet.members, key=lambda m: m.slots)] == [
            (1, True),
            (3, False),
        ]
        assert (fleet.leader, fleet.away_for, fleet.cold_for) == (None, 0.0, 0.0)


@on_hosts
async def test_a_store_that_forgot_makes_all_wait_for_a_life_of_a_slot_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = shelf_of()
    limits = limits_on(shelf)
    async with opened(limits):
        await call(limits)
        caplog.clear()
        shelf.restart(empty=True)
        began = now()
        task = asyncio.create_task(call(limits))
        await asyncio.sleep(1.0)
        fleet = limits.states["get"].fleet
        assert fleet is not None
        assert 100.0 < fleet.cold_for < 106.0
        assert 104.0 < await task - began < 111.0
    (told,) = [message for message in caplog.messages if message.startswith("fleet")]
    assert told.startswith("fleet: the store was started or replaced a short while ago")


@on_hosts
async def test_a_board_that_another_has_made_in_place_of_one_that_was_removed_is_noticed() -> None:
    shelf = shelf_of()
    one, other, new = limits_on(shelf), limits_on(shelf), limits_on(shelf)
    async with opened(one, other, new):
        await asyncio.gather(*(call(limits) for limits in (one, other) for _ in range(2)))
        shelf.values.clear()
        await call(new)  # who cannot know
        began = now()
        calls = [asyncio.create_task(call(limits)) for limits in (new, one, other)]
        await asyncio.sleep(60.0)
        await one.aclose()  # whoever else comes to know it makes it no longer
        one.follow()
        await asyncio.gather(*calls[::2])
        assert 104.0 < now() - began < 116.0
        assert isinstance((await asyncio.gather(calls[1], return_exceptions=True))[0], ClientClosedError)


@on_hosts
async def test_a_board_that_was_put_back_from_a_backup_is_noticed() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        await asyncio.gather(call(one), call(other))
        backup = dict(shelf.values)
        await asyncio.sleep(30.0)
        await asyncio.gather(*(call(one) for _ in range(4)))
        shelf.values = backup
        began = now()
        await asyncio.gather(call(one), call(other))
        assert 104.0 < now() - began < 116.0


@on_hosts
async def test_who_comes_after_a_long_time_finds_nothing_odd() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        for seconds in (5.0, 20.0, 100.0, 200.0, 3600.0):
            await call(one)
            for _ in range(10):
                await asyncio.sleep(seconds / 10)
                await call(other)
        began = now()
        await call(one)
        assert now() - began < 0.1


@on_hosts
async def test_an_idle_fleet_asks_nothing() -> None:
    shelf = shelf_of()
    one, other = limits_on(shelf), limits_on(shelf)
    async with opened(one, other):
        await asyncio.gather(call(one), call(other))
        await asyncio.sleep(30.0)
        before = shelf.swaps
        await asyncio.sleep(3600.0)
        assert shelf.swaps == before


@on_hosts
async def test_a_forked_process_must_open_a_client_of_its_own() -> None:
    limits = limits_on(shelf_of())
    async with opened(limits):
        await call(limits)
        with (
            mock.patch("os.getpid", return_value=-1),
            pytest.raises(RuntimeError, match="forked"),
        ):
            await call(limits)


@on_hosts
async def test_a_forked_process_says_nothing_in_the_name_of_the_other() -> None:
    shelf = shelf_of()
    limits = limits_on(shelf)
    async with opened(limits):
        for _ in range(3):
            await call(limits)
        entered = await limits.slot("get", Priority.INTERACTIVE).__aenter__()
        entered.sent()
        await asyncio.sleep(1.0)
        before = dict(shelf.values)
        with mock.patch("os.getpid", return_value=-1):
            with pytest.raises(RuntimeError, match="forked"):  # although there is no slot
                await call(limits)
            await asyncio.sleep(30.0)
            await limits.aclose()  # would give back what is under way in the other
        assert shelf.values == before


@on_hosts
@pytest.mark.parametrize(
    "entry",
    [
        {"limit": 0},
        {"burst": 0},
        {"period": math.nan},
        {"rank": 9},
        {"kept": -5},  # would give five slots too many
        {"lag": math.inf},  # would stop all for ever
        {"away": [math.nan]},
        {"wanted": []},
        {"rounds": [0]},
    ],
)
async def test_a_board_that_makes_no_sense_is_lost_and_stops_nobody(entry: dict[str, Any]) -> None:
    shelf = shelf_of()
    limits = limits_on(shelf)
    odd = Entry(**{"seen": 1.0, "due": 1.0, "limit": 4, "period": 10.0, "burst": 4, "rank": 2} | entry)
    shelf.values["get"] = (b"12345678", write(Board(epoch="epoch 0", members={"odd": odd})))
    async with opened(limits):
        began = now()
        assert await call(limits) - began == pytest.approx(TERMS.life(10.0) + TERMS.step, abs=1.0)


@on_hosts
async def test_what_a_call_stumbles_over_ends_neither_callers_nor_calls(caplog: pytest.LogCaptureFixture) -> None:
    limits = limits_on(shelf_of())
    async with opened(limits):
        with mock.patch("codegen_async.fleet.member.exchange", side_effect=ZeroDivisionError):
            task = asyncio.create_task(call(limits))
            await asyncio.sleep(3.0)
            assert not task.done()
        await task
    assert "please report this" in caplog.text


@on_hosts
async def test_a_board_of_a_newer_version_is_left_alone() -> None:
    shelf = shelf_of()
    shelf.values["get"] = (b"12345678", msgspec.msgpack.encode([99, "something else"]))
    limits = limits_on(shelf)
    async with opened(limits):
        task = asyncio.create_task(call(limits))
        await asyncio.sleep(60.0)
        assert not task.done()
        assert shelf.values["get"][0] == b"12345678"
        task.cancel()


@on_hosts
async def test_what_a_driver_stumbles_over_fails_no_call() -> None:
    class Broken:
        failures = 3

        def __init__(self) -> None:
            self._line = Line(shelf_of(), random.Random(1))

        async def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
            self.failures -= 1
            if self.failures >= 0:
                raise KeyError("a driver's mistake") if self.failures else StoreAwayError("gone")
            return await self._line.swap(key, expected, value, epoch)

        async def close(self) -> None:
            """Close nothing."""

    limits = FleetLimits({"get": RATE}, open_store=Broken, key_of=str, terms=TERMS)
    async with AsyncExitStack() as stack:
        limits.follow()
        stack.push_async_callback(limits.aclose)
        await call(limits)


def _entries(shelf: Shelf) -> list[Any]:
    board = read(shelf.values["get"][1])
    assert board is not None
    return list(board.members.values())
