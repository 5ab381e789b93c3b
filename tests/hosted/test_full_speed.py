"""Whatever answers at once, and however high the rate: all others on the loop get their turns."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from codegen_async import CodegenClient, MiddeskClient
from codegen_async.batch.batch import Batch
from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.limits import Rate, Slot

pytestmark = pytest.mark.asyncio

ABSURD = Rate(10**6, 1.0)
RATES = dict.fromkeys(("create", "get", "list", "logs", "resume"), ABSURD)
MANY = 2000
Answer = Callable[[Request, int], Response | NoAnswerError]


def ok(body: object) -> Response:
    return Response(status=200, headers={}, body=msgspec.json.encode(body))


def run(run_id: int, status: str = "ACTIVE") -> dict[str, Any]:
    return {"id": run_id, "organization_id": 5, "status": status, "result": "done", "source_type": "API"}


class Instant:
    """Answers without a pause, the n-th request as it is told."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.asked = 0

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        async with take_slot() as slot:
            slot.sent()
            self.asked += 1
            answer = self._answer(request, self.asked)
            slot.answered()
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer

    @asynccontextmanager
    async def stream(
        self,
        request: Request,  # noqa: ARG002 - the signature of `StreamingSender`
        take_slot: Callable[[], Slot],
        *,
        silence: float,  # noqa: ARG002
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async with take_slot() as slot:
            slot.sent()
            slot.answered()
            yield self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        for _ in range(MANY):
            self.asked += 1
            yield b'event: update\ndata: {"type": "update"}\n\n'

    def renew(self) -> None: ...

    async def aclose(self) -> None: ...


async def turns(work: Awaitable[object]) -> int:
    """Return how many turns another task gets while something is done."""
    count = 0

    async def heart() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(heart())
    await work
    beating.cancel()
    return count


def client_of(sender: Instant, **options: Any) -> CodegenClient:
    return CodegenClient("token", org_id=5, base_url="http://localhost", sender=sender, rates=RATES, **options)


def page(request: Request, shown: int, status: str, total: int = 10**6) -> Response:
    skip = int(dict(request.query)["skip"])
    items = [run(total - index, status) for index in range(skip, min(total, skip + shown))]
    return ok({"items": items, "total": total, "page": skip // shown + 1, "size": shown, "pages": total // shown})


async def test_waits_at_full_speed() -> None:
    def answer(request: Request, number: int) -> Response:
        status = "ACTIVE" if number < MANY else "COMPLETE"
        if request.endpoint == "list":
            return page(request, 3, status, 3)
        return ok(run(int(request.path.rpartition("/")[2]), status))

    sender = Instant(answer)
    async with client_of(sender, latency=0.0, share=1.0) as client:
        assert await turns(client.wait_for_runs([1, 2, 3])) >= MANY / 100
    assert sender.asked >= MANY


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_a_clock_that_moves_only_when_all_rest_moves_at_full_speed() -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + 2.0

    def answer(request: Request, _: int) -> Response:
        status = "ACTIVE" if loop.time() < until else "COMPLETE"
        return page(request, 3, status, 3) if request.endpoint == "list" else ok(run(1, status))

    sender = Instant(answer)
    async with client_of(sender, latency=0.0) as client:
        await client.wait_for_run(1)
    assert sender.asked <= 2 * 2 * 1000 + 10  # more looks in a second are no use


@pytest.mark.parametrize("share", [1.0, 1e-9, 5e-324])
@pytest.mark.parametrize("latency", [0.0, 5e-324, 5.0, 1e300])
@pytest.mark.parametrize("rate", [Rate(1, 1e-9), Rate(1, 1e9), Rate(10**9, 1e-9), Rate(10**9, 1e9), Rate(10**9, 1.0)])
async def test_odd_rates_serve_waits(rate: Rate, latency: float, share: float) -> None:
    def answer(request: Request, _: int) -> Response:
        return page(request, 3, "COMPLETE", 3) if request.endpoint == "list" else ok(run(1, "COMPLETE"))

    rates = {**RATES, "get": rate, "list": rate}
    sender = Instant(answer)
    async with CodegenClient(
        "token", org_id=5, base_url="http://localhost", sender=sender, rates=rates, latency=latency, share=share
    ) as client:
        assert (await client.wait_for_run(1)).id == 1
        for _ in range(5):  # turns in which a look that nobody waits for any more leaves its queue
            await asyncio.sleep(0)
        assert client.limits["get"].queue_length == 0
        if share == 1.0 and rate != Rate(1, 1e9):
            assert len(await client.wait_for_runs([1, 2, 3])) == 3


async def test_lists_read_to_their_end() -> None:
    sender = Instant(lambda request, _: page(request, 1, "ACTIVE", MANY))

    async def read() -> None:
        async for _ in client.list_runs(page_size=1):
            pass

    async with client_of(sender) as client:
        assert await turns(read()) >= MANY / 2


async def test_logs_followed_without_a_pause() -> None:
    def answer(_: Request, number: int) -> Response:
        status = "ACTIVE" if number < MANY else "COMPLETE"
        return ok({**run(1, status), "logs": [], "total_logs": 0, "page": 1, "size": 100, "pages": 1})

    async def follow() -> None:
        async for _ in client.follow_logs(1, latency=0.0):
            pass

    async with client_of(Instant(answer)) as client:
        assert await turns(follow()) >= MANY / 2


async def test_a_run_looked_at_over_and_over() -> None:
    async def ask() -> None:
        for _ in range(MANY):
            await client.get_run(1, max_age=0)

    async with client_of(Instant(lambda *_: ok(run(1)))) as client:
        assert await turns(ask()) >= MANY / 2


async def test_creates_one_after_another() -> None:
    sender = Instant(lambda _, number: ok(run(number)))

    async def create() -> None:
        for _ in range(MANY):
            await client.create_run("do it")

    async with client_of(sender) as client:
        assert await turns(create()) >= MANY / 2


async def test_ends_that_are_known_are_handed_out_with_pauses() -> None:
    def answer(request: Request, _: int) -> Response:
        return ok(run(int(request.path.rpartition("/")[2]), "COMPLETE"))

    async def read() -> None:
        async with aclosing(client.as_completed(ids)) as ends:
            async for _ in ends:
                pass

    async with client_of(Instant(answer)) as client:
        ids = [await client.get_run(number) for number in range(1, MANY + 1)]
        assert await turns(read()) >= MANY / 2


async def test_prompts_that_are_all_refused() -> None:
    sender = Instant(lambda *_: Response(status=402, headers={}, body=b'{"message": "no", "status_code": 402}'))

    async def ask() -> None:
        async for _ in client.map(map(str, range(MANY)), max_active=5):
            pass

    async with client_of(sender) as client:
        assert await turns(ask()) >= MANY / 2


async def test_streams_that_never_pause() -> None:
    ended = {"id": "r1", "status": "completed", "object": "agent_run"}
    sender = Instant(lambda *_: ok(ended))

    async def read() -> None:
        async for _ in client.stream_run("r1"):
            pass

    async with MiddeskClient("key", base_url="http://localhost", sender=sender, rate=ABSURD) as client:
        assert await turns(read()) >= MANY / 2


async def test_a_batch_whose_runs_end_at_once(tmp_path: Path) -> None:
    def answer(request: Request, number: int) -> Response:
        if request.endpoint == "list":
            return ok({"items": [], "total": 0, "page": 1, "size": 100, "pages": 0})
        if request.endpoint == "create":
            return ok(run(number))
        return ok(run(int(request.path.rpartition("/")[2]), "COMPLETE"))

    async def drive() -> None:
        async with client_of(Instant(answer), latency=0.0) as client, Batch(client, tmp_path / "b.db") as batch:
            for number in range(40):
                batch.add(f"number {number}")
            async for _ in batch.run():
                pass

    assert await turns(drive()) >= 40
