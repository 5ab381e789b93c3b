"""Batches at APIs that the package has never heard of: nothing missing, nothing twice, whatever is lost or dies."""

import asyncio
import contextlib
import json
import math
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from codegen_async import CodegenClient, HostedRun, HostedRuns, NotOfferedError, Rate
from codegen_async.batch.batch import Batch, export_journal
from codegen_async.batch.hosted import HostedMaker
from codegen_async.batch.items import Outcome, State
from codegen_async.batch.journal import Journal
from codegen_async.cli.app import run
from codegen_async.errors import BatchPausedError, InvalidArgumentError, JournalError
from codegen_async.hosted.dialect import Dialect
from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.limits import Slot
from codegen_async.models import Phase
from codegen_async.testing import CodegenServer
from tests.batch.helpers import client_of, loop_time, query
from tests.hosted.api import Api, ByIds, Changing, Keyed, Misspelt, Named, Paged, Plain, Tagged, Threaded, now
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RATES = {"create": Rate(10, 10.0), "read": Rate(1000, 10.0)}
SAFE: list[type[Plain]] = [Named, Keyed, Tagged, Threaded]


def api_of(dialect: type[Plain], lag: float = 0.0) -> Api:
    return Api(keyed=dialect is Keyed, lag=lag)


@contextlib.asynccontextmanager
async def opened(
    api: Api, path: Path, dialect: Dialect[HostedRun], **options: Any
) -> AsyncGenerator[Batch[HostedRun, str]]:
    """Open a batch with a client of its own, as a new process would."""
    async with (
        HostedRuns(dialect, CANARY, sender=api, rates=RATES) as client,
        Batch(client, path, clock=loop_time, **options) as batch,
    ):
        yield batch


