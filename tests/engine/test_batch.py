"""A batch on DBOS is a batch: the same items, outcomes, retries and exports as one with a journal in a file."""

import asyncio
import contextlib
import csv
import io
import sqlite3
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any

import dbos  # noqa: F401 - here, as it reads files: the tests watch that nothing does on a loop
import psycopg
import pytest

from codegen_async import (
    AgentRun,
    BatchPausedError,
    CodegenClient,
    ConfigurationError,
    HostedRuns,
    InvalidArgumentError,
    JournalError,
    Rate,
    Timeouts,
)
from codegen_async.batch.batch import Batch
from codegen_async.batch.items import Outcome, State
from codegen_async.batch.readers import read_outcomes
from codegen_async.engine import dbos as engine
from codegen_async.engine.batch import DBOSBatch, check_lease
from codegen_async.engine.database import Database, open_database
from codegen_async.testing import CodegenServer, FastLoop, Fault
from codegen_async.testing.life import Script
from tests.batch.helpers import client_of
from tests.engine.shaky import Shaky
from tests.hosted.api import Api, Keyed, Plain, Tagged
from tests.support.servers import new_database, postgres

SPEED = 30.0
SHORT: Script = [(0.0, "ACTIVE"), (1.0, "COMPLETE")]
FAILING: Script = [(0.0, "ACTIVE"), (1.0, "FAILED")]
LEASE = 300.0  # the engine's own threads are no faster than life
RATES = {"create": Rate(100, 10.0)}


def on_a_fast_loop(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: FastLoop(SPEED)) as runner:
        runner.run(work)


@pytest.fixture(scope="module")
def server() -> Any:
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path}/batch.db"
    return new_database(request.getfixturevalue("server"))


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/batch.db"


@contextlib.asynccontextmanager
async def opened(
    server: CodegenServer, url: str | Path | Database, **options: Any
) -> AsyncGenerator[Batch[AgentRun, int]]:
    """Open a batch with a client of its own, in a database or, for a path, in a journal."""
    clock = asyncio.get_running_loop().time
    async with client_of(server, rates=RATES) as client:
        if isinstance(url, Path):
            async with Batch(client, url, clock=clock) as batch:
                yield batch
        else:
            async with DBOSBatch(client, url, clock=clock, lease=LEASE, **options) as shared:
                yield shared


async def run_all(batch: Batch[AgentRun, int], **options: Any) -> list[Outcome]:
    return [outcome async for outcome in batch.run(**options)]


def told(outcomes: list[Outcome]) -> list[tuple[Any, ...]]:
    """Return what does not differ from batch to batch."""
    return sorted(
        (
            one.key,
            one.index,
            str(one.state),
            one.succeeded,
            one.attempts,
            one.prompt,
            str(one.metadata),
            one.error or "",
        )
        for one in outcomes
    )


def fill(batch: Batch[AgentRun, int]) -> None:
    for number in range(5):
        batch.add(f"do {number}", key=f"k{number}", metadata={"n": number})
    batch.add("without a key")
    batch.add("without a key")
    batch.add("fail", key="bad")


def runs(server: CodegenServer) -> list[str]:
    return sorted(run.prompt for run in server.world.runs.values())


def test_items_outcomes_and_exports_are_those_of_a_journal(url: str, tmp_path: Path) -> None:
    async def main() -> None:
        seen: list[Any] = []
        for place in (url, tmp_path / "journal.db"):
            async with CodegenServer(rates={"create": (100, 10.0)}) as server:
                scripted(server)
                async with opened(server, place) as batch:
                    fill(batch)
                    outcomes = await run_all(batch)
                    assert await run_all(batch) == []
                    again = await batch.retry(failed=True)
                    more = await run_all(batch, max_attempts=2)
                    table = tmp_path / f"{len(seen)}.csv"
                    count = await batch.export(table)
                    status, report = await batch.status(), await batch.audit()
                rows = csv.DictReader(io.StringIO(await asyncio.to_thread(table.read_text)))
                plain = [{name: row[name] for name in ("key", "state", "attempts", "prompt", "error")} for row in rows]
                seen.append((told(outcomes), again, told(more), count, plain, status, report.ok, runs(server)))
        assert seen[0] == seen[1]
        assert seen[0][3] == 8

    on_a_fast_loop(main())


def scripted(server: CodegenServer) -> None:
    """Let runs end as their prompts say."""
    live = server.world._live

    def living(run: Any, prompt: str, _: Script | None) -> None:
        live(run, prompt, FAILING if "fail" in prompt else SHORT)

    vars(server.world)["_live"] = living


