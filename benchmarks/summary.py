"""What is measured beside what others use, in one table: the parts of the other benchmarks, at small sizes.

Each row: ours, the best of the peers and which one it is, and the ideal: what a limit allows, what nobody can do
better, or what the same costs with the least there is (aiohttp alone, a bare ASGI application, tasks that wait for
nothing but a future). Smaller is better in all rows but those of a share. The last column is ours / best peer. Peers
are measured in the same run and in turns with ours; a figure of time is the median of rounds.

Run: python -m benchmarks.summary [--rounds N] [limits] [waits] [batches] [calls] [web]
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean, median
from typing import NamedTuple

from benchmarks import commits, fleet, fleet_polling, import_time, killing, leaving, limiter, polling, transport, web
from benchmarks._fleet_model import Play, perform
from benchmarks._limiters import Window
from benchmarks._polling_clients import GAP, Ours
from benchmarks._polling_model import LOGNORMAL, mean_bound
from codegen_async.testing import CodegenServer, ServerThread
from codegen_async.testing.clock import run_virtual


class Row(NamedTuple):
    """One thing that is measured; None: there is no such figure."""

    what: str
    ours: float
    peers: Mapping[str, float]
    ideal: float | None = None

    def __str__(self) -> str:
        name, best = self.best
        ratio = f"{self.ours / best:.2f}" if best else "-"
        cells = (_figure(self.ours), _figure(best), name, _figure(self.ideal), ratio)
        return f"{self.what:58}{cells[0]:>9}{cells[1]:>9}  {cells[2]:22}{cells[3]:>9}{cells[4]:>7}"

    @property
    def best(self) -> tuple[str, float | None]:
        """The best peer, and its figure."""
        return min(self.peers.items(), key=lambda peer: peer[1]) if self.peers else ("-", None)

    @property
    def lost(self) -> bool:
        """Whether a peer does better, by more than what differs from run to run."""
        best = self.best[1]
        return best is not None and self.ours > 1.02 * best


HEAD = f"{'':58}{'ours':>9}{'best':>9}  {'which of the peers':22}{'ideal':>9}{'ratio':>7}"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def limits(rounds: int) -> Iterator[Row]:
    """Compare limiters: 60 in 30 s, in virtual time."""
    model, callers = limiter.MODELS["sliding log"], 10_000
    refused = {kind.name: mean(limiter.rejected(kind, model, rounds)) for kind in limiter.KINDS}
    yield _row("requests refused of 300, 60 in 30 s", refused, Window.name, 0.0)
    took = {
        kind.name: mean(run_virtual(limiter.until_served(kind, model, seed)) for seed in range(rounds))
        for kind in limiter.KINDS
    }
    yield _row("seconds until 300 were admitted, refused ones again", took, Window.name, 4 * limiter.GET.period)
    names = [kind.name for kind in limiter.COSTED]
    free = dict(zip(names, limiter.uncontended_costs(rounds), strict=True))
    yield _row("us of CPU a request that need not wait", free, Window.name)
    _, left, served = (dict(zip(names, costs, strict=True)) for costs in limiter.waiting_costs(callers, rounds))
    yield _row(f"us of CPU to serve one of {callers:,} who wait", served, Window.name)
    yield _row(f"us of CPU to leave a line of {callers:,}", left, Window.name)
    rate, seconds, _ = fleet.LIMITS[1]
    share = fleet.share_of_ideal(fleet.calm(rate, seconds / 3), rate, seconds / 3)
    yield Row("share of a limit that 8 processes make use of", share, {}, 1.0)


def waits(rounds: int) -> Iterator[Row]:
    """Compare ways to know that runs have ended: the same budget, in virtual time."""
    scenario = polling.steady(100, 300)
    seeds = range(1, max(1, rounds // 2) + 1)
    peers = [name for name in polling.POLICIES if not name.startswith("ours")]
    played = {
        name: [scenario.simulate(polling.POLICIES[name], seed) for seed in seeds] for name in (*peers, polling.BEST)
    }
    late = {name: median(result.mean for result, _ in results) for name, results in played.items()}
    bound = median(mean_bound(world.states, 1 / GAP) for _, world in played[polling.BEST])
    yield _row("mean s until an end is known, 100 runs", late, polling.BEST, bound)
    relaxed = functools.partial(Ours, latency=5.0, share=0.8)
    price = {name: median(result.cost for result, _ in played[name]) for name in peers}
    price["ours"] = median(scenario.simulate(relaxed, seed)[0].cost for seed in seeds)
    yield _row("requests for each of them, where 5 s late will do", price, "ours")
    play = Play("", LOGNORMAL, 100, 100)
    results = {
        cast.title: run_virtual(perform(play, cast, 1))
        for cast in (fleet_polling.ONE, fleet_polling.ALONE, fleet_polling.FLEET)
    }
    one, alone, shared = results.values()
    peer = "limits shared, no looks"
    yield Row("requests for each of 100 runs of 8 processes", shared.cost, {peer: alone.cost}, one.cost)
    yield Row("mean s until an end is known, the same", shared.mean, {peer: alone.mean}, one.mean)
    seconds = asyncio.run(leaving.measure(5000))
    bare = seconds.pop(leaving.BARE)
    yield Row("s of CPU until 5,000 who wait for one run have left", max(seconds.values()), {}, bare)


def batches(rounds: int) -> Iterator[Row]:
    """Compare batches that are killed each second while half of the answers are lost, and what a commit costs."""
    prompts = [f"prompt {number}" for number in range(2 * rounds)]
    killed = {way: killing.kill(way, prompts) for way in killing.WAYS}
    kills = killed[killing.OURS].kills
    wrong = {way: float(result.missing + result.doubled) for way, result in killed.items()}
    yield _row(f"missing or doubled of {len(prompts)}, {kills} x kill -9", wrong, killing.OURS, 0.0)
    took: dict[str, list[float]] = {way: [] for way in commits.WAYS}
    for _ in range(rounds):
        for way, each in took.items():
            each.append(median(commits.measure(way, 50)[0]))
    yield _row("ms a commit of the journal, by how it is kept", _medians(took), commits.OURS)


def calls(rounds: int) -> Iterator[Row]:
    """Compare clients over loopback, beside aiohttp that decodes nothing."""
    with transport.server() as url:
        costs = asyncio.run(transport.measure(url, 3 * rounds))
    least, mine, polls = "aiohttp, bytes", "codegen_async", "codegen_async, polls"
    titles = {"get": "a get, 3 KB", "list": "a list page, 223 KB", "logs": "a page of logs, 33 KB"}
    for name, title in titles.items():
        peers = {way: costs[way, name] for way in transport.WAYS if way not in (least, mine, polls)}
        yield Row(f"us of CPU {title}", costs[mine, name], peers, costs[least, name])
        if (polls, name) in costs:
            yield Row(f"us of CPU {title}, as waits read it", costs[polls, name], peers, costs[least, name])
    imports = import_time.measure((import_time.OPENED, import_time.LEAST, *import_time.PEERS), rounds)
    bare = imports.pop(import_time.NOTHING)
    above = {statement: cost - bare for statement, cost in imports.items()}
    ideal = above.pop(import_time.LEAST)
    yield _row("ms of CPU to import all that an open client needs", above, import_time.OPENED, ideal)


def browsers(_: int) -> Iterator[Row]:
    """Compare servers whose 200 browsers watch one run; one round."""
    count = 200
    web.raise_limit(count)
    with ServerThread(CodegenServer) as server:
        os.environ.update(server.environment)
        rows = {
            name: asyncio.run(web.measure(name, text, server, count, 1.0, patience=3.0))
            for name, text in web.CONTENDERS.items()
        }
    bare = rows.pop(web.LEAST)
    memory = {name: row.memory for name, row in rows.items()}
    yield _row(f"KiB of memory a browser of {count} that watch a run", memory, web.MINE, bare.memory)
    spent = {name: 1000 * row.cpu / count for name, row in rows.items()}
    yield _row("ms of CPU to connect one", spent, web.MINE, 1000 * bare.cpu / count)
    ended = {name: row.ended for name, row in rows.items() if row.ended is not None}
    yield _row("s to end at SIGTERM while three watch", ended, web.MINE)


GROUPS: dict[str, Callable[[int], Iterator[Row]]] = {
    "limits": limits,
    "waits": waits,
    "batches": batches,
    "calls": calls,
    "web": browsers,
}


def _row(what: str, figures: Mapping[str, float], mine: str, ideal: float | None = None) -> Row:
    return Row(what, figures[mine], {name: each for name, each in figures.items() if name != mine}, ideal)


def _medians(rounds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: median(each) for name, each in rounds.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("groups", nargs="*", metavar="GROUP", choices=[[], *GROUPS], help=f"of: {', '.join(GROUPS)}")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    print(HEAD)
    lost = []
    for name in options.groups or GROUPS:
        for row in GROUPS[name](options.rounds):
            print(row, flush=True)
            lost += [row.what] if row.lost else []
    print(f"\n{time.monotonic() - began:.0f} s. A peer does better: {'; '.join(lost) or 'nowhere'}.")


if __name__ == "__main__":
    main()
