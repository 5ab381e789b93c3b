import asyncio
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from codegen_async import HostedRun, HostedRuns, NotFoundError, Phase, QuotaExceededError, StatusError
from codegen_async.testing import Answer, Fault, check_dialect
from docs.examples.dialects.cursor import Cursor
from tests.dialects.cursor_server import CursorServer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = {"id": "run-1", "agentId": "bc-1", "status": "RUNNING", "createdAt": "2026-11-26T10:00:00.000Z"}
BRANCHES = [{"repoUrl": "https://github.com/a/b", "branch": "x", "prUrl": "https://github.com/a/b/pull/1"}, {}]
ENDED = {**RUN, "status": "FINISHED", "result": "Done.", "git": {"branches": BRANCHES}}


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[CursorServer]:
    async with CursorServer() as server:
        yield server


def client(server: CursorServer) -> HostedRuns[HostedRun]:
    return HostedRuns(Cursor(), server.token, base_url=server.url)


def prompt(text: str = "a") -> dict[str, str]:
    return {"text": text}


async def test_the_dialect_reads_what_the_pages_show() -> None:
    error = {"error": {"code": "agent_id_conflict", "message": "taken"}}
    check_dialect(
        Cursor(),
        {
            "get": [RUN, ENDED, {**RUN, "status": "EXPIRED"}],
            "create": [Answer(201, {"agent": {"id": "bc-1"}, "run": RUN})],
            "find": [{"items": []}, {"items": [ENDED, RUN]}],
            "reply": [Answer(201, {"run": {**RUN, "id": "run-2"}})],
            "refused": [Answer(409, error)],
        },
        fields={"prompt": prompt()},
    )


async def test_runs_are_made_and_waited_for(server: CursorServer) -> None:
    async with client(server) as runs:
        made = await asyncio.gather(*(runs.create_run(prompt=prompt("fail" if n == 3 else "a")) for n in range(30)))
        final = await runs.wait_for_runs(made)
    assert [run.phase for run in final] == [Phase.FAILED if n == 3 else Phase.SUCCEEDED for n in range(30)]
    assert (final[0].text, final[0].urls) == ("Done.", ("https://github.com/a/b/pull/1",))
    assert len(server.agents) == 30
    assert server.violations == 0


async def test_a_run_is_cancelled_and_answered_by_another_run(server: CursorServer) -> None:
    async with client(server) as runs:
        run = await runs.create_run(prompt=prompt())
        with pytest.raises(StatusError, match="agent busy"):
            await runs.reply(run.id, "go on")
        assert (await runs.cancel_run(run.id)).phase is Phase.CANCELLED
        other = await runs.reply(run.id, "go on")
        assert other.id != run.id
        assert (await runs.wait_for_run(other)).phase is Phase.SUCCEEDED
        assert (await runs.cancel_run(other.id)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.ERROR_AFTER])
async def test_a_lost_create_makes_one_agent(server: CursorServer, fault: Fault) -> None:
    server.faults.add(fault, endpoint="all", times=1)
    async with client(server) as runs:
        run = await runs.create_run(prompt=prompt(), idempotency_key="mine")
        assert (await runs.create_run(prompt=prompt(), idempotency_key="mine")).id == run.id
        assert await runs.find_run_by_key("other") is None
    assert [len(made) for made in server.agents.values()] == [1]


async def test_what_is_not_there_and_what_is_not_paid_for(server: CursorServer) -> None:
    server.used_up = True
    async with client(server) as runs:
        with pytest.raises(NotFoundError):
            await runs.get_run("bc-1/run-9")
        with pytest.raises(QuotaExceededError, match="usage limit exceeded"):
            await runs.create_run(prompt=prompt())
