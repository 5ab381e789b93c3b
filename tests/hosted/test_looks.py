"""Looks at several runs: what they cost, and that no end is missed whatever they show."""

import asyncio
import itertools
import random
from collections import Counter
from typing import Any

import pytest

from codegen_async.errors import NotOfferedError
from codegen_async.hosted.dialect import Call, Dialect, Shown
from codegen_async.hosted.run import HostedRun
from codegen_async.hosted.runs import HostedRuns
from codegen_async.http.answers import Response
from codegen_async.models import Phase
from codegen_async.testing.rates import worst_window
from tests.hosted.api import Api, ByIds, Changing, Paged, Plain, now
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

ALL = pytest.mark.parametrize("dialect", [Paged(), ByIds(), Changing()], ids=lambda dialect: type(dialect).__name__)


def client(api: Api, dialect: Dialect[HostedRun], **more: Any) -> HostedRuns[HostedRun]:
    return HostedRuns(dialect, CANARY, sender=api, **more)


async def lateness(runs: HostedRuns[HostedRun], api: Api, made: list[HostedRun]) -> list[float]:
    """Wait for runs, and return by how much each end was seen late."""
    late: list[float] = []
    async for run in runs.as_completed(made):
        assert run.phase is Phase.SUCCEEDED
        ended = api.runs[run.id]["at"] + api.runs[run.id]["life"]
        assert now() >= ended
        late.append(now() - ended)
    return late


async def create(runs: HostedRuns[HostedRun], count: int, seed: int = 1, *, longest: float = 600.0) -> list[HostedRun]:
    chance = random.Random(seed)
    return [await runs.create_run(life=chance.uniform(30.0, longest)) for _ in range(count)]


def paths(api: Api) -> Counter[str]:
    return Counter(request.path.split("/")[1] for request in api.requests if request.method == "GET")


@ALL
@pytest.mark.parametrize("count", [2, 30, 100])
async def test_every_end_is_seen_and_the_rate_is_kept(dialect: Dialect[HostedRun], count: int) -> None:
    api = Api()
    async with client(api, dialect) as runs:
        late = await lateness(runs, api, await create(runs, count))
    assert len(late) == count
    assert max(late) < 60


@pytest.mark.parametrize(("dialect", "path"), [(Paged(), "page"), (ByIds(), "some"), (Changing(), "changes")])
async def test_many_runs_cost_few_requests(dialect: Dialect[HostedRun], path: str) -> None:
    api = Api()
    async with client(api, dialect) as runs:
        made = await create(runs, 100, longest=900.0)
        late = await lateness(runs, api, made)
    assert sum(late) / len(late) < 8
    assert paths(api)[path] > 10
    assert paths(api)["runs"] < 6 * len(made)  # gets: alone they would be 100 every 5 s


@ALL
async def test_strangers_and_new_runs_of_ours_hide_no_end(dialect: Dialect[HostedRun]) -> None:
    api = Api()

    async def strangers() -> None:
        for _ in range(300):
            await asyncio.sleep(5.0)
            api._create({"life": 10.0}, {})

    async with client(api, dialect) as runs:
        made = await create(runs, 60, longest=900.0)
        busy = asyncio.create_task(strangers())
        late = await lateness(runs, api, made)
        busy.cancel()
    assert len(late) == 60
    assert max(late) < 120


@ALL
async def test_runs_that_vanish_from_a_look_are_asked_for_by_gets(dialect: Dialect[HostedRun]) -> None:
    api = Api()
    visible = api._shown

    class Forgetful(type(dialect)):  # type: ignore[misc]
        def shown(self, answer: Response) -> Shown[HostedRun]:
            shown = super().shown(answer)
            kept = [run for run in shown.runs if run is not None and not run.id.endswith("7")]
            return Shown(runs=kept, following=shown.following, sure=shown.sure)

    async with client(api, Forgetful()) as runs:
        late = await lateness(runs, api, await create(runs, 40))
    assert len(late) == 40
    assert visible == api._shown


async def test_a_cursor_that_the_server_refuses_is_dropped() -> None:
    api = Api()
    page = api._page

    def forgetful(cursor: str | None) -> tuple[int, Any]:
        return (400, {"detail": "stale cursor"}) if cursor is not None and now() % 40 > 20 else page(cursor)

    api._page = forgetful  # type: ignore[method-assign]
    async with client(api, Paged()) as runs:
        late = await lateness(runs, api, await create(runs, 60))
    assert len(late) == 60
    assert max(late) < 120


async def test_a_list_whose_pages_lead_in_a_circle_is_left() -> None:
    api = Api()
    page = api._page
    api._page = lambda cursor: (200, {**page(None)[1], "next": cursor or "after:run/0"})  # type: ignore[method-assign]
    async with client(api, Paged()) as runs:
        late = await lateness(runs, api, await create(runs, 60))
    assert len(late) == 60


