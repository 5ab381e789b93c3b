"""Lists and logs while runs come and go, and on servers that do not lead on."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async import CodegenClient, MiddeskClient
from codegen_async.http.answers import Request, Response
from codegen_async.limits import Rate
from tests.support.clients import ORG

virtual = pytest.mark.asyncio(loop_factories=["virtual"])

FAST = {name: Rate(10_000, 1.0) for name in ("list", "logs")}


class Paged:
    """A list behind a sender; `before(number)` may change it before the page of that number is answered."""

    def __init__(self, count: int, before: Callable[[int, list[int]], None] = lambda *_: None) -> None:
        self.ids = list(range(count, 0, -1))
        self.before = before
        self.pages = 0
        self.real_skip: Callable[[int], int] = lambda skip: skip
        self.numbered = True

    async def send(self, request: Request, take_slot: Callable[[], Any]) -> Response:
        async with take_slot() as slot:
            slot.sent()
            slot.answered()
        self.pages += 1
        self.before(self.pages, self.ids)
        query = dict(request.query)
        answer = (
            self.middesk(query)
            if "runs" in request.path and "agent" not in request.path
            else self.codegen(query, request.path)
        )
        return Response(status=200, body=msgspec.json.encode(answer))

    def codegen(self, query: dict[str, str], path: str) -> dict[str, Any]:
        skip, limit = self.real_skip(int(query["skip"])), int(query["limit"])
        shown = self.ids[skip : skip + limit]
        numbers: dict[str, Any] = {"page": skip // limit + 1, "size": limit, "pages": -(-len(self.ids) // limit)}
        if not self.numbered:
            numbers = {}
        if path.endswith("logs"):
            rows = [{"agent_run_id": 17, "thought": str(one)} for one in shown]
            return {
                "id": 17,
                "organization_id": ORG,
                "status": "COMPLETE",
                "logs": rows,
                "total_logs": len(self.ids),
                **numbers,
            }
        items = [{"id": one, "organization_id": ORG} for one in shown]
        return {"items": items, "total": len(self.ids), **numbers}

    def middesk(self, query: dict[str, str]) -> dict[str, Any]:
        size, number = int(query.get("per_page", "10")), int(query.get("page", "1"))
        first = self.real_skip((max(1, number) - 1) * size)
        shown = self.ids[first : first + size]
        data = [{"id": f"r{one}", "object": "run"} for one in shown]
        return {"object": "list", "has_more": first + size < len(self.ids), "total_count": len(self.ids), "data": data}

    def renew(self) -> None:
        """Nothing is kept."""

    async def aclose(self) -> None:
        """Nothing is open."""


async def listed(sender: Paged, page_size: int = 100) -> list[int]:
    async with CodegenClient(org_id=ORG, sender=sender, rates=FAST) as client:
        return [run.id async for run in client.list_runs(page_size=page_size)]


async def logged(sender: Paged, *, reverse: bool = False) -> list[str]:
    async with CodegenClient(org_id=ORG, sender=sender, rates=FAST) as client:
        return [row.thought or "" async for row in client.run_logs(17, reverse=reverse)]


changes = st.lists(st.tuples(st.integers(0, 20), st.lists(st.integers(0, 300), max_size=60)), max_size=8)


@virtual
@given(count=st.integers(0, 260), page_size=st.integers(21, 100), changes=changes)
@settings(max_examples=60)
async def test_no_run_that_is_there_all_the_time_is_left_out(
    count: int, page_size: int, changes: list[tuple[int, list[int]]]
) -> None:
    def change(number: int, ids: list[int]) -> None:
        created, deleted = changes[number - 2] if 2 <= number < len(changes) + 2 else (0, [])
        for place in deleted:
            if place < len(ids):
                del ids[place]
        newest = 1000 * number
        ids[:0] = range(newest + created, newest, -1)

    sender = Paged(count, change)
    seen = await listed(sender, page_size)
    assert len(seen) == len(set(seen))
    assert {one for one in sender.ids if one <= count} <= set(seen)


class Lying(Paged):
    """A list whose total is made up.

    Args:
        count: runs in it.
        total: the total that is told, by the number of the request.
    """

    def __init__(self, count: int, total: Callable[[int], int]) -> None:
        super().__init__(count)
        self.total = total

    def codegen(self, query: dict[str, str], path: str) -> dict[str, Any]:
        assert self.pages < 1000
        total = self.total(self.pages)
        return {**super().codegen(query, path), "total": total, "total_logs": total}

    def middesk(self, query: dict[str, str]) -> dict[str, Any]:
        assert self.pages < 1000
        return {**super().middesk(query), "total_count": self.total(self.pages)}


@virtual
@pytest.mark.parametrize("total", [lambda page: 130 - page % 2, lambda page: 3000 - page], ids=["to and fro", "less"])
@pytest.mark.parametrize("skips", [True, False])
async def test_a_total_of_middesk_that_cannot_be_relied_on_hides_nothing_either(
    total: Callable[[int], int], skips: bool
) -> None:
    sender = Lying(130, total)
    if not skips:
        sender.real_skip = lambda _: 0
    rate = Rate(10_000, 1.0)
    async with MiddeskClient("mk_test_1", sender=sender, rate=rate) as client:
        seen = [run.id async for run in client.list_runs()]
    assert len(seen) == (130 if skips else 10)


@virtual
@pytest.mark.parametrize("reverse", [True, False])
async def test_a_log_that_only_seems_to_grow_is_left(reverse: bool) -> None:
    sender = Lying(130, lambda page: 130 + 100 * page)
    sender.real_skip = lambda _: 0
    assert len(await logged(sender, reverse=reverse)) >= 100


@virtual
@pytest.mark.parametrize("page_size", [1, 2, 7, 100])
@pytest.mark.parametrize(
    "total",
    [lambda page: 130 - page % 2, lambda page: 3000 - page, lambda page: 130 + page, lambda page: 200 * page],
    ids=["to and fro", "less each time", "more each time", "always more"],
)
@pytest.mark.parametrize("skips", [True, False])
async def test_a_total_that_cannot_be_relied_on_hides_nothing_and_holds_up_nobody_for_ever(
    page_size: int, total: Callable[[int], int], skips: bool
) -> None:
    sender = Lying(130, total)
    if not skips:
        sender.real_skip = lambda _: 0
    assert await listed(sender, page_size) == list(range(130, 130 - (130 if skips else page_size), -1))


@virtual
async def test_an_empty_page_is_not_the_end_while_the_total_tells_of_more() -> None:
    sender = Paged(300)
    sender.real_skip = lambda skip: 1000 if skip == 100 else skip
    assert await listed(sender) == [*range(300, 200, -1), *range(100, 0, -1)]


@virtual
@pytest.mark.parametrize("deleted", [1, 30, 99, 100, 101, 199, 200])
@pytest.mark.parametrize("at_page", [2, 3])
async def test_deletions_between_pages_leave_out_no_living_run(deleted: int, at_page: int) -> None:
    def change(number: int, ids: list[int]) -> None:
        if number == at_page:
            del ids[:deleted]

    sender = Paged(250, change)
    seen = set(await listed(sender))
    assert set(sender.ids) <= seen
    assert sender.pages < 10


@virtual
async def test_a_list_at_rest_costs_no_page_more() -> None:
    sender = Paged(250)
    assert await listed(sender) == list(range(250, 0, -1))
    assert sender.pages == 3


@virtual
@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("clamp", [0, 50, 100, 150, 199])
async def test_a_server_that_ignores_or_clamps_skip_ends(
    clamp: int, numbered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sender = Paged(400)
    sender.real_skip = lambda skip: min(skip, clamp)
    sender.numbered = numbered
    assert await listed(sender) == list(range(400, 400 - clamp - 100, -1))
    assert sender.pages < 10
    assert [record for record in caplog.records if record.levelno == logging.WARNING and "again" in record.getMessage()]


@virtual
@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("clamp", [0, 100, 150, 199])
async def test_a_log_of_a_server_that_ignores_or_clamps_skip_ends(clamp: int, numbered: bool) -> None:
    if not numbered and clamp % 100:
        pytest.skip("without numbers only a whole page that comes again can be told")
    sender = Paged(400)
    sender.real_skip = lambda skip: min(skip, clamp)
    sender.numbered = numbered
    assert await logged(sender) == [str(one) for one in range(400, 400 - clamp - 100, -1)]
    assert sender.pages < 8


@virtual
async def test_equal_rows_of_a_log_are_all_there() -> None:
    sender = Paged(0)
    sender.ids = [7] * 250
    assert await logged(sender) == ["7"] * 250
    assert await logged(sender, reverse=True) == ["7"] * 250


@virtual
@pytest.mark.parametrize("clamp", [0, 100])
async def test_following_a_log_of_such_a_server_ends_with_the_run(clamp: int) -> None:
    sender = Paged(400)
    sender.real_skip = lambda skip: min(skip, clamp)
    async with CodegenClient(org_id=ORG, sender=sender, rates=FAST) as client:
        rows = [row.thought async for row in client.follow_logs(17, latency=1)]
    assert rows == [str(one) for one in range(400, 400 - clamp - 100, -1)]


@virtual
@pytest.mark.parametrize("deleted", [1, 5, 10, 13, 20])
@pytest.mark.parametrize("at_page", [2, 3, 4])
async def test_middesk_deletions_between_pages_leave_out_no_living_run(deleted: int, at_page: int) -> None:
    def change(number: int, ids: list[int]) -> None:
        if number == at_page:
            del ids[:deleted]

    sender = Paged(35, change)
    async with MiddeskClient("mk_test_1", sender=sender) as client:
        seen = [run.id async for run in client.list_runs(page_size=10)]
    assert {f"r{one}" for one in sender.ids} <= set(seen)
    assert len(seen) == len(set(seen))
    assert sender.pages < 12


@virtual
async def test_a_middesk_server_that_ignores_page_ends(caplog: pytest.LogCaptureFixture) -> None:
    sender = Paged(35)
    sender.real_skip = lambda _: 0
    async with MiddeskClient("mk_test_1", sender=sender) as client:
        assert len([run async for run in client.list_runs(page_size=10)]) == 10
    assert sender.pages < 8
    assert [record for record in caplog.records if "again" in record.getMessage()]
