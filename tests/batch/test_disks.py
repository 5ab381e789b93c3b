"""Disks that fail and power that goes, at each call of a batch: every prompt becomes one run all the same."""

import errno
import itertools
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from codegen_async.errors import JournalError
from codegen_async.testing.clock import run_virtual
from tests.batch.stopped_processes import (
    REFUSED,
    faults_in,
    journal_in,
    live_and_tell,
    live_on,
    live_on_a_bad_disk,
    mended_in,
    told_in,
)
from tests.batch.surviving import started
from tests.support.calls import DISK, HERE, Call, Stopped
from tests.support.power import Disk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HERE, reason="calls are stopped on Linux only, x86_64 or aarch64"),
]


def calls_in(folder: Path, process: Stopped) -> Iterator[tuple[Call, Path]]:
    """Yield the calls that are about files in a folder, and let all others be carried out."""
    for call in process:
        path = call.path()
        if path is not None and path.is_relative_to(folder):
            yield call, path
        else:
            process.go_on(call)


# -- faults

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadDisk:
    """A disk that answers with `error` to its call of this number, or the next that changes it, or from then on."""

    error: int
    first: int
    lasts: bool

    def strikes(self, call: Call, number: int, failed: int) -> bool:
        """Whether a call fails, after so many that did."""
        if call.name.startswith("open") and not call.flags() & _CHANGES and self.error != errno.EIO:
            return False
        return number >= self.first and (self.lasts or not failed)


_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def live(folder: Path, disk: BadDisk | None) -> tuple[int, int, int]:
    """Run a batch on a bad disk until it is refused or ends, then on a good one; return how that ended.

    Also return how many calls there were before the disk was mended, and how many of them failed.
    """
    folder.mkdir()
    process = Stopped(started, live_on_a_bad_disk, folder, names=DISK)
    number = failed = 0
    mended = False
    for call, path in calls_in(folder, process):
        mended = mended or path == mended_in(folder)
        number += not mended
        if disk is not None and not mended and disk.strikes(call, number, failed):
            failed += 1
            process.fail(call, disk.error)
        else:
            process.go_on(call)
    return process.kill(), number, failed


