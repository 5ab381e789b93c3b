"""How models are written, shown in one line and in notebooks, and returned by web frameworks."""

import json
import subprocess
import sys
from typing import Any

import msgspec
import pydantic
import pytest
from fastapi import FastAPI

from codegen_async import AgentRun, AgentRunLog, AgentRunLogs, AgentRunPage, MiddeskRun, MiddeskRunPage, MiddeskThread
from codegen_async.codegen.models import PullRequest
from codegen_async.middesk import decoding
from codegen_async.middesk.models import MiddeskAgent, Requester, Step
from codegen_async.record import Model

RUN = AgentRun(
    id=17,
    organization_id=5,
    status="COMPLETE",
    created_at="2026-11-01T10:00:00Z",
    web_url="https://x.example/17",
    result="line one\nline two " + "z" * 500,
    github_pull_requests=(PullRequest(id=1, url="https://x.example/pull/1"),),
    metadata={"a": [1]},
)
MIDDESK = decoding.created(
    msgspec.json.encode(
        {
            "id": "r-1",
            "status": "interrupted",
            "requester": {"id": "u"},
            "started_at": "2026-04-30T12:00:00Z",
            "ended_at": "2026-04-30T12:05:00.500Z",
            "output": {"artifacts": [{"id": "a"}]},
            "interrupts": [{"id": "i", "value": {"label": "?"}}],
            "steps": [{"id": "s", "steps": [{"id": "t", "artifacts": [{"id": "b"}]}]}],
        }
    )
)


def kinds(of: type[Model] = Model) -> list[type[Model]]:
    return [found for kind in of.__subclasses__() for found in (kind, *kinds(kind))]


def test_a_run_is_written_with_its_phase() -> None:
    assert RUN.to_dict() == {
        "id": 17,
        "organization_id": 5,
        "status": "COMPLETE",
        "created_at": "2026-11-01T10:00:00Z",
        "web_url": "https://x.example/17",
        "result": RUN.result,
        "metadata": {"a": [1]},
        "summary": None,
        "source_type": None,
        "github_pull_requests": [
            {"id": 1, "title": None, "url": "https://x.example/pull/1", "created_at": None, "head_branch_name": None}
        ],
        "phase": "succeeded",
    }
    assert json.loads(RUN.to_json()) == RUN.to_dict()


def test_what_is_nested_is_written_alike_and_what_was_not_asked_for_is_left_out() -> None:
    page = AgentRunPage(items=(RUN,), total=1).to_dict()
    assert page["items"][0]["phase"] == "succeeded"
    assert MIDDESK.to_dict()["phase"] == "blocked"
    assert MIDDESK.to_dict()["steps"][0]["steps"][0]["artifacts"] == [{"id": "b"}]
    assert "steps" not in MiddeskRun(id="r").to_dict()
    odd = AgentRun(id=1, organization_id=1, metadata={"n": float("nan")})
    assert json.loads(odd.to_json())["metadata"] == {"n": None}


@pytest.mark.parametrize("run", [RUN, MIDDESK, AgentRunPage(items=(RUN,) * 3), MiddeskRunPage(data=(MIDDESK,))])
def test_a_run_or_a_page_is_shown_in_one_short_line(run: Model) -> None:
    assert "\n" not in repr(run)
    assert len(repr(run)) < 300
    assert repr(run).startswith(f"{type(run).__name__}(")


def test_the_line_says_which_run_and_where_it_stands() -> None:
    assert repr(RUN).startswith("AgentRun(id=17, status='COMPLETE', phase=succeeded, created_at='2026-11-01T10:00:00Z'")
    assert "items=<3>" in repr(AgentRunPage(items=(RUN,) * 3))


def test_notebooks_get_a_table_in_which_nothing_is_markup() -> None:
    bad = AgentRun(id=1, organization_id=1, status="<script>x</script>", web_url='javascript:alert("1")', result="<b>")
    shown = bad._repr_html_()
    assert "<script" not in shown
    assert "<b>" not in shown
    assert "href" not in shown
    assert 'href="https://x.example/17"' in RUN._repr_html_()
    quoted = AgentRun(id=1, organization_id=1, web_url='https://x/" onclick="alert(1)')
    assert 'onclick="' not in quoted._repr_html_()
    assert AgentRunPage(items=(RUN, bad))._repr_html_().count("<tr>") == 3


