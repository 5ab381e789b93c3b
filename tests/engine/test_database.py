"""The file that several processes share a batch in."""

import contextlib
import subprocess
import sys
from pathlib import Path

from codegen_async.engine.database import open_database

_WRITE = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0.0).execute('BEGIN IMMEDIATE')"


def test_who_reads_a_file_leaves_the_locks_on_it_that_his_process_has(tmp_path: Path) -> None:
    file = tmp_path / "batch.db"
    database = open_database(f"sqlite:{file}")
    with contextlib.closing(database.connect()) as writing:
        database.prepare(writing)
        writing.execute("BEGIN IMMEDIATE")
        with database.reading():
            pass
        command = [sys.executable, "-c", _WRITE, str(file)]
        other = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        assert "database is locked" in other.stderr
        writing.execute("ROLLBACK")


def test_a_database_of_before_gets_the_columns_that_came_later(tmp_path: Path) -> None:
    database = open_database(f"sqlite:{tmp_path / 'batch.db'}")
    with contextlib.closing(database.connect()) as connection:
        database.prepare(connection)
        for name in ("phase", "seen_at"):
            connection.execute(f"ALTER TABLE items DROP COLUMN {name}")
        connection.execute("INSERT INTO items (name, task) VALUES ('a', X'7B7D')")
        for _ in range(2):
            database.prepare(connection)
        assert connection.execute("SELECT name, phase, seen_at FROM items").fetchall() == [("a", None, None)]
