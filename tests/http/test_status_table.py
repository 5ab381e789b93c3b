"""Endpoint by endpoint, status by status: which request goes out, and which error or model comes back."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses
from aioresponses.compat import normalize_url
from yarl import URL

from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRun, AgentRunLogs, AgentRunPage
from codegen_async.errors import (
    APIError,
    AuthenticationError,
    CodegenAsyncError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitedError,
    RedirectedError,
    ServerError,
    StatusError,
)
from tests.support.canary import failure_of
from tests.support.clients import ORG

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

BASE = "https://api.codegen.com"
AGENT = f"{BASE}/v1/organizations/{ORG}/agent"
RUN = {"id": 17, "organization_id": ORG, "status": "ACTIVE"}


class Endpoint(NamedTuple):
    method: str
    url: str
    call: Callable[[CodegenClient], Awaitable[object]]
    payload: dict[str, Any]
    kind: type


ENDPOINTS = {
    "create": Endpoint("POST", f"{AGENT}/run", lambda client: client.create_run("do it"), RUN, AgentRun),
    "resume": Endpoint("POST", f"{AGENT}/run/resume", lambda client: client.resume_run(17, "go on"), RUN, AgentRun),
    "get": Endpoint("GET", f"{AGENT}/run/17", lambda client: client.get_run(17), RUN, AgentRun),
    "list": Endpoint(
        "GET",
        f"{AGENT}/runs?skip=0&limit=100",
        lambda client: client.list_runs_page(),
        {"items": [RUN], "total": 1, "page": 1, "size": 100, "pages": 1},
        AgentRunPage,
    ),
    "logs": Endpoint(
        "GET",
        f"{BASE}/v1/alpha/organizations/{ORG}/agent/run/17/logs?skip=0&limit=100",
        lambda client: client.run_logs_page(17),
        {**RUN, "logs": [{"agent_run_id": 17}]},
        AgentRunLogs,
    ),
}

# The bodies of the vendor's pages.
STATUSES: dict[int, tuple[type[APIError], Any, str]] = {
    307: (RedirectedError, "", "redirects are not followed"),
    400: (InvalidRequestError, {"detail": "There was an error parsing the body"}, "parsing the body"),
    401: (AuthenticationError, {"detail": "Invalid or missing API token"}, "Invalid or missing API token"),
    402: (QuotaExceededError, {"message": "Alloted agent runs", "status_code": 402}, "Alloted agent runs"),
    403: (PermissionDeniedError, {"message": "You do not have access", "status_code": 403}, "You do not have access"),
    404: (NotFoundError, {"message": "Agent run not found.", "status_code": 404}, "Agent run not found."),
    409: (StatusError, {"detail": "Conflict"}, "Conflict"),
    422: (
        InvalidRequestError,
        {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]},
        "body.prompt: Field",
    ),
    429: (RateLimitedError, {"message": "Rate limit exceeded.", "status_code": 429}, "Rate limit exceeded."),
    500: (ServerError, "Internal Server Error", "Internal Server Error"),
    502: (ServerError, "<html><h1>502 Bad Gateway</h1></html>", "502 Bad Gateway"),
    503: (ServerError, {"detail": "Service Unavailable"}, "Service Unavailable"),
    529: (ServerError, "", "529"),
}


class _Response(aiohttp.ClientResponse):
    """What aioresponses makes, with the argument that newer versions of aiohttp ask for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"stream_writer": Mock(output_size=0), **options})


@pytest.fixture
def web() -> Generator[aioresponses]:
    with aioresponses() as mocked:
        yield mocked


def serve(web: aioresponses, endpoint: Endpoint, status: int, payload: object) -> None:
    body: dict[str, Any] = {"body": payload} if isinstance(payload, str) else {"payload": payload}
    web.add(endpoint.url, endpoint.method, status, repeat=True, response_class=_Response, **body)


def sent(web: aioresponses) -> list[tuple[str, URL]]:
    return [key for key, calls in web.requests.items() for _ in calls]


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("status", [200, 201])
async def test_a_success_becomes_a_model(web: aioresponses, name: str, status: int) -> None:
    endpoint = ENDPOINTS[name]
    serve(web, endpoint, status, endpoint.payload)
    async with CodegenClient(org_id=ORG) as client:
        assert type(await endpoint.call(client)) is endpoint.kind
    assert sent(web) == [(endpoint.method, normalize_url(endpoint.url))]


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("status", STATUSES)
async def test_a_failure_becomes_its_error(web: aioresponses, name: str, status: int) -> None:
    endpoint = ENDPOINTS[name]
    kind, payload, message = STATUSES[status]
    serve(web, endpoint, status, payload)
    async with CodegenClient(org_id=ORG, settle=0) as client:
        error = await failure_of(endpoint.call(client))
    unknown = endpoint.method == "POST" and status >= 500
    assert isinstance(error, APIError)
    assert isinstance(error, OutcomeUnknownError) if unknown else type(error) is kind
    assert isinstance(error, CodegenAsyncError)
    assert message in str(error)
    assert (error.method, error.status) == (endpoint.method, status)
    assert error.path == URL(endpoint.url).path
    repeated = status == 429 or (status >= 500 and endpoint.method == "GET")
    # A create whose outcome is unknown is looked for in the list.
    requests = [key for key in sent(web) if key[0] == endpoint.method]
    assert requests == [(endpoint.method, normalize_url(endpoint.url))] * error.attempts
    assert error.attempts == (4 if repeated else 1)


@pytest.mark.parametrize("name", ["get", "list", "logs"])
async def test_a_gateway_that_recovers_is_not_noticed(web: aioresponses, name: str) -> None:
    endpoint = ENDPOINTS[name]
    for status, payload in ((502, "<html>"), (503, ""), (200, endpoint.payload)):
        body: dict[str, Any] = {"body": payload} if isinstance(payload, str) else {"payload": payload}
        web.add(endpoint.url, endpoint.method, status, response_class=_Response, **body)
    async with CodegenClient(org_id=ORG) as client:
        assert type(await endpoint.call(client)) is endpoint.kind
