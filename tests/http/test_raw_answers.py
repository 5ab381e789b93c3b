"""The sender and the client against servers that say strange things, byte by byte."""

import asyncio
import logging
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable

import pytest

from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRun
from codegen_async.errors import APIError, CreateOutcomeUnknownError, DecodeError, OutcomeUnknownError
from codegen_async.http.answers import NoAnswerError, Request, Response, Twice, Verdict, judge
from codegen_async.settings import Timeouts
from tests.support.answers import ALL, LATE, NO_ANSWER, NO_HTTP, SILENT, Case, head, sized
from tests.support.canary import CANARY, failure_of
from tests.support.clients import GET, POST, open_client, sending
from tests.support.raw import Connection, RawServer, answer, keeping, saying

virtual = pytest.mark.asyncio(loop_factories=["virtual"])
real = pytest.mark.asyncio


def now() -> float:
    return asyncio.get_running_loop().time()


PATIENCE: dict[str | None, float] = {SILENT: Timeouts().read, LATE: Timeouts().total}


# The table.


@virtual
@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
async def test_what_comes_of_an_answer(case: Case, request_: Request) -> None:
    began = now()
    async with RawServer(case.script) as server, sending(server.url) as send:
        outcome = await send(request_)
        took = now() - began
        if case.status is None:
            assert isinstance(outcome, NoAnswerError)
            assert outcome.sent
            assert outcome.timed_out == (case.problem in PATIENCE)
            assert outcome.reason == case.problem
        else:
            assert isinstance(outcome, Response)
            assert (outcome.status, outcome.body, outcome.problem) == (case.status, case.body, case.problem)
        assert took == pytest.approx(PATIENCE.get(case.problem, 0.0), abs=0.01)
        # aiohttp repeats a GET once by itself when a connection dies without an answer; a POST it never repeats.
        dies = case.data in {known.data for known in NO_ANSWER.values()} and case.end != "keep"
        assert len(server.requests) == (2 if dies and request_ is GET else 1)


