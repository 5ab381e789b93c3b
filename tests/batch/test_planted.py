"""Journals from elsewhere: nothing in them works on our behalf, whoever drives or reads them."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen_async.batch import readers
from codegen_async.batch.batch import Batch
from codegen_async.batch.inputs import Prompts
from codegen_async.batch.lease import Lease
from codegen_async.batch.outside import foresee
from codegen_async.batch.schema import APPLICATION_ID
from codegen_async.batch.tables import MIGRATIONS
from codegen_async.errors import JournalError
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, journal_at, opened, plan, query, run_all

OLD = Path(__file__).parent / "data" / "journal-of-0.1.0.sql"

READERS: list[Callable[[Path], object]] = [
    readers.read_counts,
    readers.read_sent,
    lambda path: list(readers.read_outcomes(path)),
    readers.read_account,
    readers.read_sources,
    lambda path: foresee(path, Prompts("p.jsonl", path.parent)),
]

SCHEMAS = {
    "a trigger that plans again what has ended": """
        CREATE TRIGGER more AFTER UPDATE OF state ON items WHEN new.state = 'ended'
        BEGIN UPDATE items SET state = 'planned', attempt = attempt + 1 WHERE seq = new.seq; END""",
    "a trigger that adds": """
        CREATE TRIGGER more AFTER UPDATE ON meta
        BEGIN INSERT INTO items (name, task) SELECT hex(randomblob(8)), task FROM items LIMIT 1; END""",
    "a view in the place of a table": """
        ALTER TABLE items RENAME TO others;
        CREATE VIEW items AS SELECT * FROM others""",
    "a view with triggers": """
        ALTER TABLE items RENAME TO others;
        CREATE VIEW items AS SELECT *, 'planned' AS state FROM others;
        CREATE TRIGGER more INSTEAD OF UPDATE ON items BEGIN SELECT 1; END""",
    "another view": "CREATE VIEW other AS SELECT load_extension('x')",
    "another table": "CREATE TABLE other (a)",
    "statistics": "ANALYZE",
    "a virtual table": "CREATE VIRTUAL TABLE other USING fts5(a)",
    "another index": "CREATE INDEX other ON items (error)",
    "an index on an expression": "CREATE INDEX other ON items (abs(seq))",
    "an index less": "DROP INDEX items_by_finished",
    "another column": "ALTER TABLE items ADD COLUMN other",
    "a generated column": "ALTER TABLE items ADD COLUMN other GENERATED ALWAYS AS (zeroblob(1000000)) VIRTUAL",
    "a column with a check": "ALTER TABLE items ADD COLUMN other CHECK (abs(seq) > 0)",
    "another check": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(sql, '''unknown''', '''unknown'', ''more''') WHERE name = 'items'""",
    "another collation": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(sql, 'name TEXT NOT', 'name TEXT COLLATE NOCASE NOT')
        WHERE name = 'items'""",
    "another default": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(sql, 'turn INTEGER NOT NULL DEFAULT 0', 'turn INTEGER NOT NULL')
        WHERE name = 'items'""",
    "text that is no schema": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = 'CREATE TABLE items AS nonsense' WHERE name = 'items'""",
    "a table twice": """
        PRAGMA writable_schema = ON;
        INSERT INTO sqlite_master SELECT * FROM sqlite_master WHERE name = 'items'""",
    "a kind that there is not": """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET type = 'other' WHERE name = 'items_by_state'""",
    "the version of another schema": "PRAGMA user_version = 1",
    "no version": "PRAGMA user_version = 0",
    "a version below all": "PRAGMA user_version = -1",
}

CELLS = {
    "text for a number": "UPDATE items SET attempt = 'many'",
    "an attempt of no number": "UPDATE items SET attempt = -1",
    "an attempt beyond all": "UPDATE items SET attempt = 1000000000000000000",
    "half an attempt": "UPDATE items SET attempt = 1.5",
    "an unknown state": "PRAGMA ignore_check_constraints = ON; UPDATE items SET state = 'more'",
    "a state of bytes": "PRAGMA ignore_check_constraints = ON; UPDATE items SET state = x'706C616E6E6564'",
    "a run without a number": "UPDATE items SET state = 'created'",
    "a run that cannot be": "UPDATE items SET run_id = -5",
    "a run of text": "UPDATE items SET run_id = '../x'",
    "a run in text": "UPDATE items SET run = 'x'",
    "a floor below all": "UPDATE items SET floor = -1",
    "a task of text": 'UPDATE items SET task = \'{"prompt": "x"}\'',
    "a task of a number": "UPDATE items SET task = 5",
    "a name of bytes": "UPDATE items SET name = x'00' WHERE seq = 1",
    "a name of nothing": "UPDATE items SET name = '' WHERE seq = 1",
    "an endless name": "UPDATE items SET name = printf('%.*c', 100000, 'x') WHERE seq = 1",
    "a turn of text": "UPDATE items SET turn = 'first'",
    "a time without end": "UPDATE items SET created_at = 9e999",
    "a time of text": "UPDATE items SET ended_at = 'now'",
    "a place before all": "UPDATE items SET finished = -1 WHERE seq = 1",
    "a digest of another length": "UPDATE items SET digest = x'00'",
    "an identity of bytes": "UPDATE items SET identity = x'00' WHERE seq = 1",
    "a source of a number": "UPDATE items SET source = x'00'",
    "a number below all": "UPDATE items SET seq = -1 WHERE seq = 1",
    "no batch": "DELETE FROM meta WHERE name = 'batch'",
    "a batch of bytes": "UPDATE meta SET value = x'00' WHERE name = 'batch'",
    "an endless batch": "UPDATE meta SET value = printf('%.*c', 100000, 'x') WHERE name = 'batch'",
    "a count of text": "UPDATE meta SET value = 'x' WHERE name = 'finished'",
    "a count without end": "UPDATE meta SET value = 9e999 WHERE name = 'handed_out'",
    "a note of bytes": "REPLACE INTO meta VALUES ('place', x'00')",
    "a count of commits that cannot be": "REPLACE INTO meta VALUES ('commits', 9223372036854775807)",
    "a life of text": "INSERT INTO meta VALUES ('life 1', 'x')",
    "an attempt of text": "INSERT INTO attempts (seq, attempt) VALUES (1, 'x')",
}

TASKS = {
    "no JSON": b"{",
    "no object": b"[]",
    "no prompt": b"{}",
    "no text": b'{"prompt": 5}',
    "no UTF-8": b'{"prompt": "\xff"}',
    "nested without end": b'{"prompt": "x", "metadata": ' + b'{"a": ' * 100_000,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "batch.db"
    asyncio.run(_make(path))
    return path


async def _make(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a", "b")


def change(path: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def problem_of(path: Path, use: Callable[[Path], object]) -> str:
    with pytest.raises(JournalError) as caught:
        use(path)
    Lease(path).release()  # it is free
    message = str(caught.value)
    assert str(path) in message
    assert any(advice in message for advice in ("a new journal", "another path", "is damaged"))
    return message


def drive(path: Path) -> None:
    asyncio.run(_make(path))


def refused_by_all(path: Path) -> None:
    before = path.read_bytes()
    for use in (drive, *READERS):
        problem_of(path, use)
    assert path.read_bytes() == before


@pytest.mark.parametrize("script", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_that_is_not_ours_is_refused_by_all(path: Path, script: str) -> None:
    change(path, script)
    refused_by_all(path)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_journal_in_another_encoding_is_refused_by_all(path: Path, encoding: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        dump = "\n".join(connection.iterdump())
    path.unlink()
    path.touch(0o600)
    change(path, f"PRAGMA encoding = '{encoding}'; {dump}; PRAGMA application_id = {APPLICATION_ID}")
    change(path, f"PRAGMA user_version = {len(MIGRATIONS)}")
    refused_by_all(path)


@pytest.mark.parametrize("script", CELLS.values(), ids=CELLS)
def test_cells_that_hold_what_is_never_written_are_refused_by_all(path: Path, script: str) -> None:
    change(path, script)
    for use in (drive, *READERS):
        problem_of(path, use)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_that_cannot_be_read_is_told_by_all_who_need_it(path: Path, task: bytes) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE items SET state = 'sending', task = ?", (task,))
    for use in (READERS[1], READERS[2]):
        assert "is damaged" in problem_of(path, use)


@pytest.mark.parametrize("trigger", [script for name, script in SCHEMAS.items() if "trigger" in name])
@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_an_adopted_journal_makes_no_run_for_a_trigger(
    codegen_server: CodegenServer, path: Path, trigger: str
) -> None:
    await asyncio.to_thread(change, path, trigger)
    with pytest.raises(JournalError, match="is not as this package makes journals"):
        async with opened(codegen_server, path, adopt=True) as batch:
            await run_all(batch)
    assert codegen_server.world.runs == {}


@pytest.mark.parametrize("trigger", [script for name, script in SCHEMAS.items() if "trigger" in name])
@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_a_trigger_that_is_planted_while_a_batch_is_run_makes_no_run(
    codegen_server: CodegenServer, tmp_path: Path, trigger: str
) -> None:
    codegen_server.world.script = SHORT
    path = tmp_path / "own.db"
    async with opened(codegen_server, path) as batch:
        for number in range(10):
            batch.add(f"do {number}")
        await batch.save()
        with pytest.raises(JournalError, match="had its schema changed by another program while it was being run"):
            await _run_and_plant(batch, trigger)
    prompts = [run.prompt for run in codegen_server.world.runs.values()]
    assert len(prompts) == len(set(prompts)) < 10


async def _run_and_plant(batch: Batch, trigger: str) -> None:
    async for _ in batch.run(max_active=3):
        await asyncio.to_thread(change, batch.path, trigger)


# -- of before


def make_old(path: Path, script: str = "") -> None:
    path.touch(0o600)
    change(path, f"{OLD.read_text()}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; {script}")


def test_a_journal_of_before_becomes_one_that_is_made_now_letter_for_letter(path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    make_old(old)
    for read in READERS:
        read(old)  # before it is brought up to date
    assert [source.name for source in readers.read_sources(old)] == ["prompts.jsonl"]
    drive(old)
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
    assert query(old, schema) == query(path, schema)
    assert query(old, "PRAGMA user_version") == [(len(MIGRATIONS),)]


@pytest.mark.parametrize("name", ["a trigger that adds", "another table", "another column", "statistics"])
def test_a_journal_of_before_with_something_in_it_is_refused_before_it_is_touched(tmp_path: Path, name: str) -> None:
    old = tmp_path / "old.db"
    make_old(old, SCHEMAS[name])
    refused_by_all(old)


# -- what lies beside


@pytest.mark.parametrize("side", ["-journal", "-wal", "-shm"])
def test_a_link_beside_a_journal_is_followed_by_nobody(path: Path, side: str) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"mine")
    path.with_name(f"{path.name}{side}").symlink_to(victim)
    for use in (drive, *READERS):
        with pytest.raises(JournalError, match="link"):
            use(path)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("side", ["-journal", "-wal", "-shm"])
def test_a_file_beside_a_journal_that_sqlite_would_not_have_made_is_used_by_nobody(path: Path, side: str) -> None:
    before = path.read_bytes()
    beside = path.with_name(f"{path.name}{side}")
    beside.write_bytes(b"put here")
    beside.chmod(0o644)
    for use in (drive, *READERS):
        with pytest.raises(JournalError, match=r"chmod 600"):
            use(path)
    assert path.read_bytes() == before
    beside.unlink()
    drive(path)


def test_no_reader_waits_for_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.db"
    os.mkfifo(pipe)
    for read in READERS:
        with pytest.raises(JournalError, match="is no file"):
            read(pipe)
