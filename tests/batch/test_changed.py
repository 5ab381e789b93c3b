"""What a journal says of changes: the phases of runs that go on, and which items are new to who reads again."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from codegen_async.batch.batch import Batch
from codegen_async.batch.items import State
from codegen_async.batch.schema import open_journal
from codegen_async.batch.tables import MIGRATIONS, teach
from codegen_async.models import Phase
from codegen_async.testing import CodegenServer
from tests.batch.helpers import client_of, journal_at, plan, query

OLD = Path(__file__).parent / "data" / "journal-of-0.1.0.sql"
RUN = b'{"id": 11, "organization_id": 3, "status": "COMPLETE"}'


async def ask(path: Path, statement: str) -> list[tuple[Any, ...]]:
    return await asyncio.to_thread(query, path, statement)


async def changed(path: Path) -> dict[str, int]:
    return dict(await ask(path, "SELECT name, changed FROM items"))


async def newer(path: Path, than: int) -> list[str]:
    return [name for name, number in (await changed(path)).items() if number > than]


async def commits(path: Path) -> int:
    return int((await ask(path, "SELECT value FROM meta WHERE name = 'commits'"))[0][0])


# -- which items are new


@pytest.mark.asyncio
async def test_an_item_bears_the_number_of_the_commit_that_changed_it(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    async with journal_at(path) as journal:
        await plan(journal, "a", "b", "c")
        first = await commits(path)
        assert await changed(path) == dict.fromkeys("abc", first)
        claimed = await journal.claim(0)
        assert claimed is not None
        await journal.created(claimed[0].seq, 11)
        assert (await changed(path))["a"] == await commits(path) > first
        assert await newer(path, first) == ["a"]
        before = await commits(path)
        await journal.handed_out(0)
        assert await commits(path) > before
        assert await newer(path, before) == []


@pytest.mark.asyncio
async def test_what_is_taken_back_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    async with journal_at(path) as journal:
        await plan(journal, "a", "b")
        before = await changed(path)
        with pytest.raises(ValueError, match="key"):
            await journal.try_again(["b"], failed=False)
        assert await changed(path) == before


@pytest.mark.asyncio
async def test_the_number_goes_on_growing_over_lives(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    seen = 0
    for name in "abc":
        async with journal_at(path) as journal:
            await plan(journal, name)
        assert (await changed(path))[name] > seen
        seen = await commits(path)


def test_what_is_new_is_found_by_an_index(tmp_path: Path) -> None:
    with contextlib.closing(open_journal(tmp_path / "batch.db")) as connection:
        (how,) = connection.execute("EXPLAIN QUERY PLAN SELECT seq FROM items WHERE changed > 7").fetchall()
        assert "items_by_changed" in how[-1]


# -- phases


@pytest.mark.asyncio
async def test_a_phase_is_noted_once_and_only_while_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    async with journal_at(path) as journal:
        await plan(journal, "a", "b")
        claimed = await journal.claim(0)
        assert claimed is not None
        await journal.created(claimed[0].seq, 11)
        await journal.seen({1: Phase.PENDING, 2: Phase.RUNNING})
        assert await ask(path, "SELECT name, phase, seen_at FROM items") == [
            ("a", "pending", 1000.0),
            ("b", None, None),
        ]
        before = await changed(path)
        await journal.seen({1: Phase.PENDING})
        assert await changed(path) == before


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_a_batch_notes_the_phases_of_its_runs(codegen_server: CodegenServer, tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    codegen_server.world.script = [(0.0, "PENDING"), (20.0, "ACTIVE"), (60.0, "COMPLETE")]
    loop = asyncio.get_running_loop()
    async with client_of(codegen_server) as client, Batch(client, path, clock=loop.time) as batch:
        batch.add("x", key="a")
        task = asyncio.create_task(anext(batch.run()))
        begun = loop.time()
        found: list[tuple[str | None, float]] = []
        while not task.done():
            await asyncio.sleep(1)
            ((state, phase),) = await ask(path, "SELECT state, phase FROM items")
            if state in (State.CREATED, State.ENDED) and phase not in [before for before, _ in found]:
                found.append((phase, loop.time() - begun))
        await task
    phases = [phase for phase, _ in found if phase is not None]
    assert phases[-1] == "succeeded"
    assert "running" in phases
    assert await ask(path, "SELECT state, phase FROM items") == [(State.ENDED, "succeeded")]


@pytest.mark.asyncio
async def test_another_attempt_has_no_phase_yet(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    async with journal_at(path) as journal:
        await plan(journal, "a")
        claimed = await journal.claim(0)
        assert claimed is not None
        await journal.created(1, 11)
        await journal.ended(1, None, "gone")
        await journal.try_again(["a"], failed=False)
        assert await ask(path, "SELECT state, phase, seen_at FROM items") == [("planned", None, None)]


# -- journals of before


def _of_version(path: Path, version: int) -> None:
    """Make a journal as a package of that schema did: with a run that has ended, one that goes on, and a plan."""
    path.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        teach(connection)
        for step in MIGRATIONS[:version]:
            for statement in step:
                connection.execute(statement)
        task = b'{"prompt":"x"}'
        connection.execute(
            "INSERT INTO items (name, task, state, run_id, created_at, ended_at, run, finished)"
            " VALUES ('done', ?, 'ended', 11, 1.0, 2.0, ?, 1)",
            (task, RUN),
        )
        connection.execute("INSERT INTO items (name, task, state, run_id) VALUES ('on', ?, 'created', 12)", (task,))
        connection.execute("INSERT INTO items (name, task) VALUES ('plan', ?)", (task,))
        if version > 1:
            connection.execute("UPDATE items SET digest = digest_of(task)")
        connection.execute("INSERT INTO meta VALUES ('batch', 'abc'), ('finished', 1), ('handed_out', 0)")
        connection.execute("PRAGMA application_id = 1128743242")
        connection.execute(f"PRAGMA user_version = {version}")


def _of_first_release(path: Path) -> None:
    path.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA application_id = 1128743242; PRAGMA user_version = 1; {OLD.read_text()}")


@pytest.mark.parametrize("version", range(1, 6))
@pytest.mark.asyncio
async def test_a_journal_of_every_earlier_schema_knows_phases_once_it_is_driven(tmp_path: Path, version: int) -> None:
    path = tmp_path / "batch.db"
    await asyncio.to_thread(_of_version, path, version)
    async with journal_at(path) as journal:
        assert await ask(path, "SELECT name, phase, seen_at, changed FROM items ORDER BY seq") == [
            ("done", "succeeded", 2.0, 0),
            ("on", None, None, 0),
            ("plan", None, None, 0),
        ]
        await plan(journal, "new")
    assert (await changed(path))["new"] == await commits(path) > 0


@pytest.mark.asyncio
async def test_the_journal_of_the_first_release_knows_phases_once_it_is_driven(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    await asyncio.to_thread(_of_first_release, path)
    async with journal_at(path):
        phases = dict(await ask(path, "SELECT name, phase FROM items WHERE phase IS NOT NULL"))
    assert phases == {"#prompts.jsonl:1": "succeeded", "kept": "failed"}


@pytest.mark.parametrize("run", [b"{", b'{"id": "\xff"}', b'{"id": 1, "result": ' + b"[" * 100_000])
def test_a_snapshot_that_cannot_be_read_has_no_phase(tmp_path: Path, run: bytes) -> None:
    path = tmp_path / "batch.db"
    _of_version(path, 5)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE items SET run = ? WHERE name = 'done'", (run,))
    with contextlib.closing(open_journal(path)) as connection:
        assert connection.execute("SELECT phase FROM items WHERE name = 'done'").fetchone() == (None,)
