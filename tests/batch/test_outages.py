"""Servers, and what stands before them, that let no creates through for a while; in virtual time."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from codegen_async.batch.items import State
from codegen_async.testing import CodegenServer, Fault
from tests.batch.helpers import SHORT, opened, run_all

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


class Maintained(CodegenServer):
    """A server before which something answers creates with success, and carries none out."""

    is_down = True

    def _create(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        return {"message": "Down for maintenance"} if self.is_down else super()._create(request, body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def outage(server: CodegenServer, begin: float, end: float, fault: Fault, status: int) -> None:
    """Let creates come to nothing from one moment to another, in seconds from now."""
    await asyncio.sleep(begin)
    server.faults.add(fault, endpoint="create", status=status, times=None)
    await asyncio.sleep(end - begin)
    server.faults.clear()


async def through(server: CodegenServer, path: Path, begin: float, end: float, fault: Fault) -> list[State]:
    """Run a batch of fifty through an outage and return how its items ended."""
    server.world.script = SHORT
    passing = asyncio.create_task(outage(server, begin, end, fault, 404))
    async with opened(server, path) as batch:
        for number in range(50):
            batch.add(f"do {number}")
        outcomes = await run_all(batch)
    await passing
    return [outcome.state for outcome in outcomes]


@pytest.mark.parametrize(("begin", "end"), [(0.0, 300.0), (55.0, 355.0), (119.0, 121.0)])
async def test_creates_that_may_have_been_carried_out_do_not_use_up_the_batch(
    codegen_server: CodegenServer, path: Path, begin: float, end: float
) -> None:
    states = await through(codegen_server, path, begin, end, Fault.ERROR_BEFORE)
    assert states == [State.ENDED] * 50
    assert len(codegen_server.world.runs) == 50
    assert codegen_server.violations == 0


async def test_those_that_were_carried_out_all_the_same_are_found(codegen_server: CodegenServer, path: Path) -> None:
    states = await through(codegen_server, path, 0.0, 300.0, Fault.ERROR_AFTER)
    assert states == [State.ENDED] * 50
    assert len(codegen_server.world.runs) == 50
    assert codegen_server.violations == 0


async def test_an_outage_that_reports_success_leaves_few_for_a_person(path: Path) -> None:
    async with Maintained() as server:
        server.world.script = SHORT
        async with opened(server, path) as batch:
            for number in range(100):
                batch.add(f"do {number}")
            running = asyncio.create_task(run_all(batch))
            await asyncio.sleep(300.0)  # the limit lets fifty through
            server.is_down = False
            outcomes = await running
        unknown = [outcome for outcome in outcomes if outcome.state is State.UNKNOWN]
        assert 0 < len(unknown) < 40
        assert len(server.world.runs) == 100 - len(unknown)


async def test_the_next_create_waits_until_one_has_come_through(path: Path) -> None:
    async with CodegenServer(latency=(2.0, 2.0)) as server:
        server.world.script = SHORT
        async with opened(server, path) as batch:
            for number in range(5):
                batch.add(f"do {number}")
            outcomes = await run_all(batch)
        sent = [request.time for request in server.requests if request.endpoint == "create"]
    assert len(outcomes) == 5
    assert [time - sent[0] >= 4.0 for time in sent] == [False, True, True, True, True]
    assert sent[4] - sent[1] < 1.0


@pytest.mark.parametrize("status", [421, 425])
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.ERROR_BEFORE])
async def test_what_the_server_did_not_act_on_is_sent_again(
    codegen_server: CodegenServer, path: Path, fault: Fault, status: int
) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(fault, endpoint="create", status=status, times=3)
    async with opened(codegen_server, path) as batch:
        for number in range(5):
            batch.add(f"do {number}")
        outcomes = await run_all(batch)
    assert [outcome.state for outcome in outcomes] == [State.ENDED] * 5
    assert sum(request.endpoint == "create" for request in codegen_server.requests) == 8
