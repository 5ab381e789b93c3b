"""The simulated Codegen API against the vendor's pages, asked with plain aiohttp."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
import pytest

from codegen_async.testing import CodegenServer, Life

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

SOURCE_TYPES = [
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
]

RUN = "/v1/organizations/323/agent/run"
RUNS = "/v1/organizations/323/agent/runs"
RESUME = "/v1/organizations/323/agent/run/resume"

PNG = f"data:image/png;base64,{base64.b64encode(bytes.fromhex('89504e470d0a1a0a') + b'...').decode()}"
HOOK = {"url": "https://example.com/hook", "secret": "s"}

NO_RUN = {"message": "Agent run not found.", "status_code": 404}
NO_ACCESS = {"message": "You do not have access to this organization.", "status_code": 403}
UNAUTHORIZED = {"detail": "Invalid or missing API token"}


def logs_of(run_id: object) -> str:
    return f"/v1/alpha/organizations/323/agent/run/{run_id}/logs"


async def call(server: CodegenServer, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """Send one request with the token and return status and decoded body of the answer."""
    options.setdefault("headers", {}).setdefault("Authorization", f"Bearer {server.token}")
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, server.url + path, **options) as response,
    ):
        assert response.content_type == "application/json"
        return response.status, json.loads(await response.read())


async def invalid(server: CodegenServer, method: str, path: str, **options: Any) -> list[tuple[Any, str]]:
    """Send a request that must be refused as invalid; return (loc, type) of each complaint."""
    status, body = await call(server, method, path, **options)
    assert status == 422
    assert set(body) == {"detail"}
    assert all(set(error) == {"loc", "msg", "type"} and error["msg"] for error in body["detail"])
    return [(error["loc"], error["type"]) for error in body["detail"]]


# Create.


async def test_create_answers_with_the_new_run(codegen_server: CodegenServer) -> None:
    status, body = await call(codegen_server, "POST", RUN, json={"prompt": "do it", "metadata": {"a": [1]}})
    run = codegen_server.world.runs[body["id"]]
    assert status == 200
    assert body == {
        "id": 40_000,
        "organization_id": 323,
        "status": "ACTIVE",
        "created_at": codegen_server.world.date(run.created),
        "web_url": "https://codegen.sh/agent/trace/40000",
        "result": None,
        "summary": None,
        "source_type": "API",
        "github_pull_requests": [],
        "metadata": {"a": [1]},
    }


async def test_create_takes_every_field_of_the_page(codegen_server: CodegenServer) -> None:
    asked = {
        "prompt": "do it",
        "images": [PNG],
        "metadata": {"nested": {"a": None}},
        "repo_id": 9,
        "model": "some-model",
        "agent_type": "claude_code",
        "webhooks": [HOOK],
    }
    _, body = await call(codegen_server, "POST", RUN, json=asked)
    run = codegen_server.world.runs[body["id"]]
    assert {name: getattr(run, name) for name in asked} == asked


async def test_create_takes_null_for_every_optional_field(codegen_server: CodegenServer) -> None:
    names = ("images", "metadata", "repo_id", "model", "agent_type", "webhooks")
    status, body = await call(codegen_server, "POST", RUN, json={"prompt": "do it", **dict.fromkeys(names)})
    assert status == 200
    assert body["metadata"] is None


async def test_create_ignores_unknown_fields(codegen_server: CodegenServer) -> None:
    status, _ = await call(codegen_server, "POST", RUN, json={"prompt": "do it", "webhooks": [], "x": 1})
    assert status == 200


@pytest.mark.parametrize(
    ("fields", "loc", "kind"),
    [
        ({"prompt": None}, ["body", "prompt"], "string_type"),
        ({"prompt": 7}, ["body", "prompt"], "string_type"),
        ({"images": "data:"}, ["body", "images"], "list_type"),
        ({"images": [PNG, 7]}, ["body", "images", 1], "string_type"),
        ({"images": ["data:"]}, ["body", "images", 0], "value_error"),
        ({"images": [PNG, "data:image/png;base64,###"]}, ["body", "images", 1], "value_error"),
        ({"images": [PNG.replace("png", "gif")]}, ["body", "images", 0], "value_error"),
        ({"images": ["data:image/png;base64,aGVsbG8="]}, ["body", "images", 0], "value_error"),
        ({"images": ["https://example.com/a.png"]}, ["body", "images", 0], "value_error"),
        ({"webhooks": "https://example.com"}, ["body", "webhooks"], "list_type"),
        ({"webhooks": [{"secret": "s"}]}, ["body", "webhooks", 0, "url"], "missing"),
        ({"webhooks": [{"url": "example.com"}]}, ["body", "webhooks", 0, "url"], "url_parsing"),
        ({"webhooks": [{"url": "https://example.com", "secret": 7}]}, ["body", "webhooks", 0, "secret"], "string_type"),
        ({"metadata": ["a"]}, ["body", "metadata"], "dict_type"),
        ({"repo_id": "nine"}, ["body", "repo_id"], "int_parsing"),
        ({"repo_id": 9.5}, ["body", "repo_id"], "int_type"),
        ({"repo_id": True}, ["body", "repo_id"], "int_type"),
        ({"model": {}}, ["body", "model"], "string_type"),
        ({"agent_type": "robot"}, ["body", "agent_type"], "literal_error"),
        ({"agent_type": ["codegen"]}, ["body", "agent_type"], "literal_error"),
    ],
)
async def test_create_refuses_a_wrong_field(
    codegen_server: CodegenServer, fields: dict[str, Any], loc: list[Any], kind: str
) -> None:
    errors = await invalid(codegen_server, "POST", RUN, json={"prompt": "do it", **fields})
    assert errors == [(loc, kind)]
    assert not codegen_server.world.runs


async def test_create_names_all_that_is_wrong_at_once(codegen_server: CodegenServer) -> None:
    path = "/v1/organizations/mine/agent/run"
    errors = await invalid(codegen_server, "POST", path, json={"repo_id": "x", "images": 1})
    assert errors == [
        (["path", "org_id"], "int_parsing"),
        (["body", "prompt"], "missing"),
        (["body", "images"], "list_type"),
        (["body", "repo_id"], "int_parsing"),
    ]


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        (b"", ["body"], "missing"),
        (b'{"prompt": ', ["body", 11], "json_invalid"),
        (b'["prompt"]', ["body"], "model_attributes_type"),
        (b"null", ["body"], "model_attributes_type"),
    ],
)
@pytest.mark.parametrize("path", [RUN, RESUME])
async def test_a_body_that_is_no_json_object_is_refused(
    codegen_server: CodegenServer, path: str, body: bytes, loc: list[Any], kind: str
) -> None:
    headers = {"Content-Type": "application/json"}
    assert await invalid(codegen_server, "POST", path, data=body, headers=headers) == [(loc, kind)]


async def test_a_body_of_another_type_is_refused(codegen_server: CodegenServer) -> None:
    errors = await invalid(codegen_server, "POST", RUN, data={"prompt": "a form"})
    assert errors == [(["body"], "model_attributes_type")]


async def test_a_body_that_is_no_text_is_refused(codegen_server: CodegenServer) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = await call(codegen_server, "POST", RUN, data=b'{"prompt": "\xff"}', headers=headers)
    assert answer == (400, {"detail": "There was an error parsing the body"})


async def test_create_is_refused_when_the_plan_is_used_up() -> None:
    async with CodegenServer(plan_limit=1) as server:
        assert (await call(server, "POST", RUN, json={"prompt": "do it"}))[0] == 200
        assert await call(server, "POST", RUN, json={"prompt": "do it"}) == (
            402,
            {
                "message": "Alloted agent runs for the current billing plan have been reached. "
                "Please upgrade your plan to continue.",
                "status_code": 402,
            },
        )
        assert len(server.world.runs) == 1
        server.plan_limit = 2
        assert (await call(server, "POST", RUN, json={"prompt": "do it"}))[0] == 200


async def test_create_is_refused_in_an_organization_without_repos() -> None:
    async with CodegenServer(has_repos=False) as server:
        assert await call(server, "POST", RUN, json={"prompt": "do it"}) == (
            404,
            {
                "message": "No repos found in the organization. Please add some repos and try again.",
                "status_code": 404,
            },
        )


# Get.


async def test_get_shows_the_run_as_it_is_now(codegen_server: CodegenServer) -> None:
    world = codegen_server.world
    run = world.create("do it", script=[(0.0, "ACTIVE"), (30.0, "COMPLETE")])
    assert await call(codegen_server, "GET", f"{RUN}/{run.id}") == (200, world.response(run))
    world.end(run.id)
    status, body = await call(codegen_server, "GET", f"{RUN}/{run.id}")
    assert (status, body["status"]) == (200, "COMPLETE")
    assert body == world.response(run)


async def test_get_refuses_an_id_that_is_no_number(codegen_server: CodegenServer) -> None:
    assert await invalid(codegen_server, "GET", f"{RUN}/latest") == [(["path", "agent_run_id"], "int_parsing")]


async def test_a_deleted_run_is_not_found(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("do it")
    codegen_server.world.delete(run.id)
    assert await call(codegen_server, "GET", f"{RUN}/{run.id}") == (404, NO_RUN)


# List.


async def test_list_is_newest_first_with_full_runs(codegen_server: CodegenServer) -> None:
    world = codegen_server.world
    runs = [world.create("do it") for _ in range(3)]
    assert await call(codegen_server, "GET", RUNS) == (
        200,
        {
            "items": [world.response(run) for run in reversed(runs)],
            "total": 3,
            "page": 1,
            "size": 100,
            "pages": 1,
        },
    )


@pytest.mark.parametrize(
    ("query", "shown", "page"),
    [
        ("", slice(0, 100), {"page": 1, "size": 100, "pages": 3}),
        ("?skip=100", slice(100, 200), {"page": 2, "size": 100, "pages": 3}),
        ("?skip=200", slice(200, 250), {"page": 3, "size": 100, "pages": 3}),
        ("?skip=250", slice(0, 0), {"page": 3, "size": 100, "pages": 3}),
        ("?skip=1000", slice(0, 0), {"page": 11, "size": 100, "pages": 3}),
        ("?limit=1", slice(0, 1), {"page": 1, "size": 1, "pages": 250}),
        ("?limit=7&skip=5", slice(5, 12), {"page": 1, "size": 7, "pages": 36}),
        ("?limit=7&skip=14", slice(14, 21), {"page": 3, "size": 7, "pages": 36}),
        ("?limit=50", slice(0, 50), {"page": 1, "size": 50, "pages": 5}),
    ],
)
async def test_list_counts_pages(codegen_server: CodegenServer, query: str, shown: slice, page: dict[str, int]) -> None:
    ids = [codegen_server.world.create("do it").id for _ in range(250)][::-1]
    _, body = await call(codegen_server, "GET", RUNS + query)
    assert [item["id"] for item in body.pop("items")] == ids[shown]
    assert body == {"total": 250, **page}


async def test_an_empty_list_has_no_pages(codegen_server: CodegenServer) -> None:
    _, body = await call(codegen_server, "GET", RUNS)
    assert body == {"items": [], "total": 0, "page": 1, "size": 100, "pages": 0}


async def test_list_filters_by_user_and_source(codegen_server: CodegenServer) -> None:
    world = codegen_server.world
    own, foreign = world.create("do it"), world.create("do it", source_type="SLACK", user_id=7)

    async def listed(query: str) -> tuple[list[int], int]:
        _, body = await call(codegen_server, "GET", RUNS + query)
        return [item["id"] for item in body["items"]], body["total"]

    assert await listed("?user_id=7") == ([foreign.id], 1)
    assert await listed("?source_type=API") == ([own.id], 1)
    assert await listed("?user_id=1&source_type=SLACK") == ([], 0)
    assert await listed("") == ([foreign.id, own.id], 2)


@pytest.mark.parametrize("source_type", SOURCE_TYPES)
async def test_list_knows_every_source_type_of_the_page(codegen_server: CodegenServer, source_type: str) -> None:
    codegen_server.world.create("do it", source_type=source_type)
    _, body = await call(codegen_server, "GET", f"{RUNS}?source_type={source_type}")
    assert [item["source_type"] for item in body["items"]] == [source_type]


PAGING_ERRORS = [
    ("limit=0", ["query", "limit"], "greater_than_equal"),
    ("limit=101", ["query", "limit"], "less_than_equal"),
    ("limit=", ["query", "limit"], "int_parsing"),
    ("limit=ten", ["query", "limit"], "int_parsing"),
    ("skip=-1", ["query", "skip"], "greater_than_equal"),
    ("skip=1.5", ["query", "skip"], "int_parsing"),
]


@pytest.mark.parametrize(
    ("query", "loc", "kind"),
    [
        *PAGING_ERRORS,
        ("user_id=me", ["query", "user_id"], "int_parsing"),
        ("source_type=EMAIL", ["query", "source_type"], "enum"),
        ("source_type=api", ["query", "source_type"], "enum"),
    ],
)
async def test_list_refuses_a_wrong_parameter(
    codegen_server: CodegenServer, query: str, loc: list[str], kind: str
) -> None:
    assert await invalid(codegen_server, "GET", f"{RUNS}?{query}") == [(loc, kind)]


async def test_complaints_say_what_would_be_right(codegen_server: CodegenServer) -> None:
    _, body = await call(codegen_server, "GET", f"{RUNS}?limit=101&skip=-1&source_type=X")
    assert [error["msg"] for error in body["detail"]] == [
        f"Input should be {', '.join(repr(name) for name in SOURCE_TYPES[:-1])} or 'SETUP_COMMANDS'",
        "Input should be greater than or equal to 0",
        "Input should be less than or equal to 100",
    ]


# Logs.


async def test_logs_show_the_run_and_its_rows_oldest_first(codegen_server: CodegenServer) -> None:
    world = codegen_server.world
    run = world.create("do it", metadata={"a": 1}, script=[(0.0, "COMPLETE")])
    details = world.response(run)
    assert await call(codegen_server, "GET", logs_of(run.id)) == (
        200,
        {
            "id": run.id,
            "organization_id": 323,
            "status": "COMPLETE",
            "created_at": details["created_at"],
            "web_url": details["web_url"],
            "result": details["result"],
            "metadata": {"a": 1},
            "logs": world.logs(run),
            "total_logs": 2,
            "page": 1,
            "size": 100,
            "pages": 1,
        },
    )
    assert [row["message_type"] for row in world.logs(run)] == ["USER_MESSAGE", "FINAL_ANSWER"]


@pytest.mark.parametrize(
    ("query", "shown", "page", "size"),
    [
        ("", slice(0, 100), 1, 100),
        ("?skip=100&limit=10", slice(100, 110), 11, 10),
        ("?reverse=true", slice(-1, -101, -1), 1, 100),
        ("?reverse=1&skip=5&limit=5", slice(-6, -11, -1), 2, 5),
        ("?reverse=false&limit=2", slice(0, 2), 1, 2),
    ],
)
async def test_logs_are_paged(query: str, shown: slice, page: int, size: int) -> None:
    async with CodegenServer(life=Life(log_interval=1)) as server:
        run = server.world.create("do it", script=[(0.0, "ACTIVE"), (600.0, "COMPLETE")])
        await asyncio.sleep(600)
        rows = server.world.logs(run)
        _, body = await call(server, "GET", logs_of(run.id) + query)
    assert body["logs"] == rows[shown]
    assert body["logs"]
    assert (body["total_logs"], body["page"], body["size"]) == (len(rows), page, size)
    assert body["pages"] == -(-len(rows) // size)


@pytest.mark.parametrize(
    ("query", "loc", "kind"), [*PAGING_ERRORS, ("reverse=maybe", ["query", "reverse"], "bool_parsing")]
)
async def test_logs_refuse_a_wrong_parameter(
    codegen_server: CodegenServer, query: str, loc: list[str], kind: str
) -> None:
    run = codegen_server.world.create("do it")
    assert await invalid(codegen_server, "GET", f"{logs_of(run.id)}?{query}") == [(loc, kind)]


async def test_logs_of_an_unknown_run_are_not_found(codegen_server: CodegenServer) -> None:
    assert await call(codegen_server, "GET", logs_of(1)) == (404, NO_RUN)
    assert await invalid(codegen_server, "GET", logs_of("x")) == [(["path", "agent_run_id"], "int_parsing")]


async def test_logs_stand_under_alpha_only(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("do it")
    answer = await call(codegen_server, "GET", f"{RUN}/{run.id}/logs")
    assert answer == (404, {"detail": "Not Found"})


# Resume.


async def test_resume_reopens_the_run_named_in_the_body(codegen_server: CodegenServer) -> None:
    world = codegen_server.world
    run = world.create("do it", script=[(0.0, "PAUSED")])
    wish = {"agent_run_id": run.id, "prompt": "go on", "images": [PNG], "model": "m", "webhooks": [HOOK]}
    status, body = await call(codegen_server, "POST", RESUME, json=wish)
    assert (status, body["id"], body["status"]) == (200, run.id, "ACTIVE")
    assert body == world.response(run)
    assert world.logs(run)[-1]["observation"] == "go on"
    assert (run.model, run.webhooks) == ("m", [HOOK])


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ({"prompt": "go on"}, ["body", "agent_run_id"], "missing"),
        ({"agent_run_id": 1}, ["body", "prompt"], "missing"),
        ({"agent_run_id": None, "prompt": "go on"}, ["body", "agent_run_id"], "int_type"),
        ({"agent_run_id": 1, "prompt": "go on", "images": [None]}, ["body", "images", 0], "string_type"),
    ],
)
async def test_resume_refuses_a_wrong_body(
    codegen_server: CodegenServer, body: dict[str, Any], loc: list[Any], kind: str
) -> None:
    assert await invalid(codegen_server, "POST", RESUME, json=body) == [(loc, kind)]


async def test_an_unknown_run_cannot_be_resumed(codegen_server: CodegenServer) -> None:
    answer = await call(codegen_server, "POST", RESUME, json={"agent_run_id": 1, "prompt": "go on"})
    assert answer == (404, NO_RUN)


# All endpoints.


class Asked(NamedTuple):
    endpoint: str
    method: str
    path: str
    body: dict[str, Any] | None = None

    async def call(self, server: CodegenServer, *, org: int = 323, **options: Any) -> tuple[int, Any]:
        return await call(server, self.method, self.path.format(org=org), json=self.body, **options)


REQUESTS = [
    Asked("create", "POST", "/v1/organizations/{org}/agent/run", {"prompt": "do it"}),
    Asked("get", "GET", "/v1/organizations/{org}/agent/run/1"),
    Asked("list", "GET", "/v1/organizations/{org}/agent/runs"),
    Asked("logs", "GET", "/v1/alpha/organizations/{org}/agent/run/1/logs"),
    Asked(
        "resume",
        "POST",
        "/v1/organizations/{org}/agent/run/resume",
        {"agent_run_id": 1, "prompt": "go on"},
    ),
]
every_endpoint = pytest.mark.parametrize("asked", REQUESTS, ids=lambda asked: asked.endpoint)


@every_endpoint
async def test_another_organization_is_forbidden(codegen_server: CodegenServer, asked: Asked) -> None:
    assert await asked.call(codegen_server, org=324) == (403, NO_ACCESS)
    assert codegen_server.requests[-1].endpoint == asked.endpoint


@every_endpoint
@pytest.mark.parametrize("header", ["", "Bearer wrong", "Bearer ", "simulated", "Basic simulated"])
async def test_a_wrong_token_is_refused_and_not_counted(
    codegen_server: CodegenServer, asked: Asked, header: str
) -> None:
    answer = await asked.call(codegen_server, headers={"Authorization": header})
    assert answer == (401, UNAUTHORIZED)
    assert [(seen.endpoint, seen.status) for seen in codegen_server.requests] == [(asked.endpoint, 401)]
    assert codegen_server.worst(asked.endpoint).seen == 0


async def test_a_request_without_token_is_refused(codegen_server: CodegenServer) -> None:
    async with aiohttp.ClientSession() as session, session.get(codegen_server.url + RUNS) as response:
        assert response.status == 401
        assert await response.json() == UNAUTHORIZED


async def test_an_answer_bears_the_date_of_the_simulated_clock(codegen_server: CodegenServer) -> None:
    await asyncio.sleep(86_400)
    for path in (RUNS, "/"):
        async with (
            aiohttp.ClientSession() as session,
            session.get(codegen_server.url + path) as response,
        ):
            shown = parsedate_to_datetime(response.headers["Date"])
        arrived = codegen_server.requests[-1].time
        assert shown == codegen_server.world.datetime(arrived).replace(microsecond=0)


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/", 404, "Not Found"),
        ("GET", "/v1/organizations/323/agent/run", 405, "Method Not Allowed"),
        ("POST", f"{RUN}/1/resume", 404, "Not Found"),
        ("POST", "/v1/beta/organizations/323/agent/run/resume", 404, "Not Found"),
        ("DELETE", f"{RUN}/1", 405, "Method Not Allowed"),
        ("GET", f"{RUNS}/", 404, "Not Found"),
    ],
)
async def test_unknown_paths_and_methods_are_refused_without_counting(
    codegen_server: CodegenServer, method: str, path: str, status: int, detail: str
) -> None:
    assert await call(codegen_server, method, path) == (status, {"detail": detail})
    assert [(seen.endpoint, seen.status) for seen in codegen_server.requests] == [("unrouted", status)]


async def test_token_and_organization_can_be_chosen() -> None:
    async with CodegenServer(token="other", org_id=5) as server:
        assert (server.token, server.org_id) == ("other", 5)
        status, body = await call(server, "POST", "/v1/organizations/5/agent/run", json={"prompt": "do it"})
    assert (status, body["organization_id"]) == (200, 5)


async def test_runs_are_dated_today(codegen_server: CodegenServer) -> None:
    _, body = await call(codegen_server, "POST", RUN, json={"prompt": "do it"})
    created = datetime.fromisoformat(body["created_at"]).replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - created).total_seconds()) < 3600
