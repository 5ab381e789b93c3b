"""What shared looks cost, and how late ends are noticed: eight processes of a fleet beside one that has all their runs.

The *production* waits, schedule and looks run in virtual time against the model of the server of `polling.py`; legs
take 20 to 150 ms one way, hellos 1 to 5 ms. Each row is a scenario, each column a company:

- one process: it waits for all runs;
- alone: eight processes that share the limits, and each looks for its own runs;
- fleet: eight that share their looks;
- lossy: the same, where a tenth of all hellos is lost;
- killed: the leader is killed every five minutes, and ten seconds later another process goes on with its runs;
- parted: half of the time, four of them do not hear the other four.

A drain is over when nine tenths of all ends are known. Shown are the mean and the 95th percentile of the seconds from
the end of a run until whoever waits for it knows, and the requests for each run that has ended. A 429 stops it: it must
not happen.

Run: python -m benchmarks.fleet_polling [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
from collections.abc import Sequence
from statistics import median

from benchmarks._fleet_air import Air
from benchmarks._fleet_model import Cast, Company, Play, perform
from benchmarks._polling_model import LOGNORMAL
from codegen_async.testing.clock import run_virtual

PLAYS = [
    Play("drain, 400 positions, latency 5", LOGNORMAL, 400, 400),
    Play("drain, 1,200 positions, latency 5", LOGNORMAL, 400, 1200),
    Play("steady, 96 runs, latency 5", LOGNORMAL, 96, steady=True, finished=400),
    Play("drain, 400 positions, latency 0", LOGNORMAL, 400, 400, latency=0.0),
    Play("100 runs, each watched by all 8", LOGNORMAL, 100, 100, shared=True),
]


async def kill_leaders(company: Company) -> None:
    number = 0
    while True:
        await asyncio.sleep(290)
        number += 1
        await company.replace_leader(f"n{number}")


async def part(company: Company) -> None:
    halves = [{process.name for process in company.processes[:4]}, {process.name for process in company.processes[4:]}]
    assert company.air is not None
    while True:
        await asyncio.sleep(120)
        company.air.may_pass = lambda a, b: (a in halves[0]) is (b in halves[0])
        await asyncio.sleep(120)
        company.air.may_pass = lambda _, __: True


ONE = Cast("one process", 1)
ALONE = Cast("alone")
FLEET = Cast("fleet", air=Air)
KILLED = Cast("killed", air=Air, plot=kill_leaders)
CASTS = [
    ONE,
    ALONE,
    FLEET,
    Cast("lossy", air=functools.partial(Air, lost=0.1)),
    KILLED,
    Cast("parted", air=Air, plot=part),
]


def measure(play: Play, rounds: int) -> dict[str, float]:
    """Print the row of a scenario; return the cost of each company."""
    costs: dict[str, float] = {}
    cells: list[str] = []
    for cast in CASTS:
        results = [run_virtual(perform(play, cast, seed)) for seed in range(1, rounds + 1)]
        costs[cast.title] = median(result.cost for result in results)
        mean, late = (median(figures) for figures in zip(*((r.mean, r.quantile(0.95)) for r in results), strict=True))
        cells.append(f"{mean:6.2f} /{late:6.2f} /{costs[cast.title]:6.2f}")
    print(f"{play.title:36}" + "".join(f"{cell:>26}" for cell in cells), flush=True)
    return costs


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two scenarios, one seed")
    arguments = parser.parse_args(options)
    started = time.monotonic()
    print(f"{'mean s / p95 s / requests per run':36}" + "".join(f"{cast.title:>26}" for cast in CASTS))
    worst = {FLEET.title: 0.0, KILLED.title: 0.0}
    for play in PLAYS[::2] if arguments.quick else PLAYS:
        costs = measure(play, 1 if arguments.quick else 2)
        worst = {title: max(ratio, costs[title] / costs[ONE.title]) for title, ratio in worst.items()}
    print(f"\n{time.monotonic() - started:.0f} s")
    print("; ".join(f"{title}: at most {ratio:.2f} of the requests of one process" for title, ratio in worst.items()))
    if worst[FLEET.title] > 1.05 or worst[KILLED.title] > 1.15:
        sys.exit("a fleet costs more than it may")


if __name__ == "__main__":
    main()
