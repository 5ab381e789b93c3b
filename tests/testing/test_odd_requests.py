"""What no client should send, and what the simulated servers make of it: a refusal in the vendor's words, or a page as
before. Never an answer that breaks later ones.
"""

import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from codegen_async.testing import CodegenServer, MiddeskServer
from codegen_async.testing.server import SimulatedServer

pytestmark = pytest.mark.asyncio

CODEGEN = "/v1/organizations/323/agent"
RUN_ID = "5f0d2a52-6b4c-4f8e-9a43-52a7e43a1f0c"


class Told(NamedTuple):
    """What came back."""

    status: int
    kind: str
    allow: str | None
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


async def call(server: SimulatedServer, method: str, path: str, body: bytes | None = None) -> Told:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, server.url + path, data=body, headers=headers) as response,
    ):
        return Told(response.status, response.content_type, response.headers.get("Allow"), await response.read())


@pytest_asyncio.fixture
async def middesk() -> AsyncGenerator[MiddeskServer]:
    async with MiddeskServer() as server:
        yield server


HALF = r'"\ud83d"'
ODD = {
    "half an emoji": HALF,
    "half an emoji in a key": f"{{{HALF}: 1}}",
    "half an emoji far down": f'{{"a": [[{HALF}]]}}',
    "5,000 digits": "1" * 5000,
    "NaN": "NaN",
    "infinity": "-Infinity",
    "a number beyond all": "1e999",
    "600 levels": "[" * 600 + "]" * 600,
    "100,000 levels": "[" * 100_000 + "]" * 100_000,
}
SHOWN: dict[str, Any] = {
    "NUL": "a\0b",
    "a whole emoji": "\U0001f600",
    "marks of direction": "\u202ex\u2066",
    "a noncharacter": "\uffff",
    "4,000 digits": int("1" * 4000),
    "a small number": 5e-324,
    "400 levels": json.loads("[" * 400 + "]" * 400),
    "a million characters": "x" * 1_000_000,
}


@pytest.mark.parametrize("name", ODD)
async def test_what_cannot_be_stored_is_refused_and_nothing_is_created(
    name: str, codegen_server: CodegenServer
) -> None:
    body = f'{{"prompt": "x", "metadata": {{"odd": {ODD[name]}}}}}'.encode()
    told = await call(codegen_server, "POST", f"{CODEGEN}/run", body)
    assert (told.status, told.said) == (400, {"detail": "There was an error parsing the body"})
    assert not codegen_server.world.runs


async def test_half_an_emoji_in_a_prompt_is_refused(codegen_server: CodegenServer) -> None:
    told = await call(codegen_server, "POST", f"{CODEGEN}/run", f'{{"prompt": {HALF}}}'.encode())
    assert told.status == 400
    assert not codegen_server.world.runs


@pytest.mark.parametrize("name", SHOWN)
async def test_what_can_be_stored_is_shown_as_it_was_sent(name: str, codegen_server: CodegenServer) -> None:
    metadata = {"odd": SHOWN[name]}
    body = json.dumps({"prompt": str(SHOWN[name])[:100], "metadata": metadata}).encode()
    made = await call(codegen_server, "POST", f"{CODEGEN}/run", body)
    page = await call(codegen_server, "GET", f"{CODEGEN}/runs")
    logs = await call(codegen_server, "GET", f"/v1/alpha{CODEGEN[3:]}/run/{made.said['id']}/logs")
    assert (made.status, page.status, logs.status) == (200, 200, 200)
    assert page.said["items"][0]["metadata"] == made.said["metadata"] == metadata


async def test_a_test_may_show_half_an_emoji_as_some_servers_do(codegen_server: CodegenServer) -> None:
    codegen_server.world.create("half \ud83d", metadata={"half": "\ud83d"})
    page = await call(codegen_server, "GET", f"{CODEGEN}/runs")
    assert page.status == 200
    assert rb"\ud83d" in page.body
    assert page.said["items"][0]["metadata"] == {"half": "\ud83d"}


@pytest.mark.parametrize("name", ODD)
async def test_middesk_refuses_it_likewise(name: str, middesk: MiddeskServer) -> None:
    run = middesk.world.create(script=[(0.0, [{"label": "Which?"}])])
    run.advance(middesk.now())
    (interrupt,) = run.questions
    body = f'{{"id": "{interrupt}", "input": {ODD[name]}}}'.encode()
    told = await call(middesk, "POST", f"/v1/runs/{run.id}/resume", body)
    assert (told.status, told.said) == (400, {"errors": [{"message": "The body is not JSON"}]})
    assert not run.answers


@pytest.mark.parametrize("size", ["0", "-1", "x", "9" * 5000, "\u0663", "1.0", ""])
async def test_middesk_refuses_a_page_that_is_no_number(size: str, middesk: MiddeskServer) -> None:
    for path in ("/v1/runs", "/v1/threads"):
        told = await call(middesk, "GET", f"{path}?per_page={size}")
        assert (told.status, told.said["errors"][0]["parameter"]) == (422, "per_page")


METHODS = ["HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "DELETE"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"{CODEGEN}/run", "POST"),
        (f"{CODEGEN}/runs", "GET"),
        (f"{CODEGEN}/run/17", "GET"),
        ("/v1/organizations", "GET"),
        ("/v1/users/me", "GET"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    path: str, allowed: str, method: str, codegen_server: CodegenServer
) -> None:
    told = await call(codegen_server, method, path)
    assert told[:3] == (405, "application/json", allowed)
    assert told.body == b"" if method == "HEAD" else told.said == {"detail": "Method Not Allowed"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("path", "allowed"), [("/v1/runs", "GET,POST"), (f"/v1/runs/{RUN_ID}/resume", "POST"), ("/v1/agents", "GET")]
)
async def test_middesk_tells_them_in_its_own_form(path: str, allowed: str, method: str, middesk: MiddeskServer) -> None:
    told = await call(middesk, method, path)
    assert told[:3] == (405, "application/json", allowed)
    assert told.body == b"" if method == "HEAD" else told.said == {"errors": [{"message": "Method Not Allowed"}]}


async def test_an_unknown_path_is_told_in_the_form_of_each_vendor(
    codegen_server: CodegenServer, middesk: MiddeskServer
) -> None:
    first, second = await call(codegen_server, "GET", "/v2/x"), await call(middesk, "GET", "/v2/x")
    assert first == (404, "application/json", None, b'{"detail":"Not Found"}')
    assert second == (404, "application/json", None, b'{"errors":[{"message":"Not Found"}]}')


async def test_a_body_that_is_too_large_is_refused_in_the_form_of_each_vendor(
    codegen_server: CodegenServer, middesk: MiddeskServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in (codegen_server, middesk):
        monkeypatch.setattr(server._runner.app, "_client_max_size", 1000)
    body = json.dumps({"prompt": "x" * 2000}).encode()
    first = await call(codegen_server, "POST", f"{CODEGEN}/run", body)
    second = await call(middesk, "POST", "/v1/runs", body)
    assert (first.status, first.said) == (413, {"detail": "Request Entity Too Large"})
    assert (second.status, second.said) == (413, {"errors": [{"message": "Request Entity Too Large"}]})
    assert [request.status for request in codegen_server.requests] == [413]
