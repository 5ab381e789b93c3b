"""What steps of a queue need: a create that another process may have made, and runs that cross processes as JSON."""

import asyncio
import json

import pytest

from codegen_async import (
    AgentRun,
    CapacityError,
    CodegenClient,
    ConnectionFailedError,
    CreateOutcomeUnknownError,
    InvalidArgumentError,
    LimiterBusyError,
    Phase,
    QuotaExceededError,
    ServerError,
    is_passing,
)
from codegen_async.testing import CodegenServer, Fault
from tests.batch.helpers import client_of

virtual = pytest.mark.asyncio(loop_factories=["virtual"])


def made(server: CodegenServer, prompt: str) -> int:
    return sum(run.prompt == prompt for run in server.world.runs.values())


@virtual
async def test_what_another_process_has_sent_is_found_and_not_sent_again(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as dead, client_of(codegen_server) as client:
        floor = await client.newest_run_id()
        theirs = await dead.create_run("one", idempotency_key="mine")
        run = await client.create_run("one", idempotency_key="mine", newer_than=floor)
    assert run.id == theirs.id
    assert made(codegen_server, "one") == 1


@virtual
@pytest.mark.parametrize("seconds", [1.0, 25.0, 50.0])
async def test_what_arrives_while_it_is_looked_for_is_found(codegen_server: CodegenServer, seconds: float) -> None:
    """A process that died left its request with a gateway that takes its time."""
    async with client_of(codegen_server) as dead, client_of(codegen_server) as client:
        floor = await client.newest_run_id()

        async def arrive() -> AgentRun:
            await asyncio.sleep(seconds)
            return await dead.create_run("one", idempotency_key="mine")

        theirs = asyncio.ensure_future(arrive())
        run = await client.create_run("one", idempotency_key="mine", newer_than=floor, on_unknown="retry")
    assert run.id == (await theirs).id
    assert made(codegen_server, "one") == 1


@virtual
async def test_what_nobody_has_sent_is_sent_once_a_later_run_shows_that_it_would_be_seen(
    codegen_server: CodegenServer,
) -> None:
    async with client_of(codegen_server) as client:
        floor = await client.newest_run_id()
        with pytest.raises(CreateOutcomeUnknownError, match="another process may have sent it"):
            await client.create_run("one", idempotency_key="mine", newer_than=floor)
        assert made(codegen_server, "one") == 0
        await client.create_run("another")
        run = await client.create_run("one", idempotency_key="mine", newer_than=floor)
        again = await client.create_run("one", idempotency_key="mine", newer_than=floor)
    assert again.id == run.id
    assert made(codegen_server, "one") == 1


@virtual
async def test_who_created_others_meanwhile_sends_it_within_one_call(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        floor = await client.newest_run_id()
        late = asyncio.ensure_future(client.create_run("one", idempotency_key="mine", newer_than=floor))
        await asyncio.sleep(5.0)
        await client.create_run("another")
        assert (await late).id > floor
    assert made(codegen_server, "one") == 1


@virtual
async def test_an_organization_without_runs_has_a_newest_id_all_the_same() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        assert await client.newest_run_id() == 0
        first = await client.create_run("one", idempotency_key="mine")
        assert await client.newest_run_id() == first.id
        assert (await client.create_run("one", idempotency_key="mine", newer_than=0)).id == first.id


@virtual
async def test_nothing_is_sent_that_is_not_confirmed_and_each_sending_is(codegen_server: CodegenServer) -> None:
    asked: list[int] = []

    async def confirm() -> None:
        asked.append(client.limits["create"].available)
        if len(asked) == 2:
            raise RuntimeError("another worker has the task")

    async with client_of(codegen_server) as client:
        await client.create_run("one", confirm=confirm)
        with pytest.raises(RuntimeError, match="another worker"):
            await client.create_run("two", idempotency_key="mine", confirm=confirm)
        assert made(codegen_server, "two") == 0
        await client.create_run("two", idempotency_key="mine", confirm=confirm)
        assert client.limits["create"].available == 8  # what was not sent spent nothing
    assert (made(codegen_server, "one"), made(codegen_server, "two")) == (1, 1)
    assert asked == [9, 8, 8]


@virtual
async def test_who_stands_still_after_the_confirmation_has_to_confirm_again(codegen_server: CodegenServer) -> None:
    confirmed: list[float] = []

    async def confirm() -> None:
        confirmed.append(asyncio.get_running_loop().time())
        if len(confirmed) == 1:
            await asyncio.sleep(20.0)  # as if it was stopped

    async with client_of(codegen_server) as client:
        await client.create_run("one", confirm=confirm)
    assert len(confirmed) == 2
    assert made(codegen_server, "one") == 1


@virtual
@pytest.mark.parametrize("floor", [-1, True, "7", 2**63])
async def test_a_floor_that_is_no_id_is_refused(codegen_server: CodegenServer, floor: int) -> None:
    async with client_of(codegen_server) as client:
        with pytest.raises(InvalidArgumentError, match="newer_than"):
            await client.create_run("one", idempotency_key="mine", newer_than=floor)
        with pytest.raises(InvalidArgumentError, match="idempotency_key beside it"):
            await client.create_run("one", newer_than=7)
    assert made(codegen_server, "one") == 0


@virtual
async def test_outages_pass_and_refusals_do_not() -> None:
    async with CodegenServer() as server:
        url = server.url
    async with CodegenClient("token", org_id=1, base_url=url) as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await client.get_run(1)
    assert is_passing(caught.value)
    assert is_passing(ServerError("busy", method="GET", path="/"))
    assert is_passing(CapacityError("full", method="POST", path="/"))
    assert is_passing(LimiterBusyError("create", 9.0, 1.0))
    assert not is_passing(QuotaExceededError("used up", method="POST", path="/"))
    assert not is_passing(ValueError())


@virtual
async def test_a_create_that_is_lost_for_good_does_not_pass(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await client.create_run("lost")
    assert not is_passing(caught.value)


@virtual
async def test_a_run_comes_back_from_json_as_it_was(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server, phases={"ODDLY_DONE": Phase.SUCCEEDED}) as client:
        codegen_server.world.script = [(0.0, "ACTIVE"), (1.0, "ODDLY_DONE")]
        run = await client.run("one", metadata={"of": ["any", {"depth": 1}]})
    back = AgentRun.from_dict(json.loads(json.dumps(run.to_dict())))
    assert back == run
    assert back.phase is run.phase is Phase.SUCCEEDED
    assert AgentRun.from_dict(json.loads(back.to_json())).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("values", [{}, {"id": "x"}, [], 7, {"id": 1, "organization_id": 1, "phase": "elsewhere"}])
def test_what_is_no_run_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"what AgentRun\.to_dict returns"):
        AgentRun.from_dict(values)
