"""One process drives a journal; others may look."""

import os
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@pytest.fixture
def holder(path: Path) -> "Generator[subprocess.Popen[str]]":
    with subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


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
