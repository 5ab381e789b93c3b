"""What the sender does besides carrying answers: slots, patience, connections, and what it never does."""

import asyncio
import inspect
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.client_exceptions
import pytest
from aiohttp.resolver import ThreadedResolver

from codegen_async.errors import ClientClosedError, ConnectionFailedError, RequestTimeoutError
from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.http.sender import _REASONS, AiohttpSender, explain
from codegen_async.limits import LimiterState, Limits, Rate
from codegen_async.secret import Secret
from codegen_async.settings import Timeouts
from tests.support.canary import CANARY, failure_of
from tests.support.clients import GET, POST, Sending, open_client, sending
from tests.support.ports import own_port
from tests.support.raw import Connection, RawServer, answer, keeping, resetting, saying

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

BOTH = pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
RUN = b'{"id":17,"organization_id":323}'


def now() -> float:
    return asyncio.get_running_loop().time()


async def serve_on(connection: Connection) -> None:
    """Answer all requests of a connection."""
    while await connection.request():
        await connection.send(answer(200, RUN))


def state(send: Sending, request: Request = GET) -> LimiterState:
    return send.limits.states[request.endpoint]


# Every exception has its words.


def client_errors() -> Iterator[type[BaseException]]:
    for _, kind in inspect.getmembers(aiohttp.client_exceptions, inspect.isclass):
        if issubclass(kind, aiohttp.ClientError):
            yield kind


