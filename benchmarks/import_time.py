"""What imports cost: CPU time of a fresh Python above one that imports nothing, beside what other clients import.

Each statement runs in processes of its own, in rounds that take turns; user and system time of the process are added,
and the median of the rounds counts. Byte code is cached, as it is in any second run.

Run: python -m benchmarks.import_time [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence

NOTHING = "pass"
OPENED = "from codegen_async import CodegenClient; import codegen_async.http.sender"
"""What a client has imported when it is open."""
PEERS = ("import aiohttp, msgspec", "import httpx, pydantic")
LEAST = "import asyncio"
STATEMENTS = (
    "import codegen_async",
    "from codegen_async import APIError",
    "from codegen_async import CodegenClient",
    OPENED,
    LEAST,
    *PEERS,
)


def cpu_of(statement: str) -> float:
    """Return the milliseconds of CPU that a fresh Python spends on a statement."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen([sys.executable, "-c", statement], env=environment)  # noqa: S603 - one of the table
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, statement
    return (usage.ru_utime + usage.ru_stime) * 1000


def measure(statements: Sequence[str], rounds: int) -> dict[str, float]:
    """Return the medians, of a bare Python too."""
    costs: dict[str, list[float]] = {statement: [] for statement in (NOTHING, *statements)}
    order = list(costs)
    for number in range(rounds + 1):
        random.shuffle(order)
        for statement in order:
            cost = cpu_of(statement)
            if number:  # the first round writes byte code and fills the disk cache
                costs[statement].append(cost)
    return {statement: statistics.median(values) for statement, values in costs.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="(default: 15)")
    rounds = parser.parse_args(arguments).rounds
    medians = measure(STATEMENTS, rounds)
    print(f"CPU milliseconds above a bare Python ({medians[NOTHING]:.0f} ms); medians of {rounds} rounds")
    for statement in STATEMENTS:
        print(f"{medians[statement] - medians[NOTHING]:7.0f}  {statement}")


if __name__ == "__main__":
    main()
