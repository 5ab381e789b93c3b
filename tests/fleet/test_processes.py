"""Real processes, real servers, real time: nothing is sent over, whatever happens."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from codegen_async.limits import Rate
from tests.fleet.conftest import ALWAYS, url_of
from tests.fleet.processes import Plan, Result, Strikes, before_file, before_pair, before_server, campaign
from tests.support.servers import postgres, running, valkey

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

RATE = Rate(10, 2.0)


async def _campaign(before: AbstractAsyncContextManager[tuple[str, Strikes]], **strikes: int) -> Result:
    async with before as (url, can_happen):
        plan = Plan(rate=RATE, requests=10_000, seconds=45.0, strikes=strikes)
        return await campaign(url, can_happen, plan)


def _judge(result: Result) -> None:
    assert result.rejected == 0, result
    assert result.fullest <= RATE.limit, result
    assert result.answered > 20, result


async def test_a_file_keeps_a_fleet_within_the_limit(tmp_path: Path) -> None:
    _judge(await _campaign(before_file(tmp_path / "fleet.db"), kill=2, freeze=2, cut=1))


async def test_postgres_keeps_a_fleet_within_the_limit() -> None:
    async with running(postgres()) as server:
        before = before_server(server, url_of(server, "postgresql"))
        happened = await _campaign(before, kill=4, freeze=4, cut=4, restart=1, freeze_store=1)
    _judge(happened)


async def test_a_server_that_forgets_when_it_restarts_keeps_a_fleet_within_the_limit() -> None:
    async with running(valkey()) as server:
        before = before_server(server, url_of(server, "redis"))
        happened = await _campaign(before, kill=6, freeze=6, cut=6, restart=1)
    _judge(happened)


async def test_a_server_that_writes_all_down_keeps_a_fleet_within_the_limit() -> None:
    async with running(valkey(*ALWAYS)) as server:
        before = before_server(server, f"{url_of(server, 'redis')}?durable")
        happened = await _campaign(before, kill=4, freeze=4, cut=4, restart=1, freeze_store=1)
    _judge(happened)


async def test_a_replica_that_missed_something_takes_over_and_the_fleet_stays_within_the_limit() -> None:
    async with running(valkey()) as first, running(valkey()) as second:
        happened = await _campaign(before_pair(first, second, url_of(first, "redis")), kill=1, freeze=1, fail_over=0)
    _judge(happened)