def test_what_another_run_of_it_had_is_gone_on_with(url: str) -> None:
    async def main() -> None:
        async with CodegenServer(rates={"create": (100, 10.0)}) as server:
            server.world.script = [(0.0, "ACTIVE")]
            async with opened(server, url) as batch:
                for number in range(6):
                    batch.add(f"do {number}")
                outcomes = batch.run(max_active=4)  # what begins only later shows what of these has no run
                first = asyncio.ensure_future(anext(outcomes))
                while len(server.world.runs) < 4:  # noqa: ASYNC110 - it is counted elsewhere
                    await asyncio.sleep(0.5)
                first.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await first
            server.world.script = SHORT
            for run_id in server.world.runs:
                server.world.end(run_id)
            async with opened(server, url) as batch:
                rest = await run_all(batch)
                assert all(one.succeeded for one in rest)
                assert (await batch.status())[State.ENDED] == 6
            assert runs(server) == [f"do {number}" for number in range(6)]

    on_a_fast_loop(main())


def test_a_loop_that_is_left_unclosed_ends_with_its_block(file: str) -> None:
    async def main() -> None:
        async with CodegenServer(rates={"create": (100, 10.0)}) as server:
            server.world.script = SHORT
            async with opened(server, file) as batch:
                batch.add("one")
                batch.add("two")
                outcomes = batch.run()
                assert (await anext(outcomes)).succeeded
                with pytest.raises(RuntimeError, match="being run already"):
                    await run_all(batch)
                while len(server.world.runs) < 2:  # noqa: ASYNC110 - it is counted elsewhere
                    await asyncio.sleep(0.5)  # else nobody could tell whether it was sent
            async with opened(server, file) as batch:
                assert all(one.succeeded for one in await run_all(batch))
            await outcomes.aclose()
            assert runs(server) == ["one", "two"]

    on_a_fast_loop(main())


def test_what_is_left_while_it_is_sent_is_sent_by_the_next_run_of_the_same_block(file: str) -> None:
    async def main() -> None:
        async with CodegenServer(rates={"create": (100, 10.0)}) as server:
            server.world.script = SHORT
            server.faults.add(Fault.DROP_BEFORE, endpoint="create", times=1)
            async with opened(server, file) as batch:
                batch.add("one")
                batch.add("two")
                outcomes = batch.run(max_active=1)
                first = asyncio.ensure_future(anext(outcomes))
                while not server.faults.injected:  # noqa: ASYNC110 - it is counted elsewhere
                    await asyncio.sleep(0.5)
                first.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await first
                async with asyncio.timeout(6000.0):
                    assert len(await run_all(batch)) == 2
            assert runs(server) == ["one", "two"]

    on_a_fast_loop(main())


def test_who_stops_while_a_lost_create_is_looked_for_ends_and_leaves_the_others_planned(file: str) -> None:
    async def main() -> None:
        async with CodegenServer(rates={"create": (100, 10.0)}) as server:
            server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
            async with opened(server, file) as batch:
                for number in range(3):
                    batch.add(f"do {number}")
                outcomes = batch.run(max_active=1)
                lost = asyncio.ensure_future(anext(outcomes))
                while not server.faults.injected:  # noqa: ASYNC110 - it is counted elsewhere
                    await asyncio.sleep(0.1)
                batch.stop()
                async with asyncio.timeout(6000.0):
                    assert (await lost).state is State.UNKNOWN
                    assert [outcome async for outcome in outcomes] == []
                assert (await batch.status())[State.PLANNED] == 2

    on_a_fast_loop(main())


def test_a_lost_create_is_found_or_sent_again_once_it_is_proven(url: str) -> None:
    async def main() -> None:
        async with CodegenServer(rates={"create": (100, 10.0)}) as server:
            server.world.script = SHORT
            for fault in (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.DROP_AFTER):
                server.faults.add(fault, endpoint="create", times=1)
            async with opened(server, url) as batch:
                for number in range(8):
                    batch.add(f"do {number}")
                outcomes = await run_all(batch, max_active=3)
            assert all(one.succeeded for one in outcomes)
            assert runs(server) == [f"do {number}" for number in range(8)]

    on_a_fast_loop(main())


def test_the_last_create_if_lost_is_unknown_and_a_person_decides(file: str) -> None:
    async def main() -> None:
        async with CodegenServer() as server:
            server.world.script = SHORT
            async with opened(server, file) as batch:
                batch.add("first", key="a")
                await run_all(batch)
                server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
                batch.add("lost", key="b")
                (lost,) = await run_all(batch)
                assert lost.state is State.UNKNOWN
                assert runs(server) == ["first"]
                (still,) = await run_all(batch)
                assert still.state is State.UNKNOWN
                await batch.resend("b")
                (found,) = await run_all(batch)
                assert found.succeeded
            assert runs(server) == ["first", "lost"]

    on_a_fast_loop(main())


