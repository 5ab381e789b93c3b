import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from codegen_async import (
    Cost,
    CreateOutcomeUnknownError,
    HostedRun,
    HostedRuns,
    InvalidRequestError,
    NotFoundError,
    NotOfferedError,
    Phase,
    RunBlockedError,
    RunEndedError,
)
from codegen_async.testing import Answer, Fault, check_dialect
from docs.examples.dialects.openhands import OpenHands
from tests.dialects.openhands_server import OpenHandsServer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

ID = "3458dce407074113961b51ee95851d0c"
TASK = {"id": "1", "status": "WORKING", "detail": None, "created_at": "2026-11-26T10:00:00.123456Z"}
RUN: dict[str, Any] = {
    "id": ID,
    "created_at": "2026-11-26T10:00:00.123456Z",
    "selected_repository": None,
    "git_provider": None,
    "pr_number": [],
    "metrics": None,
    "sandbox_status": "STARTING",
    "execution_status": None,
}
WORDS = ("running", "paused", "waiting_for_confirmation", "finished", "error", "stuck")


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[OpenHandsServer]:
    async with OpenHandsServer() as server:
        yield server


def client(server: OpenHandsServer) -> HostedRuns[HostedRun]:
    return HostedRuns(OpenHands(), server.token, base_url=server.url)


def message(text: str = "a") -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


async def test_the_dialect_reads_what_the_pages_show() -> None:
    working = [{**RUN, "sandbox_status": "RUNNING", "execution_status": word} for word in WORDS]
    check_dialect(
        OpenHands(),
        {
            "get": [[RUN], [None], *([run] for run in working), [{**RUN, "sandbox_status": "MISSING"}]],
            "many": [[RUN, None, *working], []],
            "create": [{**TASK, "request": {"conversation_id": ID}}],
            "find": [[None], [RUN]],
            "refused": [Answer(429, {"detail": {"error": "CONCURRENCY_LIMIT_REACHED", "limit": 3, "current": 3}})],
        },
    )


async def test_conversations_are_made_and_waited_for_by_their_ids(server: OpenHandsServer) -> None:
    async with client(server) as runs:
        words = ["stuck" if n == 3 else "crash" if n == 4 else "a" for n in range(30)]
        made = await asyncio.gather(*(runs.create_run(initial_message=message(word)) for word in words))
        final = await runs.wait_for_runs(made)
    assert [run.phase for run in final] == [Phase.SUCCEEDED if word == "a" else Phase.FAILED for word in words]
    assert (final[0].id, final[0].cost, final[0].urls) == (
        made[0].id,
        Cost(0.25, "USD"),
        ("https://github.com/a/b/pull/5",),
    )
    assert len(server.requests) <= 30 + 30 + 60  # who is not there yet is looked for by a get
    assert server.violations == 0


async def test_more_than_may_go_on_at_once_wait_for_one_another(server: OpenHandsServer) -> None:
    server.at_once = 5
    async with client(server) as runs:

        async def all_of_it() -> HostedRun:
            return await runs.wait_for_run(await runs.create_run(initial_message=message()))

        final = await asyncio.gather(*(all_of_it() for _ in range(20)))
    assert len({run.id for run in final}) == len(server.conversations) == 20
    assert server.violations == 0


async def test_a_conversation_that_asks_is_answered_and_goes_on(server: OpenHandsServer) -> None:
    async with client(server) as runs:
        run = await runs.create_run(initial_message=message("ask"))
        with pytest.raises(RunBlockedError):
            await runs.wait_for_run(run)
        final = await runs.wait_for_run(run, on_blocked=lambda asked: runs.reply(asked.id, "yes"))
        assert (final.id, final.phase) == (run.id, Phase.SUCCEEDED)
        lost = await runs.wait_for_run(await runs.create_run(initial_message=message("crash")))
        with pytest.raises(RunEndedError, match="archived"):
            await runs.reply(lost.id, "go on")
        with pytest.raises(NotOfferedError):
            await runs.cancel_run(run.id)


@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.ERROR_AFTER])
async def test_a_lost_create_is_looked_for_until_it_is_shown(server: OpenHandsServer, fault: Fault) -> None:
    server.faults.add(fault, endpoint="all", times=1)
    async with client(server) as runs:
        run = await runs.create_run(initial_message=message())
        assert (await runs.wait_for_run(run)).phase is Phase.SUCCEEDED
    assert list(server.conversations) == [run.id]


async def test_a_create_that_was_not_carried_out_is_not_sent_again_unproven(server: OpenHandsServer) -> None:
    server.faults.add(Fault.RESET_BEFORE, endpoint="all", times=1)
    async with client(server) as runs:
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(initial_message=message(), on_unknown="retry")
    assert not server.conversations


async def test_what_is_not_there_and_what_is_no_id(server: OpenHandsServer) -> None:
    async with client(server) as runs:
        with pytest.raises(NotFoundError):
            await runs.get_run(ID)
        with pytest.raises(InvalidRequestError, match="Invalid UUID"):
            await runs.get_run("a")
