"""An optional field of another shape spoils no call: generated for every optional field of every model."""

import json
from collections.abc import Awaitable, Callable
from types import NoneType
from typing import Any, get_args

import msgspec
import pytest

from codegen_async import CodegenClient, MiddeskClient
from codegen_async.codegen.models import AgentRun, AgentRunLog, AgentRunLogs, AgentRunPage, PullRequest
from codegen_async.middesk.models import (
    MiddeskAgent,
    MiddeskRun,
    MiddeskRunPage,
    MiddeskThread,
    Requester,
    RunFeedback,
    Step,
)
from tests.support.clients import ORG
from tests.support.sender import FakeSender, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

SHAPES: list[Any] = [
    None, True, 0, -1, 7, 1.5, 2**70, "", "text", "\ud83d", [], [1], [None], [[]], [{}], ["a", {"id": 1}],
    [{"id": "text", "url": 5}], {}, {"a": {"b": [None]}}, {"id": None}, {"id": [1]}, float("nan"), float("inf"),
]  # fmt: skip

CODEGEN = {"id": 17, "organization_id": ORG, "status": "COMPLETE", "created_at": "2026-11-01T10:00:00Z"}
MIDDESK = {"id": "r-1", "object": "run", "status": "completed", "created_at": "2026-11-01T10:00:00Z"}
ROW = {"agent_run_id": 17, "thought": "hm"}

Call = Callable[[Any], Awaitable[Any]]


async def first_of(runs: Any) -> Any:
    return await anext(runs)