def test_a_run_knows_how_long_it_took_where_the_server_tells() -> None:
    assert MIDDESK.duration == 300.5
    assert MIDDESK.started
    assert MIDDESK.ended
    assert MiddeskRun(id="r", started_at="2026-04-30T12:00:00Z").duration is None
    assert (RUN.started, RUN.ended, RUN.duration) == (RUN.created_time, None, None)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_model_has_a_schema_that_refers_to_nothing_outside(kind: type[Model]) -> None:
    for mode in ("validation", "serialization"):
        schema = pydantic.TypeAdapter(kind).json_schema(mode=mode)
        assert schema["type"] == "object"
        assert "$ref" not in json.dumps(schema)
        assert set(kind.__struct_fields__) <= set(schema["properties"])
        assert ("phase" in schema["properties"]) is hasattr(kind, "phase")


@pytest.mark.parametrize("value", [RUN, MIDDESK, Step(id="s"), Requester(id="u"), AgentRunPage(items=(RUN,))])
def test_pydantic_takes_models_and_what_they_are_written_as(value: Model) -> None:
    adapter = pydantic.TypeAdapter(type(value))
    assert adapter.validate_python(value) is value
    assert adapter.validate_python(value.to_dict()) == value
    assert adapter.dump_python(value) == value.to_dict()
    with pytest.raises(pydantic.ValidationError):
        adapter.validate_python(7)


def app() -> FastAPI:
    web = FastAPI()

    @web.get("/run")
    def run() -> AgentRun:
        return RUN

    @web.get("/runs")
    def runs() -> list[AgentRun]:
        return [RUN, RUN]

    @web.get("/page")
    def page() -> AgentRunPage:
        return AgentRunPage(items=(RUN,), total=1)

    @web.get("/nested")
    def nested() -> dict[str, MiddeskRun | None]:
        return {"one": MIDDESK, "none": None}

    @web.get("/middesk")
    def middesk() -> list[MiddeskRun]:
        return [MIDDESK]

    @web.get("/untyped", response_model=None)
    def untyped() -> Any:
        return RUN

    @web.get("/inside", response_model=None)
    def inside() -> Any:
        return {"run": MIDDESK, "runs": [RUN]}

    @web.get("/others")
    def others() -> tuple[MiddeskThread, MiddeskAgent, AgentRunLogs]:
        row = AgentRunLog(agent_run_id=17)
        return (MiddeskThread(id="t"), MiddeskAgent(id="a"), AgentRunLogs(id=17, organization_id=5, logs=(row,)))

    return web


async def fetched(path: str) -> tuple[int, Any]:
    """Ask an application as a server would."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
        "raw_path": path.encode(), "query_string": b"", "headers": [], "root_path": "", "scheme": "http",
        "server": ("test", 80), "client": ("test", 1),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app()(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/run", RUN.to_dict()),
        ("/runs", [RUN.to_dict()] * 2),
        ("/page", AgentRunPage(items=(RUN,), total=1).to_dict()),
        ("/nested", {"one": MIDDESK.to_dict(), "none": None}),
        ("/middesk", [MIDDESK.to_dict()]),
        ("/untyped", RUN.to_dict()),
        ("/inside", {"run": MIDDESK.to_dict(), "runs": [RUN.to_dict()]}),
    ],
)
async def test_fastapi_returns_models_alone_in_lists_and_nested(path: str, answer: object) -> None:
    assert await fetched(path) == (200, answer)


def test_a_model_makes_a_dict() -> None:
    assert dict(RUN) == RUN.to_dict()


@pytest.mark.asyncio
async def test_fastapi_documents_models() -> None:
    status, document = await fetched("/openapi.json")
    assert status == 200
    shown = document["paths"]["/run"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert shown["title"]
    assert {"id", "status", "phase"} <= set(shown["properties"])
    assert (await fetched("/others"))[0] == 200


def test_pydantic_is_not_imported_before_it_asks() -> None:
    program = (
        "import sys, codegen_async.codegen.models, codegen_async.middesk.models; print('pydantic_core' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert told.stdout == "False\n"
