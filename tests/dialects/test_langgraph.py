import asyncio
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from codegen_async import CreateOutcomeUnknownError, HostedRun, HostedRuns, NotFoundError, Phase, StatusError
from codegen_async.testing import Fault, check_dialect
from docs.examples.dialects.langgraph import LangGraph
from tests.dialects.langgraph_server import LangGraphServer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = {"run_id": "r", "thread_id": "t", "status": "success", "created_at": "2026-11-26T01:28:27.196999+00:00"}
ASKED = {"error": None, "interrupts": [{"id": "1641", "value": "which one?"}]}


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[LangGraphServer]:
    async with LangGraphServer() as server:
        yield server


def client(server: LangGraphServer) -> HostedRuns[HostedRun]:
    return HostedRuns(LangGraph(), server.token, base_url=server.url)


async def test_the_dialect_reads_what_the_server_was_seen_to_answer() -> None:
    state = {"values": {"answer": "a"}, "tasks": [], "metadata": {"run_id": "r"}}
    check_dialect(
        LangGraph(),
        {
            "get": [RUN, *({**RUN, "status": word} for word in ("pending", "running", "error", "timeout"))],
            "create": [{**RUN, "status": "pending"}],
            "find": [[], [RUN]],
            "full": [state, {**state, "metadata": None}, {**state, "tasks": [ASKED]}],
            "many": [[{"thread_id": "plain", "status": word} for word in ("idle", "busy", "interrupted", "error")], []],
            "reply": [RUN],
        },
        run=HostedRun(id="t/r", status="success", raw=RUN),
    )


async def test_runs_are_made_and_waited_for_at_the_cost_of_few_searches(server: LangGraphServer) -> None:
    async with client(server) as runs:
        made = await asyncio.gather(*(runs.create_run(input={"task": "fail" if n == 3 else "a"}) for n in range(30)))
        final = await runs.wait_for_runs(made)
    assert [run.phase for run in final] == [Phase.FAILED if n == 3 else Phase.SUCCEEDED for n in range(30)]
    assert (final[0].text, final[3].error) == ('{"task": "a", "answer": "done"}', "ValueError('no')")
    assert len(server.requests) <= 30 + 10 + 2 * 30  # each end is confirmed, and read whole
    assert server.violations == 0


async def test_runs_that_ask_are_answered_by_other_runs_and_waited_for(server: LangGraphServer) -> None:
    async with client(server) as runs:
        made = await asyncio.gather(*(runs.create_run(input={"task": "ask"}) for _ in range(30)))
        asked: list[str | None] = []

        async def answer(run: HostedRun) -> HostedRun:
            asked.append(run.text)
            return await runs.reply(run.id, "blue")

        final = await asyncio.gather(*(runs.wait_for_run(run, on_blocked=answer) for run in made))
        assert asked == ['["which?"]'] * 30
        assert {run.text for run in final} == {'{"task": null, "answer": "blue"}'}
        assert [run.id.split("/")[0] for run in final] == [run.id.split("/")[0] for run in made]
        assert {run.id for run in final}.isdisjoint(run.id for run in made)
    assert server.violations == 0


async def test_a_run_is_cancelled_once_and_cannot_be_answered_while_it_goes_on(server: LangGraphServer) -> None:
    async with client(server) as runs:
        run = await runs.create_run(input={"task": "a"})
        with pytest.raises(StatusError, match="already running"):
            await runs.reply(run.id, "blue")
        for _ in range(2):
            assert (await runs.cancel_run(run.id)).phase is Phase.CANCELLED
        with pytest.raises(NotFoundError):
            await runs.cancel_run(f"{run.id}0")


@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.ERROR_AFTER])
async def test_a_lost_create_is_found_on_its_thread(server: LangGraphServer, fault: Fault) -> None:
    server.faults.add(fault, endpoint="all", times=1)
    async with client(server) as runs:
        run = await runs.create_run(input={"task": "a"})
    assert [[made["run_id"] for made in thread] for thread in server.threads.values()] == [[run.id.split("/")[1]]]


async def test_a_create_that_was_not_carried_out_is_sent_again_once_that_is_proven(server: LangGraphServer) -> None:
    async with client(server) as runs:
        await runs.create_run(input={"task": "before"})
        server.faults.add(Fault.RESET_BEFORE, endpoint="all", times=2)
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(input={"task": "lost"})
        lost = asyncio.create_task(runs.create_run(input={"task": "lost"}, on_unknown="retry"))
        await asyncio.sleep(5)
        await runs.create_run(input={"task": "after"})
        await lost
    assert [len(thread) for thread in server.threads.values()] == [1, 1, 1]
