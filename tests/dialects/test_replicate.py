import asyncio
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from codegen_async import CreateOutcomeUnknownError, HostedRun, HostedRuns, NotFoundError, Phase, QuotaExceededError
from codegen_async.testing import Fault
from docs.examples.dialects.replicate import Replicate
from tests.dialects.replicate_server import ReplicateServer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[ReplicateServer]:
    async with ReplicateServer() as server:
        yield server


def client(server: ReplicateServer) -> HostedRuns[HostedRun]:
    return HostedRuns(Replicate(), server.token, base_url=server.url)


async def test_predictions_are_made_and_waited_for(server: ReplicateServer) -> None:
    async with client(server) as runs:
        made = await asyncio.gather(*(runs.create_run(version="v", input={"fail": n == 3}) for n in range(30)))
        final = await runs.wait_for_runs(made)
    assert [run.phase for run in final] == [Phase.FAILED if n == 3 else Phase.SUCCEEDED for n in range(30)]
    assert (final[0].text, final[3].error) == ("Hello, world", "the model raised")
    assert server.violations == 0


async def test_hundreds_of_predictions_are_found_on_pages_and_read_whole(server: ReplicateServer) -> None:
    async with client(server) as runs:
        made = await asyncio.gather(*(runs.create_run(version="v", input={}) for _ in range(250)))
        final = await runs.wait_for_runs([run.id for run in made])
    assert all(run.text == "Hello, world" for run in final)
    assert server.pages >= 3
    assert server.violations == 0


async def test_a_prediction_is_cancelled(server: ReplicateServer) -> None:
    async with client(server) as runs:
        run = await runs.create_run(version="v", input={})
        assert (await runs.cancel_run(run.id)).phase is Phase.CANCELLED


async def test_what_is_not_there_and_what_is_not_paid_for(server: ReplicateServer) -> None:
    server.credit = 0
    async with client(server) as runs:
        with pytest.raises(NotFoundError):
            await runs.get_run("p99")
        with pytest.raises(QuotaExceededError, match="insufficient credit"):
            await runs.create_run(version="v", input={})


async def test_a_lost_create_is_unknown_and_made_once(server: ReplicateServer) -> None:
    server.faults.add(Fault.RESET_AFTER, endpoint="create", times=1)
    async with client(server) as runs:
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(version="v", input={})
    assert len(server.predictions) == 1