# Bases of which only others are raised, and errors of what is not asked for: redirects, and news of uploads.
NEVER_RAISED: set[type[BaseException]] = {
    aiohttp.ClientError,
    aiohttp.RedirectClientError,
    aiohttp.client_exceptions.NonHttpUrlRedirectClientError,
    getattr(aiohttp, "UploadAbortedError", aiohttp.ClientError),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", sorted(set(client_errors()) - NEVER_RAISED, key=str))
async def test_each_exception_of_aiohttp_has_words_of_its_own(kind: type[BaseException]) -> None:
    assert explain(kind.__new__(kind)) in {reason for _, reason in _REASONS}


@pytest.mark.asyncio
async def test_no_exception_is_hidden_by_an_earlier_one_in_the_table() -> None:
    kinds = [kind for kind, _ in _REASONS]
    hidden = [kind for place, kind in enumerate(kinds) if issubclass(kind, tuple(kinds[:place]))]
    assert not hidden


@pytest.mark.asyncio
async def test_an_exception_that_nobody_knows_shows_nothing_of_its_text() -> None:
    class NewError(aiohttp.ClientError):
        pass

    assert explain(NewError(f"Authorization: Bearer {CANARY}")) == "the request failed"


# Nothing was sent.


@BOTH
async def test_a_refused_connection_sends_nothing_and_gives_the_slot_back(request_: Request) -> None:
    with own_port() as port:
        async with sending(f"http://127.0.0.1:{port}") as send:
            outcome = await send(request_)
            assert isinstance(outcome, NoAnswerError)
            assert (outcome.reason, outcome.sent, outcome.timed_out) == ("the server cannot be reached", False, False)
            assert state(send, request_).available == 100


@BOTH
async def test_a_name_that_cannot_be_resolved_sends_nothing(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    async with sending("https://api.nowhere.invalid") as send:
        outcome = await send(request_)
        assert isinstance(outcome, NoAnswerError)
        assert (outcome.reason, outcome.sent) == ("the host name cannot be resolved", False)
        assert state(send, request_).available == 100


@BOTH
async def test_a_name_that_is_resolved_too_slowly_counts_as_connecting(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(*_: object, **__: object) -> list[Any]:
        await asyncio.sleep(1000)
        return []

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    async with sending("https://api.nowhere.invalid", timeouts=Timeouts(connect=4)) as send:
        began = now()
        outcome = await send(request_)
        assert now() - began == pytest.approx(4, abs=0.01)
        assert isinstance(outcome, NoAnswerError)
        assert (outcome.reason, outcome.sent, outcome.timed_out) == ("no connection in time", False, True)


@asynccontextmanager
async def deaf_port() -> AsyncGenerator[int]:
    """Yield a port at which new connections are neither accepted nor refused: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(address)
        try:
            yield address[1]
        finally:
            for caller in callers:
                caller.close()


@BOTH
async def test_a_connection_that_takes_too_long_sends_nothing(request_: Request) -> None:
    async with deaf_port() as port, sending(f"http://127.0.0.1:{port}", timeouts=Timeouts(connect=4)) as send:
        began = now()
        outcome = await send(request_)
        assert now() - began == pytest.approx(4, abs=0.01)
        assert isinstance(outcome, NoAnswerError)
        assert (outcome.reason, outcome.sent, outcome.timed_out) == ("no connection in time", False, True)
        assert state(send, request_).available == 100


@BOTH
async def test_tls_towards_a_server_that_says_nothing_ends_in_time(request_: Request) -> None:
    async def script(connection: Connection) -> None:
        await connection.silence()

    async with RawServer(script) as server:
        url = server.url.replace("http:", "https:")
        async with sending(url, timeouts=Timeouts(connect=4)) as send:
            outcome = await send(request_)
            assert isinstance(outcome, NoAnswerError)
            assert (outcome.reason, outcome.sent, outcome.timed_out) == ("no connection in time", False, True)


@BOTH
async def test_tls_towards_a_server_that_speaks_none_fails(request_: Request) -> None:
    async def script(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(answer(400, b"plain HTTP"))

    async with RawServer(script) as server, sending(server.url.replace("http:", "https:")) as send:
        outcome = await send(request_)
        assert isinstance(outcome, NoAnswerError)
        assert (outcome.reason, outcome.sent) == ("TLS failed", False)


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
@BOTH
async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(make_certificate, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    start_server = asyncio.start_server
    monkeypatch.setattr(asyncio, "start_server", lambda *args, **options: start_server(*args, **options, ssl=context))
    async with RawServer(serve_on) as server, sending(server.url.replace("http:", "https:")) as send:
        outcome = await send(request_)
        assert isinstance(outcome, NoAnswerError)
        assert (outcome.reason, outcome.sent) == ("the server's certificate is not trusted", False)
        assert server.requests == []


def make_certificate(folder: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    paths = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(folder / "key.pem"),
        "-out",
        str(folder / "cert.pem"),
    ]
    subprocess.run([*command.split(), *paths], check=True, capture_output=True)  # noqa: S603 - all of it is ours


@BOTH
async def test_the_client_says_who_cannot_be_reached(request_: Request) -> None:
    with own_port() as port:
        async with open_client(f"http://127.0.0.1:{port}") as client:
            call = client.get_run(17) if request_ is GET else client.create_run("do it")
            error = await failure_of(call)
            assert type(error) is ConnectionFailedError
            assert error.attempts == 4
    async with deaf_port() as port, open_client(f"http://127.0.0.1:{port}") as client:
        call = client.get_run(17) if request_ is GET else client.create_run("do it")
        assert type(await failure_of(call)) is RequestTimeoutError


# Slots.


@BOTH
async def test_an_answered_request_cools_from_its_head_on(request_: Request) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await asyncio.sleep(3)
        await connection.send(answer(200, RUN)[:-5])
        await asyncio.sleep(5)
        await connection.send(RUN[-5:])

    async with RawServer(script) as server, sending(server.url, limit=1) as send:
        limiter = send.limits[request_.endpoint]
        began = now()
        task = asyncio.create_task(send(request_))
        await asyncio.sleep(2)
        assert (state(send, request_).in_flight, state(send, request_).cooling) == (1, 0)
        await asyncio.sleep(2)
        assert (state(send, request_).in_flight, state(send, request_).cooling) == (0, 1)
        assert limiter.next_free - began == pytest.approx(3 + 30 + limiter.margin, abs=0.01)
        assert isinstance(await task, Response)
        assert limiter.next_free - began == pytest.approx(3 + 30 + limiter.margin, abs=0.01)


@BOTH
async def test_a_request_without_an_answer_cools_longer(request_: Request) -> None:
    async with RawServer(keeping(b"")) as server, sending(server.url, limit=1) as send:
        limiter = send.limits[request_.endpoint]
        began = now()
        await send(request_)
        assert limiter.next_free - began == pytest.approx(30 + 30 + limiter.margin + limiter.lateness, abs=0.01)


@pytest.mark.parametrize("ending", [saying(b""), resetting(b"")], ids=["closed", "reset"])
async def test_the_second_get_that_aiohttp_sends_by_itself_takes_a_slot_of_its_own(ending: Any) -> None:
    async with RawServer(ending) as server, sending(server.url) as send:
        assert isinstance(await send(GET), NoAnswerError)
        assert len(server.requests) == 2
        assert (state(send).cooling, state(send).available) == (2, 98)


async def test_the_second_get_waits_for_its_slot() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        if len(server.requests) > 1:
            await connection.send(answer(200, RUN))

    async with RawServer(script) as server, sending(server.url, limit=1) as send:
        limiter = send.limits["get"]
        began = now()
        outcome = await send(GET)
        assert isinstance(outcome, Response)
        assert outcome.body == RUN
        assert now() - began == pytest.approx(30 + limiter.margin + limiter.lateness, abs=0.01)


async def test_a_dead_connection_of_the_pool_costs_a_slot_and_not_the_call() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer(200, RUN))
        if len(server.connections) == 1:
            await connection.request()
            connection.reset()
        await serve_on(connection)

    async with RawServer(script) as server, sending(server.url) as send:
        assert isinstance(await send(GET), Response)
        assert isinstance(await send(GET), Response)
        assert len(server.requests) == 3
        assert state(send).cooling == 3


# Patience.


@BOTH
async def test_waiting_for_a_slot_is_not_counted_as_waiting_for_the_server(request_: Request) -> None:
    async with RawServer(serve_on) as server:
        timeouts = Timeouts(connect=1, read=1, total=2)
        async with sending(server.url, limit=1, period=600, timeouts=timeouts) as send:
            assert isinstance(await send(request_), Response)
            began = now()
            assert isinstance(await send(request_), Response)
            assert now() - began > 600


async def test_each_attempt_has_its_own_time() -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await asyncio.sleep(8)
        if len(server.requests) > 1:
            await connection.send(answer(200, RUN))

    async with RawServer(script) as server, sending(server.url, timeouts=Timeouts(read=9, total=10)) as send:
        assert isinstance(await send(GET), Response)
        assert len(server.requests) == 2


@BOTH
async def test_a_cancelled_call_leaves_no_connection_and_no_slot_in_flight(request_: Request) -> None:
    async with RawServer(keeping(b"")) as server, sending(server.url) as send:
        task = asyncio.create_task(send(request_))
        await asyncio.sleep(1)
        assert len(server.requests) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1)
        assert server.connections[0].reader.at_eof()
        assert (state(send, request_).in_flight, state(send, request_).cooling) == (0, 1)


@BOTH
async def test_a_call_can_be_cancelled_at_any_step(request_: Request) -> None:
    async with RawServer(serve_on) as server, sending(server.url, limit=200) as send:
        ends = set()
        for steps in range(60):
            task = asyncio.create_task(send(request_))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            ends.add(type((await asyncio.gather(task, return_exceptions=True))[0]))
            assert state(send, request_).in_flight == 0
        assert ends == {asyncio.CancelledError, Response}  # some were answered before
        # No slot is lost, and what reached the server has cost one.
        assert state(send, request_).available + state(send, request_).cooling == 200
        assert len(server.requests) <= state(send, request_).cooling
        assert isinstance(await send(request_), Response)


# Connections.


async def test_gets_share_a_connection() -> None:
    async with RawServer(serve_on) as server, sending(server.url) as send:
        for _ in range(3):
            await send(GET)
        assert (len(server.requests), len(server.connections)) == (3, 1)


async def test_posts_have_a_connection_each_that_is_closed_after_use() -> None:
    async with RawServer(serve_on) as server, sending(server.url) as send:
        for _ in range(3):
            await send(POST)
            await send(GET)
        assert len(server.requests) == 6
        assert len(server.connections) == 4
        assert all(b"Connection: close" in request for request in server.requests if request.startswith(b"POST"))


async def test_many_calls_at_once_do_not_wait_for_connections() -> None:
    arrived = asyncio.Semaphore(0)
    all_there = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        arrived.release()
        await all_there.wait()
        await connection.send(answer(200, RUN))

    async with RawServer(script) as server, sending(server.url, limit=300) as send:
        tasks = [asyncio.create_task(send(GET)) for _ in range(300)]
        for _ in tasks:
            await arrived.acquire()
        all_there.set()
        assert {type(outcome) for outcome in await asyncio.gather(*tasks)} == {Response}
        assert len(server.connections) == 300


async def test_a_renewal_uses_new_connections_and_lets_the_old_ones_end() -> None:
    go_on = asyncio.Event()

    async def script(connection: Connection) -> None:
        slow = len(server.connections) == 1
        while await connection.request():
            if slow:
                await go_on.wait()
            await connection.send(answer(200, RUN))

    async with RawServer(script) as server, sending(server.url) as send:
        under_way = asyncio.create_task(send(GET))
        await asyncio.sleep(1)
        send.sender.renew()
        assert isinstance(await send(GET), Response)
        assert len(server.connections) == 2
        go_on.set()
        assert isinstance(await under_way, Response)
        await asyncio.sleep(1)
        assert server.connections[0].reader.at_eof()
        assert not server.connections[1].reader.at_eof()


async def test_renewals_at_the_same_time_leave_no_connection_behind() -> None:
    async with RawServer(serve_on) as server, sending(server.url) as send:

        async def get_and_renew() -> None:
            await send(GET)
            send.sender.renew()

        await asyncio.gather(*(get_and_renew() for _ in range(20)))
        await asyncio.gather(*(send(GET) for _ in range(20)))
        await asyncio.sleep(1)
        opened = [connection for connection in server.connections if not connection.reader.at_eof()]
        assert len(opened) <= 20
        assert len(server.connections) >= 21


@BOTH
async def test_a_call_that_outlives_its_client_says_so(request_: Request) -> None:
    async with RawServer(keeping(b"")) as server, sending(server.url, limit=1) as send:
        under_way = asyncio.create_task(send(request_))
        in_line = asyncio.create_task(send(request_))
        await asyncio.sleep(1)
        await send.sender.aclose()
        # aiohttp goes on to its second GET, which finds the client closed; the POST was sent.
        expected = ClientClosedError if request_ is GET else NoAnswerError
        assert isinstance(await failure_of(under_way) if request_ is GET else await under_way, expected)
        for call in (in_line, send(request_)):
            assert isinstance(await failure_of(call), ClientClosedError)
        assert len(server.requests) == 1
        assert state(send, request_).in_flight == 0


# What it never does.


@BOTH
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(request_: Request, status: int) -> None:
    async with RawServer(serve_on) as elsewhere:
        location = f"Location: {elsewhere.url}/v1/run"
        async with RawServer(saying(answer(status, b"", location))) as server, sending(server.url) as send:
            outcome = await send(request_)
            assert isinstance(outcome, Response)
            assert outcome.status == status
            assert elsewhere.requests == []
            assert len(server.requests) == 1


async def test_cookies_are_not_kept() -> None:
    async def script(connection: Connection) -> None:
        while await connection.request():
            await connection.send(answer(200, RUN, "Set-Cookie: session=evil; Path=/"))

    async with RawServer(script) as server, sending(server.url) as send:
        for _ in range(2):
            await send(GET)
        assert len(server.requests) == 2
        assert not [request for request in server.requests if b"cookie" in request.lower()]


@BOTH
async def test_the_environment_has_no_say(request_: Request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    await asyncio.to_thread(netrc.write_text, "machine 127.0.0.1 login somebody password netrc-password\n")
    async with RawServer(serve_on) as proxy, RawServer(serve_on) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        monkeypatch.setenv("NETRC", str(netrc))
        async with sending(server.url) as send:
            assert isinstance(await send(request_), Response)
        assert proxy.requests == []
        assert server.requests[0].count(b"Authorization: ") == 1
        assert f"Authorization: Bearer {CANARY}".encode() in server.requests[0]


@BOTH
@pytest.mark.parametrize("path", ["//evil.example/run", "/../../run", "/run?a=b", "/@evil.example", "/%2e%2e/run"])
async def test_no_path_leads_to_another_host(request_: Request, path: str) -> None:
    async with RawServer(serve_on) as server, sending(server.url) as send:
        request = Request(endpoint=request_.endpoint, method=request_.method, path=path, body=request_.body)
        assert isinstance(await send(request), Response)
        assert server.requests[0].split(b"\r\n")[1] == f"Host: 127.0.0.1:{server.port}".encode()


async def test_the_query_is_quoted() -> None:
    request = Request(endpoint="list", method="GET", path="/runs", query=(("source_type", "a&b=c d/é#"), ("skip", "0")))
    async with RawServer(serve_on) as server, sending(f"{server.url}/api") as send:
        await send(request)
        assert server.requests[0].split(b"\r\n")[0] == (
            b"GET /api/runs?source_type=a%26b%3Dc+d%2F%C3%A9%23&skip=0 HTTP/1.1"
        )


async def test_a_large_body_is_sent_whole_with_its_length() -> None:
    body = b'{"prompt":"' + b"x" * 3 * 2**20 + b'"}'
    async with RawServer(serve_on) as server, sending(server.url) as send:
        await send(Request(endpoint="create", method="POST", path="/v1/run", body=body))
        head, _, sent = server.requests[0].partition(b"\r\n\r\n")
        assert sent == body
        assert b"Content-Type: application/json" in head
        assert f"Content-Length: {len(body)}".encode() in head


async def test_what_is_kept_of_the_headers_is_what_is_needed() -> None:
    lines = ["X-Request-Id: r1", "Retry-After: 7", "Date: today", "X-Other: x", f"X-Echo: {CANARY}"]
    async with RawServer(saying(answer(429, b"", *lines))) as server, sending(server.url) as send:
        outcome = await send(GET)
        assert isinstance(outcome, Response)
        assert outcome.headers == {"x-request-id": "r1", "retry-after": "7", "date": "today"}
        assert outcome.retry_after == 7.0


async def test_links_in_several_lines_are_all_kept() -> None:
    lines = ['Link: </runs?page=1>; rel="first"', 'Link: </runs?page=3>; rel="next"']
    async with RawServer(saying(answer(200, b"{}", *lines))) as server, sending(server.url) as send:
        outcome = await send(GET)
        assert isinstance(outcome, Response)
        assert outcome.headers == {"link": '</runs?page=1>; rel="first", </runs?page=3>; rel="next"'}


async def test_closing_twice_is_harmless() -> None:
    sender = AiohttpSender(
        "http://127.0.0.1:1", Secret(CANARY), timeouts=Timeouts(), max_body=1, user_agent="codegen-async/test"
    )
    await sender.aclose()
    await sender.aclose()
    with pytest.raises(ClientClosedError):
        await Sending(sender, Limits({"get": Rate(1, 1)}))(GET)
