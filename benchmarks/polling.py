"""How late the end of a run is detected, and for how many requests: polling policies against a lower bound.

Everything is simulated in virtual time: a server with the documented limits (60 gets and 60 lists per 30 s in fixed
windows, 10 creates per 60 s), runs that take times drawn from a law, and an owner who keeps N of them going (steady:
each run whose end is detected is replaced) or waits for N that are there already (drain: among so many positions of
the list, until 99 % are detected). Network time is 0; it would add about one round trip to each policy.

Laws: lognormal (median 6 min, sigma 1), and heavy (15 % lognormal around 20 s, 75 % the same lognormal, 10 % Pareto
from 30 min to 24 h). Strangers create runs in the same list and under the same filter, so they sit between ours.

Policies:
- naive: every run has its own poller, a get every 5 s; after a 429 once more in 1, 2, 4 .. 60 s (jittered);
- queued: the same pollers, all behind one limiter that serves them in turn;
- round robin: one loop, gets at the full rate, the longest unseen run first;
- sweep: one loop, list pages at the full rate, from the newest to the oldest run that is waited for;
- ours: `PollSchedule` behind the limiter's rule; latency 0 with the whole budget, the others with 0.8 of it.
A 429 stops `ours`: it must not happen.

The expected latency is taken from the same simulation: the true hazard of every watched run, times half the time
between looks. It is the mean latency without the noise of where ends happen to fall.
The bound is that of evenly spaced looks, sum of hazard / (2 rate), at the best possible rates for the budgets that
really are available (60 per 30.05 s each), with disjoint windows and the true hazard, over states sampled from the
run of `ours`. Overlapping windows may beat it by a little.

A second table is for looks of other kinds, by ids, by what has changed, by cursors, each beside its own bound; see
`_polling_looks.py`.

Run: python -m benchmarks.polling [--quick] [--plot FILE]
"""

from __future__ import annotations

import argparse
import functools
import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks._polling_clients import GAP, Naive, Ours, Queued, RoundRobin, Sweep
from benchmarks._polling_cost import bytes_per_run, cost
from benchmarks._polling_looks import FULL as LOOKS
from benchmarks._polling_looks import QUICK as QUICK_LOOKS
from benchmarks._polling_looks import measure_all
from benchmarks._polling_model import HEAVY, LOGNORMAL, Client, Law, Result, World, mean_bound

Policy = Callable[[World], Client]

BEST = "ours, latency 0"
POLICIES: dict[str, Policy] = {
    "naive": Naive,
    "queued": Queued,
    "round robin": RoundRobin,
    "sweep": Sweep,
    BEST: functools.partial(Ours, latency=0.0, share=1.0),
    "ours, latency 2": functools.partial(Ours, latency=2.0, share=0.8),
    "ours, latency 5": functools.partial(Ours, latency=5.0, share=0.8),
    "ours, latency 30": functools.partial(Ours, latency=30.0, share=0.8),
}


class Scenario(NamedTuple):
    """What is simulated: `drain` is the number of positions, 0 for a steady state."""

    law: Law
    runs: int
    finished: int
    foreign: float = 0.0  # runs of strangers per second
    drain: int = 0
    sample: float = 60.0  # seconds between the states the bound is taken from
    rounds: int = 3  # seeds; the table shows medians over them

    @property
    def title(self) -> str:
        """What is simulated, in words."""
        if self.drain:
            return f"drain, {self.law.name}: N = {self.runs} among {self.drain} positions"
        strangers = f", {60 * self.foreign:.2g} runs/min of strangers" if self.foreign else ""
        return f"steady, {self.law.name}: N = {self.runs}{strangers}"

    def simulate(self, policy: Policy, seed: int) -> tuple[Result, World]:
        """Run a policy in it."""
        world = World(self.law, seed, foreign=self.foreign, exact=policy is POLICIES[BEST])
        if self.drain:
            world.drain(self.runs, self.drain)
        else:
            world.steady(self.runs)
        warm_up = 0.0 if self.drain else 300.0
        client = policy(world)
        return world.simulate(client, warm_up=warm_up, finished=self.finished, sample=self.sample), world


def steady(runs: int, finished: int, *, share: float = 0.0, law: Law = LOGNORMAL) -> Scenario:
    """Return a steady state; `share` of all runs are those of strangers."""
    return Scenario(law, runs, finished, foreign=runs / law.mean * share / (1 - share))


def draining(runs: int, positions: int, sample: float, rounds: int = 3) -> Scenario:
    return Scenario(LOGNORMAL, runs, math.ceil(0.99 * runs), drain=positions, sample=sample, rounds=rounds)


FULL = [
    *(steady(runs, finished) for runs, finished in ((1, 150), (10, 400), (30, 500), (100, 1500))),
    *(steady(runs, finished, share=0.5) for runs, finished in ((1, 150), (10, 400), (30, 500), (100, 1500))),
    Scenario(LOGNORMAL, 100, 1000, foreign=0.5),
    steady(100, 1000, law=HEAVY),
    draining(100, 100, 30),
    draining(1_000, 1_000, 60),
    draining(1_000, 3_000, 60),
    draining(10_000, 10_000, 200, rounds=1),
    draining(10_000, 30_000, 200, rounds=1),
]
QUICK = [steady(10, 60), steady(100, 300), steady(100, 300, share=0.5), draining(1_000, 1_000, 300)]