@virtual
@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
async def test_only_errors_of_ours_leave_a_get(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    async with RawServer(case.script) as server, open_client(server.url) as client:
        try:
            result: AgentRun | APIError = await client.get_run(17)
        except APIError as error:
            result = error
        if case.body == b'{"id":17,"organization_id":323}' and case.problem is None and (case.status or 0) // 100 == 2:
            assert isinstance(result, AgentRun)
            assert result.id == 17
        else:
            assert isinstance(result, APIError)
            assert result.status == case.status
            assert not isinstance(result, OutcomeUnknownError)
            assert (result.__cause__, result.__context__) == (None, None)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@virtual
@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
async def test_a_create_is_sent_once_whatever_is_answered(case: Case) -> None:
    async with RawServer(case.script) as server, sending(server.url) as send:
        outcome = await send(POST)
        posts = [request for request in server.requests if request.startswith(b"POST")]
        assert len(posts) == 1
        if case.status != 429:
            assert judge(POST, outcome) is not Verdict.RETRY


@virtual
@pytest.mark.parametrize("twice", [Twice.ANOTHER, Twice.REFUSED])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("case", NO_ANSWER.values(), ids=NO_ANSWER.keys())
async def test_what_must_not_be_sent_twice_is_sent_once_by_any_method(case: Case, method: str, twice: Twice) -> None:
    once = Request(endpoint="create", method=method, path="/runs/17", body=b"{}", twice=twice)
    async with RawServer(case.script) as server, sending(server.url) as send:
        outcome = await send(once)
        assert len(server.requests) == 1
        assert isinstance(outcome, NoAnswerError)
        assert outcome.reason == case.problem
        assert judge(once, outcome) is Verdict.UNKNOWN


# Bodies split from their heads: the status has been seen when they turn out to be broken.


@virtual
@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
@pytest.mark.parametrize(
    "body", [b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n", b"FFFFFFFFFFFFFFFFFF\r\n{}\r\n", b"2\r\n{}0\r\n\r\n"]
)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Oops"])
async def test_the_status_survives_a_body_that_breaks_later(request_: Request, body: bytes, status: str) -> None:
    head_was_read = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(head("Transfer-Encoding: chunked", status=status) + b"2\r\n{}\r\n")
        await asyncio.sleep(1)  # virtual: the client has nothing left to do but wait for the body
        head_was_read.set()
        await connection.send(body)
        await connection.silence()

    async with RawServer(script) as server, sending(server.url) as send:
        outcome = await send(request_)
        assert head_was_read.is_set()
        assert isinstance(outcome, Response)
        assert outcome.status == int(status[:3])
        assert outcome.problem is not None
        assert len(server.requests) == 1


# Time.


def dripping(start: bytes, drop: bytes, every: float) -> Callable[[Connection], Awaitable[None]]:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(start)
        while True:
            await asyncio.sleep(every)
            await connection.send(drop)

    return script


@virtual
@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
@pytest.mark.parametrize(
    ("start", "drop", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"a", None),
        (b"", head("Link: x", status="103 Early Hints"), None),
        (head("Content-Length: 9999"), b"x", 200),
        (head("Content-Length: 9999", status="503 X"), b"x", 503),
        (head("Transfer-Encoding: chunked"), b"1\r\nx\r\n", 200),
    ],
    ids=["header", "early hints", "body", "body of a 503", "chunks"],
)
async def test_an_answer_that_drips_ends_with_the_total_time(
    request_: Request, start: bytes, drop: bytes, status: int | None
) -> None:
    timeouts = Timeouts(read=30, total=60)
    async with RawServer(dripping(start, drop, every=7)) as server, sending(server.url, timeouts=timeouts) as send:
        began = now()
        outcome = await send(request_)
        assert now() - began == pytest.approx(60, abs=0.01)
        if status is None:
            assert isinstance(outcome, NoAnswerError)
            assert outcome.timed_out
            assert outcome.reason == "no answer in time"
        else:
            assert isinstance(outcome, Response)
            assert (outcome.status, outcome.problem) == (status, "no answer in time")


@virtual
async def test_the_total_time_of_a_call_that_the_user_bounds_as_well_is_told_apart() -> None:
    script = dripping(b"HTTP/1.1 200 OK\r\nX-A: ", b"a", every=1)
    async with RawServer(script) as server, sending(server.url) as send:
        began = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await send(GET)
        assert now() - began == pytest.approx(5, abs=0.01)


# Size.

LIMIT = 256 * 1024
PIECE = b"x" * 65536


def flooding(start: bytes, piece: bytes) -> Callable[[Connection], Awaitable[None]]:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(start)
        while True:
            await connection.send(piece)

    return script


@virtual
@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (head("Transfer-Encoding: chunked"), b"10000\r\n" + PIECE + b"\r\n"),
        (head(f"Content-Length: {2**40}"), PIECE),
        (head(), PIECE),
    ],
    ids=["chunks", "length", "open end"],
)
@pytest.mark.parametrize("status", [200, 502])
async def test_an_endless_body_is_cut_off_at_the_limit(
    request_: Request, start: bytes, piece: bytes, status: int
) -> None:
    start = start.replace(b"200 OK", f"{status} X".encode())
    async with RawServer(flooding(start, piece)) as server, sending(server.url, max_body=LIMIT) as send:
        outcome = await send(request_)
        assert isinstance(outcome, Response)
        assert outcome.status == status
        assert outcome.problem == f"the answer is larger than {LIMIT} bytes"
        assert LIMIT < len(outcome.body) < 3 * LIMIT
        # What the client did not read is in the buffers of the two sockets.
        assert server.connections[0].sent < 16 * 2**20
        assert len(server.requests) == 1


