"""The database that several processes share a batch in."""

import contextlib
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text

from codegen_async.engine.database import AwayError, Database, open_database
from codegen_async.errors import JournalError
from tests.support.servers import Server, new_database, postgres

_WRITE = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0.0).execute('BEGIN IMMEDIATE')"


@pytest.fixture(scope="module")
def server() -> Any:
    with postgres() as running:
        yield running


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


def test_a_file_of_others_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE other (name TEXT)")
    file.chmod(0o600)
    before = file.read_bytes()
    database = open_database(f"sqlite:{file}")
    with contextlib.closing(database.connect()) as connection, pytest.raises(JournalError, match="something else"):
        database.prepare(connection)
    assert file.read_bytes() == before


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


def test_who_opens_a_database_does_not_come_between_the_locks_of_a_commit(server: Server) -> None:
    url = new_database(server)
    database = open_database(url)
    with (
        contextlib.closing(database.connect()) as writing,
        psycopg.connect(url, autocommit=True) as looking,
        ThreadPoolExecutor(1) as thread,
    ):
        database.prepare(writing)
        writing.execute("BEGIN IMMEDIATE")
        opened = thread.submit(_open, database)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while looking.execute(waiting).fetchone() is None:
            assert not opened.done()
        writing.execute("INSERT INTO items (name, task) VALUES ('a', '{}')")  # it held items, and both waited
        writing.execute("COMMIT")
        opened.result()
        assert writing.execute("SELECT name FROM items").fetchall() == [("a",)]


def _open(database: Database) -> None:
    with contextlib.closing(database.connect()) as connection:
        database.prepare(connection)


def test_what_a_server_says_when_it_ends_a_transaction_is_told_by_all_that_follows_in_it(server: Server) -> None:
    database = open_database(new_database(server))
    with contextlib.closing(database.connect()) as connection:
        database.prepare(connection)
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(AwayError, match="terminating connection"):
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(AwayError, match="terminating connection"):
            connection.execute("ROLLBACK TO work")
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (0,)


@pytest.mark.parametrize("last", ["SELECT count(*) FROM items", "COMMIT", "ROLLBACK"])
def test_whose_transaction_was_ended_while_he_stood_still_is_told_that_the_database_was_away(
    server: Server, last: str
) -> None:
    url = new_database(server)
    database = open_database(url)
    with contextlib.closing(database.connect()) as connection, psycopg.connect(url, autocommit=True) as looking:
        database.prepare(connection)
        connection.execute("BEGIN IMMEDIATE")
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        connection.execute("SET idle_in_transaction_session_timeout = '1ms'")
        while looking.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
            pass
        with pytest.raises(AwayError):  # for which there is one reason or another, as the goodbye is read or not
            connection.execute(last)
        connection.execute("ROLLBACK")
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (0,)


def test_the_engine_finds_a_database_on_one_of_several_hosts(server: Server) -> None:
    here = f"127.0.0.1:{server.port}"
    database = open_database(new_database(server).replace(here, f"127.0.0.1:1,{here}"))
    with contextlib.closing(database.connect()) as connection:
        database.prepare(connection)
    engine = create_engine(make_url(database.url()).set(drivername="postgresql+psycopg"))
    with engine.connect() as found:
        assert found.execute(text("SELECT count(*) FROM codegen_async.items")).scalar() == 0
    engine.dispose()