@pytest.mark.parametrize("sure", [True, False])
async def test_what_an_unsure_look_hints_at_is_confirmed_by_a_get(sure: bool) -> None:
    class Unsure(ByIds):
        pass

    Unsure.sure = sure
    api = Api()
    async with client(api, Unsure()) as runs:
        made = await create(runs, 20)
        await lateness(runs, api, made)
    assert (paths(api)["runs"] >= 20) is not sure


async def test_an_end_that_needs_another_call_to_be_whole_is_read_whole() -> None:
    class Half(ByIds):
        def full(self, run: HostedRun) -> Call[HostedRun | None]:
            return Call(limit="read", path="/runs/{run}/result", values={"run": run.id}, read=self.one)

        def one(self, answer: Response) -> HostedRun:
            return HostedRun(id=answer.json()["id"], status="done", text=answer.json()["text"])

    api = Api()
    async with client(api, Half()) as runs:
        final = await runs.wait_for_runs(await create(runs, 20))
    assert {run.text for run in final} == {"all of it"}


async def test_a_server_without_a_clock_is_asked_by_gets() -> None:
    api = Api()
    api.timeless = True
    async with client(api, Changing()) as runs:
        late = await lateness(runs, api, await create(runs, 20))
    assert len(late) == 20
    assert paths(api)["changes"] == 0


async def test_what_changed_during_an_outage_is_shown_by_the_next_walk() -> None:
    api = Api()
    changes = api._changes
    api._changes = lambda query: (503, {}) if now() % 200 > 100 else changes(query)  # type: ignore[method-assign]
    async with client(api, Changing()) as runs:
        made = await create(runs, 60)
        late = await lateness(runs, api, made)
    assert len(late) == 60


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_three_hundred_runs_on_pages_by_cursors_are_seen_within_three_seconds(seed: int) -> None:
    api = Api(page_size=100)
    chance = random.Random(seed)

    async def strangers() -> None:
        while True:
            await asyncio.sleep(chance.expovariate(0.2))
            api._create({"life": 360.0}, {})

    async with client(api, Paged(), latency=0.0, share=1.0) as runs:
        made = await create(runs, 300, seed, longest=1800.0)
        busy = asyncio.create_task(strangers())
        late = await lateness(runs, api, made)
        busy.cancel()
    assert len(late) == 300
    assert worst_window(api.reads, 30.0) <= 60
    assert sum(late) / len(late) <= 2.7


async def test_a_list_shows_each_run_once_though_new_ones_push_others_onto_the_next_page() -> None:
    api = Api(page_size=5)
    async with client(api, Overlapping()) as runs:
        made = await create(runs, 12)
        listed: list[str] = []
        async for run in runs.list_runs():
            listed.append(run.id)
            if len(listed) == 3:
                await create(runs, 1)
    assert listed == [run.id for run in reversed(made)]


async def test_a_list_that_leads_back_to_where_it_was_ends() -> None:
    api = Api(page_size=5)
    async with client(api, Circling()) as runs:
        await create(runs, 7)
        before = len(api.requests)
        assert len([run async for run in runs.list_runs()]) == 5
        assert len(api.requests) == before + 2


async def test_a_list_that_the_api_has_not_is_said() -> None:
    async with client(Api(), Plain()) as runs:
        with pytest.raises(NotOfferedError, match="plain has no list of runs"):
            await anext(runs.list_runs())


class Overlapping(Paged):
    """Have pages whose ends show again what was shown."""

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:
        call = super().page(place)

        def read(answer: Response) -> Shown[HostedRun]:
            shown = call.read(answer)
            last = shown.runs[-2] if shown.following is not None else None
            return Shown(runs=shown.runs, following=None if last is None else f"after:{last.id}")

        return call.reading(read)


class Circling(Paged):
    """Lead to the same page again."""

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:  # noqa: ARG002 - it goes nowhere
        call = super().page(None)
        return call.reading(lambda answer: Shown(runs=call.read(answer).runs, following="again"))


class Endless(Changing):
    """Its pages lead on for ever."""

    def __init__(self, *, again: bool, empty: bool) -> None:
        self._numbers = itertools.count()
        self._again = again
        self._empty = empty

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:  # noqa: ARG002 - as below
        return self._on(super().page(None))

    def changed(self, since: float, place: str | None) -> Call[Shown[HostedRun]]:  # noqa: ARG002 - as below
        return self._on(super().changed(since, None))

    def _on(self, call: Call[Shown[HostedRun]]) -> Call[Shown[HostedRun]]:
        def read(answer: Response) -> Shown[HostedRun]:
            following = "again" if self._again else str(next(self._numbers))
            return Shown(runs=() if self._empty else call.read(answer).runs, following=following, sure=True)

        return call.reading(read)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("empty", [True, False])
async def test_pages_that_lead_on_for_ever_hide_no_end(again: bool, empty: bool) -> None:
    api = Api(page_size=5)
    async with client(api, Endless(again=again, empty=empty)) as runs:
        late = await lateness(runs, api, await create(runs, 20))
        listed = [run async for run in runs.list_runs()]
    assert len(late) == 20
    assert len(listed) == (0 if empty else 5)
