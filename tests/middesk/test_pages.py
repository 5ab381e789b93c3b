"""Waits use "List agent runs" as long as it helps, and trust it with nothing."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from codegen_async.errors import AuthenticationError, PermissionDeniedError, RunBlockedError
from codegen_async.middesk import decoding
from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.models import MiddeskRun
from codegen_async.models import Phase
from codegen_async.testing import MiddeskServer, MiddeskWorld
from codegen_async.testing.middesk_world import ListOrder, ScriptedRun
from tests.middesk.helpers import ask, begin, client_of, endpoints, now
from tests.middesk.memory import HOSTILE, LISTS, USEFUL, ListRuns, MemorySender, changed, listing, refused
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


@dataclass
class Stage:
    """A client, a world with runs of strangers in it, and what goes between them."""

    world: MiddeskWorld
    sender: MemorySender
    client: MiddeskClient

    async def start(self, count: int, *, every: float = 0.05, least: float = 60.0) -> list[ScriptedRun]:
        """Start runs one after another, all of which last a while from now."""
        rng = random.Random(count)
        started: list[ScriptedRun] = []
        for left in range(count, 0, -1):
            seconds = left * every + rng.uniform(least, least + 120.0)
            started.append(self.world.create(script=[(seconds, rng.choice(["completed", "error"]))]))
            await asyncio.sleep(every)
        return started

    async def lateness(self, runs: list[ScriptedRun], *, known: bool = False) -> list[float]:
        """Wait for all ends, which must be right; return how much later than they came each was told."""
        ends = {run.id: run.next_at or 0.0 for run in runs}
        late: list[float] = []
        async for final in self.client.as_completed([self.shown(run) if known else run.id for run in runs]):
            late.append(now() - ends[final.id])
            assert final.status == runs[list(ends).index(final.id)].script[-1][1]
        assert len(late) == len(runs)
        assert min(late) >= 0.0
        return sorted(late)

    def shown(self, run: ScriptedRun) -> MiddeskRun:
        """Return a snapshot of a run, as a create returns it."""
        return decoding.created(json.dumps(self.world.response(run)).encode())

    def worst(self) -> int:
        """Return the most requests within a second."""
        times = sorted(self.sender.gets + self.sender.lists)
        return max(sum(time < first + 1.0 for time in times[i : i + 30]) for i, first in enumerate(times))


@asynccontextmanager
async def stage_of(list_runs: ListRuns, *, strangers: int = 150) -> AsyncGenerator[Stage]:
    loop = asyncio.get_running_loop()
    world = MiddeskWorld(loop.time, seed=1)
    for _ in range(strangers):
        world.create(script=[])
    sender = MemorySender(world, latency=0.1, lost=0.0, rng=random.Random(2), list_runs=list_runs)
    async with MiddeskClient("key", base_url="http://localhost", sender=sender) as client:
        yield Stage(world, sender, client)


async def strangers(world: MiddeskWorld, *, every: float) -> None:
    """Let others start runs as well."""
    while True:
        await asyncio.sleep(every)
        world.create(script=[])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("known", [True, False])
async def test_a_thousand_runs_cost_a_page_per_hundred(known: bool) -> None:
    async with stage_of(listing()) as stage:
        runs = await stage.start(1000, least=160.0)
        others = begin(strangers(stage.world, every=2.0))
        began = now()
        late = await stage.lateness(runs, known=known)
        others.cancel()
        steady = [time for time in stage.sender.lists if 50.0 <= time - began < 150.0]
        gets = [time for time in stage.sender.gets if 50.0 <= time - began < 150.0]
        assert late[-1] <= 8.0
        assert late[990] <= 6.5  # the latency, a page and a get
        assert len(steady) <= 100 / 5 * 13
        assert len(gets) <= 100
        assert len(stage.sender.gets) <= 1300  # each end is confirmed by one
        assert stage.worst() <= 20


async def test_runs_known_by_id_alone_are_all_seen_within_seconds() -> None:
    async with stage_of(listing()) as stage:
        ids = [run.id for run in await stage.start(1000, least=500.0)]
        began = now()
        seen = stage.client.watch(ids)
        for _ in ids:
            assert (await anext(seen)).phase is Phase.RUNNING
        assert now() - began <= 7.0
        assert len(stage.sender.lists) <= 20
        await seen.aclose()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_list_that_does_not_help_is_left_alone(kind: str) -> None:
    async with stage_of(HOSTILE[kind]) as stage:
        runs = await stage.start(150)
        others = begin(strangers(stage.world, every=1.0))
        began = now()
        late = await stage.lateness(runs)
        others.cancel()
        assert late[-1] <= 150 / 16 + 3.0  # as fast as gets alone are
        assert len([time for time in stage.sender.lists if time - began < 10.0]) <= 8
        assert len([time for time in stage.sender.lists if time - began >= 60.0]) <= 14
        assert stage.worst() <= 20


@pytest.mark.parametrize("kind", sorted(LISTS.keys() - HOSTILE.keys()))
async def test_a_list_that_helps_a_little_does_no_harm(kind: str) -> None:
    async with stage_of(LISTS[kind]) as stage:
        runs = await stage.start(150)
        late = await stage.lateness(runs)
        assert late[-1] <= (7.0 if kind in USEFUL else 30.0)
        assert stage.worst() <= 20


@pytest.mark.parametrize("count", [1, 3])
async def test_few_runs_are_not_worth_a_page(count: int) -> None:
    async with stage_of(listing()) as stage:
        await stage.lateness(await stage.start(count))
        assert stage.sender.lists == []


async def test_runs_of_the_same_second_are_told_apart() -> None:
    async with stage_of(listing()) as stage:
        runs = await stage.start(250, every=0.0)
        assert (await stage.lateness(runs))[-1] <= 250 / 16 + 3.0


async def test_pages_hold_as_many_as_the_server_gives() -> None:
    sizes: list[tuple[int | None, int]] = []
    inner = listing(largest=30)

    def list_runs(world: MiddeskWorld, page: int | None, size: int) -> tuple[int, object]:
        sizes.append((page, size))
        return inner(world, page, size)

    async with stage_of(list_runs, strangers=0) as stage:
        assert (await stage.lateness(await stage.start(100)))[-1] <= 7.0
    assert set(sizes) == {(None, 100), (None, 30), (2, 30), (3, 30), (4, 30)}
    assert sizes.count((None, 100)) <= 2  # until the first answer


async def test_interrupts_that_a_page_leaves_out_are_asked_for() -> None:
    def strip(page: dict[str, list[dict[str, object]]], _number: int) -> None:
        for run in page["data"]:
            del run["interrupts"]

    async with stage_of(changed(strip)) as stage:
        await stage.start(20, least=500.0)
        runs = [stage.world.create(script=[(30.0, ask("why?"))]) for _ in range(20)]
        waits = [begin(stage.client.wait_for_run(run.id)) for run in runs]
        for wait in waits:
            with pytest.raises(RunBlockedError) as caught:
                await wait
            shown = caught.value.run
            assert isinstance(shown, MiddeskRun)
            assert [one.label for one in shown.interrupts] == ["why?"]
        assert stage.sender.lists


async def test_a_key_that_is_good_for_nothing_ends_all_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage_of(refused(401)) as stage:
        runs = await stage.start(20)
        waits = [begin(stage.client.wait_for_run(run.id)) for run in runs]
        await asyncio.sleep(20.0)
        assert not any(wait.done() for wait in waits)
        monkeypatch.setattr(stage.sender, "_answer", lambda _request: refused(401)(stage.world, None, 1))
        ended = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(error) for error in ended} == {AuthenticationError}


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_everything_ends_all_waits_within_seconds(
    monkeypatch: pytest.MonkeyPatch, status: int, count: int
) -> None:
    async with stage_of(listing()) as stage:
        runs = await stage.start(count, least=500.0)
        waits = [begin(stage.client.wait_for_run(run.id)) for run in runs]
        await asyncio.sleep(20.0)
        monkeypatch.setattr(stage.sender, "_answer", lambda _request: refused(status)(stage.world, None, 1))
        began = now()
        ended = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(error) for error in ended} == {AuthenticationError if status == 401 else PermissionDeniedError}
        assert now() - began <= 12.0


@pytest.mark.parametrize("lists", [listing(), changed(lambda page, _: page["data"].clear()), refused(403)])
@pytest.mark.parametrize("status", [401, 403])
async def test_runs_that_are_refused_end_their_own_waits_only(
    monkeypatch: pytest.MonkeyPatch, status: int, lists: ListRuns
) -> None:
    async with stage_of(lists) as stage:
        runs = await stage.start(50)
        forbidden = {run.id for run in runs[:5]}
        answer = stage.sender._answer
        monkeypatch.setattr(
            stage.sender,
            "_answer",
            lambda request: (
                refused(status)(stage.world, None, 1)
                if request.path.rpartition("/")[2] in forbidden
                else answer(request)
            ),
        )
        results = await stage.client.wait_for_runs([run.id for run in runs], return_exceptions=True)
        kinds = [getattr(result, "status", None) for result in results]
        assert kinds[:5] == [status] * 5
        assert set(kinds[5:]) <= {"completed", "error"}


@pytest.mark.parametrize(("order", "largest"), [("newest", 100), ("newest", 40), ("oldest", 100), ("random", 100)])
async def test_over_http_too_the_one_limit_holds(order: ListOrder, largest: int) -> None:
    async with (
        MiddeskServer(token=CANARY, latency=(0.02, 0.2), list_order=order, largest_page=largest, seed=3) as server,
        client_of(server) as client,
    ):
        rng = random.Random(7)
        runs = [server.world.create(script=[(rng.uniform(30.0, 60.0), "completed")]) for _ in range(120)]
        finals = await client.wait_for_runs([run.id for run in runs])
        assert {final.phase for final in finals} == {Phase.SUCCEEDED}
        assert server.violations == 0
        assert client.limits["all"].rejections == 0
        assert "list" in endpoints(server)
