"""Several rates at once, of one name and over all names: a slot of each in one step, and no server rejects anything."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.limits import Limits, Priority, Rate, WindowLimiter
from codegen_async.testing.rates import FirstHitWindow, FixedWindow, RateModel, SlidingLog, TokenBucket
from tests.limits.simulation import Client, Server, jitter, no_latency, on_virtual_clock, run, spikes

I, B = Priority.INTERACTIVE, Priority.BACKGROUND  # noqa: E741 - as in the order of a line
CHAINS = [
    (Rate(10, 1.0), Rate(100, 60.0)),
    (Rate(1, 1.0), Rate(8, 60.0), Rate(20, 600.0)),
    (Rate(60, 30.0), Rate(5, 1.0)),
]
EXACT: list[Callable[[int, float], RateModel]] = [
    FixedWindow,
    FirstHitWindow,
    SlidingLog,
    partial(SlidingLog, count_rejected=True),
    TokenBucket,
    partial(TokenBucket, count_rejected=True),
]


class All:
    """Admit what each of several limits admits, and count it in all of them in any case."""

    def __init__(self, models: Sequence[RateModel]) -> None:
        self._models = models

    def hit(self, now: float) -> float | None:
        waits = [wait for model in self._models if (wait := model.hit(now)) is not None]
        return max(waits, default=None)


@dataclass(frozen=True)
class Scenario:
    """Rates, and the ways in which the server counts each of them."""

    seed: int
    rates: tuple[Rate, ...]
    models: tuple[Callable[[int, float], RateModel], ...]
    latency: Callable[[random.Random], float]
    offset: float
    lost: float
    cancelled: float

    def server(self) -> Server:
        models = [model(rate.limit, rate.period) for rate, model in zip(self.rates, self.models, strict=False)]
        return Server(All(models), offset=self.offset)


scenarios = st.builds(
    Scenario,
    seed=st.integers(0, 2**32),
    rates=st.sampled_from(CHAINS)
    | st.lists(st.builds(Rate, st.integers(1, 12), st.floats(0.5, 60.0)), min_size=1, max_size=3).map(tuple),
    models=st.tuples(*[st.sampled_from(EXACT)] * 3),
    latency=st.sampled_from([no_latency, jitter, spikes]),
    offset=st.floats(0.0, 100.0),
    lost=st.sampled_from([0.0, 0.1]),
    cancelled=st.sampled_from([0.0, 0.3]),
)


def client_of(scenario: Scenario, limiter: WindowLimiter, server: Server, rnd: random.Random) -> Client:
    patience = 1.0 if scenario.lost else 30.0
    lost, cancelled = scenario.lost, scenario.cancelled
    return Client(limiter, server, rnd, scenario.latency, patience=patience, lost=lost, cancelled=cancelled)


async def crowd(clients: Sequence[Client], rnd: random.Random, calls: int) -> None:
    """Let callers come at any time; some leave, also just when their turn may have come."""
    loop = asyncio.get_running_loop()

    def leave(client: Client, caller: "asyncio.Task[None]") -> None:
        if caller in client.waiting:
            caller.cancel()

    async with asyncio.TaskGroup() as group:
        for _ in range(calls):
            if rnd.random() < 0.2:
                await asyncio.sleep(rnd.uniform(0.0, 10.0))
            client = rnd.choice(clients)
            caller = group.create_task(client.call(rnd.choice(list(Priority))))
            if rnd.random() < client.cancelled:
                loop.call_later(rnd.uniform(0.0, 10.0), leave, client, caller)
            if rnd.random() < client.cancelled and isinstance(client.limiter, WindowLimiter):
                at = client.limiter.next_free
                if at < float("inf"):
                    loop.call_at(at, leave, client, caller)


@settings(max_examples=150)
@given(scenarios)
def test_no_exact_server_rejects_anything_that_holds_several_rates_at_once(scenario: Scenario) -> None:
    async def main() -> Server:
        rnd, server = random.Random(scenario.seed), scenario.server()
        limiter = WindowLimiter(scenario.rates)
        client = client_of(scenario, limiter, server, rnd)
        await crowd([client], rnd, 60)
        await asyncio.sleep(max(rate.period for rate in scenario.rates) * 2 + 10.0)
        state = limiter.state
        assert [(window.available, window.in_flight, window.cooling) for window in state.windows] == [
            (rate.limit, 0, 0) for rate in scenario.rates
        ]
        assert state.queue_length == 0
        return server

    assert run(main()).rejections == 0


@settings(max_examples=150)
@given(scenarios, st.sampled_from(CHAINS))
def test_no_exact_server_rejects_anything_that_limits_names_and_all_together(
    scenario: Scenario, ceiling: tuple[Rate, ...]
) -> None:
    class Under:
        """A limit of a name, and one that counts what it admits."""

        def __init__(self, own: RateModel, over_all: RateModel) -> None:
            self._both = own, over_all

        def hit(self, now: float) -> float | None:
            return All(self._both).hit(now)

    async def main() -> int:
        rnd = random.Random(scenario.seed)
        over_all = All([FixedWindow(rate.limit, rate.period) for rate in ceiling])
        names = ("create", "get")
        limits = Limits(dict.fromkeys(names, scenario.rates), ceiling=ceiling)
        servers = [scenario.server() for _ in names]
        for server in servers:
            server.model = Under(server.model, over_all)
        clients = [client_of(scenario, limits[name], server, rnd) for name, server in zip(names, servers, strict=True)]
        await crowd(clients, rnd, 60)
        await asyncio.sleep(max(rate.period for rate in (*scenario.rates, *ceiling)) * 2 + 10.0)
        for state in limits.states.values():
            assert all((each.available, each.in_flight) == (each.rate.limit, 0) for each in state.windows)
        return sum(server.rejections for server in servers)

    assert run(main()) == 0


async def pass_through(limits: Limits, name: str, served: list[str], label: str, priority: Priority = I) -> None:
    async with limits.slot(name, priority) as slot:
        served.append(label)
        slot.sent()
        slot.answered()


@on_virtual_clock
async def test_each_window_takes_its_slot_back_after_its_own_period() -> None:
    limiter = WindowLimiter([Rate(2, 1.0), Rate(3, 60.0)])
    for _ in range(2):
        async with limiter.slot() as slot:
            slot.sent()
            slot.answered()
    assert [window.cooling for window in limiter.state.windows] == [2, 2]
    await asyncio.sleep(1.1)
    assert [window.cooling for window in limiter.state.windows] == [0, 2]
    assert limiter.state.rate == Rate(3, 60.0)
    assert (limiter.state.available, limiter.rate, limiter.rates) == (1, Rate(3, 60.0), (Rate(2, 1.0), Rate(3, 60.0)))


@on_virtual_clock
async def test_who_waits_holds_no_slot_of_any_window_and_leaves_none_behind() -> None:
    limiter = WindowLimiter([Rate(5, 1.0), Rate(1, 60.0)])
    async with limiter.slot() as slot:
        slot.sent()
        slot.answered()
    waiting = asyncio.create_task(limiter.slot().__aenter__())
    await asyncio.sleep(2.0)
    assert [window.available for window in limiter.state.windows] == [5, 0]
    waiting.cancel()
    await asyncio.sleep(60.0)
    assert [(window.available, window.in_flight) for window in limiter.state.windows] == [(5, 0), (1, 0)]


@on_virtual_clock
async def test_unknown_outcomes_cool_longer_in_each_window_and_requests_of_an_earlier_life_count_in_each() -> None:
    limiter = WindowLimiter([Rate(2, 10.0), Rate(5, 100.0)])
    limiter.seed([12.0, 50.0, 104.0, 200.0])
    assert [window.cooling for window in limiter.state.windows] == [1, 3]
    async with limiter.slot() as slot:
        slot.sent()
    await asyncio.sleep(14.9)
    assert [window.cooling for window in limiter.state.windows] == [1, 3]
    await asyncio.sleep(0.2)
    assert [window.cooling for window in limiter.state.windows] == [0, 3]


@on_virtual_clock
async def test_under_a_ceiling_callers_of_all_names_are_served_by_priority_and_in_the_order_in_which_they_came() -> (
    None
):
    limits, served = Limits({"get": Rate(9, 1.0), "list": Rate(9, 1.0)}, ceiling=Rate(1, 10.0)), list[str]()
    await pass_through(limits, "get", [], "")
    came = [("get", B), ("list", I), ("get", I), ("list", B), ("get", I), ("list", I), ("get", I), ("list", I)]
    async with asyncio.TaskGroup() as group:
        for number, (name, priority) in enumerate(came):
            group.create_task(pass_through(limits, name, served, f"{priority.name[0]}{number}", priority))
    assert served == ["I1", "I2", "I4", "I5", "B0", "I6", "I7", "B3"]


@on_virtual_clock
async def test_a_line_that_its_own_limit_delays_does_not_keep_others_from_the_ceiling() -> None:
    limits, served = Limits({"create": Rate(1, 100.0), "get": Rate(9, 1.0)}, ceiling=Rate(3, 10.0)), list[str]()
    await pass_through(limits, "create", served, "c0")
    async with asyncio.TaskGroup() as group:
        for number in (1, 2):
            group.create_task(pass_through(limits, "create", served, f"c{number}"))
        await asyncio.sleep(1.0)
        assert limits.expected_wait("get", I) == 0.0
        for number in range(2):
            group.create_task(pass_through(limits, "get", served, f"g{number}"))
        await asyncio.sleep(1.0)
        assert served == ["c0", "g0", "g1"]
    assert served == ["c0", "g0", "g1", "c1", "c2"]


@on_virtual_clock
async def test_a_caller_who_lacks_nothing_but_the_ceiling_is_not_passed_by_who_came_later_however_many_they_are() -> (
    None
):
    limits, served = Limits({"create": Rate(5, 1.0), "get": Rate(50, 1.0)}, ceiling=Rate(2, 10.0)), list[str]()
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(pass_through(limits, "get", served, f"g{number}"))
        await asyncio.sleep(1.0)
        group.create_task(pass_through(limits, "create", served, "c"))
        for number in range(6, 12):
            group.create_task(pass_through(limits, "get", served, f"g{number}"))
    assert served.index("c") == 6


@on_virtual_clock
async def test_a_429_without_a_hint_holds_for_the_shortest_period_and_longer_each_time_it_was_too_short() -> None:
    limiter = WindowLimiter([Rate(10, 1.0), Rate(100, 60.0)])
    holds = list[float]()
    for _ in range(4):
        async with limiter.slot() as slot:
            slot.sent()
            slot.rejected(None)
        holds.append(round(limiter.state.held_for, 1))
    assert holds == [1.0, 2.0, 3.0, 5.0]


# -- no rate stated


@on_virtual_clock
async def test_where_no_rate_is_stated_one_is_assumed_and_requests_are_spread_evenly() -> None:
    limits, served = Limits({"all": ()}), list[str]()
    began = asyncio.get_running_loop().time()
    for _ in range(11):
        await pass_through(limits, "all", served, "")
    state = limits.states["all"]
    assert asyncio.get_running_loop().time() - began == pytest.approx(10 / 0.95, abs=0.1)
    assert (state.source, state.rate) == ("assumed", Rate(60, 60.0))
    assert state.pace == pytest.approx(0.95)


@on_virtual_clock
async def test_what_is_assumed_is_halved_at_each_429_and_comes_back_step_by_step_but_never_to_bursts() -> None:
    limiter = WindowLimiter(())
    paces = list[float | None]()
    for _ in range(3):
        async with limiter.slot() as slot:
            slot.sent()
            slot.rejected(70.0)
        paces.append(limiter.state.pace)
    assert paces == [pytest.approx(0.95 / 2**halved) for halved in (1, 2, 3)]
    await asyncio.sleep(70.0)
    for halved in (2, 1, 0, 0):
        await asyncio.sleep(601.0)
        assert limiter.state.pace == pytest.approx(0.95 / 2**halved)
