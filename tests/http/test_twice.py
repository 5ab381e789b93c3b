"""What is repeated when a call says what comes of it, and what refusals mean when a dialect says so."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from codegen_async.errors import (
    AlreadyExistsError,
    APIError,
    CapacityError,
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaExceededError,
    RateLimitedError,
    RunEndedError,
    ServerError,
    StatusError,
)
from codegen_async.http.answers import Refusal, Request, Response, Twice
from codegen_async.http.retry import Backoff
from codegen_async.http.sender import AiohttpSender
from codegen_async.http.transport import AbsentError, Transport
from codegen_async.limits import Limits, Priority, Rate
from codegen_async.secret import Secret
from codegen_async.settings import Timeouts
from tests.support.answers import sized
from tests.support.canary import CANARY
from tests.support.raw import RawServer, saying
from tests.support.sender import LOST, REFUSED, SILENT, FakeSender, Reply, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

OK = reply(body={"id": 17})
READS = [("GET", None), ("GET", Twice.SAME), ("POST", Twice.SAME), ("PUT", Twice.SAME), ("DELETE", Twice.SAME)]
WRITES = [
    (method, twice) for method in ("POST", "PUT", "PATCH", "DELETE") for twice in (None, Twice.ANOTHER, Twice.REFUSED)
]


def request(method: str = "GET", twice: Twice | None = None, **more: Any) -> Request:
    return Request(endpoint="all", method=method, path="/run", twice=twice, **more)


def transport(sender: FakeSender, refused: Callable[[Response], Refusal | None] | None = None) -> Transport:
    limits = Limits({"all": Rate(60, 30.0)})
    return Transport(sender, limits, token=Secret(CANARY), refused=refused, backoff=Backoff(first=0.01))


def read(answer: Response) -> Any:
    return msgspec.json.decode(answer.body)


async def carry(
    *replies: Reply, call: Request, refused: Callable[[Response], Refusal | None] | None = None
) -> tuple[FakeSender, Any]:
    sender = FakeSender(*replies)
    try:
        return sender, await transport(sender, refused).carry(call, read)
    except APIError as error:
        return sender, error


@pytest.mark.parametrize(("method", "twice"), READS)
@pytest.mark.parametrize("trouble", [LOST, SILENT, REFUSED, reply(503), reply(200, problem="cut short")])
async def test_what_does_the_same_twice_is_repeated_after_all_that_may_pass(
    method: str, twice: Twice | None, trouble: Reply
) -> None:
    sender, result = await carry(trouble, OK, call=request(method, twice))
    assert result == {"id": 17}
    assert len(sender.requests) == 2


@pytest.mark.parametrize(("method", "twice"), WRITES)
@pytest.mark.parametrize("trouble", [LOST, SILENT, reply(503), reply(200, problem="cut short")])
async def test_everything_else_is_sent_once_where_it_may_have_been_carried_out(
    method: str, twice: Twice | None, trouble: Reply
) -> None:
    sender, error = await carry(trouble, call=request(method, twice))
    assert isinstance(error, OutcomeUnknownError)
    assert len(sender.requests) == 1


@pytest.mark.parametrize(("method", "twice"), WRITES)
@pytest.mark.parametrize("trouble", [REFUSED, reply(429), reply(425)])
async def test_everything_else_is_repeated_where_nothing_was_done(
    method: str, twice: Twice | None, trouble: Reply
) -> None:
    sender, result = await carry(trouble, OK, call=request(method, twice))
    assert result == {"id": 17}
    assert len(sender.requests) == 2


@pytest.mark.parametrize("status", [400, 403, 409, 429, 503])
@pytest.mark.parametrize(
    ("meaning", "kind"),
    [
        (Refusal.FULL, CapacityError),
        (Refusal.QUOTA, QuotaExceededError),
        (Refusal.EXISTS, AlreadyExistsError),
        (Refusal.STILL, RunEndedError),
    ],
)
async def test_a_refusal_means_what_the_dialect_says_whatever_its_status(
    status: int, meaning: Refusal, kind: type[StatusError]
) -> None:
    refusal = reply(status, {"error": {"code": "busy", "message": "no"}})
    sender, error = await carry(refusal, call=request("POST"), refused=lambda _: meaning)
    assert type(error) is kind
    assert (error.status, error.code, len(sender.requests)) == (status, "busy", 1)


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_a_rate_limit_of_another_status_holds_the_limiter_and_is_repeated(status: int) -> None:
    sender, result = await carry(
        reply(status, retry_after="7"), OK, call=request("POST"), refused=lambda _: Refusal.RATE
    )
    assert result == {"id": 17}
    assert sender.times[1] - sender.times[0] >= 7


async def test_a_rate_limit_that_lasts_is_one_whatever_its_status() -> None:
    _, error = await carry(*[reply(403)] * 40, call=request(), refused=lambda _: Refusal.RATE)
    assert isinstance(error, RateLimitedError)


async def test_what_was_not_done_is_sent_again_and_says_so_in_the_end() -> None:
    sender, error = await carry(*[reply(409)] * 4, call=request("POST"), refused=lambda _: Refusal.NOT_DONE)
    assert isinstance(error, ServerError)
    assert len(sender.requests) == 4


@pytest.mark.parametrize("meaning", [Refusal.FULL, Refusal.QUOTA])
async def test_a_429_that_is_no_rate_limit_holds_nobody_up(meaning: Refusal) -> None:
    sender = FakeSender(reply(429, retry_after="20"), OK)
    carrier = transport(sender, lambda _: meaning)
    with pytest.raises((CapacityError, QuotaExceededError)):
        await carrier.carry(request("POST"), read)
    assert carrier.limits["all"].state.held_for == 0
    assert await carrier.carry(request(), read) == {"id": 17}


async def test_a_refusal_that_the_dialect_leaves_open_means_what_its_status_says() -> None:
    _, error = await carry(reply(404), call=request(), refused=lambda _: None)
    assert isinstance(error, NotFoundError)


async def test_a_success_that_says_nothing_is_there_is_a_404_that_is_not_asked_again() -> None:
    def absent(_: Response) -> None:
        raise AbsentError("there is no such run")

    sender = FakeSender(reply(200, b"null"))
    with pytest.raises(NotFoundError, match="there is no such run"):
        await transport(sender).carry(request(), absent)
    assert len(sender.requests) == 1


async def test_readers_see_status_and_headers() -> None:
    def about(answer: Response) -> tuple[int, str]:
        return answer.status, answer.headers["location"]

    sender = FakeSender(reply(202, b"", location="/runs/5"))
    assert await transport(sender).carry(request("POST"), about) == (202, "/runs/5")


# Over the wire.


async def sent(call: Request, secret: Secret) -> tuple[str, str]:
    """Return the head and the body that a server sees of a request."""
    async with RawServer(saying(sized(b"{}", "Location: /runs/5", "X-Strange: no"))) as server:
        sender = AiohttpSender(server.url, secret, timeouts=Timeouts(), max_body=2**20, user_agent="test")
        try:
            limits = Limits({"all": Rate(10, 1.0)})
            answer = await sender.send(call, lambda: limits.slot("all", Priority.INTERACTIVE))
        finally:
            await sender.aclose()
        assert answer.headers["location"] == "/runs/5"
        assert "x-strange" not in answer.headers
        head, _, body = server.requests[0].decode().partition("\r\n\r\n")
        return head, body


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_methods_repeated_names_and_headers_go_over_the_wire_as_given(method: str) -> None:
    body = None if method in ("GET", "DELETE") else json.dumps({"a": 1}).encode()
    call = request(method, query=(("ids", "a/b"), ("ids", "c")), body=body, headers=(("X-Api-Version", "2026"),))
    head, sent_body = await sent(call, Secret(CANARY))
    assert head.startswith(f"{method} /run?ids=a%2Fb&ids=c HTTP/1.1\r\n")
    assert "\r\nX-Api-Version: 2026" in head
    assert ("\r\nContent-Type: application/json" in head) is (body is not None)
    assert sent_body == (body or b"").decode()


def basic(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{token}:'.encode()).decode()}"}


def by_name(token: str) -> Mapping[str, str]:
    return {"X-Goog-Api-Key": token}


def prefixed(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Key {token}"}


@pytest.mark.parametrize("auth", [basic, by_name, prefixed])
async def test_a_token_is_sent_in_the_headers_of_its_scheme_and_scrubbed_in_their_form(
    auth: Callable[[str], Mapping[str, str]],
) -> None:
    secret = Secret(CANARY, auth=auth)
    head, _ = await sent(request(), secret)
    for name, value in auth(CANARY).items():
        assert f"\r\n{name}: {value}" in head
        echoed = f"you sent {value}, that is {CANARY}"
        assert CANARY not in secret.scrub(echoed)
        assert value.split()[-1] not in secret.scrub(echoed)
    assert CANARY not in repr(secret.headers)
    assert basic(CANARY)["Authorization"] not in repr(secret.headers)
    assert "Authorization" in head or auth is by_name


@pytest.mark.parametrize("header", [{"X Y": "a"}, {"X": "a\r\nY: b"}, {"": "a"}, {"X": "ü"}])
async def test_headers_that_cannot_be_sent_are_refused_and_not_shown(header: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="auth: expected headers") as failure:
        Secret(CANARY, auth=lambda token: {name: f"{text}{token}" for name, text in header.items()})
    assert CANARY not in str(failure.value)


async def test_connections_that_may_die_unseen_carry_nothing_that_must_not_be_sent_twice() -> None:
    async with RawServer(saying(sized(b"{}"), sized(b"{}"), sized(b"{}"))) as server:
        sender = AiohttpSender(server.url, Secret(CANARY), timeouts=Timeouts(), max_body=99, user_agent="test")
        limits = Limits({"all": Rate(10, 1.0)})
        try:
            for twice in (Twice.SAME, Twice.SAME, Twice.ANOTHER, Twice.REFUSED):
                await sender.send(request("POST", twice, body=b"{}"), lambda: limits.slot("all", Priority.INTERACTIVE))
        finally:
            await sender.aclose()
        assert len(server.connections) == 3  # one that is kept, and one for each of the others


async def test_a_lost_read_by_post_fails_as_a_read() -> None:
    _, error = await carry(*[LOST] * 4, call=request("POST", Twice.SAME))
    assert isinstance(error, ConnectionFailedError)
