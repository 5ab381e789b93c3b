"""The benchmark's model is what it says it is, and the product does in it what is claimed."""

import asyncio
import math
import random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks._polling_clients import GAP, Naive, Ours, Queued
from benchmarks._polling_cost import bytes_per_run
from benchmarks._polling_model import HEAVY, LOGNORMAL, Endpoint, Law, Slots, World, fluid_bound, mean_bound
from codegen_async.limits import Rate, WindowLimiter
from codegen_async.testing.clock import run_virtual

requests = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 20)), min_size=1, max_size=40)


async def sent_through_the_limiter(plan: list[tuple[float, float]]) -> list[float]:
    """Send requests (pause before it, seconds to its answer) in turn; return when each was sent."""
    loop = asyncio.get_running_loop()
    limiter = WindowLimiter(Rate(5, 30.0))
    start = loop.time()
    sent: list[float] = []

    async def request(seconds: float, is_sent: asyncio.Event) -> None:
        async with limiter.slot() as slot:
            slot.sent()
            sent.append(loop.time() - start)
            is_sent.set()
            await asyncio.sleep(seconds)
            slot.answered()

    async with asyncio.TaskGroup() as group:
        for pause, seconds in plan:
            await asyncio.sleep(pause)
            is_sent = asyncio.Event()
            group.create_task(request(seconds, is_sent))
            await is_sent.wait()
    return sent


@settings(max_examples=50)
@given(requests)
def test_the_slots_of_the_model_follow_the_rule_of_the_limiter(plan: list[tuple[float, float]]) -> None:
    slots, now, modelled = Slots(5, 30.0 + 0.05), 0.0, []
    for pause, seconds in plan:
        now = max(now + pause, slots.free)
        modelled.append(now)
        slots.take(now + seconds)
    real = run_virtual(sent_through_the_limiter(plan))
    assert real == pytest.approx(modelled, abs=0.01)


def test_the_server_admits_its_limit_in_each_window() -> None:
    endpoint = Endpoint(phase=10.0)
    assert sum(endpoint.admits(12.0) for _ in range(70)) == 60
    assert not endpoint.admits(39.9)
    assert endpoint.admits(40.0)
    assert endpoint.refused == 11


@pytest.mark.parametrize("law", [LOGNORMAL, HEAVY])
def test_the_laws_have_the_means_and_hazards_they_claim(law: Law) -> None:
    rng = random.Random(1)
    drawn = [law.draw(rng) for _ in range(100_000)]
    assert mean(drawn) == pytest.approx(law.mean, rel=0.03)
    alive = [length for length in drawn if length > 600.0]
    ended = sum(length <= 660.0 for length in alive)
    assert law.hazard(630.0) * 60.0 == pytest.approx(ended / len(alive), rel=0.1)


@pytest.mark.parametrize(
    ("ranks", "least"),
    [
        ([1], 1 / (2 * 4)),  # both streams on one run
        (list(range(1, 11)), 1 / (2 * (2 + 2 / 10))),  # a page for all, gets in turn
        ([1, 1000], 1 / (2 * 2)),  # two lonely runs share four looks a second
    ],
)
def test_the_bound_is_the_closed_form_where_there_is_one(ranks: list[int], least: float) -> None:
    state = [(rank, 0.01) for rank in ranks]
    assert fluid_bound(state, 2.0, 2.0) / (0.01 * len(state)) == pytest.approx(least, rel=1e-4)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 900), st.floats(0.01, 10)), min_size=1, max_size=20), st.integers(0, 10**6))
def test_no_way_to_spend_the_budgets_beats_the_bound(state: list[tuple[int, float]], seed: int) -> None:
    rng = random.Random(seed)
    gets = [rng.expovariate(1) for _ in state]
    pages: dict[int, float] = {}
    window, start = 0, -math.inf
    windows: dict[int, int] = {}
    for rank, _ in sorted(state):
        if rank - start >= 100:
            window, start = window + 1, rank
        windows[rank] = window
        pages.setdefault(window, rng.expovariate(1))
    looks = [
        2.0 * got / sum(gets) + 2.0 * pages[windows[rank]] / sum(pages.values())
        for (rank, _), got in zip(state, gets, strict=True)
    ]
    spent = sum(hazard / (2 * rate) for (_, hazard), rate in zip(state, looks, strict=True))
    assert fluid_bound(state, 2.0, 2.0) <= spent * (1 + 1e-6)


def test_an_eager_schedule_is_near_the_bound_and_far_below_naive_polling() -> None:
    world = World(LOGNORMAL, seed=3)
    world.steady(100)
    ours = world.simulate(Ours(world, latency=0.0, share=1.0), warm_up=300.0, finished=500, sample=60.0)
    assert ours.refused == 0
    assert ours.mean <= 1.2 * mean_bound(world.states, 1 / GAP)
    other = World(LOGNORMAL, seed=3)
    other.steady(100)
    naive = other.simulate(Naive(other), warm_up=300.0, finished=500)
    assert naive.refused > naive.requests / 2
    assert naive.mean > 50 * ours.mean


def test_a_patient_schedule_keeps_its_promise_for_few_requests() -> None:
    world = World(LOGNORMAL, seed=3)
    world.steady(100)
    ours = world.simulate(Ours(world, latency=5.0, share=0.8), warm_up=300.0, finished=500)
    assert ours.quantile(1.0) <= 5.0 + 2 * GAP
    assert ours.cost <= 12.2  # what a page for every stretch of the list each 5 s would take


@pytest.mark.parametrize("latency", [0.0, 5.0])
def test_no_answer_is_429_however_the_network_jitters(latency: float) -> None:
    world = World(LOGNORMAL, seed=1, foreign=1 / 6)
    world.steady(30)
    ours = world.simulate(Ours(world, latency=latency, share=1.0, jitter=(0.01, 2.0)), warm_up=0.0, finished=100)
    assert ours.refused == 0
    assert ours.quantile(1.0) <= 2 * latency + 15.0


def test_the_peers_detect_every_end_as_well() -> None:
    for peer in (Naive, Queued):
        world = World(LOGNORMAL, seed=1)
        world.drain(20, 20)
        result = world.simulate(peer(world), warm_up=0.0, finished=20)
        assert len(result.latencies) == 20
        assert min(result.latencies) >= 0


def test_a_watched_run_takes_less_than_a_kilobyte() -> None:
    assert bytes_per_run(20_000, 60_000) < 1000
