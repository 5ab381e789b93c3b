"""What each call puts on the wire, and what the models hold of it: literally as the vendor's pages say."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from codegen_async import (
    AgentRun,
    AgentRunLog,
    AgentRunLogs,
    AgentRunPage,
    AgentType,
    CodegenClient,
    DecodeError,
    OutcomeUnknownError,
    PullRequest,
    SourceType,
)
from tests.support.sender import FakeSender, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = {"id": 17, "organization_id": 5}
PAGE = {"items": [RUN], "total": 1, "page": 1, "size": 100, "pages": 1}
LOGS = {**RUN, "logs": [{"agent_run_id": 17}]}
EMPTY = {"items": [], "total": 0, "page": 1, "size": 100, "pages": 0}

Call = Callable[[CodegenClient], Awaitable[Any]]

CALLS: dict[str, tuple[Call, object, str, str, tuple[tuple[str, str], ...], Any]] = {
    # What is called, what the server answers, and: method, path, query, body.
    "create": (
        lambda c: c.create_run("do it"),
        RUN,
        "POST",
        "/v1/organizations/5/agent/run",
        (),
        {"prompt": "do it", "metadata": {}},
    ),
    "create with all": (
        lambda c: c.create_run(
            " spaces stay ",
            images=["data:image/png;base64,AAAA"],
            metadata={"a": [1, True, None, "ü", {"b": 0.5}], "": {}},
            webhooks=[{"url": "https://example.com/hook", "secret": "s"}],
            repo_id=2**63 - 1,
            model="some/model",
            agent_type=AgentType.CLAUDE_CODE,
        ),
        RUN,
        "POST",
        "/v1/organizations/5/agent/run",
        (),
        {
            "prompt": " spaces stay ",
            "images": ["data:image/png;base64,AAAA"],
            "metadata": {"a": [1, True, None, "ü", {"b": 0.5}], "": {}},
            "repo_id": 2**63 - 1,
            "model": "some/model",
            "agent_type": "claude_code",
            "webhooks": [{"url": "https://example.com/hook", "secret": "s"}],
        },
    ),
    "resume": (
        lambda c: c.resume_run(17, "go on", images=["data:image/gif;base64,AAAA"], model="m"),
        RUN,
        "POST",
        "/v1/organizations/5/agent/run/resume",
        (),
        {"agent_run_id": 17, "prompt": "go on", "images": ["data:image/gif;base64,AAAA"], "model": "m"},
    ),
    "get": (lambda c: c.get_run(17), RUN, "GET", "/v1/organizations/5/agent/run/17", (), None),
    "list": (
        lambda c: c.list_runs_page(),
        PAGE,
        "GET",
        "/v1/organizations/5/agent/runs",
        (("skip", "0"), ("limit", "100")),
        None,
    ),
    "list with all": (
        lambda c: c.list_runs_page(user_id=9, source_type=SourceType.GITHUB_PR_REVIEW, skip=3, limit=1),
        PAGE,
        "GET",
        "/v1/organizations/5/agent/runs",
        (("skip", "3"), ("limit", "1"), ("user_id", "9"), ("source_type", "GITHUB_PR_REVIEW")),
        None,
    ),
    "logs": (
        lambda c: c.run_logs_page(17),
        LOGS,
        "GET",
        "/v1/alpha/organizations/5/agent/run/17/logs",
        (("skip", "0"), ("limit", "100")),
        None,
    ),
    "logs with all": (
        lambda c: c.run_logs_page(17, skip=2, limit=50, reverse=True),
        LOGS,
        "GET",
        "/v1/alpha/organizations/5/agent/run/17/logs",
        (("skip", "2"), ("limit", "50"), ("reverse", "true")),
        None,
    ),
    "stop": (
        lambda c: c.stop_run(17),
        b"{}",
        "POST",
        "/v1/organizations/5/agent/run/ban",
        (),
        {"agent_run_id": 17},
    ),
    "remove from a pull request": (
        lambda c: c.remove_from_pr(17),
        b'"whatever"',
        "POST",
        "/v1/organizations/5/agent/run/remove-from-pr",
        (),
        {"agent_run_id": 17},
    ),
    "organizations": (
        lambda c: c.list_organizations_page(skip=3, limit=1),
        EMPTY,
        "GET",
        "/v1/organizations",
        (("skip", "3"), ("limit", "1")),
        None,
    ),
    "me": (lambda c: c.me(), {"id": 1}, "GET", "/v1/users/me", (), None),
    "repositories": (
        lambda c: c.list_repos_page(),
        EMPTY,
        "GET",
        "/v1/organizations/5/repos",
        (("skip", "0"), ("limit", "100")),
        None,
    ),
    "models": (lambda c: c.list_models(), {}, "GET", "/v1/organizations/5/models", (), None),
}


def client_of(sender: FakeSender, **options: Any) -> CodegenClient:
    return CodegenClient(org_id=5, sender=sender, **options)


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_is_one_request_as_the_page_says(name: str) -> None:
    call, answer, method, path, query, body = CALLS[name]
    sender = FakeSender(reply(200, answer))
    async with client_of(sender) as client:
        await call(client)
    (request,) = sender.requests
    assert (request.method, request.path) == (method, path)
    assert sorted(request.query) == sorted(query)
    sent: Any = None if request.body is None else msgspec.json.decode(request.body)
    if request.endpoint == "create":
        assert len(sent["metadata"].pop("idempotency_key")) == 32  # a new one each time
    assert sent == body


# Every field of the OpenAPI blocks, in the order of the pages, with what the model makes of it when it is missing.
FIELDS: dict[type[msgspec.Struct], dict[str, Any]] = {
    AgentRun: {
        "id": msgspec.NODEFAULT,
        "organization_id": msgspec.NODEFAULT,
        "status": None,
        "created_at": None,
        "web_url": None,
        "result": None,
        "summary": None,
        "source_type": None,
        "github_pull_requests": None,
        "metadata": None,
    },
    PullRequest: {
        "id": None,
        "title": None,
        "url": None,
        "created_at": None,  # required on the page; nothing is lost if it is missing
        "head_branch_name": None,
    },
    AgentRunPage: {
        "items": msgspec.NODEFAULT,
        "total": 0,  # this and the next three are required on the page
        "page": 0,
        "size": 0,
        "pages": 0,
        "unreadable": 0,  # ours
    },
    AgentRunLogs: {
        "id": msgspec.NODEFAULT,
        "organization_id": msgspec.NODEFAULT,
        "status": None,
        "created_at": None,
        "web_url": None,
        "result": None,
        "metadata": None,
        "logs": msgspec.NODEFAULT,
        "total_logs": None,
        "page": None,
        "size": None,
        "pages": None,
        "unreadable": 0,  # ours
    },
    AgentRunLog: {
        "agent_run_id": msgspec.NODEFAULT,
        "created_at": None,
        "tool_name": None,
        "message_type": None,
        "thought": None,
        "observation": None,
        "tool_input": None,
        "tool_output": None,
    },
}


@pytest.mark.parametrize("model", FIELDS, ids=lambda model: model.__name__)
async def test_a_model_has_the_fields_of_its_page_and_no_others(model: type[msgspec.Struct]) -> None:
    assert {field.name: field.default for field in msgspec.structs.fields(model)} == FIELDS[model]


async def test_the_words_of_the_pages_have_names() -> None:
    assert set(AgentType) == {"codegen", "claude_code"}
    assert set(SourceType) == {
        "LOCAL",
        "SLACK",
        "GITHUB",
        "GITHUB_CHECK_SUITE",
        "GITHUB_PR_REVIEW",
        "LINEAR",
        "API",
        "CHAT",
        "JIRA",
        "CLICKUP",
        "MONDAY",
        "SETUP_COMMANDS",
    }


FOREIGN: dict[str, tuple[Call, dict[str, Any], dict[str, Any]]] = {
    # What is called, an answer that belongs to another question, and the right one.
    "get another run": (lambda c: c.get_run(17), {**RUN, "id": 18}, RUN),
    "get another organization": (lambda c: c.get_run(17), {**RUN, "organization_id": 6}, RUN),
    "list another organization": (
        lambda c: c.list_runs_page(),
        {**PAGE, "items": [RUN, {**RUN, "organization_id": 6}]},
        PAGE,
    ),
    "logs of another run": (lambda c: c.run_logs_page(17), {**LOGS, "id": 18}, LOGS),
    "logs of another organization": (lambda c: c.run_logs_page(17), {**LOGS, "organization_id": 6}, LOGS),
}


@pytest.mark.parametrize("name", FOREIGN)
async def test_an_answer_to_another_question_is_asked_for_again_on_new_connections(name: str) -> None:
    call, foreign, right = FOREIGN[name]
    sender = FakeSender(reply(200, foreign), reply(200, right))
    async with client_of(sender) as client:
        await call(client)
    assert (len(sender.requests), sender.renewals) == (2, 1)


@pytest.mark.parametrize("name", FOREIGN)
async def test_where_no_right_answer_comes_the_wrong_one_is_not_returned(name: str) -> None:
    call, foreign, _ = FOREIGN[name]
    sender = FakeSender(then=reply(200, foreign))
    async with client_of(sender) as client:
        with pytest.raises(DecodeError, match=r"not (17|5)") as caught:
            await call(client)
    assert caught.value.attempts == len(sender.requests) == 4


async def test_a_resume_that_seems_to_be_of_another_run_is_not_repeated() -> None:
    sender = FakeSender(then=reply(200, {**RUN, "id": 18}))
    async with client_of(sender) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.resume_run(17, "go on")
        assert caught.value.likely_done
    assert len(sender.requests) == 1


async def test_two_clients_do_not_share_what_they_know() -> None:
    first, second = FakeSender(then=reply(200, RUN)), FakeSender(then=reply(200, {**RUN, "organization_id": 6}))
    async with client_of(first) as one, CodegenClient(org_id=6, sender=second) as two:
        runs = await asyncio.gather(one.get_run(17), two.get_run(17))
    assert [run.organization_id for run in runs] == [5, 6]
    assert (first.closed, second.closed) == (True, True)
