"""Whose answer it is: the API's own refusal counts for what it says, anybody else's is an outage."""

import json
from typing import Any

import pytest

from codegen_async import CodegenClient, MiddeskClient
from codegen_async.codegen import decoding as codegen
from codegen_async.errors import (
    PASSING,
    APIError,
    AuthenticationError,
    CreateOutcomeUnknownError,
    GatewayError,
    NotFoundError,
    OutcomeUnknownError,
    RedirectedError,
    StatusError,
)
from codegen_async.http.answers import Request, Response, Verdict, attributed, judge
from codegen_async.middesk import decoding as middesk
from tests.support.canary import failure_of
from tests.support.clients import ORG
from tests.support.sender import FakeSender, reply

virtual = pytest.mark.asyncio(loop_factories=["virtual"])

GET = Request(endpoint="get", method="GET", path="/run/17")
POST = Request(endpoint="create", method="POST", path="/run", body=b"{}")

ROUTER, OTHER_ROUTER = {"detail": "Not Found"}, {"detail": "Not found."}

ROAD = {
    "nothing": b"",
    "text": b"404 page not found\n",
    "nginx": b"<html><head><title>404 Not Found</title></head></html>",
    "ingress": b"default backend - 404",
    "the framework's router": ROUTER,
    "another framework's router": OTHER_ROUTER,
    "Kong": {"message": "no Route matched with those values"},
    "AWS": {"message": "Not Found"},
    "Azure": {"statusCode": 404, "message": "Resource not found"},
    "Spring": {"timestamp": "2026-11-01", "status": 404, "error": "Not Found", "path": "/v1"},
    "OAuth": {"error": "invalid_token", "error_description": "expired"},
    "envelope": {"error": {"code": 404, "message": "no such host"}},
    "problem": {"type": "about:blank", "title": "Not Found", "status": 404, "detail": None},
    "another status": {"message": "Agent run not found.", "status_code": 500},
    "list": [],
    "null": b"null",
    "number": b"404",
    "cut": b'{"message": "Agent run not fo',
    "cut behind": b'{"message": "Agent run not found.", "status_code": 404',
    "deep": b"[" * 100_000,
}

OWN = {
    "codegen": [
        {"message": "Agent run not found.", "status_code": 404},
        {"message": "", "status_code": 404, "more": [1]},
        {"detail": "No such agent run"},
        {"detail": [{"loc": ["path", "id"], "msg": "bad", "type": "int"}]},
        b'{"message": "\xff", "status_code": 404}',
        b'\xef\xbb\xbf{"message": "Agent run not found.", "status_code": 404}',
        '{"message": "Agent run not found.", "status_code": 404}'.encode("utf-16"),
        b'{"detail": [{"loc": ["body"], "msg": "bad", "input": "half an emoji: \\ud83d"}]}',
        b'{"detail": [{"loc": ["body"], "msg": "bad", "input": NaN}]}',
    ],
    "middesk": [
        {"errors": [{"message": "Run not found"}]},
        {"errors": [{"parameter": "id", "message": "unknown"}, {"message": "x"}], "object": "error"},
        b'{"errors": [{"message": "\\ud83d", "input": NaN}]}',
    ],
}
IS_OWN = {"codegen": codegen.is_own, "middesk": middesk.is_own}
CLIENTS: dict[str, Any] = {
    "codegen": lambda sender: CodegenClient(org_id=ORG, sender=sender, settle=1),
    "middesk": lambda sender: MiddeskClient("mk_test_1", sender=sender),
}
RUN_ID: dict[str, Any] = {"codegen": 17, "middesk": "r-17"}


def bytes_of(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize("dialect", IS_OWN)
@pytest.mark.parametrize("body", ROAD.values(), ids=ROAD)
def test_a_refusal_in_a_foreign_form_is_somebody_elses(dialect: str, body: object) -> None:
    response = attributed(Response(status=404, body=bytes_of(body)), IS_OWN[dialect])
    assert not response.own
    assert judge(GET, response) is Verdict.RETRY
    assert judge(POST, response) is Verdict.UNKNOWN


@pytest.mark.parametrize(("dialect", "body"), [(dialect, body) for dialect in OWN for body in OWN[dialect]])
def test_a_refusal_in_the_apis_form_counts(dialect: str, body: object) -> None:
    response = attributed(Response(status=404, body=bytes_of(body)), IS_OWN[dialect])
    assert response.own
    assert judge(GET, response) is judge(POST, response) is Verdict.REFUSED


FOREIGN = [
    ((400, 402, 403, 404, 405, 406, 409, 410, 418, 422, 451, 499), Verdict.RETRY, Verdict.UNKNOWN),
    ((401, 407, 413, 414, 431), Verdict.REFUSED, Verdict.REFUSED),  # whoever looks at tokens and sizes does so first
    ((408,), Verdict.RETRY, Verdict.UNKNOWN),
    ((421, 425, 429), Verdict.RETRY, Verdict.RETRY),
]


@pytest.mark.parametrize(("statuses", "get", "post"), FOREIGN)
def test_a_foreign_refusal_is_judged_by_what_may_have_been_done(
    statuses: tuple[int, ...], get: Verdict, post: Verdict
) -> None:
    for status in statuses:
        response = attributed(Response(status=status, body=b"<html>no</html>"), codegen.is_own)
        assert (judge(GET, response), judge(POST, response)) == (get, post), status


@pytest.mark.parametrize("status", [200, 204, 302, 500, 503, 999])
def test_only_of_a_4xx_it_is_asked_whose_it_is(status: int) -> None:
    assert attributed(Response(status=status, body=b"<html>"), codegen.is_own).own


@virtual
@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 422, 499])
@pytest.mark.parametrize("body", ROAD.values(), ids=ROAD)
async def test_a_get_that_a_gateway_refuses_is_repeated_and_then_an_outage(
    dialect: str, status: int, body: object
) -> None:
    sender = FakeSender(then=reply(status, bytes_of(body)))
    async with CLIENTS[dialect](sender) as client:
        error = await failure_of(client.get_run(RUN_ID[dialect]))
    if dialect == "codegen" and body in (ROUTER, OTHER_ROUTER) and status != 404:
        assert not isinstance(error, GatewayError)  # in words of its own, which only of a 404 are those of the router
        return
    assert isinstance(error, PASSING)
    assert type(error) is GatewayError
    assert (error.status, error.attempts) == (status, 4)
    assert "check the base URL" in str(error)
    assert len(str(error)) < 600
    said = bytes_of(body).replace(b"\xff", b"\xef\xbf\xbd").replace(b"\r", b" ").replace(b"\n", b" ")  # on one line
    assert error.body.encode()[:20] == said[:20]


