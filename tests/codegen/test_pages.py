"""Lists and logs, page after page, on servers that keep to pages of their own and go on living meanwhile."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from codegen_async import AgentRunLog, CodegenClient, DecodeError, NotFoundError, Phase, ServerError
from codegen_async.http.answers import Request
from codegen_async.testing import CodegenServer, Fault
from tests.support.canary import CANARY
from tests.support.sender import FakeSender, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def client_of(server: CodegenServer, **options: Any) -> CodegenClient:
    return CodegenClient(CANARY, org_id=server.org_id, base_url=server.url, **options)


class Shelf(FakeSender):
    """A server with `count` runs (or log rows) that gives out at most `largest` at a time.

    Args:
        says: what it puts into `size`: "asked", "kept" (its own page size) or "shown" (the items on this page).
        odd: the places of items that cannot be read.
        total: whether a log tells how many rows it has.
    """

    def __init__(self, count: int, *, largest: int, says: str, odd: tuple[int, ...] = (), total: bool = True) -> None:
        super().__init__()
        self._total = count if total else None
        self._count = count
        self._largest = largest
        self._says = says
        self._odd = odd

    async def send(self, request: Request, take_slot: Any) -> Any:
        query = dict(request.query)
        skip, asked = int(query["skip"]), int(query["limit"])
        shown = range(self._count)[skip : skip + min(asked, self._largest)]
        size = {"asked": asked, "kept": self._largest, "shown": len(shown)}[self._says]
        self.replies.append(reply(200, self._page(request, list(shown), size)))
        return await super().send(request, take_slot)

    def _page(self, request: Request, numbers: list[int], size: int) -> Mapping[str, Any]:
        if request.endpoint == "list":
            items = [{"id": "odd" if n in self._odd else self._count - n, "organization_id": 5} for n in numbers]
            return {"items": items, "total": self._count, "page": 1, "size": size, "pages": 1}
        rows = [{"agent_run_id": "odd" if n in self._odd else 17, "thought": str(n)} for n in numbers]
        return {"id": 17, "organization_id": 5, "logs": rows, "total_logs": self._total, "size": size}


@pytest.mark.parametrize("says", ["asked", "kept", "shown"])
@pytest.mark.parametrize(("count", "page_size", "largest"), [(0, 100, 50), (1, 1, 50), (250, 100, 100), (199, 100, 50)])
async def test_all_is_had_in_order_whatever_size_of_page_the_server_keeps_to(
    says: str, count: int, page_size: int, largest: int
) -> None:
    shelf = Shelf(count, largest=largest, says=says)
    async with CodegenClient(org_id=5, sender=shelf) as client:
        assert [run.id async for run in client.list_runs(page_size=page_size)] == list(range(count, 0, -1))
        rows = [row.thought async for row in client.run_logs(17, page_size=page_size)]
        assert rows == [str(number) for number in range(count)]
    pages = 2 * (count // min(page_size, largest) + 2)
    assert len(shelf.requests) <= pages


@pytest.mark.parametrize("says", ["kept", "shown"])
async def test_a_log_that_does_not_tell_its_length_is_read_to_its_end(says: str) -> None:
    shelf = EndedShelf(120, largest=50, says=says, total=False)
    async with CodegenClient(org_id=5, sender=shelf) as client:
        for rows in (client.run_logs(17), client.run_logs(17, reverse=True), client.follow_logs(17)):
            assert [row.thought async for row in rows] == [str(number) for number in range(120)]


async def test_items_that_cannot_be_read_neither_end_a_list_nor_shift_it() -> None:
    shelf = Shelf(250, largest=100, says="kept", odd=(0, 99, 100, 249))
    async with CodegenClient(org_id=5, sender=shelf) as client:
        runs = [run.id async for run in client.list_runs()]
        assert runs == [250 - n for n in range(250) if n not in {0, 99, 100, 249}]
        rows = [row.thought async for row in client.run_logs(17)]
        assert rows == [str(n) for n in range(250) if n not in {0, 99, 100, 249}]
        page = await client.list_runs_page(limit=10)
        assert (len(page.items), page.unreadable) == (9, 1)


async def test_a_page_that_fails_ends_the_list_with_its_error(codegen_server: CodegenServer) -> None:
    for number in range(30):
        codegen_server.world.create(f"{number}")
    codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="list", after=1, times=None, status=502)
    async with client_of(codegen_server) as client:
        runs = client.list_runs(page_size=10)
        assert len({(await anext(runs)).id for _ in range(10)}) == 10
        with pytest.raises(ServerError):
            await anext(runs)


async def test_a_list_left_early_asks_for_no_further_page(codegen_server: CodegenServer) -> None:
    for number in range(30):
        codegen_server.world.create(f"{number}")
    async with client_of(codegen_server) as client:
        async for _ in client.list_runs(page_size=10):
            break
        await asyncio.sleep(60)
    assert len(codegen_server.requests) == 1


async def test_pages_keep_to_the_limit_of_the_endpoint(codegen_server: CodegenServer) -> None:
    for number in range(150):
        codegen_server.world.create(f"{number}")
    async with client_of(codegen_server) as client:
        assert len([run async for run in client.list_runs(page_size=1)]) == 150
    assert codegen_server.violations == 0
    assert codegen_server.worst("list").seen == 60


async def test_rows_written_while_a_log_is_read_backwards_are_not_shown_twice(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (9000.0, "COMPLETE")])
    await asyncio.sleep(3000.0)
    known = codegen_server.world.logs(run)
    rows: list[AgentRunLog] = []
    async with client_of(codegen_server) as client:
        async for row in client.run_logs(run.id, reverse=True, page_size=20):
            rows.append(row)
            if len(rows) % 20 == 7:
                await asyncio.sleep(100.0)
        assert len(codegen_server.world.logs(run)) > len(known) + 20
        forward = [row async for row in client.run_logs(run.id, page_size=20)]
    assert rows == forward[: len(known)][::-1]


async def test_rows_written_while_a_log_is_read_are_shown_as_well(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (3500.0, "COMPLETE")])
    await asyncio.sleep(3000.0)
    rows: list[AgentRunLog] = []
    async with client_of(codegen_server) as client:
        async for row in client.run_logs(run.id, page_size=20):
            rows.append(row)
            if len(rows) % 20 == 7:
                await asyncio.sleep(100.0)
        assert rows == await all_rows(client, run.id)


# -- following


async def follow(client: CodegenClient, run_id: int, **options: float) -> list[AgentRunLog]:
    return [row async for row in client.follow_logs(run_id, **options)]


async def all_rows(client: CodegenClient, run_id: int) -> list[AgentRunLog]:
    return [row async for row in client.run_logs(run_id)]


@pytest.mark.parametrize("seconds", [0.0, 30.0, 3000.0])
async def test_a_log_is_followed_from_its_first_row_to_the_last_wherever_the_run_stands(
    seconds: float, codegen_server: CodegenServer
) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (2500.0, "ERROR")])
    await asyncio.sleep(seconds)
    async with client_of(codegen_server) as client:
        rows = await follow(client, run.id)
        assert rows == await all_rows(client, run.id)
    # The row that tells of the end is written in the moment in which the status changes.
    assert rows[-1].message_type == "ERROR"
    assert codegen_server.now() >= run.created + 2500.0


async def test_rows_are_followed_as_they_come(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (1000.0, "COMPLETE")])
    late: list[float] = []
    async with client_of(codegen_server) as client:
        async for row in client.follow_logs(run.id, latency=2.0):
            assert row.created_time is not None
            shown = codegen_server.world.datetime(codegen_server.now())
            late.append((shown - row.created_time).total_seconds())
    assert len(late) > 20
    assert max(late) <= 2.1
    assert sum(request.endpoint == "logs" for request in codegen_server.requests) <= 503


@pytest.mark.parametrize("count", [99, 100, 101, 200, 250])
@pytest.mark.parametrize("odd", [(), (0, 42, 99)])
async def test_a_log_is_followed_to_its_end_however_full_its_last_page_is(count: int, odd: tuple[int, ...]) -> None:
    shelf = EndedShelf(count, largest=100, says="kept", odd=odd)
    async with CodegenClient(org_id=5, sender=shelf) as client:
        rows = [row.thought for row in await follow(client, 17)]
    assert rows == [str(number) for number in range(count) if number not in odd]


class EndedShelf(Shelf):
    """The log of a run that has ended."""

    def _page(self, request: Request, numbers: list[int], size: int) -> Mapping[str, Any]:
        return {**super()._page(request, numbers, size), "status": "COMPLETE"}


PASSING: dict[str, dict[str, Any]] = {
    "errors": {"fault": Fault.ERROR_BEFORE, "status": 503},
    "resets": {"fault": Fault.RESET_BEFORE},
    "limits": {"fault": Fault.RATE_LIMITED, "retry_after": 1},
    "broken bodies": {"fault": Fault.BROKEN_JSON, "probability": 0.4},
    "late answers": {"fault": Fault.SLOW_HEADERS, "seconds": 90.0, "probability": 0.4},
}


@pytest.mark.parametrize("name", PASSING)
async def test_no_outage_costs_a_row_or_shows_one_twice(name: str, codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (1500.0, "COMPLETE")])
    codegen_server.faults.add(**PASSING[name], endpoint="logs", after=3, times=40)
    async with client_of(codegen_server) as client:
        async with asyncio.timeout(20_000):
            rows = await follow(client, run.id)
        codegen_server.faults.clear()
        assert rows == await all_rows(client, run.id)
    assert sum(codegen_server.faults.injected.values()) >= 10


async def test_a_paused_run_is_followed_on(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create(
        "x", script=[(0.0, "ACTIVE"), (300.0, "PAUSED"), (900.0, "ACTIVE"), (1200.0, "COMPLETE")]
    )
    async with client_of(codegen_server) as client:
        rows = await follow(client, run.id)
        assert rows == await all_rows(client, run.id)
    assert codegen_server.now() >= run.created + 1200.0


async def test_a_resumed_run_is_followed_to_its_new_end_though_the_server_still_shows_the_old_one(
    codegen_server: CodegenServer,
) -> None:
    world = codegen_server.world
    run = world.create("x", script=[(0.0, "COMPLETE")])
    world.script = [(0.0, "COMPLETE"), (3.0, "ACTIVE"), (300.0, "COMPLETE")]
    async with client_of(codegen_server) as client:
        assert (await client.resume_run(run.id, "go on")).phase is Phase.SUCCEEDED
        rows = await follow(client, run.id)
        assert rows == await all_rows(client, run.id)
    assert codegen_server.now() >= run.created + 300.0


async def test_a_log_that_does_not_exist_cannot_be_followed(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        with pytest.raises(NotFoundError):
            await follow(client, 999)


async def test_a_log_that_cannot_be_read_ends_with_an_error_and_not_in_silence() -> None:
    sender = FakeSender(then=reply(200, {"id": 17, "organization_id": 5, "logs": [{"agent_run_id": None}]}))
    async with CodegenClient(org_id=5, sender=sender) as client:
        with pytest.raises(DecodeError) as caught:
            await follow(client, 17)
    assert "agent_run_id" in str(caught.value)


async def test_leaving_a_followed_log_stops_asking(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (9000.0, "COMPLETE")])
    async with client_of(codegen_server) as client:
        async for _ in client.follow_logs(run.id):
            break
        await asyncio.sleep(1)
        asked = len(codegen_server.requests)
        await asyncio.sleep(600)
        assert len(codegen_server.requests) == asked


async def test_following_gives_way_to_calls_that_somebody_waits_for(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (600.0, "COMPLETE")])
    async with client_of(codegen_server) as client:
        following = [asyncio.ensure_future(follow(client, run.id, latency=0.0)) for _ in range(150)]
        await asyncio.sleep(90)
        began = codegen_server.now()
        await client.run_logs_page(run.id)
        assert codegen_server.now() - began <= 61  # the next 60 slots, and not behind 150 others
        for task in following:
            task.cancel()
        await asyncio.wait(following)
    assert codegen_server.violations == 0
    assert codegen_server.worst("logs").seen == 60