def measure(scenario: Scenario, rounds: int) -> dict[str, float]:
    """Print the table of a scenario; return the mean latency of each policy."""
    print(f"\n{scenario.title}")
    print(f"{'':18}{'mean s':>10}{'p50':>10}{'p95':>10}{'p99':>10}{'requests/run':>14}{'429s':>8}", flush=True)
    means: dict[str, float] = {}
    for name, policy in POLICIES.items():
        played = [scenario.simulate(policy, seed) for seed in range(1, rounds + 1)]
        means[name] = print_row(name, [result for result, _ in played])
        if name == BEST:
            bounds = [mean_bound(world.states, 1 / GAP) for _, world in played]
            means["bound"] = median(bounds)
            drawn = [result.mean / bound for (result, _), bound in zip(played, bounds, strict=True)]
            expected = [result.expected / bound for (result, _), bound in zip(played, bounds, strict=True)]
    print(f"{'bound':18}{means['bound']:10.3f}   {BEST} is at {median(expected):.3f} of it, by expectation", end="")
    print(f" (as drawn {median(drawn):.3f}); naive / ours = {means['naive'] / means[BEST]:.0f}", flush=True)
    means["ratio"] = median(expected)
    return means


def print_row(name: str, results: list[Result]) -> float:
    mean = median(result.mean for result in results)
    latencies = [mean, *(median(result.quantile(q) for result in results) for q in (0.5, 0.95, 0.99))]
    price = median(result.cost for result in results)
    refused = median(result.refused / result.requests for result in results)
    print(
        f"{name:18}" + "".join(f"{seconds:10.3f}" for seconds in latencies) + f"{price:14.2f}{refused:8.1%}", flush=True
    )
    return mean


def measure_price() -> None:
    """Print what waiting costs, in requests, while nothing ends."""
    print("\nRequests per hour, while nothing ends")
    latencies = (2.0, 5.0, 30.0, 0.0)
    print(f"{'runs':>8}{'positions':>11}" + "".join(f"{f'latency {latency:g}':>14}" for latency in latencies))
    for count, apart in ((1, 1), (100, 1), (100, 20), (100, 200), (1_000, 1), (1_000, 20)):
        row = f"{count:8}{count * apart:11}"
        for latency in latencies:
            world = World(LOGNORMAL, 1)
            world.endless(count, count * apart)
            client = Ours(world, latency=latency, share=0.8)
            row += f"{6 * world.requests_within(client, 600.0, warm_up=300.0):14,}"
        print(row, flush=True)


def measure_cost(sizes: list[tuple[int, int]], decisions: int) -> None:
    print("\nCPU of the schedule, microseconds (medians; the worst page pays for adding everything up at first)")
    print(f"{'runs':>8}{'positions':>11}{'latency':>9}{'add':>7}{'get':>7}{'page':>8}{'worst page':>12}{'answer':>8}")
    for count, positions in sizes:
        for latency in (0.0, 5.0):
            figures = cost(count, positions, latency, decisions)
            print(f"{count:8}{positions:11}{latency:9}{figures.add:7.1f}{figures.get:7.0f}{figures.page:8.0f}", end="")
            print(f"{figures.worst:12.0f}{figures.answer:8.0f}", flush=True)
    count, positions = sizes[-1]
    print(f"bytes per run, {count} runs: {bytes_per_run(count, positions):.0f}")


def plot(results: dict[Scenario, dict[str, float]], path: Path) -> None:
    """Draw the mean latency against the number of runs."""
    plt = importlib.import_module("matplotlib.pyplot")  # only the plot needs it
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "polling", "font.size": 9})
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    titles = ("steady: ended runs are replaced", "drain: nothing but these runs in the list")
    for axis, title in zip(axes, titles, strict=True):
        draining = axis is axes[1]
        chosen = {
            scenario.runs: means
            for scenario, means in results.items()
            if scenario.law is LOGNORMAL
            and not scenario.foreign
            and scenario.drain == (scenario.runs if draining else 0)
        }
        for name in [*POLICIES, "bound"]:
            style = {"color": "black", "linestyle": ":"} if name == "bound" else {"marker": "o", "markersize": 3}
            axis.plot(list(chosen), [means[name] for means in chosen.values()], label=name, **style)
        axis.set(title=title, xlabel="runs waited for", xscale="log", yscale="log")
        axis.grid(visible=True, which="major", alpha=0.3)
    axes[0].set_ylabel("mean seconds from end to detection")
    axes[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than a minute: few scenarios, one seed")
    parser.add_argument("--plot", type=Path, help="write the plot of mean latencies there, as SVG")
    arguments = parser.parse_args(options)
    started = time.monotonic()
    scenarios = QUICK if arguments.quick else FULL
    results = {each: measure(each, 1 if arguments.quick else each.rounds) for each in scenarios}
    measure_all(QUICK_LOOKS if arguments.quick else LOOKS, 1 if arguments.quick else None)
    measure_price()
    if arguments.quick:
        measure_cost([(100, 1_000), (1_000, 3_000)], 100)
    else:
        measure_cost([(100, 1_000), (1_000, 3_000), (10_000, 10_000), (10_000, 30_000), (100_000, 300_000)], 400)
    if arguments.plot:
        plot(results, arguments.plot)
    print(f"\n{time.monotonic() - started:.0f} s")
    worst = max(means["ratio"] for means in results.values())
    if worst > 1.3:
        sys.exit(f"{BEST} is at {worst:.2f} of the bound")


if __name__ == "__main__":
    main()