def test_a_refused_prompt_is_rejected_and_can_be_corrected(file: str) -> None:
    async def main() -> None:
        async with CodegenServer() as server:
            server.world.script = SHORT
            server.faults.add(Fault.REFUSED, endpoint="create", times=1, status=422)
            async with opened(server, file) as batch:
                batch.add("bad", key="a")
                (rejected,) = await run_all(batch)
                assert rejected.state is State.REJECTED
                batch.add("good", key="a")
                (sent,) = await run_all(batch)
                assert sent.succeeded
            assert runs(server) == ["good"]

    on_a_fast_loop(main())


def test_a_failed_run_is_tried_again_as_often_as_was_said(file: str) -> None:
    async def main() -> None:
        async with CodegenServer(rates={"create": (100, 10.0)}) as server:
            server.world.script = FAILING
            async with opened(server, file) as batch:
                batch.add("fail")
                (outcome,) = await run_all(batch, max_attempts=3)
            assert (outcome.attempts, outcome.succeeded) == (3, False)
            assert runs(server) == ["fail"] * 3

    on_a_fast_loop(main())


def test_no_more_runs_are_made_than_was_said(file: str) -> None:
    async def main() -> None:
        async with CodegenServer(rates={"create": (100, 10.0)}) as server:
            server.world.script = SHORT
            async with opened(server, file) as batch:
                for number in range(6):
                    batch.add(f"do {number}")
                with pytest.raises(BatchPausedError, match="max_runs"):
                    await run_all(batch, max_runs=2)
                assert len(server.world.runs) == 2
                await run_all(batch)
            assert len(server.world.runs) == 6

    on_a_fast_loop(main())


@pytest.mark.parametrize("dialect", [Keyed, Tagged, Plain])
def test_any_dialect_has_each_item_done_once_by_what_its_api_offers(file: str, dialect: type[Plain]) -> None:
    async def main() -> None:
        api = Api(keyed=dialect is Keyed)
        rates = {"create": Rate(10, 10.0), "read": Rate(1000, 10.0)}
        async with (
            HostedRuns(dialect(), "token", sender=api, rates=rates) as client,
            DBOSBatch(client, file) as batch,
        ):
            for number in range(5):
                batch.add(key=str(number), task=f"do {number}")
            outcomes = [outcome async for outcome in batch.run()]
            assert all(one.succeeded and isinstance(one.run_id, str) for one in outcomes)
            api.faults[:] = ["after"]
            batch.add(key="lost", task="lost")
            (lost,) = [outcome async for outcome in batch.run()]
        assert lost.succeeded is (dialect is not Plain)
        assert lost.state is (State.UNKNOWN if dialect is Plain else State.ENDED)
        assert len(api.runs) == 6

    on_a_fast_loop(main())


