"""A server that survives what happens to its clients, in a process of its own, and what kills them."""

import multiprocessing
import multiprocessing.process
import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.batch.kill_processes import FOUL, STEPS, Report, Weather, serve

# Lives are forked from a process that has everything imported, so that a life is not spent on starting.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["tests.batch.kill_processes", "tests.batch.stopped_processes", "codegen_async.http.sender"]
)


_starting = threading.Lock()


def started(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process, on any thread.

    Each start of `multiprocessing` asks all its processes whether they have ended, and who waits for one on another
    thread hears nothing then. So it is not to know them.
    """
    process = FORKS.Process(target=target, args=arguments, daemon=True)
    with _starting:
        process.start()
        vars(multiprocessing.process)["_children"].discard(process)
    return process


class Server:
    """The process that survives."""

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe = pipe
        self.address: tuple[str, int] = pipe.recv()

    def report(self) -> Report:
        self._pipe.send("report")
        report: Report = self._pipe.recv()
        return report


@contextmanager
def serving(seed: int, weather: Weather = FOUL) -> Generator[Server]:
    ours, theirs = FORKS.Pipe()
    process = started(serve, theirs, seed, weather)
    theirs.close()
    try:
        yield Server(ours)
    finally:
        ours.close()
        process.join(10)
        process.kill()
        process.join()


def faults_found(report: Report, prompts: list[str]) -> tuple[int, int]:
    """Return how many prompts have no run, and how many have more than one."""
    missing = sum(report["prompts"].get(prompt, 0) == 0 for prompt in prompts)
    doubled = sum(report["prompts"].get(prompt, 0) > 1 for prompt in prompts)
    return missing, doubled


def kill_until_done(
    target: Callable[..., None], server: Server, path: Path, prompts: list[str], rng: random.Random
) -> int:
    """Start drivers and kill them until one comes to the end; return how many were killed."""
    kills = 0
    while True:
        step = rng.choice(STEPS) if rng.random() < 0.4 else None
        process = FORKS.Process(target=target, args=(server.address, path, prompts, step, rng.randint(1, 5)))
        process.start()
        process.join(0.1 + rng.expovariate(1 / 0.9))
        process.kill()
        process.join()
        assert process.exitcode in (0, -9)
        if process.exitcode == 0:
            return kills
        kills += 1
