"""The promise: whatever networks, clocks and users do, the server never has to refuse a request."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest
from aiolimiter import AsyncLimiter
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.limits import Priority, Rate, WindowLimiter
from codegen_async.testing.rates import (
    FirstHitWindow,
    FixedWindow,
    RateModel,
    SlidingLog,
    TokenBucket,
    TwoCounterWindow,
)
from tests.limits.simulation import (
    LATENESS,
    Client,
    Latency,
    Limiter,
    Marks,
    Server,
    fast_link,
    jitter,
    no_latency,
    round_trips_up_to,
    run,
    spikes,
)

PPM = 1e-6
DOCUMENTED = [Rate(10, 60.0), Rate(60, 30.0), Rate(60, 60.0), Rate(20, 1.0)]
EXACT: dict[str, Callable[[int, float], RateModel]] = {
    "fixed window": FixedWindow,
    "first-hit window": FirstHitWindow,
    "sliding log": SlidingLog,
    "sliding log, rejections count": partial(SlidingLog, count_rejected=True),
    "token bucket": TokenBucket,
    "token bucket, rejections count": partial(TokenBucket, count_rejected=True),
}
ESTIMATES: dict[str, Callable[[int, float], RateModel]] = {
    "two counters": TwoCounterWindow,
    "two counters, rejections count": partial(TwoCounterWindow, count_rejected=True),
}


@dataclass(frozen=True)
class Scenario:
    """What may happen to a client.

    Attributes:
        drift: by how much the server's clock is faster.
        offset: seconds it is ahead: where the server's windows begin.
        lost: share of the requests whose answer never comes and which may reach the server late.
        cancelled: share of the calls that are cancelled.
        crashes: how often the client is killed and started anew.
    """

    seed: int
    rate: Rate
    model: Callable[[int, float], RateModel]
    latency: Latency
    drift: float = 0.0
    offset: float = 0.0
    lost: float = 0.0
    cancelled: float = 0.0
    crashes: int = 0


def scenarios(
    models: dict[str, Callable[[int, float], RateModel]],
    *,
    lost: Sequence[float] = (0.0,),
    crashes: int = 0,
) -> st.SearchStrategy[Scenario]:
    rates = st.sampled_from(DOCUMENTED) | st.builds(Rate, st.integers(1, 40), st.floats(0.5, 100.0))
    return st.builds(
        Scenario,
        seed=st.integers(0, 2**32),
        rate=rates,
        model=st.sampled_from(list(models.values())),
        latency=st.sampled_from([no_latency, fast_link, jitter, spikes]),
        drift=st.sampled_from([0.0, 100 * PPM, -100 * PPM]),
        offset=st.floats(0.0, 100.0),
        lost=st.sampled_from(lost),
        cancelled=st.sampled_from([0.0, 0.05, 0.3]),
        crashes=st.just(crashes),
    )


async def play(scenario: Scenario) -> tuple[Server, Client]:
    """Let clients run into everything the scenario holds; return the last of them."""
    rnd, rate = random.Random(scenario.seed), scenario.rate
    server = Server(scenario.model(rate.limit, rate.period), scenario.drift, scenario.offset)
    sent: list[float] = []
    for _ in range(scenario.crashes):
        with suppress(TimeoutError):
            async with asyncio.timeout(rnd.uniform(0.0, 2 * rate.period)):
                await live(scenario, server, rnd, sent)
        await asyncio.sleep(rnd.choice([0.0, rnd.uniform(0.0, rate.period)]))
    return server, await live(scenario, server, rnd, sent)


async def live(scenario: Scenario, server: Server, rnd: random.Random, sent: list[float]) -> Client:
    """Start a client that knows what was sent before, and check at its end that its limiter has lost nothing."""
    now = asyncio.get_running_loop().time()
    limiter = WindowLimiter(scenario.rate)
    limiter.seed(now - at for at in sent)
    client = Client(
        limiter,
        server,
        rnd,
        scenario.latency,
        patience=1.0 if scenario.lost else 30.0,
        lost=scenario.lost,
        cancelled=scenario.cancelled,
        sent=sent,
    )
    await crowd(client, limiter, calls=4 * limiter.rate.limit + 20)
    await asyncio.sleep(limiter.rate.period + limiter.margin + limiter.lateness)
    state = limiter.state
    assert (state.available, state.in_flight, state.cooling, state.queue_length) == (limiter.rate.limit, 0, 0, 0)
    return client


async def crowd(client: Client, limiter: WindowLimiter, calls: int) -> None:
    """Let callers come in bursts and with pauses; some leave the queue, some just when it is their turn."""
    rnd, rate, loop = client.rnd, limiter.rate, asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for _ in range(calls):
            if rnd.random() < 1.5 / rate.limit:
                await asyncio.sleep(rnd.uniform(0.0, rate.period))
            caller = group.create_task(client.call(rnd.choice(list(Priority))))
            if rnd.random() < client.cancelled:
                loop.call_later(rnd.uniform(0.0, rate.period), leave, client, caller)
            if rnd.random() < client.cancelled and limiter.next_free < float("inf"):
                loop.call_at(limiter.next_free, cancel_first, client)


def leave(client: Client, caller: asyncio.Task[None]) -> None:
    if caller in client.waiting:  # those in flight are the client's business
        caller.cancel()


def cancel_first(client: Client) -> None:
    for caller in list(client.waiting)[: client.rnd.randint(1, 3)]:
        caller.cancel()


@settings(max_examples=300)
@given(scenarios(EXACT, lost=(0.0, 0.03, 0.2)))
def test_no_exact_server_rejects_anything(scenario: Scenario) -> None:
    server, _ = run(play(scenario))
    assert server.rejections == 0


@settings(max_examples=200)
@given(scenarios(EXACT, crashes=3))
def test_no_exact_server_rejects_anything_after_restarts(scenario: Scenario) -> None:
    server, _ = run(play(scenario))
    assert server.rejections == 0


@settings(max_examples=200)
@given(scenarios(ESTIMATES))
def test_an_estimating_server_rejects_nothing_that_is_sent_after_a_rejection_until_bursts_are_tried_again(
    scenario: Scenario,
) -> None:
    _, client = run(play(scenario))
    check_calm(client, scenario.rate)


def check_calm(client: Client, rate: Rate) -> list[float]:
    """Check that rejections come in waves 10, 20, 40, ... periods apart; return when each was seen first."""
    waves: list[float] = []
    for sent_at, seen_at in client.rejected:
        if not waves or sent_at > waves[-1]:
            waves.append(seen_at)
    assert all(after - before >= 10 * 2**n * rate.period for n, (before, after) in enumerate(pairwise(waves)))
    return waves


# -- in numbers, from one seed

RATE = Rate(60, 30.0)
MANY = [20_000, pytest.param(100_000, marks=pytest.mark.slow)]


async def saturated(client: Client, calls: int) -> Client:
    """Keep more callers waiting than the limit has slots, until so many requests have reached the server."""
    await client.saturate(calls, workers=120)
    await asyncio.sleep(LATENESS)
    assert client.server.hits == calls
    return client


@pytest.mark.parametrize("calls", MANY)
@pytest.mark.parametrize("model", EXACT)
def test_no_rejection_in_thousands_of_requests(model: str, calls: int) -> None:
    server = Server(EXACT[model](60, 30.0), drift=-100 * PPM)
    run(saturated(Client(WindowLimiter(RATE), server, random.Random(1), spikes), calls))
    assert server.rejections == 0


@pytest.mark.parametrize("calls", MANY)
@pytest.mark.parametrize("model", ESTIMATES)
def test_few_rejections_in_thousands_of_requests_to_a_server_that_estimates(model: str, calls: int) -> None:
    server = Server(ESTIMATES[model](60, 30.0), drift=-100 * PPM)
    client = run(saturated(Client(WindowLimiter(RATE), server, random.Random(1), spikes), calls))
    waves = check_calm(client, RATE)
    assert 1 < len(waves) < 10
    assert server.rejections < 10 * RATE.limit


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01])
@pytest.mark.parametrize("rate", DOCUMENTED, ids=str)
def test_round_trips_up_to_one_percent_of_the_period_cost_two_percent_at_most(rate: Rate, share: float) -> None:
    async def seconds_for_fifty_periods() -> float:
        server = Server(SlidingLog(rate.limit, rate.period))
        client = Client(WindowLimiter(rate), server, random.Random(1), round_trips_up_to(share * rate.period))
        await client.saturate(51 * rate.limit, workers=2 * rate.limit)
        assert server.rejections == 0
        return client.sent[-1] - client.sent[0]

    assert run(seconds_for_fifty_periods()) <= 50 * rate.period / 0.98


# -- the check fails for what is not a limit


class Bucket:
    """A bare token bucket of the documented size, which takes no notice of what it is told."""

    def __init__(self, rate: Rate) -> None:
        self._bucket = AsyncLimiter(rate.limit, rate.period)

    @asynccontextmanager
    async def slot(self, priority: Priority = Priority.INTERACTIVE) -> AsyncGenerator[Marks]:  # noqa: ARG002 - knows none
        async with self._bucket:
            yield self

    def sent(self) -> None: ...

    def answered(self) -> None: ...

    def rejected(self, retry_after: float | None) -> None: ...


class SendAnchoredClient(Client):
    """Let every slot begin to cool when its request is sent."""

    async def _request(self, slot: Marks, me: asyncio.Task[object]) -> None:
        slot.answered()
        await super()._request(slot, me)


def rejections_of_600(client: Client) -> int:
    return run(saturated(client, 600)).server.rejections


@pytest.mark.parametrize("model", ["fixed window", "first-hit window", "sliding log"])
@pytest.mark.parametrize("latency", [no_latency, jitter])
def test_a_bare_token_bucket_is_rejected(model: str, latency: Latency) -> None:
    def client(limiter: Limiter) -> Client:
        # The server's windows begin 14 s before the first burst.
        return Client(limiter, Server(EXACT[model](60, 30.0), offset=4.0), random.Random(1), latency)

    assert rejections_of_600(client(WindowLimiter(RATE))) == 0
    assert rejections_of_600(client(Bucket(RATE))) > 30


@pytest.mark.parametrize("model", ["sliding log", "sliding log, rejections count"])
def test_a_window_that_counts_from_the_sending_is_rejected(model: str) -> None:
    def rejections(kind: type[Client]) -> int:
        servers = [Server(EXACT[model](60, 30.0)) for _ in range(10)]
        return sum(
            rejections_of_600(kind(WindowLimiter(RATE), server, random.Random(seed), jitter))
            for seed, server in enumerate(servers)
        )

    assert rejections(Client) == 0
    assert rejections(SendAnchoredClient) > 10


def test_without_margin_a_slow_clock_at_the_server_rejects() -> None:
    def client(limiter: Limiter) -> Client:
        return Client(limiter, Server(SlidingLog(60, 30.0), drift=-100 * PPM), random.Random(1), fast_link)

    assert rejections_of_600(client(WindowLimiter(RATE))) == 0
    assert rejections_of_600(client(WindowLimiter(RATE, margin=0.0))) > 0  # after the first, all are held and paced


def test_without_lateness_lost_answers_are_followed_by_rejections() -> None:
    def client(limiter: Limiter) -> Client:
        return Client(limiter, Server(SlidingLog(60, 30.0)), random.Random(1), jitter, patience=1.0, lost=0.03)

    assert rejections_of_600(client(WindowLimiter(RATE))) == 0
    assert rejections_of_600(client(WindowLimiter(RATE, lateness=0.0))) > 1