async def run_all(batch: Batch[HostedRun, str], **options: Any) -> list[Outcome[HostedRun, str]]:
    return [outcome async for outcome in batch.run(**options)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@pytest.mark.parametrize("dialect", [*SAFE, Plain])
async def test_each_item_becomes_a_run_and_comes_to_its_end(path: Path, dialect: type[Plain]) -> None:
    api = api_of(dialect)
    async with opened(api, path, dialect()) as batch:
        for n in range(20):
            batch.add(key=str(n), task=f"do {n}")
        outcomes = await run_all(batch)
    assert len(api.runs) == 20
    assert {outcome.key for outcome in outcomes} == {str(n) for n in range(20)}
    for outcome in outcomes:
        assert outcome.succeeded
        assert outcome.run is not None
        assert outcome.run_id == outcome.run.id
        assert isinstance(outcome.run_id, str)
        assert (outcome.run.phase, outcome.fields) == (Phase.SUCCEEDED, {"task": f"do {outcome.key}"})


@pytest.mark.parametrize("dialect", [*SAFE, Plain])
async def test_a_queue_that_begins_with_nothing_takes_a_file(path: Path, tmp_path: Path, dialect: type[Plain]) -> None:
    file = tmp_path / "p.jsonl"
    await asyncio.to_thread(file.write_text, '{"task": "a", "key": "k"}\n')
    async with opened(api_of(dialect), path, dialect()) as batch, contextlib.aclosing(batch.serve()) as outcomes:
        first = asyncio.ensure_future(anext(outcomes))
        await asyncio.sleep(5)
        await batch.add_file(file)
        assert (await first).succeeded
        batch.stop()


@pytest.mark.parametrize("dialect", [Keyed, Named])
async def test_what_is_sent_again_while_there_is_no_room_waits_for_it(path: Path, dialect: type[Plain]) -> None:
    api = api_of(dialect)
    api.room = 1
    api.faults = ["", "before"]
    async with opened(api, path, dialect()) as batch:
        for n in range(3):
            batch.add(key=str(n), task=str(n))
        outcomes = await run_all(batch)
    assert [outcome.state for outcome in outcomes] == [State.ENDED] * 3
    assert len(api.runs) == 3


@pytest.mark.parametrize("dialect", [Keyed, Named])
async def test_what_is_refused_when_it_is_sent_again_stops_nothing_else(path: Path, dialect: type[Plain]) -> None:
    api = api_of(dialect)
    api.faults = ["before"]
    async with opened(api, path, dialect()) as batch:
        batch.add(key="a", thread="gone")  # a 404 of its own
        batch.add(key="b", task="x")
        outcomes = {outcome.key: outcome.state async for outcome in batch.run()}
    assert outcomes == {"a": State.REJECTED, "b": State.ENDED}


async def test_what_is_stopped_while_it_learns_how_creates_are_sent_sends_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = api_of(Keyed)
    async with opened(api, path, Keyed()) as batch:
        batch.add(key="a", task="x")
    async with opened(api, path, Keyed()) as batch:
        once = HostedMaker.learn
        moments = iter([lambda: None, batch.stop])  # when it begins, and before it sends

        async def learn(maker: HostedMaker[HostedRun], journal: Journal) -> None:
            await once(maker, journal)
            next(moments)()

        monkeypatch.setattr(HostedMaker, "learn", learn)
        assert await run_all(batch) == []
        assert (await batch.status())[State.PLANNED] == 1
    assert not api.runs


@pytest.mark.parametrize("dialect", SAFE)
@pytest.mark.parametrize("lag", [0.0, 10.0])
async def test_lost_answers_make_nothing_missing_and_nothing_twice(
    path: Path, dialect: type[Plain], lag: float
) -> None:
    api = api_of(dialect, lag)
    async with opened(api, path, dialect()) as batch:
        for n in range(12):
            batch.add(key=str(n), task=str(n))
        api.faults = ["", "before", "after", "", "after", "before", "before", "", "after"]
        outcomes = await run_all(batch)
    assert [outcome.state for outcome in outcomes] == [State.ENDED] * 12
    assert len(api.runs) == len({outcome.run_id for outcome in outcomes}) == 12


async def test_no_item_takes_the_run_of_another_where_a_search_ignores_the_key(path: Path) -> None:
    api = Api()
    async with opened(api, path, Misspelt()) as batch:
        for n in range(4):
            batch.add(key=str(n), task=str(n))
        api.faults = ["", "before"]
        outcomes = {outcome.key: outcome for outcome in await run_all(batch)}
    assert [outcomes[key].state for key in "0123"] == [State.ENDED, State.UNKNOWN, State.ENDED, State.ENDED]
    assert len({outcome.run_id for outcome in outcomes.values()}) == 4  # None is one of them
    assert len(api.runs) == 3


async def test_where_nothing_helps_a_lost_create_is_unknown_until_a_person_decides(path: Path) -> None:
    api = Api()
    async with opened(api, path, Plain()) as batch:
        for n in range(4):
            batch.add(key=str(n), task=str(n))
        api.faults = ["", "before"]
        outcomes = await run_all(batch)
        assert Counter(outcome.state for outcome in outcomes) == {State.ENDED: 3, State.UNKNOWN: 1}
        (unknown,) = [outcome.key for outcome in outcomes if outcome.state is State.UNKNOWN]
        await batch.resend(unknown)
        (outcome,) = await run_all(batch)
        assert outcome.succeeded
    assert len(api.runs) == 4


@pytest.mark.parametrize("dialect", SAFE)
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 3.0, 7.0, 12.0, 21.0, 30.0, 45.0, 80.0])
async def test_a_batch_that_is_left_at_any_moment_goes_on_where_it_stood(
    path: Path, dialect: type[Plain], seconds: float
) -> None:
    api = api_of(dialect, lag=2.0)
    api.faults = ["", "after", "before", ""] * 4
    for wait in (seconds, seconds / 2):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait), opened(api, path, dialect()) as batch:
                for n in range(15):
                    batch.add(key=str(n), task=str(n))
                await batch.save()
                await run_all(batch)
    async with opened(api, path, dialect()) as batch:
        for n in range(15):
            batch.add(key=str(n), task=str(n))
        await run_all(batch)
        status = await batch.status()
    assert status[State.ENDED] + status[State.UNKNOWN] == 15
    assert len(api.runs) == status[State.ENDED]
    if dialect not in (
        Tagged,
        Threaded,
    ):  # of the very first create, nothing was there before to tell that a search would show it
        assert status[State.UNKNOWN] == 0


