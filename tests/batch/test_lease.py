"""One process drives a journal; others may look."""

import asyncio
import contextlib
import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from codegen_async.batch.batch import journal_status
from codegen_async.batch.items import State
from codegen_async.batch.lease import Lease
from codegen_async.errors import JournalError
from tests.batch.helpers import journal_at, plan

HOLDER = """
import asyncio, sys
from pathlib import Path
from tests.batch.helpers import journal_at, plan

async def hold():
    async with journal_at(Path(sys.argv[1])) as journal:
        await plan(journal, "a", "b")
        await journal.claim(0)
        print("held", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(hold())
"""


@contextlib.contextmanager
def driven(path: Path) -> "Generator[subprocess.Popen[str]]":
    """Drive a journal in another process, which is killed in the end."""
    with subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@pytest.fixture
def holder(path: Path) -> "Generator[subprocess.Popen[str]]":
    with driven(path) as process:
        yield process


@pytest.mark.asyncio
async def test_a_second_process_is_told_who_drives_the_journal(path: Path, holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(JournalError, match=f"by process {holder.pid}") as caught:
        async with journal_at(path):
            pass
    assert str(path) in str(caught.value)


@pytest.mark.asyncio
async def test_others_may_read_meanwhile(path: Path, holder: "subprocess.Popen[str]") -> None:
    assert holder.poll() is None
    status = await journal_status(path)
    assert (status[State.PLANNED], status[State.SENDING], status[State.ENDED]) == (1, 1, 0)


@pytest.mark.asyncio
async def test_a_process_that_is_killed_leaves_the_journal_to_the_next(
    path: Path, holder: "subprocess.Popen[str]"
) -> None:
    holder.kill()
    holder.wait()
    async with journal_at(path) as journal:
        counts = await journal.counts()
        await plan(journal, "c")
    assert (counts[State.PLANNED], counts[State.SENDING]) == (1, 1)


@pytest.mark.asyncio
async def test_one_process_cannot_drive_a_journal_twice(path: Path) -> None:
    async with journal_at(path):
        with pytest.raises(JournalError, match=f"by process {os.getpid()}"):
            async with journal_at(path):
                pass


def test_a_lease_can_be_had_again_once_it_is_released(path: Path) -> None:
    first = Lease(path)
    with pytest.raises(JournalError):
        Lease(path)
    first.release()
    Lease(path).release()


# -- forks


def drive(path: Path) -> None:
    async def open_and_leave() -> None:
        async with journal_at(path):
            pass

    asyncio.run(open_and_leave())


CHILDREN = {
    "os.fork": "child = os.fork()",
    "a fork that Python does not know of": "child = ctypes.CDLL(None).fork()",
    "multiprocessing": """
process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=False)
process.start()
child = process.pid
""",
    "subprocess": "child = subprocess.Popen(['sleep', '600'], close_fds=False, preexec_fn=lambda: None).pid",
    "posix_spawn": "child = os.posix_spawn('/bin/sleep', ['sleep', '600'], os.environ)",
    "a daemon": """
readable, writable = os.pipe()
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(writable, str(os.getpid()).encode())
    time.sleep(600)
child = int(os.read(readable, 32))
""",
}

FORKING = """
import asyncio, ctypes, multiprocessing, os, subprocess, sys, time
from pathlib import Path
from tests.batch.helpers import journal_at

async def hold():
    async with journal_at(Path(sys.argv[1])):
        names = {}
        exec(sys.argv[2], globals(), names)
        if not names["child"]:
            time.sleep(600)
        print(names["child"], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(hold())
"""


@pytest.mark.parametrize("how", CHILDREN)
def test_a_child_that_outlives_the_driver_keeps_nobody_from_driving(path: Path, how: str) -> None:
    with subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", FORKING, str(path), CHILDREN[how]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            with pytest.raises(JournalError, match=f"by process {process.pid}, which is running"):
                drive(path)
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            drive(path)  # it is a zombie, as in a container whose first process collects nobody
            process.wait()
            with driven(path), pytest.raises(JournalError, match="is being run by process"):
                drive(path)
            drive(path)
        finally:
            os.kill(child, signal.SIGKILL)


def _release_in_child(lease: Lease) -> None:
    lease.release()


def test_a_child_that_leaves_the_block_of_its_parent_takes_nothing_from_it(path: Path) -> None:
    lease = Lease(path)
    child = multiprocessing.get_context("fork").Process(target=_release_in_child, args=(lease,))
    child.start()
    child.join()
    assert child.exitcode == 0
    with pytest.raises(JournalError, match="by another process"):
        Lease(path)
    lease.release()
    Lease(path).release()


# -- what else a lock can meet


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EIO, errno.EINTR])
def test_a_file_system_without_locks_is_called_so(path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(JournalError, match="local file system") as caught:
        Lease(path)
    assert os.strerror(code) in str(caught.value)
    assert "is being run" not in str(caught.value)


def test_a_lock_file_that_is_removed_lets_no_second_driver_in(path: Path, holder: "subprocess.Popen[str]") -> None:
    for _ in range(2):  # the second finds the lock file that the first has made
        path.with_name("batch.db-lock").unlink()
        with pytest.raises(JournalError, match=f"is being run by process {holder.pid}, which is running"):
            drive(path)
    holder.kill()
    holder.wait()
    drive(path)


@pytest.mark.parametrize("size", [0, 1, 40, 5000])
def test_a_lock_file_that_is_cut_short_lets_nobody_in_and_kills_nobody(
    path: Path, holder: "subprocess.Popen[str]", size: int
) -> None:
    os.truncate(path.with_name("batch.db-lock"), size)
    with pytest.raises(JournalError, match=f"by process {holder.pid}"):
        drive(path)
    assert holder.communicate()[0] == ""
    assert holder.returncode == 0
    drive(path)


def test_a_link_under_the_name_of_the_lock_is_refused_and_what_it_leads_to_is_not_touched(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"mine")
    path.with_name("batch.db-lock").symlink_to(victim)
    with pytest.raises(JournalError, match="symbolic link"):
        drive(path)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("turns", range(1, 12))
@pytest.mark.parametrize("cancels", [1, 2, 3])
@pytest.mark.asyncio
async def test_cancels_while_it_is_opened_or_closed_leave_no_lock(path: Path, turns: int, cancels: int) -> None:
    async def use() -> None:
        async with journal_at(path) as journal:
            await plan(journal, "a")

    task = asyncio.create_task(use())
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with journal_at(path) as journal:  # whether the item got in depends on where it was cancelled
        assert sum((await journal.counts()).values()) in (0, 1)
