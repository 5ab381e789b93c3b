import asyncio
from collections.abc import AsyncGenerator

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
    QuotaExceededError,
)
from codegen_async.testing import Answer, Fault, check_dialect
from docs.examples.dialects.openai import OpenAI
from tests.dialects.openai_server import OpenAIServer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = {"id": "resp_1", "object": "response", "created_at": 1764150000, "status": "queued", "output": []}
SAID = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "No"}]}
OVER = {**RUN, "status": "completed", "output": [{"type": "reasoning"}, SAID], "usage": {"total_tokens": 7}}
CUT = {**RUN, "status": "incomplete", "error": None, "incomplete_details": {"reason": "max_output_tokens"}}


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[OpenAIServer]:
    async with OpenAIServer() as server:
        yield server


def client(server: OpenAIServer) -> HostedRuns[HostedRun]:
    return HostedRuns(OpenAI(), server.token, base_url=server.url)


async def test_the_dialect_reads_what_the_pages_show() -> None:
    spent = {"error": {"message": "You exceeded your current quota", "type": "q", "code": "insufficient_quota"}}
    refused = [Answer(429, spent)]
    read = {"get": [RUN, OVER, CUT], "create": [RUN], "reply": [RUN]}
    check_dialect(OpenAI(), {**read, "refused": refused}, fields={"input": "a"})


async def test_responses_are_made_and_waited_for(server: OpenAIServer) -> None:
    async with client(server) as runs:
        words = ["fail" if n == 3 else "long" if n == 4 else "a" for n in range(30)]
        made = await asyncio.gather(*(runs.create_run(input=word) for word in words))
        final = await runs.wait_for_runs(made)
    assert [run.phase for run in final] == [Phase.SUCCEEDED if word == "a" else Phase.FAILED for word in words]
    assert (final[0].text, final[0].cost, final[0].error) == ("Hello.", Cost(12, "tokens"), None)
    assert [run.error for run in final[3:5]] == ["The model failed.", "max_output_tokens"]
    assert final[0].created_time is not None
    assert server.violations == 0


async def test_a_response_is_cancelled_as_often_as_one_likes_and_answered_by_another(server: OpenAIServer) -> None:
    async with client(server) as runs:
        run = await runs.create_run(input="a")
        with pytest.raises(InvalidRequestError, match="Previous response"):
            await runs.reply(run.id, "b")
        for _ in range(2):
            assert (await runs.cancel_run(run.id)).phase is Phase.CANCELLED
        other = await runs.reply(run.id, "b")
        assert other.id != run.id
        assert (await runs.wait_for_run(other)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(("fault", "made"), [(Fault.RESET_AFTER, 1), (Fault.RESET_BEFORE, 0)])
async def test_a_lost_create_is_unknown_and_sent_once(server: OpenAIServer, fault: Fault, made: int) -> None:
    server.faults.add(fault, endpoint="create", times=1)
    async with client(server) as runs:
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(input="a", on_unknown="retry")
        with pytest.raises(NotOfferedError):
            await runs.find_run_by_key("k")
    assert len(server.responses) == made


async def test_what_is_not_there_and_what_is_not_paid_for(server: OpenAIServer) -> None:
    server.spent = True
    async with client(server) as runs:
        with pytest.raises(NotFoundError):
            await runs.get_run("resp_99")
        with pytest.raises(QuotaExceededError, match="exceeded your current quota"):
            await runs.create_run(input="a")
    assert len(server.requests) == 2