async def test_what_failed_is_tried_again_with_a_run_of_its_own(path: Path) -> None:
    api = Api()
    api.script = lambda run: "done/badly" if run["life"] == 1 else "done/ok"
    async with opened(api, path, Tagged()) as batch:
        batch.add(key="a", task="a", life=1)
        (first,) = await run_all(batch)
        assert first.run is not None
        assert first.run.phase is Phase.FAILED
        api.script = lambda _: "done/ok"
        assert await batch.retry("a") == ("a",)
        (second,) = await run_all(batch)
    assert second.succeeded
    assert (second.attempts, second.run_id == first.run_id) == (2, False)


@pytest.mark.parametrize("dialect", [Named, Tagged])
async def test_an_audit_asks_for_the_run_of_each_key(path: Path, dialect: type[Plain]) -> None:
    api = Api()
    async with opened(api, path, dialect()) as batch:
        for n in range(3):
            batch.add(key=str(n), task=str(n))
        outcomes = await run_all(batch)
        report = await batch.audit()
        assert (report.ok, report.items, report.runs) == (True, 3, 3)
        lost = outcomes[1]
        del api.runs[lost.run_id or ""]
        assert (await batch.audit()).missing == [lost.key]


async def test_where_keys_are_not_shown_there_is_no_audit(path: Path) -> None:
    async with opened(Api(), path, Plain()) as batch:
        with pytest.raises(NotOfferedError, match="plain has no search for keys"):
            await batch.audit()


async def test_a_journal_is_exported_without_its_dialect(path: Path, tmp_path: Path) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        batch.add(key="a", task="a")
        await run_all(batch)
    for kind in ("jsonl", "csv", "tsv", "json"):
        assert await export_journal(path, tmp_path / f"out.{kind}") == 1
    (text,) = (await asyncio.to_thread((tmp_path / "out.jsonl").read_text)).splitlines()
    line = json.loads(text)
    told = {name: line[name] for name in ("key", "run_id", "status", "phase", "cost", "cost_unit", "fields")}
    assert told == {
        "key": "a",
        "run_id": "run/0",
        "status": "done/ok",
        "phase": "succeeded",
        "cost": 0.25,
        "cost_unit": "USD",
        "fields": {"task": "a"},
    }


class Other(Tagged):
    name = "other"


async def test_the_journal_of_one_api_is_refused_with_another(path: Path, codegen_server: CodegenServer) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        batch.add(key="a", task="a")  # planned is enough: another API takes other fields
    with pytest.raises(JournalError, match=r"belongs to plain at .*, and this is other at"):
        async with opened(Api(), path, Other()):
            pass
    with pytest.raises(JournalError, match=r"belongs to plain at .*, and this is organization"):
        async with client_of(codegen_server) as client, Batch(client, path, clock=loop_time):
            pass


async def test_a_journal_of_codegen_is_refused_with_a_dialect(path: Path, codegen_server: CodegenServer) -> None:
    client: CodegenClient
    async with client_of(codegen_server) as client, Batch(client, path, clock=loop_time) as batch:
        batch.add("do", key="a")
    with pytest.raises(JournalError, match=r"belongs to organization .*, and this is plain at"):
        async with opened(Api(), path, Tagged()):
            pass


async def test_the_journal_of_one_server_is_refused_with_another(path: Path) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        batch.add(key="a", task="a")
        await run_all(batch)
    async with HostedRuns(Tagged(), CANARY, sender=Api(), base_url="http://127.0.0.1:10") as client:
        with pytest.raises(JournalError, match="where its runs are not"):
            async with Batch(client, path, clock=loop_time):
                pass


async def test_fields_that_cannot_be_sent_are_refused_when_they_are_added(path: Path) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        with pytest.raises(InvalidArgumentError, match="fields"):
            batch.add(key="a", task=object())
        assert sum((await batch.status()).values()) == 0


@pytest.mark.parametrize("dialect", [Named, Keyed, Tagged])
async def test_a_copy_makes_no_second_run_for_what_the_original_has_sent(
    path: Path, tmp_path: Path, dialect: type[Plain]
) -> None:
    api = api_of(dialect)
    async with opened(api, path, dialect()) as batch:
        batch.add(key="first", task="first")
        await run_all(batch)
        batch.add(key="second", task="second")
    copy = tmp_path / "copy.db"
    await asyncio.to_thread(shutil.copy, path, copy)
    async with opened(api, path, dialect()) as batch:
        await run_all(batch)
    assert len(api.runs) == 2
    async with opened(api, copy, dialect()) as batch:
        await run_all(batch)
    assert len(api.runs) == 2


