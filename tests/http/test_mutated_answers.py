"""Thousands of answers that are almost right, on both loops: a call gives a result or an error of ours, and ends."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

from codegen_async import CodegenAsyncError, CodegenClient, Rate, Timeouts
from tests.support.clients import ORG, open_client
from tests.support.raw import Connection, RawServer, answer

CALLS = 4000
AT_ONCE = 250  # more would keep one another from being answered in time
RUN: dict[str, Any] = {
    "id": 17,
    "organization_id": ORG,
    "status": "COMPLETE",
    "created_at": "2025-06-21 11:20:04.338398",
    "result": "done",
    "summary": None,
    "metadata": {"idempotency_key": "k"},
    "github_pull_requests": [{"id": 1, "title": "t", "url": "https://github.com/a/b/pull/1", "created_at": "x"}],
}
LOG = {"agent_run_id": 17, "created_at": "2025-06-21 11:20:04", "message_type": "ACTION", "tool_input": {"a": [1]}}
PAGE = {"total": 1, "page": 1, "size": 100, "pages": 1}
WORDS = (
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"9" * 400, b"{}", b"[]", b'""', b"[" * 2000, b'{"a":' * 600),
    *(
        b"\xff",
        b"\0",
        b"\r\n",
        b"\r\n\r\n",
        b"\\ud83d",
        b"\\u0000",
        b'"',
        b",",
        b":",
        b"17",
        b"-17",
        b"HTTP/1.1 200 OK",
    ),
)
STATUSES = (200, 200, 200, 201, 206, 400, 404, 500)  # a 429 would slow the client down, which is another matter
Calling = Callable[[CodegenClient], Awaitable[object]]

READS: tuple[Calling, ...] = (
    lambda client: client.get_run(17),
    lambda client: client.list_runs_page(),
    lambda client: client.run_logs_page(17),
    lambda client: client.wait_for_run(17, timeout=3),
)
WRITES: tuple[Calling, ...] = (  # each is followed by a search, page by page and look by look
    lambda client: client.create_run("do it"),
    lambda client: client.resume_run(17, "go on"),
)


def right_body(request: bytes) -> bytes:
    """Return what should be answered."""
    target = request.split(b" ", 2)[1]
    if b"/runs" in target:
        return json.dumps({"items": [RUN, {**RUN, "id": 16}], **PAGE}).encode()
    if b"/logs" in target:
        return json.dumps({**RUN, "logs": [LOG, LOG], "total_logs": 2, **PAGE}).encode()
    return json.dumps(RUN).encode()


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few changes: turned over, left out, repeated, put in, moved, or cut off."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((0, 1, 2, 8, 40)))
        piece = data[start:end]
        new = rng.choice((bytes(byte ^ 1 << rng.randrange(8) for byte in piece), b"", piece * 2, rng.choice(WORDS)))
        data = data[:start] + new + (data[end:] if rng.random() < 0.95 else b"")
    return data


def answers(rng: random.Random) -> Iterator[Callable[[bytes], bytes]]:
    """Yield makers of answers: changed anywhere, or in a body whose length is right; the status is odd at times."""
    while True:
        yield lambda body: mutated(answer(200, body, "Content-Type: application/json"), rng)
        yield lambda body: answer(rng.choice(STATUSES), mutated(body, rng))


async def call_all(seed: int) -> tuple[Counter[str], int]:
    """Make many calls at once; return what came of them, and how many answers were given."""
    makers = answers(random.Random(seed))
    strange: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: strange.append(context))

    async def script(connection: Connection) -> None:
        await connection.send(next(makers)(right_body(await connection.request())))

    rates = dict.fromkeys(("get", "list", "logs", "create", "resume"), Rate(100_000, 1.0))
    timeouts = Timeouts(connect=10, read=10, total=10)
    seen: Counter[str] = Counter()
    async with (
        RawServer(script) as server,
        open_client(server.url, rates=rates, timeouts=timeouts, settle=0.1, latency=0.1) as client,
    ):
        some = asyncio.Semaphore(AT_ONCE)

        async def call(read: Calling) -> None:
            async with some, asyncio.timeout(600):
                try:
                    seen[type(await read(client)).__name__] += 1
                except CodegenAsyncError as error:
                    seen[type(error).__name__] += 1

        async with asyncio.TaskGroup() as group:
            for read in itertools.islice(itertools.cycle([*WRITES, *READS * 16]), CALLS):
                group.create_task(call(read))
    assert strange == []
    return seen, len(server.requests)


@pytest.mark.slow
@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_mutated_answers_lead_to_results_or_to_errors_of_ours(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        seen, given = runner.run(call_all(seed=30))
    print(f"\n{given} answers to {CALLS} calls: {dict(seen.most_common())}")  # noqa: T201 - the figures
    assert seen.total() == CALLS
    assert given > CALLS
    assert len(seen) > 5
