"""What a file can meet with: others, in the same place, and places that are none."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from codegen_async.fleet import sqlite
from codegen_async.fleet.address import Address
from codegen_async.fleet.sqlite import SqliteBus, SqliteStore
from codegen_async.fleet.store import Reply, StoreAwayError

_PATIENT = """
from codegen_async.fleet import sqlite
sqlite._ANSWERING = sqlite._LOCKED = 60.0
"""

_COUNT = f"""{_PATIENT}
import asyncio, sys
from codegen_async.fleet.opening import open_store

async def main():
    store = open_store(sys.argv[1])
    there = await store.swap("board", b"", None, None)
    for _ in range(int(sys.argv[2])):
        while True:
            done = await store.swap("board", there.version, b"%d" % (int(there.value or b"0") + 1), there.epoch)
            if done.swapped:
                there = await store.swap("board", b"", None, None)
                break
            there = done

asyncio.run(main())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


class Opened:
    """Use a store without a loop, as what is around it here is files."""

    def __init__(self, file: Path) -> None:
        self._store = SqliteStore(Address(f"sqlite:{file}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run(self._store.close())

    def swap(self, expected: bytes, value: bytes | None, epoch: str | None = None) -> Reply:
        return asyncio.run(self._store.swap("board", expected, value, epoch))

    def refused(self) -> str:
        with pytest.raises(StoreAwayError) as caught:
            self.swap(b"", b"value")
        return str(caught.value)


def started(file: Path, times: int) -> "subprocess.Popen[bytes]":
    """Return a process that counts."""
    return subprocess.Popen([sys.executable, "-c", _COUNT, f"sqlite:{file}", str(times)])  # noqa: S603 - ours


def test_processes_share_a_file_that_is_their_owners_alone(file: Path) -> None:
    running = [started(file, 100) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    with Opened(file) as store:
        assert store.swap(b"", None).value == b"300"
        assert {one.stat().st_mode & 0o777 for one in file.parent.iterdir()} == {0o600}


def test_who_is_killed_locks_nobody_out(file: Path) -> None:
    with Opened(file) as store, started(file, 1_000_000) as process:
        while (before := store.swap(b"", None)).value is None:
            assert process.poll() is None
        process.kill()
        process.wait()
        there = store.swap(b"", None)
        assert there.epoch == before.epoch
        assert store.swap(there.version, b"mine", there.epoch).swapped


_FORK = f"""{_PATIENT}
import asyncio, os, sys
from codegen_async.fleet.opening import open_store

opened = open_store(sys.argv[1])

async def add(store):
    there = await store.swap("board", b"", None, None)
    done = await store.swap("board", there.version, (there.value or b"") + sys.argv[2].encode(), there.epoch)
    assert done.swapped
    return done

async def first_and_last(turns, tells):
    mine = open_store(sys.argv[1])
    await mine.swap("board", b"", None, None)
    os.write(tells, b".")
    os.read(turns, 1)  # the parent has closed the file
    await add(mine)
    os.write(tells, b".")
    os.read(turns, 1)  # another process has come and gone
    await add(mine)

asyncio.run(add(opened))
(child_turns, turn), (told, child_tells) = os.pipe(), os.pipe()
if (child := os.fork()) == 0:
    try:
        asyncio.run(first_and_last(child_turns, child_tells))
    finally:
        os._exit(1 if sys.exc_info()[0] else 0)
os.read(told, 1)
asyncio.run(opened.close())
os.write(turn, b".")
os.read(told, 1)
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[3], sys.argv[1], "1"])
os.wait()
os.write(turn, b".")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

_ADD = f"""{_PATIENT}
import asyncio, sys
from codegen_async.fleet.opening import open_store

async def add(store):
    there = await store.swap("board", b"", None, None)
    assert (await store.swap("board", there.version, there.value + b"b", there.epoch)).swapped

asyncio.run(add(open_store(sys.argv[1])))
"""


def test_a_forked_child_opens_the_file_that_others_have_and_not_one_that_they_have_removed(file: Path) -> None:
    command = [sys.executable, "-c", _FORK, f"sqlite:{file}", "a", _ADD]
    assert subprocess.run(command, check=False).returncode == 0  # noqa: S603 - ours
    with Opened(file) as store:
        assert store.swap(b"", None).value == b"aaba"


def test_what_is_in_use_while_the_process_forks_goes_on(file: Path) -> None:
    with Opened(file) as store:
        made = store.swap(b"", b"value")
        sqlite._forking.before()
        sqlite._forking.after()
        assert store.swap(made.version, b"other", made.epoch).swapped


@pytest.mark.parametrize("beside", ["-wal", "-shm"])
def test_who_lost_what_lies_beside_the_file_joins_the_others(file: Path, beside: str) -> None:
    with Opened(file) as store:
        made = store.swap(b"", b"value")
        file.with_name(file.name + beside).unlink()
        assert "No such file" in store.refused()
        assert store.swap(b"", None).epoch == made.epoch


def test_a_file_that_somebody_holds_is_away_until_he_lets_go(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_LOCKED", 0.5)
    with Opened(file) as store:
        made = store.swap(b"", b"value")
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert "locked" in store.refused()
            other.execute("ROLLBACK")
        assert store.swap(made.version, b"other", made.epoch).swapped


def test_a_file_that_was_removed_is_made_again_as_another_epoch(file: Path) -> None:
    with Opened(file) as store:
        made = store.swap(b"", b"value")
        for one in file.parent.iterdir():
            one.unlink()
        assert "No such file" in store.refused()
        found = store.swap(b"", None)
        assert (found.version, found.uptime) == (b"", float("inf"))
        assert found.epoch != made.epoch


def test_a_file_that_takes_the_place_of_another_is_the_one_that_counts(file: Path) -> None:
    with Opened(file) as store:
        made = store.swap(b"", b"value")
        file.rename(file.with_name("old.db"))
        for name in ("fleet.db-wal", "fleet.db-shm"):
            file.with_name(name).unlink()
        with Opened(file) as other:
            assert other.swap(b"", b"of others").swapped
            assert "has taken its place" in store.refused()
            found = store.swap(made.version, b"mine")
            assert (found.swapped, found.value, found.epoch == made.epoch) == (False, b"of others", False)


def test_after_a_start_of_the_host_it_is_known_since_when_nothing_was_lost(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Opened(file) as store:
        before = store.swap(b"", b"value")
    monkeypatch.setattr(sqlite, "_boot", lambda: "another")
    with Opened(file) as store:
        after = store.swap(b"", None)
    assert (before.uptime, after.uptime) == (float("inf"), after.now)
    assert (after.value, after.epoch.partition("/")[0]) == (b"value", "another")


@pytest.mark.parametrize("beside", ["", "-wal", "-journal"])
def test_what_somebody_else_put_there_is_not_used(file: Path, beside: str) -> None:
    planted = file.with_name("elsewhere")
    planted.write_bytes(b"")
    Path(f"{file}{beside}").symlink_to(planted)
    with Opened(file) as store:
        assert "is no regular file" in store.refused()


def test_the_database_of_another_program_is_left_as_it_is(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE theirs (x)")
    file.chmod(0o600)
    before = file.read_bytes()
    with Opened(file) as store:
        assert "another program" in store.refused()
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_left_as_it_is(file: Path) -> None:
    file.write_text("a note, which is not a database, though it has some length\n" * 20)
    file.chmod(0o600)
    with Opened(file) as store:
        assert "not a database" in store.refused()
    assert file.read_text().startswith("a note")


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with Opened(tmp_path / "none" / "fleet.db") as store:
        assert "No such file or directory" in store.refused()
    assert not (tmp_path / "none").exists()


def test_a_file_that_others_may_read_is_refused(file: Path) -> None:
    file.touch(mode=0o644)
    with Opened(file) as store:
        assert "can be read or written by others" in store.refused()


def test_old_messages_are_removed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_KEPT", 0.0)
    bus = SqliteBus(Address(f"sqlite:{file}"))
    for number in range(5):
        asyncio.run(bus.publish("channel", b"%d" % number))
    asyncio.run(bus.close())
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT body FROM message").fetchall() == [(b"4",)]


def test_a_network_file_system_is_told_from_a_disk(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    number = f"{device >> 8}:{device & 255}"
    mounts = tmp_path / "mountinfo"
    for kind, told in (("ext4", "ext4"), ("nfs4", "nfs4"), ("fuse.sshfs", "sshfs"), ("fuseblk", "fuseblk")):
        mounts.write_text(f"20 1 0:999 / /proc rw - proc proc rw\n21 1 {number} / / rw,x shared:1 - {kind} disk rw\n")
        assert sqlite._kind(tmp_path, mounts) == told
    assert sqlite._kind(tmp_path, tmp_path / "none") == ""


def test_a_file_where_other_hosts_write_too_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_kind", lambda _: "nfs4")
    with Opened(file) as store:
        assert "lies on a network file system (nfs4)" in store.refused()
    assert not file.exists()


def test_a_file_in_memory_is_gone_when_the_host_starts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_kind", lambda _: "tmpfs")
    with Opened(file) as store:
        reply = store.swap(b"", None)
    assert reply.uptime == reply.now