@virtual
@pytest.mark.parametrize("status", [403, 404, 405, 409, 499])
async def test_a_create_that_a_gateway_refuses_is_unknown_and_looked_for(status: int) -> None:
    page = {"items": [], "total": 0, "page": 1, "size": 100, "pages": 0}
    sender = FakeSender(reply(status, b"<html>no</html>"), then=reply(body=page))
    async with CLIENTS["codegen"](sender) as client:
        error = await failure_of(client.create_run("do it"))
    assert isinstance(error, CreateOutcomeUnknownError)
    assert not error.likely_done
    assert [request.method for request in sender.requests].count("POST") == 1
    assert len(sender.requests) > 2


@virtual
@pytest.mark.parametrize("status", [403, 404, 405, 409, 499])
async def test_a_middesk_create_that_a_gateway_refuses_is_unknown_and_looked_for(status: int) -> None:
    sender = FakeSender(
        reply(201, {"id": "t-1"}), reply(status, b"<html>no</html>"), then=reply(body={"data": [], "has_more": False})
    )
    async with CLIENTS["middesk"](sender) as client:
        error = await failure_of(client.create_run("kyb", business_id="b"))
        assert isinstance(error, CreateOutcomeUnknownError)
        assert error.key == "t-1"
        sender.replies.append(reply(status, b"<html>no</html>"))
        error = await failure_of(client.create_run("kyb", thread_id="t-9"))  # it may have had runs before
    assert type(error) is OutcomeUnknownError
    assert [request.path for request in sender.requests].count("/v1/runs") == 6


@virtual
@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308, 407, 511])
async def test_what_leads_elsewhere_or_wants_a_login_is_refused_once(dialect: str, status: int) -> None:
    sender = FakeSender(reply(status, b"<html>log in</html>"))
    async with CLIENTS[dialect](sender) as client:
        error = await failure_of(client.get_run(RUN_ID[dialect]))
    assert type(error) is RedirectedError
    assert not isinstance(error, PASSING)
    assert (error.status, error.attempts) == (status, 1)


@virtual
@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("body", [b"", b"<h1>401 Authorization Required</h1>", b'{"error": "invalid_token"}'])
async def test_a_token_that_a_gateway_refuses_is_refused(dialect: str, body: bytes) -> None:
    sender = FakeSender(reply(401, body))
    async with CLIENTS[dialect](sender) as client:
        assert type(await failure_of(client.get_run(RUN_ID[dialect]))) is AuthenticationError


@virtual
@pytest.mark.parametrize("body", [b"", b" ", b"<html><h1>Down for maintenance</h1></html>", b"OK", b"\x00\x01", b"{"])
async def test_a_success_that_is_no_json_is_an_outage(body: bytes) -> None:
    sender = FakeSender(then=reply(200, body))
    async with CLIENTS["codegen"](sender) as client:
        error = await failure_of(client.get_run(17))
    assert type(error) is GatewayError
    assert (error.status, error.attempts) == (200, 4)
    assert error.body == body.decode().replace("\x00", "?").replace("\x01", "?")


@virtual
@pytest.mark.parametrize(("body", "likely"), [(b"<h1>Down</h1>", False), (b"OK", False), (b"", True), (b'{"id"', True)])
async def test_only_what_may_be_the_apis_makes_a_create_likely(body: bytes, likely: bool) -> None:
    page = {"items": [], "total": 0, "page": 1, "size": 100, "pages": 0}
    async with CLIENTS["codegen"](FakeSender(reply(200, body), then=reply(body=page))) as client:
        error = await failure_of(client.create_run("do it"))
    assert isinstance(error, CreateOutcomeUnknownError)
    assert error.likely_created is likely


def test_the_new_errors_stand_where_the_tree_says() -> None:
    for kind in (GatewayError, RedirectedError, NotFoundError):
        assert issubclass(kind, StatusError)
        assert issubclass(kind, APIError)
    assert issubclass(GatewayError, PASSING)
    assert not issubclass(RedirectedError, PASSING)
