"""Where no lock keeps two drivers apart, the journal does; see `codegen_async.batch.holder`."""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from codegen_async.batch import holder as holders
from codegen_async.batch import lease as leases
from codegen_async.batch.holder import Holder, holder_of
from codegen_async.batch.lease import is_driven
from codegen_async.batch.places import as_text
from codegen_async.errors import JournalError
from codegen_async.posix import fcntl
from tests.batch.helpers import journal_at

# A driver in another process, on a file system whose locks do nothing: it claims an item for each line that it is told.
LOCKLESS = """
import asyncio, fcntl, sys
from pathlib import Path
from codegen_async.batch import holder, lease
from codegen_async.errors import JournalError
from tests.batch.helpers import journal_at, plan

lease._OWN_LOCK, fcntl.flock = None, lambda *_: None  # no locks
holder._ANSWER_EVERY, holder._LOOKS, holder._LOOK_EVERY = 0.02, int(sys.argv[2]), 0.02

async def drive():
    read = lambda: asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    async with journal_at(Path(sys.argv[1])) as journal:
        await plan(journal, *"abcdefgh")
        print("driving", flush=True)
        while await read():
            print((await journal.claim(0))[0].name, flush=True)

try:
    asyncio.run(drive())
except JournalError as error:
    print(error, flush=True)
"""


NO_LOCKS = next(line for line in LOCKLESS.splitlines() if line.endswith("# no locks"))


class Driver:
    """A process that drives a journal without locks."""

    def __init__(self, path: Path, looks: int = 500) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", LOCKLESS, str(path), str(looks)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Return what it says next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def claim(self) -> str:
        """Return the item that it has claimed, or why it could not."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.line()

    def kill(self) -> None:
        """Kill it, and let nobody ask whether it is there."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@pytest.fixture
def start() -> "Generator[Callable[..., Driver]]":
    with contextlib.ExitStack() as stack:

        def start(path: Path, looks: int = 500) -> Driver:
            driver = Driver(path, looks)
            stack.enter_context(driver.process)
            stack.callback(driver.process.kill)
            return driver

        yield start


@pytest.fixture
def _no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_OWN_LOCK", None)
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(holders, "_LOOKS", 3)


def _drive(path: Path) -> None:
    async def open_and_leave() -> None:
        async with journal_at(path):
            pass

    asyncio.run(open_and_leave())


