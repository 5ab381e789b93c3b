"""Kill the process of a batch again and again: every prompt becomes one run all the same."""

import contextlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batch.kill_processes import (
    REFUSED,
    TAKEN_OVER,
    drive,
    drive_naively,
    drive_without_locks,
)
from tests.batch.surviving import FORKS, Server, faults_found, kill_until_done, serving

pytestmark = pytest.mark.slow


def test_two_hundred_kills_lose_and_double_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(20)
    kills = batches = 0
    prompts: list[str] = []
    with serving(seed=1) as server:
        while kills < 200:
            batches += 1
            batch = [f"batch {batches}, prompt {n}" for n in range(300 if batches == 1 else 30)]
            prompts += batch
            kills += kill_until_done(drive, server, tmp_path / f"{batches}.db", batch, rng)
            assert faults_found(server.report(), prompts) == (0, 0)
        report = server.report()
    record_property("kills", kills)
    print(f"\n{kills} kills, {len(prompts)} prompts, {report['creates']} creates, {report['worst']}")  # noqa: T201 - the figures
    assert len(report["prompts"]) == len(prompts)
    assert report["worst"]["create"][0] <= 10
    assert report["violations"] == 0, (report["rejected"], report["still"])


def stop_until_done(server: Server, path: Path, prompts: list[str], rng: random.Random) -> Counter[str]:
    """Start drivers beside one another, stop and continue and kill them, until one comes to the end."""
    seen: Counter[str] = Counter()
    drivers: list[Any] = []
    while True:
        drivers.append(FORKS.Process(target=drive_without_locks, args=(server.address, path, prompts)))
        drivers[-1].start()
        time.sleep(rng.uniform(0.3, 1.5))
        for driver in drivers:
            if driver.exitcode is None:
                with contextlib.suppress(ProcessLookupError):  # it has come to its end just now
                    os.kill(driver.pid, rng.choice([signal.SIGSTOP, signal.SIGCONT, signal.SIGCONT]))
            if driver.exitcode is None and rng.random() < 0.05:
                driver.kill()
        seen += Counter(str(driver.exitcode) for driver in drivers if driver.exitcode is not None)
        drivers = [driver for driver in drivers if driver.exitcode is None]
        if seen["0"]:
            break
    for driver in drivers:  # whoever still stands goes on now, and finds that all is done
        with contextlib.suppress(ProcessLookupError):  # as above
            os.kill(driver.pid, signal.SIGCONT)
        driver.join()
    seen += Counter(str(driver.exitcode) for driver in drivers)
    assert seen.keys() <= {"0", "-9", str(REFUSED), str(TAKEN_OVER)}
    return seen


def test_drivers_that_no_lock_keeps_apart_double_nothing_however_they_are_stopped(tmp_path: Path) -> None:
    rng = random.Random(29)
    seen: Counter[str] = Counter()
    prompts: list[str] = []
    with serving(seed=6) as server:
        for number in range(6):
            batch = [f"stops {number}, prompt {n}" for n in range(30)]
            prompts += batch
            seen += stop_until_done(server, tmp_path / f"{number}.db", batch, rng)
            assert faults_found(server.report(), prompts) == (0, 0)
    print(f"\n{seen}, {len(prompts)} prompts")  # noqa: T201 - the figures
    assert seen[str(TAKEN_OVER)] > 3
    assert seen[str(REFUSED)] > 3


def take_copy(folder: Path, target: Path) -> None:
    """Copy the files of a journal one after the other, while they may be written to."""
    target.mkdir()
    for file in sorted(folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(file, target / file.name)


def go_on_in_copies(server: Server, root: Path, prompts: list[str], rng: random.Random) -> Counter[str]:
    """Copy the folder of a driver, kill it, go on in the copy or in one of before, until one comes to the end."""
    seen: Counter[str] = Counter()
    folders = [root / "0"]
    folders[0].mkdir(parents=True)
    folder = folders[0]
    while True:
        process = FORKS.Process(target=drive, args=(server.address, folder / "batch.db", prompts))
        process.start()
        process.join(0.5 + rng.expovariate(1 / 0.8))
        if (folder / "batch.db").exists():
            folders.append(root / str(len(folders)))
            take_copy(folder, folders[-1])
            seen["copied"] += 1
        process.join(rng.expovariate(1 / 0.5))  # what happens now is not in the copy
        process.kill()
        process.join()
        assert process.exitcode in (0, -9, REFUSED)
        if process.exitcode == 0:
            return seen
        seen["refused" if process.exitcode == REFUSED else "killed"] += 1
        if process.exitcode == REFUSED:
            folders = [kept for kept in folders if kept not in (folder, folders[-1])]
        # A copy that was made before the journal was is a batch of its own.
        folder = rng.choice([kept for kept in folders if (kept / "batch.db").exists()][-2:] or folders[:1])


def test_copies_that_are_taken_at_random_and_gone_on_with_elsewhere_double_nothing(tmp_path: Path) -> None:
    rng = random.Random(23)
    seen: Counter[str] = Counter()
    prompts: list[str] = []
    with serving(seed=4) as server:
        for number in range(8):
            batch = [f"copies {number}, prompt {n}" for n in range(30)]
            prompts += batch
            seen += go_on_in_copies(server, tmp_path / str(number), batch, rng)
            assert faults_found(server.report(), prompts) == (0, 0)
    print(f"\n{dict(seen)}, {len(prompts)} prompts")  # noqa: T201 - the figures
    assert seen["copied"] > 20


def test_the_check_finds_fault_with_a_naive_driver(tmp_path: Path) -> None:
    prompts = [f"prompt {n}" for n in range(40)]
    with serving(seed=2) as server:
        kills = kill_until_done(drive_naively, server, tmp_path / "done.txt", prompts, random.Random(21))
        missing, doubled = faults_found(server.report(), prompts)
    print(f"\n{kills} kills, {missing} missing, {doubled} doubled")  # noqa: T201 - the figures
    assert kills > 3
    assert doubled > 3