def test_two_hundred_and_forty_faults_of_disks_lose_and_double_nothing(tmp_path: Path) -> None:
    end, calls, _ = live(tmp_path / "good", None)
    assert end == 0
    firsts = [1 + place * (calls - 1) // 29 for place in range(30)]
    disks = [
        BadDisk(error=error, first=first, lasts=lasts)
        for error, first, lasts in itertools.product(ERRORS, firsts, (False, True))
    ]
    with ThreadPoolExecutor(2) as lanes:
        ends = list(lanes.map(lambda case: live(tmp_path / str(case[0]), case[1]), enumerate(disks)))
    bad = [(disk, end) for disk, (end, *_) in zip(disks, ends, strict=True) if end not in (0, REFUSED)]
    struck = sum(failed > 0 for *_, failed in ends)
    refused = sum(end == REFUSED for end, *_ in ends)
    print(f"\n{struck} disks that failed, at {calls} calls; {refused} were told of, {len(bad)} ended otherwise")  # noqa: T201 - the figures
    assert not bad
    assert struck > 230
    assert refused > 100


# -- power cuts


@dataclass(frozen=True, slots=True)
class Cut:
    """The files that a power cut leaves, and the runs that were on the server then."""

    files: Mapping[Path, bytes]
    runs: Sequence[bytes]


def tell(disk: Disk, call: Call, path: Path) -> None:
    """Tell the model what is about to be done."""
    first, second, third = call.arguments[1:4]
    match call.name:
        case "open" | "openat":
            disk.opened(path, make=bool(call.flags() & os.O_CREAT), empty=bool(call.flags() & os.O_TRUNC))
        case "write":
            disk.written(path, call.place(), call.memory(first, second))
        case "pwrite64":
            disk.written(path, third, call.memory(first, second))
        case "ftruncate":
            disk.cut_off(path, first)
        case "fsync" | "fdatasync":
            disk.synced(path)
        case "unlink":
            disk.removed(path)
        case _:
            raise AssertionError(f"nobody knows what {call.name} leaves")


def happens(rng: random.Random, probability: float) -> bool:
    """Return True as often as said."""
    return rng.random() < probability


def cuts_of(folder: Path, port: int, rng: random.Random, *, syncs: bool = True) -> Iterator[Cut]:
    """Run a batch and yield what cuts before each of its calls would leave: nothing unsynced, some of it, or all.

    Args:
        folder, port: of the batch and its server.
        rng: decides what is left.
        syncs: whether the disk does what it says when it is told to sync.
    """
    process = Stopped(started, live_and_tell, folder, port, names=DISK)
    disk, runs = Disk(), list[bytes]()
    shares = itertools.cycle((0.0, 0.5, 0.1, 1.0, 0.9))
    for call, path in calls_in(folder, process):
        yield Cut(disk.after_a_cut(partial(happens, rng, next(shares))), tuple(runs))
        if path == told_in(folder):
            if call.name == "write":
                runs.append(call.memory(*call.arguments[1:3]))
        elif syncs or "sync" not in call.name:
            tell(disk, call, path)
        process.go_on(call)
    assert process.kill() == 0


class Folder:
    """A folder whose files are put back as they were; the journal is the same file each time, as it would be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.parent / "aside"
        self._aside.mkdir()
        self._journal = journal_in(path)
        self._inode = self._journal.stat().st_ino

    def restore(self, files: Mapping[Path, bytes]) -> None:
        """Let these files be there and no others."""
        kept = self._aside / "journal"
        if not kept.exists() and self._journal.stat().st_ino == self._inode:
            self._journal.rename(kept)
        for path in [path for path in self._path.rglob("*") if path.is_file()]:
            path.unlink()
        if self._journal in files:
            kept.rename(self._journal)
        for path, content in files.items():
            path.touch(mode=0o600)
            path.write_bytes(content)


def go_on_after(cuts: Sequence[Cut], folder: Folder, path: Path, port: int) -> Counter[str]:
    """Go on after each cut; return how many prompts are missing and doubled, and journals refused."""
    seen: Counter[str] = Counter()
    for cut in cuts:
        folder.restore(cut.files)
        try:
            made = run_virtual(live_on(path, port, cut.runs))
        except JournalError as refused:
            seen[f"refused {str(refused).removeprefix(refused.path)}"] += 1
        else:
            missing, doubled = faults_in(path, made)
            seen.update(missing=missing, doubled=doubled)
    return seen


PORT = 20_000 + os.getpid() % 10_000  # below those that systems give to clients


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "batch"
    folder.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    return folder


def test_a_hundred_and_sixty_power_cuts_lose_and_double_nothing(folder: Path) -> None:
    cuts = list(cuts_of(folder, PORT, random.Random(24)))
    sample = [cuts[place * (len(cuts) - 1) // 159] for place in range(160)]
    seen = go_on_after(sample, Folder(folder), folder, PORT)
    print(f"\n{len(sample)} of {len(cuts)} cuts: {dict(seen)}")  # noqa: T201 - the figures
    assert seen.keys() <= {"missing", "doubled"}  # and no journal is refused
    assert not seen.total()


def test_the_check_finds_fault_with_a_disk_that_does_not_sync(folder: Path) -> None:
    cuts = list(cuts_of(folder, PORT, random.Random(25), syncs=False))
    sample = [cuts[place * (len(cuts) - 1) // 15] for place in range(16)]
    seen = go_on_after(sample, Folder(folder), folder, PORT)
    print(f"\n{len(sample)} of {len(cuts)} cuts: {dict(seen)}")  # noqa: T201 - the figures
    assert seen["doubled"] > 0
    assert seen.total() > 5
