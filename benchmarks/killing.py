"""Batches whose process is killed: how many prompts have no run at the end, or more than one.

Half of the answers to creates are lost or late, and the process is killed about once a second, sometimes in the midst
of a write or a send (`tests/batch`), until one comes to the end; all clocks run twelve times faster than life. Beside
`Batch`, what is usually written: note in a file what was created, and try again what fails.

Run: python -m benchmarks.killing [--prompts N]
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.batch.kill_processes import drive, drive_naively
from tests.batch.surviving import faults_found, kill_until_done, serving


def drive_quietly(*arguments: Any) -> None:
    logging.disable(logging.WARNING)  # of what needs attention there are many
    drive(*arguments)


OURS, PEER = "codegen_async", "notes in a file"
WAYS: dict[str, Callable[..., None]] = {OURS: drive_quietly, PEER: drive_naively}


class Killed(NamedTuple):
    """What became of a batch."""

    kills: int
    missing: int
    doubled: int


def kill(way: str, prompts: Sequence[str], seed: int = 1) -> Killed:
    """Run a batch, and kill its processes until it is done."""
    with tempfile.TemporaryDirectory() as folder, serving(seed) as server:
        kills = kill_until_done(WAYS[way], server, Path(folder, "batch.db"), [*prompts], random.Random(seed))
        return Killed(kills, *faults_found(server.report(), [*prompts]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=60, help="in the batch (default: 60)")
    prompts = [f"prompt {number}" for number in range(parser.parse_args(arguments).prompts)]
    print(f"{f'{len(prompts)} prompts':20}{'kills':>8}{'missing':>10}{'doubled':>10}")
    for way in WAYS:
        result = kill(way, prompts)
        print(f"{way:20}{result.kills:8}{result.missing:10}{result.doubled:10}", flush=True)


if __name__ == "__main__":
    main()