# A loop reads up to 256 KiB at once, which are some 9,000 of the smallest heads, and aiohttp makes objects of them all.
@real
@pytest.mark.parametrize(
    ("start", "bound"),
    [(b"HTTP/1.1 200 OK\r\n", 8 * 2**20), (head(status="103 Early Hints"), 64 * 2**20)],
    ids=["headers", "early hints"],
)
async def test_endless_heads_end_soon_and_fill_no_memory(start: bytes, bound: int) -> None:
    piece = (start if start.endswith(b"\r\n\r\n") else b"X-A: aaaaaaaaaaaaaaaaaaaaaa\r\n") * 100
    timeouts = Timeouts(total=0.3)
    async with RawServer(flooding(start, piece)) as server, sending(server.url, timeouts=timeouts) as send:
        tracemalloc.start()
        outcome = await send(POST)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(outcome, NoAnswerError)
        assert outcome.reason in ("the answer is not valid HTTP", "no answer in time")
        assert peak < bound


@virtual
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
async def test_a_decompression_bomb_is_defused(encoding: str, status: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS)
    zeros = bytes(2**20)
    bomb = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    assert len(bomb) < 300_000
    script = keeping(sized(bomb, f"Content-Encoding: {encoding}", status=status))
    async with RawServer(script) as server, sending(server.url, max_body=LIMIT) as send:
        tracemalloc.start()
        outcome = await send(GET)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(outcome, Response)
        assert outcome.status == int(status[:3])
        assert outcome.problem == f"the answer is larger than {LIMIT} bytes"
        assert peak < 8 * 2**20  # 256 MiB were packed


@virtual
async def test_a_body_of_exactly_the_limit_is_whole() -> None:
    async with RawServer(saying(sized(b"x" * LIMIT))) as server, sending(server.url, max_body=LIMIT) as send:
        outcome = await send(GET)
        assert isinstance(outcome, Response)
        assert (len(outcome.body), outcome.problem) == (LIMIT, None)


@virtual
async def test_a_connection_is_dropped_after_an_answer_that_was_too_large() -> None:
    large = head(f"Content-Length: {LIMIT * 4}") + b"x" * LIMIT * 2
    replies = iter([large, sized(b"{}")])

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(next(replies))
        await connection.silence()

    async with RawServer(script) as server, sending(server.url, max_body=LIMIT) as send:
        first, second = await send(GET), await send(GET)
        assert isinstance(first, Response)
        assert first.problem is not None
        assert isinstance(second, Response)
        assert second.body == b"{}"
        assert len(server.connections) == 2


# Uploads.


