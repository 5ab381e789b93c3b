"""Kill a batch at its calls to the system, and freeze it at any time: every prompt becomes one run all the same."""

import contextlib
import os
import random
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.batch.kill_processes import LOSSES, SPEED, Report, Weather, drive
from tests.batch.surviving import Server, faults_found, serving, started
from tests.support.calls import DISK, HERE, NET, Stopped

pytestmark = pytest.mark.slow

# -- kills

BRISK = Weather(rate=(4, 20.0), losses=LOSSES[:2])
PROMPTS = [f"prompt {n}" for n in range(6)]


def run_until(place: int | None, server: Server, path: Path) -> int:
    """Run a batch and kill it right before its call of this number, if it comes to that; return how many there were."""
    process = Stopped(started, partial(drive, weather=BRISK), server.address, path, PROMPTS, names=[*DISK, *NET])
    calls = 0
    for call in process:
        file = call.path()
        calls += file is None or file.is_relative_to(path.parent)
        if calls == place:
            break
        process.go_on(call)
    assert process.kill() in (0, -signal.SIGKILL)
    return calls


def kill_and_go_on(folder: Path, seed: int, place: int) -> tuple[Report, bool]:
    """Kill a batch at one of its calls, go on with it, and return what the server says, and whether it was killed."""
    folder.mkdir()
    path = folder / "batch.db"
    with serving(seed, BRISK) as server:
        killed = run_until(place, server, path) == place
        process = started(partial(drive, weather=BRISK), server.address, path, PROMPTS)
        process.join()
        assert process.exitcode == 0
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return server.report(), killed


@pytest.mark.skipif(not HERE, reason="calls are stopped on Linux only, x86_64 or aarch64")
def test_a_hundred_and_ten_kills_at_calls_to_the_system_lose_and_double_nothing(tmp_path: Path) -> None:
    with serving(0, BRISK) as server:
        calls = run_until(None, server, tmp_path / "batch.db")
    places = [1 + number * (calls - 1) // 111 for number in range(112)]
    with ThreadPoolExecutor(5) as lanes:
        cases = range(len(places))
        ends = list(lanes.map(lambda case: kill_and_go_on(tmp_path / str(case), case, places[case]), cases))
    kills = sum(killed for _, killed in ends)
    found = [faults_found(report, PROMPTS) for report, _ in ends]
    violations = sum(report["violations"] for report, _ in ends)
    creates = sum(report["creates"] for report, _ in ends)
    missing, doubled = map(sum, zip(*found, strict=True))
    print(f"\n{kills} kills at {calls} calls: {missing} of {creates} missing, {doubled} doubled, {violations} 429s")  # noqa: T201 - the figures
    assert (missing, doubled, violations) == (0, 0, 0)
    assert kills > 100


# -- freezes

LATE = Weather(lag=20.0)
WINDOW = 60.0 / SPEED


class Frozen(NamedTuple):
    """What came of a batch that was frozen."""

    freezes: int
    kills: int
    faults: tuple[int, int]
    report: Report


def freeze_until_done(folder: Path, seed: int) -> Frozen:
    """Freeze a batch again and again for longer than a window, kill it frozen now and then, until it is done."""
    folder.mkdir()
    rng = random.Random(seed)
    prompts = [f"lane {seed}, prompt {n}" for n in range(14)]
    freezes = kills = 0
    with serving(seed, LATE) as server:
        while True:
            process = started(partial(drive, weather=LATE), server.address, folder / "batch.db", prompts)
            while ends_not(process, rng.expovariate(1 / 1.5)):
                last = signal.SIGKILL if rng.random() < 0.2 else signal.SIGCONT
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(process.pid or 0, signal.SIGSTOP)
                    freezes += 1
                    process.join(WINDOW + rng.uniform(0.1, 1))
                    os.kill(process.pid or 0, last)
            assert process.exitcode in (0, -signal.SIGKILL)
            if process.exitcode == 0:
                report = server.report()
                return Frozen(freezes, kills, faults_found(report, prompts), report)
            kills += 1


def ends_not(process: BaseProcess, seconds: float) -> bool:
    process.join(seconds)
    return process.is_alive()


def test_freezes_of_longer_than_a_window_lose_and_double_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as lanes:
        ends = list(lanes.map(lambda seed: freeze_until_done(tmp_path / str(seed), seed), range(8)))
    freezes, kills = sum(end.freezes for end in ends), sum(end.kills for end in ends)
    missing, doubled = map(sum, zip(*(end.faults for end in ends), strict=True))
    worst = max(end.report["worst"]["create"][0] for end in ends)
    print(f"\n{freezes} freezes, {kills} killed frozen: {missing} missing, {doubled} doubled, {worst} of 10 at once")  # noqa: T201 - the figures
    assert (missing, doubled) == (0, 0)
    assert sum(end.report["violations"] for end in ends) == 0
    assert freezes > 25
