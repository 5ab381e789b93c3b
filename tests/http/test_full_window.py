"""Somebody else has spent the window, and the server's hint may be too short: no call fails, and none is in a hurry."""

import asyncio
from itertools import pairwise
from typing import get_args

import pytest

from codegen_async.errors import RateLimitedError
from codegen_async.limits import Rate
from codegen_async.testing import CodegenServer, Fault
from codegen_async.testing.rates import RetryAfter
from tests.support.canary import CANARY
from tests.support.clients import open_client

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

HINTS: list[RetryAfter | bool] = [False, *get_args(RetryAfter)]
CALLS = 20


@pytest.mark.sampled(5)
@pytest.mark.parametrize("rejections_count", [False, True])
@pytest.mark.parametrize("burst", [None, 1, 4])
@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize("age", [0.3, 12.7, 59.2])
async def test_no_call_fails_behind_a_full_window(
    hint: RetryAfter | bool, burst: int | None, age: float, rejections_count: bool
) -> None:
    server = CodegenServer(
        token=CANARY, retry_after=hint, count_rejected=rejections_count, latency=(0.005, 0.3), seed=int(age)
    )
    async with server, open_client(server.url) as neighbour:
        await asyncio.gather(*[neighbour.create_run("theirs") for _ in range(10)])
        await asyncio.sleep(age)
        async with open_client(server.url, rates={"create": Rate(10, 60.0, burst=burst)}) as client:
            await asyncio.gather(*[client.create_run("ours") for _ in range(CALLS)])
    assert server.violations <= 10 + 7  # what was under way at the first of them, and the silences that were too short


async def test_a_server_that_always_says_at_once_is_asked_less_and_less_often(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.RATE_LIMITED, endpoint="get", times=None, retry_after=0)
    async with open_client(codegen_server.url) as client:
        with pytest.raises(RateLimitedError) as caught:
            await client.get_run(1)
    times = [request.time for request in codegen_server.requests]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([30 / 57, 1.0, 2.0, 4.0, 8.0, 16.0, 30.05, 30.05, 30.05], abs=0.6)
    assert caught.value.attempts == len(times) == 10
