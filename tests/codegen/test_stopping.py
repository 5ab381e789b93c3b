"""Stopping the agents of a pull request, with the little that is known of it."""

import asyncio

import pytest

from codegen_async import CodegenClient, InvalidArgumentError, NotFoundError, OutcomeUnknownError, Phase
from codegen_async.testing import CodegenServer, Fault

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

STOPS = ["stop_run", "remove_from_pr"]


def client_of(server: CodegenServer) -> CodegenClient:
    return CodegenClient(server.token, org_id=server.org_id, base_url=server.url, latency=600.0)


@pytest.mark.parametrize("how", STOPS)
async def test_who_waits_for_a_run_that_is_stopped_knows_it_at_once(how: str, codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE")]
    async with client_of(codegen_server) as client:
        run = await client.create_run("go astray")
        wait = asyncio.create_task(client.wait_for_run(run))
        await asyncio.sleep(5)
        stopped_at = codegen_server.now()
        await getattr(client, how)(run.id)
        final = await wait
        assert codegen_server.now() - stopped_at < 5
    assert final.phase is Phase.CANCELLED
    assert codegen_server.world.banned == {run.id}


@pytest.mark.parametrize("how", STOPS)
async def test_a_run_that_does_not_exist_cannot_be_stopped(how: str, codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        with pytest.raises(NotFoundError):
            await getattr(client, how)(17)
        with pytest.raises(InvalidArgumentError, match="run_id"):
            await getattr(client, how)(0)
    assert len(codegen_server.requests) == 1


@pytest.mark.parametrize("how", STOPS)
async def test_a_stop_whose_answer_is_lost_is_not_repeated_and_its_run_is_looked_at(
    how: str, codegen_server: CodegenServer
) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE")]
    async with client_of(codegen_server) as client:
        run = await client.create_run("go astray")
        wait = asyncio.create_task(client.wait_for_run(run))
        await asyncio.sleep(5)
        codegen_server.faults.add(Fault.RESET_AFTER, endpoint="stop")
        with pytest.raises(OutcomeUnknownError):
            await getattr(client, how)(run.id)
        assert (await wait).phase is Phase.CANCELLED
    assert [request.endpoint for request in codegen_server.requests].count("stop") == 1


async def test_both_ways_to_stop_share_a_limit(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE")]
    run = codegen_server.world.create("x")
    async with client_of(codegen_server) as client:
        for _ in range(8):
            await client.stop_run(run.id)
            await client.remove_from_pr(run.id)
    assert codegen_server.worst("stop") == (10, 10)
    assert not codegen_server.violations