@virtual
@pytest.mark.parametrize("status", [200, 413])
async def test_an_answer_that_comes_before_the_request_was_read_counts(status: int) -> None:
    large = Request(endpoint="create", method="POST", path="/v1/run", body=b"x" * 32 * 2**20)

    async def script(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(answer(status, b"{}"))
        await asyncio.sleep(1000)  # reads no more

    async with RawServer(script) as server, sending(server.url) as send:
        began = now()
        outcome = await send(large)
        assert isinstance(outcome, Response)
        assert outcome.status == status
        assert now() - began < 1


@virtual
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "silence"])
async def test_a_request_that_cannot_be_sent_whole_has_an_unknown_outcome(reset: bool) -> None:
    large = Request(endpoint="create", method="POST", path="/v1/run", body=b"x" * 32 * 2**20)

    async def script(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        if reset:
            connection.reset()
        await asyncio.sleep(1000)

    async with RawServer(script) as server, sending(server.url, timeouts=Timeouts(read=10, total=20)) as send:
        outcome = await send(large)
        assert isinstance(outcome, NoAnswerError)
        assert outcome.sent
        assert outcome.timed_out is not reset


# Answers to other questions.


def run_body(run_id: int) -> bytes:
    return b'{"id":%d,"organization_id":323,"status":"ACTIVE"}' % run_id


def asked_for(request: bytes) -> int:
    return int(request.split(b" ")[1].rpartition(b"/")[2])


@virtual
async def test_an_answer_that_was_pushed_on_an_idle_connection_is_not_taken_for_the_next() -> None:
    async def script(connection: Connection) -> None:
        while request := await connection.request():
            await connection.send(answer(200, run_body(asked_for(request))))
            if len(server.requests) == 1:
                await asyncio.sleep(0.5)
                await connection.send(answer(200, run_body(666)))  # nobody asked for it

    async with RawServer(script) as server, open_client(server.url) as client:
        assert (await client.get_run(17)).id == 17
        await asyncio.sleep(1)
        assert (await client.get_run(18)).id == 18
        assert (await client.get_run(19)).id == 19
        assert [asked_for(request) for request in server.requests] == [17, 18, 18, 19]
        assert len(server.connections) == 2


async def _pushed_at(client: CodegenClient, run_id: int) -> int:
    return (await client.get_run(run_id)).id


@virtual
async def test_a_server_whose_answers_lag_behind_is_found_out_by_all_callers() -> None:
    """Every connection but the last answers each request with the answer to the one before."""

    async def script(connection: Connection) -> None:
        lagging = len(server.connections) <= 3
        last = 1
        while request := await connection.request():
            await connection.send(answer(200, run_body(last if lagging else asked_for(request))))
            last = asked_for(request)

    async with RawServer(script) as server, open_client(server.url) as client:
        ids = range(100, 110)
        assert await asyncio.gather(*(_pushed_at(client, run_id) for run_id in ids)) == list(ids)


@virtual
async def test_a_server_that_always_answers_another_question_is_given_up() -> None:
    async def script(connection: Connection) -> None:
        while await connection.request():
            await connection.send(answer(200, run_body(666)))

    async with RawServer(script) as server, open_client(server.url) as client:
        error = await failure_of(client.get_run(17))
        assert isinstance(error, DecodeError)
        assert "666" in str(error)
        assert error.attempts == len(server.requests) == len(server.connections) == 4


@virtual
async def test_a_foreign_answer_to_a_create_is_an_unknown_outcome() -> None:
    async def script(connection: Connection) -> None:
        request = await connection.request()
        if request.startswith(b"POST"):
            await connection.send(answer(200, b'{"id":17,"organization_id":666}'))
        else:
            await connection.send(answer(200, b'{"items":[],"total":0,"page":1,"size":100,"pages":0}'))

    async with RawServer(script) as server, open_client(server.url) as client:
        error = await failure_of(client.create_run("do it"))
        assert isinstance(error, CreateOutcomeUnknownError)
        assert error.likely_done
        assert len([request for request in server.requests if request.startswith(b"POST")]) == 1


@virtual
@pytest.mark.parametrize("name", NO_HTTP)
async def test_an_answer_that_is_no_http_is_never_taken_for_a_refusal(name: str) -> None:
    """aiohttp reports it with an invented status 400, which would read as "the request was refused"."""
    async with RawServer(NO_HTTP[name].script) as server, open_client(server.url, settle=5) as client:
        create = await failure_of(client.create_run("do it"))
        assert isinstance(create, OutcomeUnknownError)
        assert create.status is None
        get = await failure_of(client.get_run(17))
        assert isinstance(get, APIError)
        assert (get.status, get.attempts) == (None, 4)


@virtual
async def test_the_requests_are_what_they_should_be() -> None:
    async with RawServer(saying(answer(200, run_body(17)))) as server, open_client(server.url) as client:
        await client.get_run(17)
        lines = server.requests[0].decode().split("\r\n")
        assert lines[0] == "GET /v1/organizations/323/agent/run/17 HTTP/1.1"
        assert set(lines[1:-2]) == {
            f"Host: 127.0.0.1:{server.port}",
            "User-Agent: " + next(line for line in lines if line.startswith("User-Agent")).partition(": ")[2],
            "Accept: application/json",
            "Accept-Encoding: gzip, deflate",
            f"Authorization: Bearer {CANARY}",
        }
