"""Several processes on one token: each client has its part, and together they keep to the whole."""

import asyncio
from typing import Any

import pytest

from codegen_async import CodegenClient, ConfigurationError, HostedRuns, MiddeskClient, Rate
from codegen_async.testing import CodegenServer
from tests.hosted.api import Api, Plain
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


async def test_four_workers_of_one_token_are_never_refused(codegen_server: CodegenServer) -> None:
    def client() -> CodegenClient:
        return CodegenClient(CANARY, org_id=codegen_server.org_id, base_url=codegen_server.url, processes=4)

    async with client() as one, client() as two, client() as three, client() as four:
        workers = (one, two, three, four)
        await asyncio.gather(*(worker.create_run("x") for worker in workers for _ in range(10)))
        await asyncio.gather(*(worker.me() for worker in workers for _ in range(30)))
    assert len(codegen_server.world.runs) == 40
    assert codegen_server.violations == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"processes": 0}, "processes: expected a number from 1, got 0"),
        ({"processes": 1.5}, "processes: expected"),
        ({"processes": True}, "processes: expected"),
        ({"processes": 11}, "processes: the limit of create: 10 requests cannot be divided among 11"),
        ({"processes": 3, "ceiling": Rate(2, 1.0)}, "the limit of ceiling: 2 requests"),
        ({"processes": 3, "rates": {"get": Rate(60, 30.0, burst=2)}}, "the limit of get: 2 requests"),
    ],
)
async def test_what_cannot_be_divided_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CodegenClient(CANARY, org_id=1, **options)


async def test_every_part_is_rounded_down() -> None:
    assert Rate(10, 60.0).part(4) == Rate(2, 60.0)
    assert Rate(60, 30.0, burst=9).part(4) == Rate(15, 30.0, burst=2)


async def test_clients_of_all_dialects_can_have_a_part() -> None:
    runs = HostedRuns(Plain(), CANARY, sender=Api(), processes=2)
    assert {name: state.available for name, state in runs.limits.items()} == {"create": 5, "read": 15}
    whole, half = (MiddeskClient("mk_test_x", processes=count).limits for count in (1, 2))
    assert [state.available * 2 for state in half.values()] == [state.available for state in whole.values()]
