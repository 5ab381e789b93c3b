"""What an error says of what the server said, in all forms that servers use; and where no server was reached."""

import json
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from codegen_async import CodegenClient, ConnectionFailedError, StatusError
from codegen_async.http.answers import ErrorMaker, Request, Response
from codegen_async.http.complaints import read_complaint
from codegen_async.http.sender import detail_of, explain
from codegen_async.secret import Secret
from tests.support.canary import CANARY, failure_of
from tests.support.clients import ORG
from tests.support.ports import own_port

GET = Request(endpoint="get", method="GET", path="/run/17")

FORMS: dict[str, tuple[Any, str, str | None]] = {
    "OAuth": (
        {"error": "invalid_token", "error_description": "The token expired"},
        "The token expired",
        "invalid_token",
    ),
    "text": ({"error": "no such host"}, "no such host", None),
    "Rails": ({"status": 404, "error": "Not Found"}, "Not Found", None),
    "Spring": ({"status": 500, "error": "Internal", "message": "boom", "path": "/"}, "boom", "Internal"),
    "envelope": ({"error": {"code": "model_off", "message": "The model is off"}}, "The model is off", "model_off"),
    "numbers": ({"error": {"code": 404, "message": "gone"}}, "gone", "404"),
    "nested": ({"error": {"error": {"message": "deep", "code": "d"}}}, "deep", "d"),
    "problem": (
        {"type": "https://x/q", "title": "Out of quota", "status": 403, "detail": "9 of 9"},
        "Out of quota: 9 of 9",
        "https://x/q",
    ),
    "problem without detail": ({"type": "about:blank", "title": "Forbidden", "status": 403}, "Forbidden", None),
    "problem with errors": ({"title": "Bad", "errors": {"prompt": ["is empty", "is odd"]}}, "Bad", None),
    "detail": ({"detail": "Invalid token"}, "Invalid token", None),
    "detail object": ({"detail": {"message": "no", "code": "n1"}}, "no", "n1"),
    "FastAPI": (
        {"detail": [{"loc": ["body", "a"], "msg": "Field required", "type": "missing"}]},
        "body.a: Field required",
        None,
    ),
    "FastAPI, odd": ({"detail": [{"loc": "body", "msg": "bad"}, "and more"]}, "body: bad; and more", None),
    "Middesk": ({"errors": [{"message": "unknown", "parameter": "type"}]}, "type: unknown", None),
    "JSON:API": ({"errors": [{"code": "e7", "title": "No", "detail": "not you"}]}, "No: not you", "e7"),
    "texts": ({"errors": ["one", "two"]}, "one; two", None),
    "by field": ({"errors": {"prompt": ["is empty"], "id": "odd"}}, "prompt: is empty; id: odd", None),
    "msg": ({"msg": "blocked by rule 7"}, "blocked by rule 7", None),
    "reason": ({"reason": "maintenance", "errcode": 7}, "maintenance", "7"),
    "AWS": ({"Message": "User is not authorized", "__type": "x"}, "User is not authorized", None),
    "Apigee": (
        {"fault": {"faultstring": "Spike arrest", "detail": {"errorcode": "policies.Quota"}}},
        "Spike arrest",
        "policies.Quota",
    ),
    "Kubernetes": ({"kind": "Status", "message": "no", "reason": "NotFound", "code": 404}, "no", "404"),
    "empty words": ({"message": "", "error": " ", "title": "Last"}, "Last", None),
    "null words": ({"message": None, "error": {"message": "inner"}}, "inner", None),
    "numbers as words": ({"message": 7, "error": "text"}, "text", None),
    "unknown object": ({"oops": 1}, '{"oops": 1}', None),
    "empty object": ({}, "{}", None),
    "list": ([1], "[1]", None),
    "text in JSON": ("no", '"no"', None),
    "HTML": (b"<h1>no</h1>", "<h1>no</h1>", None),
    "plain": (b"rate limited\n", "rate limited", None),
    "nothing": (b"", "", None),
    "true is no code": ({"code": True, "message": "m"}, "m", None),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
def test_an_error_says_what_the_server_said_and_keeps_its_code(name: str, status: int) -> None:
    body, words, code = FORMS[name]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    failure = ErrorMaker(GET, 1, Secret(CANARY)).status(Response(status=status, body=raw))
    assert isinstance(failure, StatusError)
    assert str(failure).rstrip().removesuffix("?") == f"GET /run/17: {status} {words}".rstrip()
    assert failure.code == code


@pytest.mark.parametrize(
    "body", [b"[" * 3000, b'{"error":' * 900 + b"1" + b"}" * 900, b'{"errors":' + b"[" * 400 + b"]" * 400 + b"}"]
)
def test_no_depth_is_too_much(body: bytes) -> None:
    assert len(read_complaint(body).text) <= 200


def test_a_code_never_carries_the_token() -> None:
    body = json.dumps({"error": {"code": CANARY, "message": f"no {CANARY}"}}).encode()
    failure = ErrorMaker(GET, 1, Secret(CANARY)).status(Response(status=403, body=body))
    assert CANARY not in f"{failure} {vars(failure)}"


def client(url: str) -> CodegenClient:
    return CodegenClient(CANARY, org_id=ORG, base_url=url)


async def reason_of(url: str) -> str:
    async with client(url) as open_client:
        open_client._linked().transport._attempts = 1
        failure = await failure_of(open_client.get_run(17))
    assert isinstance(failure, ConnectionFailedError)
    assert CANARY not in str(failure)
    return str(failure)


@pytest.mark.asyncio
async def test_a_refused_connection_names_host_and_reason() -> None:
    with own_port() as port:
        told = await reason_of(f"http://127.0.0.1:{port}")
    assert f"127.0.0.1:{port}: the server cannot be reached (Connection refused)" in told


@pytest.mark.asyncio
async def test_an_unknown_host_is_named() -> None:
    assert "nowhere.invalid: the host name cannot be resolved" in await reason_of("https://nowhere.invalid")


def test_a_certificate_that_is_not_trusted_says_why() -> None:
    cause = ssl.SSLCertVerificationError(1, "x")
    cause.verify_message = "certificate has expired"
    key = ConnectionKey("h", 443, True, True, None, None, None)
    failure = aiohttp.ClientConnectorCertificateError(key, cause)
    assert (explain(failure), detail_of(failure)) == (
        "the server's certificate is not trusted",
        "certificate has expired",
    )


@pytest.mark.parametrize("text", [r"half \ud83d", "a byte \xff"])
def test_a_complaint_is_read_as_the_standard_module_reads_it(text: str) -> None:
    body = f'{{"detail": [{{"loc": ["body", "prompt"], "msg": "{text}", "input": NaN}}]}}'.encode("latin-1")
    complaint = read_complaint(body)
    assert complaint.fields == (complaint.text,)
    assert complaint.text.startswith("body.prompt: ")
    assert complaint.text.endswith("\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_place_is_no_error_however_deep_it_is(opening: str, closing: str) -> None:
    for depth in range(700, 1000):  # near what can just be read
        place = f"{opening * depth}0{closing * depth}"
        assert read_complaint(f'{{"detail": [{{"loc": {place}, "msg": "bad"}}]}}'.encode()).text