@pytest.mark.parametrize("dialect", [Plain, Threaded])
async def test_a_copy_is_refused_where_nothing_tells_what_the_original_has_sent(
    path: Path, tmp_path: Path, dialect: type[Plain]
) -> None:
    api = Api()
    async with opened(api, path, dialect()) as batch:
        batch.add(key="first", task="first")
        await run_all(batch)
        batch.add(key="a", task="a")
    copy = tmp_path / "copy.db"
    await asyncio.to_thread(shutil.copy, path, copy)
    async with opened(api, path, dialect()) as batch:
        await run_all(batch)
    async with opened(api, copy, dialect()) as batch:
        with pytest.raises(JournalError, match="is a copy"):
            await run_all(batch)
    assert len(api.runs) == 2


async def test_the_commands_that_read_a_journal_need_no_dialect(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        batch.add(key="a", task="do a")
        batch.add(key="b", task="do b")
        await run_all(batch)
    said: list[str] = []
    for words in (["list"], ["list", "--json"], ["status"], ["export", "--format", "jsonl"]):
        more = ["-"] if words[0] == "export" else []
        assert await asyncio.to_thread(run, ["batch", words[0], str(path), *more, *words[1:]]) == 0
        said.append(capsys.readouterr().out)
    listed, as_json, standing, exported = said
    assert [line.split()[:3] for line in listed.splitlines()] == [
        ["a", "run/0", "succeeded"],
        ["b", "run/1", "succeeded"],
    ]
    assert [item["run_id"] for item in json.loads(as_json)] == ["run/0", "run/1"]
    assert "succeeded\t2" in standing
    assert [json.loads(line)["fields"] for line in exported.splitlines()] == [{"task": "do a"}, {"task": "do b"}]


# -- what runs belong to


async def test_what_a_run_belongs_to_is_made_once_however_often_it_is_sent(path: Path) -> None:
    api = Api()
    async with opened(api, path, Threaded()) as batch:
        for n in range(6):
            batch.add(key=str(n), task=str(n))
        api.faults = ["", "before", "before", "", "after"]
        outcomes = await run_all(batch)
        assert (await batch.audit()).ok
    assert [outcome.succeeded for outcome in outcomes] == [True] * 6
    assert sorted(run["thread"] for run in api.runs.values()) == sorted(api.threads)


async def test_it_is_in_the_journal_before_its_run_is_created(path: Path) -> None:
    class Looking(Api):
        async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
            if request.path == "/runs" and request.method == "POST":
                noted.append(await asyncio.to_thread(query, path, "SELECT state, parent FROM items"))
            return await super().send(request, take_slot)

    noted: list[Any] = []
    async with opened(Looking(), path, Threaded()) as batch:
        batch.add(key="a", task="a")
        await run_all(batch)
    assert noted == [[("sending", "thread/0")]]


async def test_what_was_left_before_it_was_made_is_sent_without_a_search(path: Path) -> None:
    class Slow(Api):
        async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
            if request.path == "/threads" and not self.threads:
                self.threads.append("thread/0")
                await asyncio.sleep(math.inf)
            return await super().send(request, take_slot)

    api = Slow()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0), opened(api, path, Threaded()) as batch:
            batch.add(key="a", task="a")
            await run_all(batch)
    assert await asyncio.to_thread(query, path, "SELECT state, parent FROM items") == [("sending", None)]
    async with opened(api, path, Threaded()) as batch:
        (outcome,) = await run_all(batch)
    assert outcome.succeeded
    assert not any(request.path.startswith("/threads/") for request in api.requests)


async def test_what_was_rejected_and_is_corrected_belongs_to_something_new(path: Path) -> None:
    class Strict(Api):
        def _create(self, fields: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, Any]:
            return super()._create(fields, headers) if fields["task"] == "good" else (422, {"detail": "not good"})

    api = Strict()
    async with opened(api, path, Threaded()) as batch:
        batch.add(key="a", task="bad")
        (outcome,) = await run_all(batch)
        assert (outcome.state, outcome.error) == (State.REJECTED, "POST /runs: 422 not good")
    async with opened(api, path, Threaded()) as batch:
        batch.add(key="a", task="good")
        (outcome,) = await run_all(batch)
        assert outcome.succeeded
    assert [run["thread"] for run in api.runs.values()] == ["thread/1"]


