"""A `Sender` that asks a simulated world without HTTP: thousands of requests in a second."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.limits import Slot
from codegen_async.testing import MiddeskWorld
from codegen_async.testing.middesk_world import ListOrder

ListRuns: TypeAlias = Callable[[MiddeskWorld, int | None, int], tuple[int, Any]]
"""Answers a list request: page, as asked for if at all, and its size."""


def listing(order: ListOrder = "newest", *, first: int = 1, largest: int = 100) -> ListRuns:
    """Return an honest list."""
    return lambda world, page, size: (
        200,
        world.listed((first if page is None else page) - first, min(size, largest), order),
    )


def changed(change: Callable[[dict[str, Any], int], None]) -> ListRuns:
    """Return a list that is newest first, with pages that are changed: the page, and its number from 0."""

    def list_runs(world: MiddeskWorld, page: int | None, size: int) -> tuple[int, Any]:
        number = (page or 1) - 1
        shown = world.listed(number, size)
        change(shown, number)
        return 200, shown

    return list_runs


def refused(status: int) -> ListRuns:
    """Return a list that may not be read."""
    return lambda _world, _page, _size: (status, {"errors": [{"message": "no"}]})


def behind(seconds: float) -> ListRuns:
    """Return a list that shows runs as they were so many seconds ago."""

    def list_runs(world: MiddeskWorld, page: int | None, size: int) -> tuple[int, Any]:
        shown = world.listed((page or 1) - 1, size)
        runs = [world.runs[run["id"]] for run in shown["data"]]
        return 200, {**shown, "data": [world.response(run, world.now() - seconds) for run in runs]}

    return list_runs


def _cap(page: dict[str, Any], number: int) -> None:
    if number:
        page["data"] = []


def _filter(page: dict[str, Any], _number: int) -> None:
    page["data"] = page["data"][::10]


def _lie(page: dict[str, Any], number: int) -> None:
    page["total_count"] = random.Random(page["data"][0]["id"] if page["data"] else "").randrange(5000)
    page["has_more"] = page["total_count"] > 100 * number + len(page["data"])


def _repeat(world: MiddeskWorld, _page: int | None, size: int) -> tuple[int, Any]:
    return 200, {**world.listed(0, size), "has_more": True}


def _strip(page: dict[str, Any], _number: int) -> None:
    page["data"] = [{"id": run["id"], "status": run["status"]} for run in page["data"]]


def _end(page: dict[str, Any], _number: int) -> None:
    for run in page["data"]:
        run["status"] = "completed"


def _forget(page: dict[str, Any], _number: int) -> None:
    del page["total_count"]


USEFUL: dict[str, ListRuns] = {
    "newest": listing(),
    "newest, 25 a page": listing(largest=25),
    "ids and words only": changed(_strip),
}
HOSTILE: dict[str, ListRuns] = {
    "oldest": listing("oldest"),
    "random": listing("random"),
    "all ended": changed(_end),
    "filtered": changed(_filter),
    "no total": changed(_forget),
    "the same page again": _repeat,
    "wrong totals": changed(_lie),
    **{str(status): refused(status) for status in (401, 403, 404, 500)},
}
LISTS: dict[str, ListRuns] = {
    **USEFUL,
    **HOSTILE,
    "capped": changed(_cap),
    "from 0": listing(first=0),
    "behind": behind(20.0),
}


class MemorySender:
    """Carry requests to a world and answers back, late and now and then not at all.

    Args:
        world: what answers.
        latency: the most that each way takes, in seconds.
        lost: the share of answers that are lost on their way back, when the work is done.
        rng: decides.
        list_runs: answers "List agent runs". Default: newest first, pages of up to 100, counted from 1.

    Attributes:
        gets, lists: when these requests were sent.
    """

    def __init__(
        self,
        world: MiddeskWorld,
        *,
        latency: float,
        lost: float,
        rng: random.Random,
        list_runs: ListRuns | None = None,
    ) -> None:
        self.gets: list[float] = []
        self.lists: list[float] = []
        self._world = world
        self._list_runs = list_runs or listing()
        self._latency = latency
        self._lost = lost
        self._rng = rng

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        """Send one request; see `Sender`."""
        async with take_slot() as slot:
            slot.sent()
            if request.method == "GET":
                (self.lists if request.path == "/v1/runs" else self.gets).append(self._world.now())
            await asyncio.sleep(self._rng.uniform(0.0, self._latency))
            status, body = self._answer(request)
            await asyncio.sleep(self._rng.uniform(0.0, self._latency))
            if self._rng.random() < self._lost:
                raise NoAnswerError("the connection broke", sent=True)
            slot.answered()
            return Response(status=status, body=msgspec.json.encode(body))

    def _answer(self, request: Request) -> tuple[int, Any]:
        if request.path == "/v1/runs":
            query = {name: int(value) for name, value in request.query}
            return self._list_runs(self._world, query.get("page"), query["per_page"])
        _, _, _, run_id, *what = request.path.split("/")
        run = self._world.runs[run_id]
        if not what:
            return 200, self._world.seen(run)
        fields = msgspec.json.decode(request.body or b"")
        if not self._world.answer(run_id, fields["id"], fields["input"]):
            return 422, {"errors": [{"message": "is not a pending interrupt"}]}
        return 200, self._world.response(run)

    def renew(self) -> None:
        """Do nothing: there are no connections."""

    async def aclose(self) -> None:
        """Do nothing."""
