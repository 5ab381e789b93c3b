"""The token shows nowhere: in no error, traceback, repr, pickle or log. Every test is watched by conftest as well."""

import asyncio
import copy
import gc
import json
import logging
import pickle
import socket
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import msgspec
import pytest

from codegen_async.codegen.client import CodegenClient
from codegen_async.errors import APIError, ClientClosedError, CodegenAsyncError, ConfigurationError
from codegen_async.http.answers import Request
from codegen_async.http.sender import AiohttpSender
from codegen_async.http.transport import Transport
from codegen_async.limits import Limits, Rate
from codegen_async.secret import Secret
from codegen_async.settings import Timeouts
from codegen_async.testing import clock
from tests.support.answers import ALL, head, sized
from tests.support.canary import CANARY, Watch, failure_of, shown_by
from tests.support.clients import ORG, open_client, sending
from tests.support.raw import Connection, RawServer, answer, keeping, saying

virtual = pytest.mark.asyncio(loop_factories=["virtual"])

Call = Callable[[CodegenClient], Awaitable[object]]

CALLS: dict[str, Call] = {
    "get": lambda client: client.get_run(17),
    "list": lambda client: client.list_runs_page(),
    "logs": lambda client: client.run_logs_page(17),
    "create": lambda client: client.create_run("do it"),
    "resume": lambda client: client.resume_run(17, "go on"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def hides(error: BaseException) -> bool:
    """Whether nothing that can be shown of an error has the token, or a good part of it."""
    shown = shown_by(error)
    assert type(error).__name__ in shown
    return CANARY[:12] not in shown and CANARY[-8:] not in shown


# The looking glass itself.


def test_a_token_in_any_corner_of_an_error_is_found() -> None:
    def fails(error: BaseException, **kept: object) -> BaseException:
        try:
            del kept["nothing"]
        except KeyError as missing:
            error.__context__ = missing
        return error

    inner = ValueError("x")
    inner.args = ([{"deep": (CANARY,)}],)
    outer = ValueError("y")
    outer.__dict__["cause"] = inner
    assert not hides(ValueError(f"got {CANARY}"))
    assert not hides(inner)
    assert not hides(outer)
    assert not hides(fails(ValueError("z"), header=f"Bearer {CANARY}"))
    assert hides(ValueError("z"))


def test_a_token_in_any_log_is_found() -> None:
    watch = Watch()
    for level, message, token in ((logging.DEBUG, "token %s", CANARY), (logging.ERROR, "token %s", "***")):
        watch.handle(logging.LogRecord("any", level, __file__, 1, message, (token,), None))
    watch.handle(logging.makeLogRecord({"msg": "fine", "token": CANARY}))
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        watch.handle(logging.makeLogRecord({"msg": "failed", "exc_info": (ValueError, error, None)}))
    assert watch.leaks == [f"any: token {CANARY}", "None: fine", "None: failed"]


# Errors.

WAYS_TO_FAIL = [
    "HTTP/0.9",
    "two lengths",
    "NUL in a header",
    "header of 9,000 bytes",
    "nothing, closed",
    "nothing, reset",
    "nothing, silence",
    "early hints only, silence",
    "too short, reset",
    "429 too short",
    "no last chunk, silence",
    "damaged gzip",
    "open end, cut",
    "204",
    "status 101",
    "redirect to a file",
]


@virtual
@every_call
@pytest.mark.parametrize("name", WAYS_TO_FAIL)
async def test_no_failed_call_shows_the_token(name: str, call: Call) -> None:
    async with RawServer(ALL[name].script) as server, open_client(server.url, settle=1) as client:
        error = await failure_of(call(client))
        assert isinstance(error, APIError)
        assert hides(error)
        assert hides(pickle.loads(pickle.dumps(error)))  # noqa: S301 - what users do with errors of workers


@virtual
@every_call
@pytest.mark.parametrize("status", [200, 302, 400, 401, 402, 403, 404, 408, 422, 429, 500, 503])
async def test_a_server_that_echoes_the_request_does_not_show_the_token(status: int, call: Call) -> None:
    async def script(connection: Connection) -> None:
        while True:
            request = (await connection.request()).decode()
            message = json.dumps({"message": request, "detail": [{"loc": [CANARY], "msg": request}]}).encode()
            lines = [f"X-Request-Id: {CANARY}", f"Location: /{CANARY}", f"Retry-After: {CANARY}"]
            await connection.send(answer(status, message, *lines))

    async with RawServer(script) as server, open_client(server.url, settle=1) as client:
        error = await failure_of(call(client))
        assert isinstance(error, APIError)
        assert hides(error)


@virtual
@every_call
async def test_a_client_that_cannot_connect_does_not_show_the_token(call: Call) -> None:
    async with open_client("http://127.0.0.1:9", settle=1) as client:
        assert hides(await failure_of(call(client)))


# Cancellations and timeouts: they pass through the frames of aiohttp, which hold the request.


async def say_nothing(connection: Connection) -> None:
    await connection.request()
    await connection.silence()


async def say_half(connection: Connection) -> None:
    await connection.request()
    await connection.send(head("Content-Length: 99") + b"{")
    await connection.silence()


async def read_nothing(connection: Connection) -> None:
    connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await connection.reader.readuntil(b"\r\n")
    try:
        await asyncio.sleep(1000)
    finally:
        connection.reset()


async def drip(connection: Connection) -> None:
    await connection.request()
    await connection.send(head("Content-Length: 9999"))
    while True:
        await asyncio.sleep(1)
        await connection.send(b"x")


PROMPT = "x" * 6 * 2**20  # more than the buffers of two sockets take
WAITS: dict[str, tuple[Callable[[Connection], Awaitable[None]], Call]] = {
    "head of a get": (say_nothing, CALLS["get"]),
    "body of a get": (say_half, CALLS["get"]),
    "dripping body": (drip, CALLS["list"]),
    "head of a post": (say_nothing, CALLS["create"]),
    "body of a post": (say_half, CALLS["resume"]),
    "upload": (read_nothing, lambda client: client.resume_run(17, PROMPT)),
}
every_wait = pytest.mark.parametrize("wait", WAITS)


@pytest.fixture(autouse=True)
def _little_patience_with_a_peer_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_PATIENCE", 0.05)


@asynccontextmanager
async def serving(script: Callable[[Connection], Awaitable[None]]) -> AsyncGenerator[RawServer]:
    """Yield a server, and let the sockets of an upload that it never took come to their end."""
    async with RawServer(script) as server:
        yield server
    await asyncio.sleep(1)


@virtual
@every_wait
async def test_a_cancellation_does_not_show_the_token(wait: str) -> None:
    script, call = WAITS[wait]
    async with serving(script) as server, open_client(server.url) as client:
        task = asyncio.create_task(failure_of(call(client)))
        await asyncio.sleep(5)
        assert CANARY not in repr(task)
        task.cancel()
        error = await task
        assert isinstance(error, asyncio.CancelledError)
        frames = traceback.extract_tb(error.__traceback__)
        assert [frame for frame in frames if "/aiohttp/" in frame.filename]
        assert hides(error)


@virtual
@every_wait
async def test_a_timeout_of_the_caller_does_not_show_the_token(wait: str) -> None:
    script, call = WAITS[wait]

    async def bounded(client: CodegenClient) -> None:
        async with asyncio.timeout(5):
            await call(client)

    async with serving(script) as server, open_client(server.url) as client:
        error = await failure_of(bounded(client))
        assert type(error) is TimeoutError
        assert hides(error)


@virtual
@every_wait
async def test_a_timeout_of_ours_does_not_show_the_token(wait: str) -> None:
    script, call = WAITS[wait]
    timeouts = Timeouts(connect=1, read=2, total=3)
    async with serving(script) as server, open_client(server.url, timeouts=timeouts, settle=1) as client:
        error = await failure_of(call(client))
        assert isinstance(error, APIError)
        assert hides(error)
        assert (error.__cause__, error.__context__) == (None, None)


# Whatever else is raised inside aiohttp, while it holds what is written.


class Stopped(BaseException):
    """What ends a program, and is no error."""


def break_in_writer(monkeypatch: pytest.MonkeyPatch, method: str, failure: BaseException) -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        try:
            raise KeyError("inner")
        except KeyError:
            raise failure  # noqa: B904 - with its context

    monkeypatch.setattr(f"aiohttp.http_writer.StreamWriter.{method}", fails)


@virtual
@every_call
@pytest.mark.sampled(3)
@pytest.mark.parametrize("method", ["_write", "_writelines", "write_eof", "set_eof", "write_headers"])
@pytest.mark.parametrize("failure", [MemoryError("no room"), RuntimeError("odd"), ValueError("odd"), Stopped("now")])
async def test_nothing_that_is_raised_inside_aiohttp_shows_the_token(
    call: Call, method: str, failure: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_in_writer(monkeypatch, method, failure)
    async with RawServer(keeping(sized(b"{}"))) as server, open_client(server.url, settle=1) as client:
        error = await failure_of(call(client))
        assert hides(error)
        await asyncio.sleep(1)
    gc.collect()
    for record in caplog.records:
        if record.exc_info and record.exc_info[1]:
            assert hides(record.exc_info[1])


@virtual
async def test_what_is_raised_inside_aiohttp_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    break_in_writer(monkeypatch, "_write", MemoryError("no room"))
    async with RawServer(keeping(sized(b"{}"))) as server, open_client(server.url) as client:
        error = await failure_of(client.get_run(17))
    assert type(error) is MemoryError
    assert str(error) == "no room"
    assert isinstance(error.__context__, KeyError)
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "_send"


@virtual
async def test_a_call_cancelled_in_line_does_not_show_the_token() -> None:
    async with (
        RawServer(say_nothing) as server,
        open_client(server.url, rates={"get": Rate(1, 60)}) as client,
    ):
        first = asyncio.create_task(failure_of(client.get_run(17)))
        second = asyncio.create_task(failure_of(client.get_run(18)))
        await asyncio.sleep(5)
        first.cancel()
        second.cancel()
        assert hides(await first)
        assert hides(await second)


@virtual
async def test_a_call_that_outlives_its_client_does_not_show_the_token() -> None:
    async with RawServer(say_nothing) as server:
        async with open_client(server.url) as client:
            task = asyncio.create_task(failure_of(client.get_run(17)))
            await asyncio.sleep(5)
        error = await task
        assert isinstance(error, ClientClosedError)
        assert hides(error)
        assert hides(await failure_of(client.get_run(17)))


@pytest.mark.asyncio
async def test_asyncio_in_debug_mode_does_not_log_the_token(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # every step is reported
    async with (
        RawServer(saying(sized(b'{"id":17,"organization_id":323}'))) as server,
        open_client(server.url) as client,
    ):
        await client.get_run(17)
    loop.set_debug(False)
    assert [record for record in caplog.records if "took" in record.getMessage()]


@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_sender_that_was_never_closed_does_not_log_the_token(caplog: pytest.LogCaptureFixture) -> None:
    async with RawServer(keeping(sized(b"{}"))) as server:
        async with sending(server.url) as send:
            send.sender = AiohttpSender(
                server.url, Secret(CANARY), timeouts=Timeouts(), max_body=99, user_agent="codegen-async/test"
            )
            await send()
            del send.sender
        gc.collect()
    assert "Unclosed" in caplog.text


# What can be looked at.


@virtual
async def test_nothing_that_holds_the_token_shows_it() -> None:
    limits = Limits({"get": Rate(1, 1)})
    async with (
        RawServer(saying(sized(b"{}"))) as server,
        sending(server.url) as send,
        open_client(server.url) as client,
    ):
        secret = Secret(CANARY)
        holders: list[object] = [
            secret,
            secret.reveal(),
            secret.headers,
            send.sender,
            vars(send.sender),
            client,
            vars(client),
            client._linked(),
            vars(client._linked()),
            Transport(send.sender, limits, token=secret),
            vars(Transport(send.sender, limits, token=secret)),
            client.limits,
        ]
        for holder in holders:
            assert CANARY not in repr(holder)
        assert CANARY not in f"{secret} {secret!r} {secret:>30} {client} {client!r}"
        assert CANARY not in str(secret)
        assert msgspec.to_builtins(Request(endpoint="get", method="GET", path="/"))  # has no place for a token


@pytest.mark.parametrize("length", range(1, 12))
def test_a_secret_may_be_as_short_as_one_likes(length: int) -> None:
    token = CANARY[:length]
    assert Secret(token).scrub(f"<{token}>") == "<***>"


def test_a_secret_is_what_it_hides() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    assert secret.headers == {"Authorization": f"Bearer {CANARY}"}
    assert secret.scrub(f"a {CANARY} b {CANARY}") == "a *** b ***"


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, msgspec.json.encode])
def test_a_secret_does_not_travel(way: Callable[[object], Any]) -> None:
    with pytest.raises(TypeError):
        way(Secret(CANARY))
    if way is not copy.copy:  # which would have two clients share the one secret
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            way({"client": CodegenClient(org_id=ORG)})


# Set-up.


@pytest.mark.parametrize("bad", ["{}\n", " {}", "{}\x00", "{}é", "{}\r\nX-Evil: 1", "{} {}", "{}\ud800"])
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> CodegenAsyncError:
        with pytest.raises(ConfigurationError, match="visible ASCII") as caught:
            CodegenClient(org_id=ORG)
        return caught.value

    monkeypatch.setattr("os.environ", {"CODEGEN_API_TOKEN": bad.format(CANARY, CANARY)})
    assert hides(fails())


def test_an_empty_token_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="token"):
        Secret("")


@pytest.mark.parametrize(
    "options",
    [
        {"org_id": 0},
        {"base_url": "http://api.example.com"},
        {"settle": -1},
        {"share": 2},
        {"max_body": 0},
    ],
)
def test_a_client_that_is_set_up_wrongly_does_not_show_its_token(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CodegenClient(**{"org_id": ORG, **options})
    assert hides(caught.value)


def test_a_base_url_with_a_password_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        CodegenClient(org_id=ORG, base_url="https://user:hunter2@api.example.com")
    assert "hunter2" not in str(caught.value)


WRONG: dict[str, dict[str, Any]] = {
    "org_id": {"org_id": 0},
    "share": {"share": 5},
    "base_url": {"base_url": "http://evil.example"},
    "rates": {"rates": {"nothing": Rate(1, 1.0)}},
    "latency": {"latency": -1.0},
    "max_body": {"max_body": 0},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_client_that_cannot_be_made_shows_no_token_that_was_given(name: str) -> None:
    options = {"org_id": ORG, **WRONG[name]}
    with pytest.raises(ConfigurationError) as caught:
        CodegenClient(CANARY, **options)
    assert hides(caught.value)


def test_a_token_that_cannot_be_one_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        CodegenClient(f"{CANARY} ", org_id=ORG)
    assert hides(caught.value)


@pytest.mark.parametrize(
    "form", ["a/b&c+d", r"a\/b&c+d", "a/b&amp;c+d", "a%2Fb%26c%2Bd", "".join(f"\\u{ord(c):04x}" for c in "a/b&c+d")]
)
def test_a_token_is_scrubbed_as_json_html_and_urls_write_it(form: str) -> None:
    secret = Secret("a/b&c+d")
    assert secret.scrub(f"x {form} y") == "x *** y"