async def test_an_outage_while_it_is_made_rejects_nothing(path: Path) -> None:
    class Down(Api):
        down = 12

        def _answer(self, request: Request) -> tuple[int, Any]:
            if request.path == "/threads" and self.down:
                self.down -= 1
                return 503, {"detail": "down"}
            return super()._answer(request)

    api = Down()
    async with opened(api, path, Threaded()) as batch:
        batch.add(key="a", task="a")
        (outcome,) = await run_all(batch)
    assert outcome.succeeded


# -- runs at once


class Counted(Tagged):
    """States how many runs may go on."""

    concurrency = 3


@pytest.mark.parametrize(("dialect", "refused"), [(Tagged, True), (Counted, False), (Threaded, True)])
async def test_a_batch_keeps_to_the_cap_of_its_client_and_learns_it(
    path: Path, dialect: type[Plain], refused: bool
) -> None:
    api = Api()
    api.room = 3
    async with (
        HostedRuns(dialect(), CANARY, sender=api, rates=RATES) as client,
        Batch(client, path, clock=loop_time) as batch,
    ):
        for n in range(12):
            batch.add(key=str(n), task=str(n))
        outcomes = await run_all(batch)
        state = client.concurrency
    assert [outcome.succeeded for outcome in outcomes] == [True] * 12
    assert len(api.runs) == 12
    assert state.limit is not None
    assert state.limit <= 4  # one more is tried each minute
    assert (state.source, state.running) == ("learned" if refused else "stated", 0)


async def test_a_cap_of_nothing_costs_no_item_and_ends_no_batch(path: Path) -> None:
    api = Api()
    api.room = 0
    async with opened(api, path, Tagged()) as batch:
        for n in range(3):
            batch.add(key=str(n), task=str(n))
        asyncio.get_running_loop().call_later(600.0, setattr, api, "room", 1)
        outcomes = await run_all(batch)
    assert [outcome.succeeded for outcome in outcomes] == [True] * 3
    creates = sum(request.method == "POST" for request in api.requests)
    assert creates < 3 + 600 / 60 + 60  # one try a minute, and what the growing again of the cap costs


async def test_runs_of_the_client_and_of_a_life_before_count_as_well(path: Path) -> None:
    api = Api()
    async with (
        HostedRuns(Counted(), CANARY, sender=api, rates=RATES) as client,
        Batch(client, path, clock=loop_time) as batch,
    ):
        batch.add(key="before", task="before", life=1000.0)
        running = asyncio.create_task(run_all(batch))
        await asyncio.sleep(5.0)
        running.cancel()
    api.room = 3
    async with (
        HostedRuns(Counted(), CANARY, sender=api, rates=RATES) as client,
        Batch(client, path, clock=loop_time) as batch,
    ):
        own = await client.create_run(task="own", life=500.0)
        for n in range(4):
            batch.add(key=str(n), task=str(n))
        running = asyncio.create_task(run_all(batch))
        await asyncio.sleep(10.0)
        assert client.concurrency.running == 3  # one of a former life, one of the client's own, one new
        assert client.concurrency.queue_length == 1
        assert (await client.wait_for_run(own)).phase is Phase.SUCCEEDED
        outcomes = await running
    assert len(outcomes) == 5
    assert sum(request.method == "POST" for request in api.requests) == len(api.runs) == 6  # none was refused


async def test_a_run_that_waits_for_a_person_holds_up_no_others(path: Path) -> None:
    api = Api()
    api.script = lambda run: "asking" if run["id"] in ("run/0", "run/1", "run/2") else "done/ok"
    async with opened(api, path, Counted()) as batch:
        for n in range(6):
            batch.add(key=str(n), task=str(n))
        outcomes = await run_all(batch)
    assert Counter(outcome.state for outcome in outcomes) == {State.ENDED: 3, State.CREATED: 3}


async def test_a_lost_create_keeps_no_place_from_what_is_to_show_it(path: Path) -> None:
    class One(Tagged):
        concurrency = 1

    api = Api()
    async with opened(api, path, One()) as batch:
        for n in range(4):
            batch.add(key=str(n), task=str(n))
        api.faults = ["", "before"]
        outcomes = await run_all(batch)
    assert [outcome.succeeded for outcome in outcomes] == [True] * 4
    assert len(api.runs) == 4


