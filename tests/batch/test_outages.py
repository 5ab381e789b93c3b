"""Servers, and what stands before them, that let no creates through for a while; in virtual time."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from codegen_async.batch.items import State
from codegen_async.batch.outages import Outages
from codegen_async.errors import OutcomeUnknownError
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


async def outage(
    server: CodegenServer, begin: float, end: float, fault: Fault, status: int, *, endpoint: str | None = "create"
) -> None:
    """Let creates, or all requests, come to nothing from one moment to another, in seconds from now."""
    await asyncio.sleep(begin)
    server.faults.add(fault, endpoint=endpoint, status=status, times=None)
    await asyncio.sleep(end - begin)
    server.faults.clear()


def sent(server: CodegenServer) -> list[float]:
    return [request.time for request in server.requests if request.endpoint == "create"]


async def run(server: CodegenServer, path: Path, prompts: int) -> list[State]:
    """Run a batch and return how its items ended."""
    server.world.script = SHORT
    async with opened(server, path) as batch:
        for number in range(prompts):
            batch.add(f"do {number}")
        return [outcome.state for outcome in await run_all(batch)]


async def through(server: CodegenServer, path: Path, begin: float, end: float, fault: Fault) -> list[State]:
    """Run a batch of fifty through an outage and return how its items ended."""
    passing = asyncio.create_task(outage(server, begin, end, fault, 404))
    states = await run(server, path, 50)
    await passing
    return states


@pytest.mark.sampled(3)
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
        running = asyncio.create_task(run(server, path, 100))
        await asyncio.sleep(300.0)  # the limit lets fifty through
        server.is_down = False
        unknown = (await running).count(State.UNKNOWN)
        assert 0 < unknown < 40
        assert len(server.world.runs) == 100 - unknown


async def test_the_next_create_waits_until_one_has_come_through(path: Path) -> None:
    async with CodegenServer(latency=(2.0, 2.0)) as server:
        assert await run(server, path, 5) == [State.ENDED] * 5
        times = sent(server)
    assert [time - times[0] >= 4.0 for time in times] == [False, True, True, True, True]
    assert times[4] - times[1] < 1.0


async def test_an_outage_of_the_whole_server_uses_up_not_even_the_last_prompts(
    codegen_server: CodegenServer, path: Path
) -> None:
    passing = asyncio.create_task(outage(codegen_server, 55.0, 355.0, Fault.ERROR_BEFORE, 502, endpoint=None))
    assert await run(codegen_server, path, 20) == [State.ENDED] * 20  # in two windows
    await passing
    assert len(codegen_server.world.runs) == 20


@pytest.mark.parametrize("status", [421, 425])
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.ERROR_BEFORE])
async def test_what_the_server_did_not_act_on_is_sent_again(
    codegen_server: CodegenServer, path: Path, fault: Fault, status: int
) -> None:
    codegen_server.faults.add(fault, endpoint="create", status=status, times=3)
    assert await run(codegen_server, path, 5) == [State.ENDED] * 5
    assert len(sent(codegen_server)) == 8


async def test_creates_that_all_are_silent_but_carried_out_go_as_fast_as_the_limit_allows(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.faults.add(Fault.DROP_AFTER, endpoint="create", times=None)
    assert await run(codegen_server, path, 30) == [State.ENDED] * 30
    begun, *_, ended = sent(codegen_server)
    assert ended - begun < 300.0  # one by one it would be 900


async def test_those_that_the_api_itself_refuses_do_not_wait_for_one_another(path: Path) -> None:
    async with CodegenServer(latency=(2.0, 2.0)) as server:
        server.faults.add(Fault.REFUSED, endpoint="create", status=422, times=None)
        assert await run(server, path, 10) == [State.REJECTED] * 10
        assert sent(server)[-1] - sent(server)[1] < 1.0


# -- what shows that an outage is over


LOST = OutcomeUnknownError("lost", method="POST", path="/")


async def answered() -> None:
    """Read something."""


async def goes_on(outages: Outages) -> bool:
    """Whether creates go on beside one that is under way."""
    one = outages.attempt()
    waiting = asyncio.ensure_future(outages.wait())
    await asyncio.sleep(100.0)
    one.close()
    return waiting.done() or not waiting.cancel()


async def test_it_is_over_when_one_has_come_through_that_was_sent_after_the_last_that_was_lost() -> None:
    outages = Outages(answered)
    early, lost, late = (outages.attempt() for _ in range(3))
    lost.failed(LOST)
    early.came_through()
    assert not await goes_on(outages)
    late.came_through()
    assert await goes_on(outages)


async def test_the_run_of_one_that_was_lost_shows_it_unless_another_was_lost_since() -> None:
    outages = Outages(answered)
    first, second = outages.attempt(), outages.attempt()
    first.failed(LOST)
    second.failed(LOST)
    first.came_through()  # its run was found
    assert not await goes_on(outages)
    second.came_through()
    assert await goes_on(outages)


async def test_one_that_is_lost_late_is_no_outage_where_a_later_one_has_come_through() -> None:
    outages = Outages(answered)
    silent, later = outages.attempt(), outages.attempt()
    later.came_through()
    silent.failed(LOST)
    assert await goes_on(outages)


async def test_those_that_were_sent_before_hold_up_nothing() -> None:
    outages = Outages(answered)
    outages.attempt()  # and is silent
    outages.attempt().failed(LOST)
    async with asyncio.timeout(1.0):
        await outages.wait()


async def test_who_waits_for_one_under_way_goes_on_when_another_shows_that_it_is_over() -> None:
    outages = Outages(answered)
    lost = outages.attempt()
    lost.failed(LOST)
    await outages.wait()
    outages.attempt()  # and is silent
    waiting = asyncio.ensure_future(outages.wait())
    await asyncio.sleep(100.0)
    lost.came_through()
    async with asyncio.timeout(0.1):
        await waiting


async def test_where_no_read_is_answered_a_create_is_tried_all_the_same_in_a_while() -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    outages = Outages(silent)
    outages.attempt().failed(LOST)
    begun = asyncio.get_running_loop().time()
    await outages.wait()
    assert 60.0 <= asyncio.get_running_loop().time() - begun < 62.0
