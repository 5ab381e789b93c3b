"""The example for Temporal against its server, its workers killed and frozen: each item becomes one run."""

import os
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from codegen_async.testing import CodegenServer, Fault, Life
from tests.cli.harness import Served, running
from tests.support.ports import own_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build/temporal/bin"
ITEMS = 40
LATER = 120  # at most, that keep coming: what they show decides what was lost last


Started = subprocess.Popen[str]


def serving() -> CodegenServer:
    server = CodegenServer(
        token="simulated",
        seed=5,
        life=Life(median=2.0, sigma=0.5, outcomes={"COMPLETE": 1}),
        latency=(0.0, 0.05),
        rates={"create": (40, 5.0), "get": (400, 5.0), "list": (400, 5.0)},
    )
    for fault in (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.ERROR_AFTER):
        server.faults.add(fault, endpoint="create", times=None, probability=0.1)
    return server


@contextmanager
def process(*words: object, **options: Any) -> Generator[Started]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "docs/examples"), "BATCH_LEASE": "4"}
    with subprocess.Popen([*map(str, words)], env=environment, text=True, **options) as started:  # noqa: S603 - ours
        try:
            yield started
        finally:
            started.kill()


def until_up(port: int) -> None:
    until = time.monotonic() + 30.0
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.1)
        else:
            return


def trouble(workers: list[Started], rng: random.Random, new: Any, seen: Counter[str]) -> None:
    """Kill a worker and start another, or freeze it for longer than its lease."""
    place = rng.randrange(len(workers))
    if rng.random() < 0.6:
        seen["kills"] += 1
        workers[place].kill()
        workers[place] = new()
    else:
        seen["freezes"] += 1
        workers[place].send_signal(signal.SIGSTOP)
        time.sleep(rng.uniform(5.0, 7.0))
        workers[place].send_signal(signal.SIGCONT)


@contextmanager
def engine(folder: Path) -> Generator[tuple[Served, Callable[[], Started], Callable[[int, int], Started]]]:
    """Yield a server of the API, and what starts a worker, and a batch of so many items from one on, with Temporal."""
    if not (PLACE / "temporal").exists():
        pytest.skip("no server of Temporal: make build/temporal/made")
    files = Path(__file__).parent
    with running(serving, Served) as fake, own_port() as port, ExitStack() as stack:
        start = ("server", "start-dev", "--headless", "--port", port, "--db-filename", folder / "temporal.db")
        stack.enter_context(process(PLACE / "temporal", *start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        until_up(port)
        address = f"127.0.0.1:{port}"
        words = (files / "temporal_worker.py", fake.server.url, fake.server.org_id, address)

        def worker() -> Started:
            return stack.enter_context(process(PLACE / "python", *words, stderr=subprocess.DEVNULL))

        def starter(first: int, count: int) -> Started:
            words = (files / "temporal_starter.py", address, first, count)
            return stack.enter_context(process(PLACE / "python", *words, stdout=subprocess.PIPE))

        yield fake, worker, starter


def test_a_batch_that_is_run_again_tells_the_same_and_makes_nothing(tmp_path: Path) -> None:
    with engine(tmp_path) as (fake, worker, starter):
        fake.do(lambda server: server.faults.clear())
        worker()
        first, _ = starter(0, 2).communicate(timeout=300)
        again, _ = starter(0, 3).communicate(timeout=300)
        assert first == "item-0 succeeded\nitem-1 succeeded\n"
        assert again == f"{first}item-2 succeeded\n"
        assert len(fake.server.world.runs) == 3


def test_workers_that_are_killed_and_frozen_lose_and_double_nothing(tmp_path: Path) -> None:
    rng, seen = random.Random(4), Counter[str]()
    with engine(tmp_path) as (fake, worker, starter):
        workers = [worker() for _ in range(3)]
        batch = starter(0, ITEMS)
        until = time.monotonic() + 25.0
        while batch.poll() is None and time.monotonic() < until:
            time.sleep(rng.uniform(1.0, 3.0))
            trouble(workers, rng, worker, seen)
        later = 0
        while batch.poll() is None and later < LATER:
            later += 1
            starter(ITEMS + later, 1)
            time.sleep(4.0)
        said, _ = batch.communicate(timeout=300)
        prompts = Counter(run.prompt for run in fake.server.world.runs.values())
    print(f"\n{dict(seen)}, {later} later")  # noqa: T201 - the figures
    assert len(said.splitlines()) == ITEMS
    assert [prompts[f"item {n}"] for n in range(ITEMS)] == [1] * ITEMS
    assert all(prompts[f"item {n}"] <= 1 for n in range(ITEMS, ITEMS + LATER + 1))
    assert seen.total() > 3
