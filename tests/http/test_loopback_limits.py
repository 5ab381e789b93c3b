"""Thousands of real requests against the strictest of servers, which counts what it rejects as well."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager

import pytest

from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.dialect import RATES
from codegen_async.errors import APIError
from codegen_async.limits import Rate
from codegen_async.testing import CodegenServer, Fault
from codegen_async.testing.server import Window, Worst
from tests.support.canary import CANARY
from tests.support.clients import open_client

pytestmark = pytest.mark.asyncio

SPEED = 60.0
LATENCY = (0.0, 0.01)  # jittered, so that requests overtake one another


@asynccontextmanager
async def both(window: Window, seed: int = 0) -> AsyncGenerator[tuple[CodegenServer, CodegenClient]]:
    """Yield a server whose clock is fast, and a client that keeps to its limits in real time."""
    rates = {endpoint: Rate(rate.limit, rate.period / SPEED) for endpoint, rate in RATES.items()}
    server = CodegenServer(window=window, count_rejected=True, latency=LATENCY, speed=SPEED, token=CANARY, seed=seed)
    async with server, open_client(server.url, rates=rates) as client:
        yield server, client


def work(server: CodegenServer, client: CodegenClient, rounds: int) -> list[Awaitable[object]]:
    """Return requests to all endpoints, in shares as their limits have them, in no particular order."""
    run_id = server.world.create("do it").id
    calls: list[Awaitable[object]] = []
    for _ in range(rounds):
        calls += [client.get_run(run_id) for _ in range(60)]
        calls += [client.list_runs_page(limit=5) for _ in range(60)]
        calls += [client.run_logs_page(run_id, limit=5) for _ in range(30)]
        calls += [client.resume_run(run_id, "go on") for _ in range(5)]
        calls += [client.create_run("do it") for _ in range(5)]
    random.Random(1).shuffle(calls)
    return calls


async def most(rounds: int) -> dict[str, Worst]:
    """Return how many requests each endpoint had at most in one of its windows, and how many it allows."""
    async with both("sliding") as (server, client):
        calls = work(server, client, rounds)
        await asyncio.gather(*calls)
        assert len(server.requests) == len(calls) == 160 * rounds
        assert server.violations == 0
        assert Counter(request.status for request in server.requests) == {200: len(calls)}
        return {endpoint: server.worst(endpoint) for endpoint in ("create", "get", "list", "logs", "resume")}


async def test_two_thousand_mixed_requests_are_all_within_the_limits() -> None:
    for endpoint, (seen, limit) in (await most(rounds=13)).items():
        assert seen <= limit == RATES[endpoint].limit


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_mixed_requests_go_up_to_the_limits_on_a_machine_that_is_fast_enough() -> None:
    for endpoint, (seen, limit) in (await most(rounds=3)).items():
        assert seen == limit == RATES[endpoint].limit


@pytest.mark.slow
@pytest.mark.parametrize("window", ["sliding", "fixed", "first-hit", "bucket"])
async def test_ten_thousand_requests_over_a_bad_network_are_all_within_the_limits(window: Window) -> None:
    async with both(window, seed=7) as (server, client):
        for fault in (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.ERROR_AFTER, Fault.TRUNCATED_BODY):
            for endpoint in ("get", "list", "logs"):
                server.faults.add(fault, endpoint=endpoint, times=None, probability=0.005)
        results = await asyncio.gather(*work(server, client, rounds=63), return_exceptions=True)
        assert len(server.requests) > 10_000
        assert server.violations == 0
        assert server.faults.injected.total() > 100
        assert not [
            result for result in results if isinstance(result, BaseException) and not isinstance(result, APIError)
        ]