# -- a run that is refused, and a token


class Choosy(Api):
    """Refuses gets of one run, or everything."""

    refuses_all = False

    def _answer(self, request: Request) -> tuple[int, Any]:
        if self.refuses_all or (request.method == "GET" and request.path == "/runs/run%2F1"):
            return 403, {"detail": "not allowed"}
        if request.path == "/page":
            runs = [run for run in self.runs.values() if run["id"] != "run/1"]
            return 200, {"runs": [self._shown(run) for run in runs], "next": None}
        return super()._answer(request)


async def test_a_run_that_is_refused_is_not_taken_for_a_refused_token(path: Path) -> None:
    async with opened(Choosy(), path, Paged()) as batch:
        for n in range(3):
            batch.add(key=str(n), task=str(n))
        outcomes = {outcome.key: outcome async for outcome in batch.run()}
    assert [outcomes[key].succeeded for key in "012"] == [True, False, True]
    assert "not allowed" in str(outcomes["1"].error)


@pytest.mark.parametrize("dialect", [Paged, ByIds, Changing])
async def test_a_refused_token_pauses_the_batch(path: Path, dialect: type[Plain]) -> None:
    api = Choosy()
    async with opened(api, path, dialect()) as batch:
        for n in range(3):
            batch.add(key=str(n), task=str(n))
        asyncio.get_running_loop().call_later(5.0, setattr, api, "refuses_all", True)
        with pytest.raises(BatchPausedError, match="not allowed"):
            await run_all(batch)
        assert (await batch.status())[State.CREATED] == 3


# -- audits


@pytest.mark.parametrize("dialect", [Named, Tagged, Threaded])
async def test_an_audit_waits_for_a_run_to_show(path: Path, dialect: type[Plain]) -> None:
    api = Api()
    async with opened(api, path, dialect()) as batch:
        for n in range(3):
            batch.add(key=str(n), task=str(n))
        await run_all(batch)
        api.lag = now() + 40.0 - api.runs[list(api.runs)[-1]]["created"]  # the list goes on in 40 s
        report = await batch.audit()
    assert (report.ok, report.items, report.runs) == (True, 3, 3)


# -- lives


async def test_runs_of_later_lives_show_that_what_was_lost_in_an_earlier_one_would_be_found(path: Path) -> None:
    api = Api()
    async with opened(api, path, Tagged()) as batch:
        batch.add(key="first", task="first")
        await run_all(batch)
    for life in range(8):  # each is over before what is looked for may be decided
        api.faults = ["before", "before", ""]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(40.0), opened(api, path, Tagged()) as batch:
                for n in range(3):
                    batch.add(key=f"{life}, {n}", task="any")
                await batch.save()
                await run_all(batch)
    async with opened(api, path, Tagged()) as batch:
        await run_all(batch)
        status = await batch.status()
    assert status[State.ENDED] + status[State.UNKNOWN] == 25
    assert len(api.runs) == status[State.ENDED]
    assert status[State.UNKNOWN] <= 4  # of the last minute


async def test_a_run_of_a_later_life_that_was_sent_too_soon_shows_nothing(path: Path) -> None:
    class Stale(Api):
        frozen = math.inf

        def _create(self, fields: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, Any]:
            if fields["task"] == "late":
                super_create = partial(super()._create, {**fields, "task": "late, done"}, headers)
                asyncio.get_running_loop().call_later(10.0, super_create)
                raise NoAnswerError("the connection broke", sent=True)
            return super()._create(fields, headers)

        def _visible(self) -> list[dict[str, Any]]:
            return [run for run in self.runs.values() if run["created"] <= self.frozen]

    api = Stale()
    async with opened(api, path, Tagged()) as batch:
        batch.add(key="first", task="first")
        await run_all(batch)
    for task, seconds in (("late", 1.0), ("next", 5.0)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), opened(api, path, Tagged()) as batch:
                batch.add(key=task, task=task)
                await batch.save()
                await run_all(batch)
    api.frozen = now()  # the list shows the run that was sent next, and not the one before
    await asyncio.sleep(10.0)
    assert len(api.runs) == 3
    async with opened(api, path, Tagged()) as batch:
        outcomes = {outcome.key: outcome.state async for outcome in batch.run()}
    assert outcomes["late"] is State.UNKNOWN
    assert len(api.runs) == 3
