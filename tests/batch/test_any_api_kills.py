"""Kill the process of a batch at an API of a dialect again and again: every item becomes one run all the same."""

import random
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.batch import any_api_processes, middesk_processes
from tests.batch.surviving import FORKS, started

pytestmark = pytest.mark.slow

KILLS = 50

OTHERS: dict[str, Any] = {"middesk": middesk_processes}
"""What has a client and a server of its own."""


def name_of(kind: str, batch: int, task: int) -> str:
    return f"{batch:08}-0000-4000-8000-{task:012}" if kind == "middesk" else f"batch {batch}, task {task}"


@contextmanager
def serving(kind: str, seed: int) -> Generator[Any]:
    ours, theirs = FORKS.Pipe()
    process = started(OTHERS.get(kind, any_api_processes).serve, theirs, kind, seed)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(10)
        process.kill()


def live(kind: str, port: int, path: Path, tasks: list[str], seconds: float | None) -> int | None:
    """Drive the batch for so long, and return how that ended."""
    drive = OTHERS.get(kind, any_api_processes).drive
    process = FORKS.Process(target=drive, args=(kind, port, path, tasks))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode


def lifetime(rng: random.Random, kills: int) -> float | None:
    """Return for how many seconds the next process lives; the last one comes to its end."""
    return None if kills >= KILLS else 0.2 + rng.expovariate(1 / 0.5)


@pytest.mark.parametrize("kind", [*any_api_processes.DIALECTS, *OTHERS])
def test_fifty_kills_lose_and_double_nothing(tmp_path: Path, kind: str) -> None:
    rng = random.Random(kind)
    kills = batches = 0
    everything: list[str] = []
    with serving(kind, seed=1) as server:
        port = server.recv()
        while kills < KILLS:
            batches += 1
            tasks = [name_of(kind, batches, n) for n in range(120)]
            everything += tasks
            path = tmp_path / f"{batches}.db"
            # Of the first create of all, no search can tell that it would show it: nothing was there before.
            assert live(kind, port, path, tasks[:1], None) == 0
            while (code := live(kind, port, path, tasks, lifetime(rng, kills))) != 0:
                assert code == -9
                kills += 1
            server.send("runs")
            assert server.recv() == dict.fromkeys(everything, 1)  # 0 missing, 0 doubled
    print(f"\n{kind}: {kills} kills, {len(everything)} tasks")  # noqa: T201 - the figures