def test_only_ids_and_keys_are_kept_by_the_engine_and_nothing_is_pickled(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"

    async def main() -> None:
        async with CodegenServer() as server:
            server.world.script = SHORT
            async with opened(server, f"sqlite:{path}") as batch:
                batch.add("a word that nobody else uses", metadata={"another": "one"})
                await run_all(batch)

    on_a_fast_loop(main())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        steps = connection.execute("SELECT function_name, output, serialization FROM operation_outputs").fetchall()
        flows = connection.execute(
            "SELECT workflow_uuid, inputs, output, serialization FROM workflow_status"
        ).fetchall()
    assert list(dict.fromkeys(name for name, *_ in steps)) == ["intend", "create", "wait"]  # twice, if a slot grew old
    assert {form for *_, form in (*steps, *flows)} == {"portable_json"}
    assert "nobody else uses" not in str((steps, flows))
    assert "another" not in str((steps, flows))
    assert max(len(str(row)) for row in (*steps, *flows)) < 300


def test_a_batch_is_in_the_one_file_that_was_named_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "why? 100%41 #1 & ü=:@.db"

    async def main() -> None:
        async with CodegenServer() as server:
            server.world.script = SHORT
            async with opened(server, f"sqlite:{path}") as batch:
                batch.add("one")
                await run_all(batch)

    on_a_fast_loop(main())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("moment", ["BEGIN IMMEDIATE", "INSERT INTO items", "COMMIT"])
@pytest.mark.parametrize("whole", [True, False])
def test_prompts_are_added_whole_though_the_database_goes_away_meanwhile(
    tmp_path: Path, moment: str, *, whole: bool
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\nthree\n")

    async def work() -> None:
        database = Shaky(tmp_path / "batch.db")
        async with CodegenServer() as server, opened(server, database) as batch:
            for _ in range(2):
                database.go_away(moment, 2)
                added = await batch.add_file(prompts, whole=whole)
                assert added.withdrawn == ()
            database.go_away(moment, 2)
            batch.add("four")
            await batch.save()
            assert database.away == 0
            found = await asyncio.to_thread(lambda: [outcome.prompt for outcome in read_outcomes(database)])
            assert found == ["one", "two", "three", "four"]

    on_a_fast_loop(work())


def test_a_journal_that_is_taken_for_a_database_is_refused_and_goes_on_as_before(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"

    async def main() -> None:
        async with CodegenServer() as server:
            server.world.script = SHORT
            async with opened(server, path) as batch:
                batch.add("one")
                await run_all(batch)
            with pytest.raises(JournalError, match="which stays one; give another path"):
                async with opened(server, f"sqlite:{path}"):
                    pass
            async with opened(server, path) as batch:
                assert (await batch.status())[State.ENDED] == 1

    on_a_fast_loop(main())


@pytest.mark.parametrize(
    "moment",
    ["UPDATE items SET state = CASE", "UPDATE items SET state = 'created'", "UPDATE items SET state = 'ended'"],
)
def test_a_database_that_cannot_be_written_to_ends_a_run_and_the_next_one_goes_on(tmp_path: Path, moment: str) -> None:
    async def main() -> None:
        database = Shaky(tmp_path / "batch.db")
        async with CodegenServer(rates={"create": (100, 10.0)}) as server:
            server.world.script = SHORT
            async with opened(server, database) as batch:
                for number in range(3):
                    batch.add(f"do {number}")
                await batch.save()
                database.go_away(moment, 10000, JournalError)
                with pytest.raises(JournalError, match="did not answer"):
                    async with asyncio.timeout(6000.0):
                        await run_all(batch, max_active=1)
                database.go_away("", 0)
                assert len(await run_all(batch)) == 3
            assert runs(server) == [f"do {number}" for number in range(3)]

    on_a_fast_loop(main())


def _other(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(statement.encode())


def test_who_makes_the_tables_of_the_engine_while_another_does_tries_again(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_database(server)
    _other(url, "CREATE SCHEMA dbos CREATE TABLE workflow_status (made TEXT)")

    async def main() -> None:
        async with CodegenServer() as api:
            api.world.script = SHORT
            async with opened(api, url) as batch:
                batch.add("one")
                running = asyncio.create_task(run_all(batch))
                while "the engine cannot start yet" not in caplog.text:
                    assert not running.done()
                    await asyncio.sleep(0.5)
                await asyncio.to_thread(_other, url, "DROP TABLE dbos.workflow_status")
                assert [one.succeeded for one in await running] == [True]

    on_a_fast_loop(main())


def test_what_stands_in_the_place_of_the_tables_of_the_engine_is_told(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_TRIES", 2)
    url = new_database(server)
    _other(url, "CREATE SCHEMA dbos CREATE TABLE workflow_status (made TEXT)")

    async def main() -> None:
        async with CodegenServer() as api, opened(api, url) as batch:
            batch.add("one")
            with pytest.raises(JournalError, match=r"the engine cannot start: .* already exists"):
                await run_all(batch)

    on_a_fast_loop(main())


def test_a_database_is_of_one_organization(url: str) -> None:
    async def main() -> None:
        async with CodegenServer() as server, CodegenServer() as elsewhere:
            async with opened(server, url):
                pass
            with pytest.raises(JournalError, match="use another database"):
                async with opened(elsewhere, url):
                    pass
            async with opened(elsewhere, url, adopt=True) as batch:
                assert await batch.status() == dict.fromkeys(State, 0)

    on_a_fast_loop(main())


def test_what_is_done_can_be_read_without_a_client(url: str) -> None:
    async def main() -> None:
        async with CodegenServer() as server:
            server.world.script = SHORT
            async with opened(server, url) as batch:
                batch.add("one", key="a")
                await run_all(batch)
                batch.add("two", key="b")
                await batch.save()
                batch.add("three", key="b")
                with pytest.raises(InvalidArgumentError, match="another key"):
                    await batch.save()

    on_a_fast_loop(main())
    outcomes = list(read_outcomes(open_database(url)))
    assert [(one.key, one.state) for one in outcomes] == [("a", State.ENDED), ("b", State.PLANNED)]


def test_a_lease_that_is_too_short_for_what_may_still_be_under_way_is_refused() -> None:
    check_lease(45.0, settle=60.0, total=60.0, connect=10.0)
    with pytest.raises(ConfigurationError, match=r"lease: expected, with .* at least 46 s, got 45"):
        check_lease(45.0, settle=60.0, total=65.0, connect=10.0)
    client = CodegenClient("token", org_id=1, settle=10.0)
    with pytest.raises(ConfigurationError, match="lease"):
        DBOSBatch(client, "sqlite:batch.db")
    client = CodegenClient("token", org_id=1, settle=10.0, timeouts=Timeouts(total=10.0))
    assert DBOSBatch(client, "sqlite:batch.db").database.name == "batch.db"