def at(place: str, base: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda odd: {**base, place: odd}


# Of each model: the call that shows it, what is answered around it, and where it is found in the result.
CASES: dict[str, tuple[type[msgspec.Struct], dict[str, Any], Callable[[Any], Any], Call, Callable[[Any], Any]]] = {
    "get": (AgentRun, CODEGEN, lambda one: one, lambda c: c.get_run(17), lambda run: run),
    "create": (AgentRun, CODEGEN, lambda one: one, lambda c: c.create_run("x"), lambda run: run),
    "resume": (AgentRun, CODEGEN, lambda one: one, lambda c: c.resume_run(17, "x"), lambda run: run),
    "wait": (AgentRun, CODEGEN, lambda one: one, lambda c: c.wait_for_run(17, timeout=60), lambda run: run),
    "page": (
        AgentRun, CODEGEN, lambda one: {"items": [one], "total": 1}, lambda c: c.list_runs_page(),
        lambda page: page.items[0],
    ),
    "list": (
        AgentRun, CODEGEN, lambda one: {"items": [one], "total": 1}, lambda c: first_of(c.list_runs()), lambda run: run,
    ),
    "pull request": (
        PullRequest, {"url": "https://x"}, lambda one: {**CODEGEN, "github_pull_requests": [one]},
        lambda c: c.get_run(17), lambda run: run.github_pull_requests[0],
    ),
    "the page": (
        AgentRunPage, {"items": [CODEGEN]}, lambda one: one, lambda c: c.list_runs_page(), lambda page: page,
    ),
    "logs": (
        AgentRunLogs, {**CODEGEN, "logs": [ROW]}, lambda one: one, lambda c: c.run_logs_page(17), lambda page: page,
    ),
    "row": (
        AgentRunLog, ROW, lambda one: {**CODEGEN, "logs": [one], "total_logs": 1},
        lambda c: first_of(c.run_logs(17)), lambda row: row,
    ),
}  # fmt: skip
MIDDESK_CASES: dict[
    str, tuple[type[msgspec.Struct], dict[str, Any], Callable[[Any], Any], Call, Callable[[Any], Any]]
] = {
    "get": (MiddeskRun, MIDDESK, lambda one: one, lambda c: c.get_run("r-1"), lambda run: run),
    "create": (MiddeskRun, MIDDESK, lambda one: one, lambda c: c.create_run("t", thread_id="t-1"), lambda run: run),
    "wait": (MiddeskRun, MIDDESK, lambda one: one, lambda c: c.wait_for_run("r-1", timeout=60), lambda run: run),
    "page": (
        MiddeskRun, MIDDESK, lambda one: {"data": [one], "has_more": False}, lambda c: c.list_runs_page(),
        lambda page: page.data[0],
    ),
    "the page": (
        MiddeskRunPage, {"data": [MIDDESK]}, lambda one: one, lambda c: c.list_runs_page(), lambda page: page,
    ),
    "requester": (
        Requester, {"name": "n"}, lambda one: {**MIDDESK, "requester": one}, lambda c: c.get_run("r-1"),
        lambda run: run.requester,
    ),
    "step": (
        Step, {"name": "n"}, lambda one: {**MIDDESK, "steps": [one]}, lambda c: c.get_run("r-1"),
        lambda run: run.steps[0],
    ),
    "inner step": (
        Step, {"name": "n"}, lambda one: {**MIDDESK, "steps": [{"steps": [one]}]}, lambda c: c.get_run("r-1"),
        lambda run: run.steps[0].steps[0],
    ),
    "thread": (MiddeskThread, {"id": "t"}, lambda one: one, lambda c: c.get_thread("t"), lambda thread: thread),
    "agent": (MiddeskAgent, {"id": "a"}, lambda one: {"data": [one]}, lambda c: c.list_agents(), lambda all_: all_[0]),
    "feedback": (
        RunFeedback, {"id": "f"}, lambda one: one,
        lambda c: c.submit_feedback("r-1", artifact_id="a", rating="POSITIVE"), lambda given: given,
    ),
}  # fmt: skip
ALL = {
    **{f"codegen {name}": ("codegen", case) for name, case in CASES.items()},
    **{f"middesk {name}": ("middesk", case) for name, case in MIDDESK_CASES.items()},
}
CLIENTS: dict[str, Callable[[FakeSender], Any]] = {
    "codegen": lambda sender: CodegenClient(org_id=ORG, sender=sender, latency=1),
    "middesk": lambda sender: MiddeskClient("mk_test_1", sender=sender, latency=1),
}


def optional_fields(kind: type[msgspec.Struct]) -> list[msgspec.structs.FieldInfo]:
    return [field for field in msgspec.structs.fields(kind) if not field.required]


@pytest.mark.parametrize("name", ALL)
async def test_no_shape_of_an_optional_field_spoils_a_call(name: str) -> None:
    dialect, (kind, base, around, call, found) = ALL[name]
    for field in optional_fields(kind):
        for shape in SHAPES:
            body = json.dumps(around({**base, field.name: shape})).encode()
            async with CLIENTS[dialect](FakeSender(then=reply(body=body))) as client:
                if name.endswith("wait") and field.name == "status":
                    continue  # without its word a run does not end
                if field.name == "has_more" and shape is True:
                    continue  # then there is more
                if name == "middesk create" and field.name == "thread_id" and isinstance(shape, str):
                    continue  # then the answer is about the run of another thread
                shown = found(await call(client))
            assert isinstance(shown, kind), (field.name, shape)
            assert_read(shown, kind, field, shape)


def assert_read(shown: Any, kind: type[msgspec.Struct], field: msgspec.structs.FieldInfo, shape: object) -> None:
    """Make sure that a field is what was sent, or nothing, and that then what was sent is kept."""
    seen = getattr(shown, field.name)
    msgspec.json.encode(shown)  # whatever it is, it can be stored
    if field.name in shown.odd:
        nullable = NoneType in get_args(field.type)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        assert seen is None if nullable else seen == default, (field.name, shape, seen)
        assert msgspec.to_builtins(shown.odd[field.name]) == mended(shape) or isinstance(shape, float)
    for other in msgspec.structs.fields(kind):
        if other.name != field.name and other.required:
            assert getattr(shown, other.name) is not None


def mended(shape: object) -> object:
    return "\N{REPLACEMENT CHARACTER}" if shape == "\ud83d" else shape


@pytest.mark.parametrize("odd", [None, 7, "x", [], {"id": None}])
async def test_what_is_no_pull_request_hides_no_other(odd: object) -> None:
    body = {**CODEGEN, "github_pull_requests": [odd, {"id": 5, "url": "https://x"}]}
    async with CLIENTS["codegen"](FakeSender(reply(body=body))) as client:
        found = (await client.get_run(17)).github_pull_requests
    assert [one.id for one in found] == [5] if not isinstance(odd, dict) else [None, 5]


@pytest.mark.parametrize("name", [name for name, (_, case) in ALL.items() if case[0] in (AgentRun, MiddeskRun)])
async def test_ids_are_required(name: str) -> None:
    dialect, (_, base, around, call, _) = ALL[name]
    if name.endswith(("wait", "create", "resume")):
        return  # they have ends of their own
    for required in ("id", "organization_id") if dialect == "codegen" else ("id",):
        shapes: list[Any] = [None, [], {}, 1.5, "" if required == "id" else "x"]
        for shape in shapes:
            body = json.dumps(around({**base, required: shape})).encode()
            async with CLIENTS[dialect](FakeSender(then=reply(body=body))) as client:
                with pytest.raises(Exception, match=required):
                    await call(client)


@pytest.mark.parametrize(
    "body", [{"object": "list", "has_more": False}, {"has_more": False, "data": None}, {"total_count": 0}]
)
async def test_a_middesk_list_without_data_is_an_empty_one(body: dict[str, Any]) -> None:
    async with CLIENTS["middesk"](FakeSender(then=reply(body=body))) as client:
        page = await client.list_runs_page()
        assert (page.data, page.unreadable) == ((), 0)
        assert [run async for run in client.list_runs()] == []


@pytest.mark.parametrize("field", ["status", "created_at", "result", "metadata", "github_pull_requests", "unknown"])
@pytest.mark.parametrize("place", ["@", '{"a": @}', '[{"id": @}]'])
async def test_a_number_of_thousands_of_digits_spoils_no_more_than_its_field(field: str, place: str) -> None:
    raw = place.replace("@", "9" * 5000)
    body = json.dumps({**CODEGEN, "summary": "s", field: "@"}).replace('"@"', raw).encode()
    page = b'{"items": [' + body + b'], "total": 1}'
    async with CodegenClient(org_id=ORG, sender=FakeSender(reply(body=body), reply(body=page))) as client:
        for run in (await client.get_run(17, max_age=0), *(await client.list_runs_page()).items):
            assert (run.id, run.summary) == (17, "s")
            assert getattr(run, field, None) is None
            assert run.odd.get(field) == (None if field == "unknown" else msgspec.Raw(raw.encode()))
            assert '"id":17' in run.to_json()