def _leave_behind(path: Path, left: Holder) -> None:
    """Let somebody have driven a journal whose name was left in it."""
    _drive(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('driver', ?)", (as_text(left),))


# -- a driver that lives


def test_a_driver_that_holds_no_lock_answers_who_knocks(path: Path, start: Callable[..., Driver]) -> None:
    first = start(path)
    assert first.line() == "driving"
    second = start(path)
    assert f"is being run by process {first.process.pid}, which is running; one at a time" in second.line()
    assert first.claim() == "a"


def test_of_many_that_begin_at_once_one_drives(path: Path, start: Callable[..., Driver]) -> None:
    for round_ in range(3):
        drivers = [start(path) for _ in range(5)]
        told = [driver.line() for driver in drivers]
        assert told.count("driving") == 1
        assert sum("is being run by process" in each for each in told) == 4
        driving = drivers[told.index("driving")]
        assert driving.claim() == "abc"[round_]
        driving.kill()


def test_one_that_is_killed_keeps_nobody_waiting(path: Path, start: Callable[..., Driver]) -> None:
    first = start(path)
    assert first.line() == "driving"
    first.kill()
    second = start(path, looks=10**9)  # if it had to knock, it would not be here for a year
    assert second.line() == "driving"


# -- a driver that stands still


def test_one_that_was_stopped_and_taken_over_claims_nothing_more(path: Path, start: Callable[..., Driver]) -> None:
    first = start(path)
    assert first.line() == "driving"
    assert first.claim() == "a"
    os.kill(first.process.pid, signal.SIGSTOP)
    second = start(path, looks=5)
    assert second.line() == "driving"
    os.kill(first.process.pid, signal.SIGCONT)
    assert "was taken over by another process; this one sends nothing more" in first.claim()
    assert first.process.wait() == 0
    assert second.claim() == "b"  # and the one that has left has taken nothing from it
    third = start(path)
    assert f"is being run by process {second.process.pid}" in third.line()


def test_one_that_was_stopped_while_it_holds_its_lock_is_not_taken_over(
    path: Path, start: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LOCKLESS", LOCKLESS.replace(NO_LOCKS, ""))
    first = start(path)
    assert first.line() == "driving"
    os.kill(first.process.pid, signal.SIGSTOP)
    with pytest.raises(JournalError, match=f"by process {first.process.pid}, which is running"):
        _drive(path)


# -- names that are left over


@pytest.mark.usefixtures("_no_locks")
def test_what_was_left_on_another_machine_has_to_be_silent_for_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave_behind(path, Holder("0123456789abcdef", 1, "7", "another boot"))
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    _drive(path)
    assert len(slept) == 3
    _drive(path)
    assert len(slept) == 3  # it has ended well, and nobody has to ask


@pytest.mark.parametrize("number", [-1, 0, 1, 2**22 + 1, 10**30])
@pytest.mark.usefixtures("_no_locks")
def test_whatever_process_is_named_the_journal_can_be_driven(path: Path, number: int) -> None:
    _leave_behind(path, Holder("0123456789abcdef", number, "7", Holder.here().system))
    _drive(path)


@pytest.mark.parametrize("text", ["", "{", '["a"]', "null"])
def test_a_name_that_cannot_be_read_is_nobodys(path: Path, text: str) -> None:
    _drive(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'driver'", (text,))
    _drive(path)


@pytest.mark.usefixtures("_no_locks")
def test_an_answer_that_comes_late_still_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that knocks is stopped after its last look."""
    left = Holder("0123456789abcdef", 1, "7", "another boot")
    _leave_behind(path, left)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DELETE FROM meta WHERE name = 'knock'")

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(JournalError, match="is being run by process 1 of another machine or container"):
        _drive(path)


def test_a_copy_of_a_journal_that_is_driven_knows_of_nobody(path: Path, start: Callable[..., Driver]) -> None:
    first = start(path)
    assert first.line() == "driving"
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    copy.chmod(0o600)
    with pytest.raises(JournalError, match=r"is a copy of .*batch\.db, which is being run"):
        _drive(copy)
    first.kill()
    _drive(copy)


# -- who asks


def test_a_journal_says_whether_it_is_driven(path: Path) -> None:
    async def drive() -> bool:
        async with journal_at(path):
            return await asyncio.to_thread(is_driven, path)

    assert not is_driven(path)
    assert asyncio.run(drive())
    assert not is_driven(path)


def test_what_a_killed_process_has_left_is_not_driven(path: Path, start: Callable[..., Driver]) -> None:
    first = start(path)
    assert first.line() == "driving"
    assert is_driven(path)
    first.kill()
    assert not is_driven(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert holder_of(connection) is not None


# -- the memory of what was sent


@pytest.mark.parametrize("lost", ["removed", "emptied", "another's"])
def test_what_a_killed_driver_has_sent_is_suspected_where_its_memory_is_lost(
    path: Path, start: Callable[..., Driver], lost: str
) -> None:
    first = start(path)
    assert first.line() == "driving"
    first.kill()
    lock = path.with_name("batch.db-lock")
    if lost == "removed":
        lock.unlink()
    elif lost == "emptied":
        os.truncate(lock, 0)
    else:
        _drive(path.with_name("other.db"))
        path.with_name("other.db-lock").replace(lock)
    _drive(path)
    assert any(lock.read_bytes()[300_000:500_000])


def test_a_memory_that_is_as_its_driver_left_it_is_believed(path: Path, start: Callable[..., Driver]) -> None:
    first = start(path)
    assert first.line() == "driving"
    first.kill()
    _drive(path)
    assert not any(path.with_name("batch.db-lock").read_bytes()[300_000:500_000])


# -- one file under two names


MOUNT = """
mkdir "$0/other" && touch "$0/other/batch.db" && chmod 600 "$0/other/batch.db"
mount --bind "$0/batch.db" "$0/other/batch.db" && exec "$@"
"""

TWO_NAMES = """
import sys
from pathlib import Path
from tests.batch.test_holder import Driver

one, other = Path(sys.argv[1], "batch.db"), Path(sys.argv[1], "other", "batch.db")
first = Driver(one)
print(first.line())
print(Driver(other).line())
print(first.claim())
first.kill()
last = Driver(other)
print(last.line())
print(Driver(one).line())
last.kill()
"""


def test_a_journal_that_is_mounted_a_second_time_has_one_driver(path: Path) -> None:
    _drive(path)
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:  # noqa: S607
        pytest.skip("this machine lets nobody mount")
    done = subprocess.run(  # noqa: S603 - this very interpreter
        ["unshare", "-rm", "sh", "-c", MOUNT, str(path.parent), sys.executable, "-c", TWO_NAMES, str(path.parent)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, claimed, last, too_late = done.stdout.splitlines()
    assert (first, claimed, last) == ("driving", "a", "driving")
    assert "is being run by process" in second
    assert "is being run by process" in too_late


def test_a_journal_with_two_names_is_refused_under_both(path: Path) -> None:
    _drive(path)
    other = path.with_name("other.db")
    other.hardlink_to(path)
    for name in (path, other):
        with pytest.raises(JournalError, match="has a second name"):
            _drive(name)
