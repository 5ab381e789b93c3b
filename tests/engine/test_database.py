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
