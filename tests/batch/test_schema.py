"""The file of a journal: who may read it, and what is said of files that cannot be used."""

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codegen_async import CodegenAsyncError
from codegen_async.batch.batch import export_journal, journal_status
from codegen_async.batch.items import State
from codegen_async.batch.schema import APPLICATION_ID, explain, open_journal, open_to_read
from codegen_async.errors import JournalError
from tests.batch.helpers import journal_at, plan, query, states


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@pytest.fixture
def _generous_umask() -> Generator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def unprivileged() -> Generator[Path]:
    """Yield a directory, and be somebody whom permissions bind."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        journal = Path(name) / "batch.db"
        asyncio.run(_make(journal, "a"))
        nobody = 65_534
        for file in (name, *map(str, Path(name).iterdir())):
            if os.geteuid() == 0:
                os.chown(file, nobody, nobody)
        before = os.geteuid()
        if before == 0:
            os.seteuid(nobody)
        try:
            yield Path(name)
        finally:
            os.seteuid(before)
            Path(name).chmod(0o755)


async def _make(path: Path, *names: str) -> None:
    async with journal_at(path) as journal:
        await plan(journal, *names)


async def _look(path: Path) -> dict[str, State]:
    async with journal_at(path) as journal:
        return await states(journal)


def refusal(path: Path) -> str:
    with pytest.raises(JournalError) as caught:
        asyncio.run(_look(path))
    assert caught.value.path == str(path)
    assert isinstance(caught.value, CodegenAsyncError)
    return str(caught.value)


@pytest.mark.usefixtures("_generous_umask")
def test_all_files_are_for_their_owner_only(path: Path, tmp_path: Path) -> None:
    def modes() -> dict[str, int]:
        return {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}

    async def use() -> dict[str, int]:
        async with journal_at(path) as journal:
            await plan(journal, "a")
            return await asyncio.to_thread(modes)

    assert asyncio.run(use()) == dict.fromkeys(("batch.db", "batch.db-journal", "batch.db-lock"), 0o600)


def test_the_file_says_what_it_is(path: Path) -> None:
    asyncio.run(_make(path, "a"))
    assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert query(path, "PRAGMA user_version") == [(7,)]


def test_what_is_committed_survives_a_power_cut(path: Path) -> None:
    async def pragmas() -> list[object]:
        async with journal_at(path) as journal:
            return [await journal._rows(f"PRAGMA {name}") for name in ("synchronous", "journal_mode")]

    assert asyncio.run(pragmas()) == [[(2,)], [("persist",)]]  # 2 is FULL


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    path.touch()
    assert asyncio.run(_look(path)) == {}


def test_a_text_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("prompt,key\n" * 1000)
    assert "no journal" in refusal(path)
    assert path.read_text() == "prompt,key\n" * 1000


def test_a_database_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE items (a)")
    before = path.read_bytes()
    assert "no journal" in refusal(path)
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    asyncio.run(_make(path, "a"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "newer version" in refusal(path)


def test_a_damaged_journal_is_refused(path: Path) -> None:
    asyncio.run(_make(path, *(f"item {n} {'x' * 150}" for n in range(500))))
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 100] = b"\xff" * 100
    path.write_bytes(content)
    assert "damaged" in refusal(path)


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nowhere" / "batch.db")


def test_a_directory_is_no_journal(tmp_path: Path) -> None:
    assert "is no file" in refusal(tmp_path)
    assert not tmp_path.with_name(f"{tmp_path.name}-lock").exists()


def test_another_file_is_no_journal_and_gets_no_lock(path: Path) -> None:
    path.write_text("important")
    assert "is no journal of this package" in refusal(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_journal_with_a_second_name_is_refused(path: Path) -> None:
    asyncio.run(_make(path, "a"))
    path.with_name("other.db").hardlink_to(path)
    assert "has a second name" in refusal(path)


def test_a_path_that_cannot_be_one_is_refused() -> None:
    assert "cannot be opened" in refusal(Path("a\0b"))


def test_a_directory_that_may_not_be_written_to_is_refused(unprivileged: Path) -> None:
    unprivileged.chmod(0o555)
    assert "lock file cannot be made (Permission denied)" in refusal(unprivileged / "other.db")


def test_a_file_that_may_not_be_written_to_is_refused(unprivileged: Path) -> None:
    path = unprivileged / "batch.db"
    path.chmod(0o400)
    assert "permissions" in refusal(path)
    path.chmod(0o600)
    assert asyncio.run(_look(path)) == {"a": State.PLANNED}


def test_a_reader_needs_a_journal(path: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be opened"):
        asyncio.run(journal_status(path))
    path.write_text("nothing" * 500)
    with pytest.raises(JournalError, match="no journal"):
        asyncio.run(export_journal(path, tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()


def test_those_that_make_a_journal_at_the_same_moment_make_one(tmp_path: Path) -> None:
    """As two may do that reach it by names whose locks do not meet."""
    together = threading.Barrier(4)

    def make(path: Path) -> str:
        together.wait()
        with contextlib.closing(open_journal(path)) as connection:
            return str(connection.execute("SELECT value FROM meta WHERE name = 'batch'").fetchone()[0])

    with ThreadPoolExecutor(4) as threads:
        for number in range(10):
            assert len(set(threads.map(make, [tmp_path / f"{number}.db"] * 4))) == 1


def test_who_reads_waits_for_commits_as_long_as_they_for_readers(path: Path) -> None:
    """Where a disk is slow, a batch that has much to write is hardly ever between two commits."""
    with contextlib.closing(open_journal(path)) as writing, contextlib.closing(open_to_read(path)) as reading:
        patience = [one.execute("PRAGMA busy_timeout").fetchone() for one in (writing, reading)]
    assert patience == [(60_000,), (60_000,)]


def test_a_journal_whose_name_was_nobodys_for_a_moment_is_said_to_be_moved(path: Path) -> None:
    with contextlib.closing(open_journal(path)) as connection:
        path.rename(path.with_name("elsewhere.db"))
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("UPDATE meta SET value = 1 WHERE name = 'finished'")
        path.write_bytes(b"")  # before anybody has asked what the error means
    assert "was moved, replaced or deleted" in str(explain(path, caught.value))
