"""What `WindowLimiter` promises and costs, beside limiters of the same size that others use.

They are `aiolimiter` (a token bucket), `pyrate-limiter` (a log of what was sent) and `aiometer` (even distances; it
knows no single calls, so it is in the first two tables only).

Five tables: how many of 300 requests servers reject, how long 300 take where a rejected one is sent again, what share
of the limit is used, the CPU time and memory of callers who need not wait and of callers who wait, and what two or
three rates at once cost. All run on a virtual clock; CPU time is the process's own, and each figure of it the median of
rounds that take turns.

Run: python -m benchmarks.limiter [--seeds N] [--rounds N] [--callers N ...]
"""

import argparse
import asyncio
import gc
import random
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from statistics import mean, median
from typing import Any, TypeVar, TypeVarTuple, Unpack

from benchmarks._limiters import PEERS, Bucket, Limiter, Log, Window
from codegen_async.limits import Rate
from codegen_async.testing.clock import VirtualLoop, run_virtual
from codegen_async.testing.rates import (
    FirstHitWindow,
    FixedWindow,
    RateModel,
    SlidingLog,
    TokenBucket,
    TwoCounterWindow,
    worst_window,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GET = Rate(60, 30.0)
RATES = {"create": Rate(10, 60.0), "get, list": GET, "logs": Rate(60, 60.0), "20 a second": Rate(20, 1.0)}
MODELS: dict[str, Callable[[int, float], RateModel]] = {
    "fixed window": FixedWindow,
    "first-hit window": FirstHitWindow,
    "sliding log": SlidingLog,
    "sliding log, rejections count": partial(SlidingLog, count_rejected=True),
    "token bucket": TokenBucket,
    "token bucket, rejections count": partial(TokenBucket, count_rejected=True),
    "two counters": TwoCounterWindow,
    "two counters, rejections count": partial(TwoCounterWindow, count_rejected=True),
}
KINDS: tuple[type[Limiter], ...] = (Window, *PEERS)
COSTED: tuple[type[Limiter], ...] = (Window, Bucket, Log)

# -- rejections


class Server:
    """Count requests that need 5 to 300 ms for each way."""

    def __init__(self, model: RateModel, rnd: random.Random) -> None:
        self._model = model
        self._rnd = rnd
        self.arrivals: list[float] = []
        self.rejections = 0

    async def answer(self) -> float | None:
        """Take a request there, and the answer back."""
        await asyncio.sleep(self._rnd.uniform(0.005, 0.3))
        now = asyncio.get_running_loop().time()
        self.arrivals.append(now)
        retry_after = self._model.hit(now)
        self.rejections += retry_after is not None
        await asyncio.sleep(self._rnd.uniform(0.005, 0.3))
        return retry_after


async def three_hundred(kind: type[Limiter], model: Callable[[int, float], RateModel], seed: int) -> Server:
    rnd = random.Random(seed)
    server, limiter = Server(model(GET.limit, GET.period), rnd), kind(GET)
    await asyncio.sleep(rnd.uniform(0.0, GET.period))  # a server's windows do not begin with the client
    await limiter.all(server.answer, 300)
    return server


async def until_served(kind: type[Limiter], model: Callable[[int, float], RateModel], seed: int) -> float:
    """Return the seconds until 300 requests were admitted, where what is rejected is sent again."""
    server, limiter = Server(model(GET.limit, GET.period), random.Random(seed)), kind(GET)
    began = asyncio.get_running_loop().time()
    await limiter.all(server.answer, 300, again=True)
    return asyncio.get_running_loop().time() - began


def rejected(kind: type[Limiter], model: Callable[[int, float], RateModel], seeds: int) -> list[int]:
    """Return how many of 300 requests are rejected, by seeds."""
    return [run_virtual(three_hundred(kind, model, seed)).rejections for seed in range(seeds)]


def print_rejections(seeds: int) -> None:
    print(f"Rejected of 300 requests at {GET.limit} per {GET.period:g} s, mean (max) of {seeds} seeds")
    print(f"{'server':32}" + "".join(f"{kind.name:>18}" for kind in KINDS))
    peaks = dict.fromkeys(KINDS, 0)
    for name, model in MODELS.items():
        cells = ""
        for kind in KINDS:
            servers = [run_virtual(three_hundred(kind, model, seed)) for seed in range(seeds)]
            rejections = [server.rejections for server in servers]
            peaks[kind] = max(peaks[kind], *(worst_window(server.arrivals, GET.period) for server in servers))
            cells += f"{f'{mean(rejections):.1f} ({max(rejections)})':>18}"
        print(f"{name:32}{cells}")
    print(f"{'most arrivals in any 30 s':32}" + "".join(f"{peaks[kind]:>18}" for kind in KINDS))
    print(f"\nSeconds until all 300 were admitted, rejected ones sent again, mean of {seeds} seeds")
    for name in ("fixed window", "sliding log"):  # where rejections count, some would never come to the end
        took = [mean(run_virtual(until_served(kind, MODELS[name], seed)) for seed in range(seeds)) for kind in KINDS]
        print(f"{name:32}" + "".join(f"{seconds:>18.1f}" for seconds in took))
    print()


# -- throughput


async def share_used(rate: Rate, round_trip: float) -> float:
    """Return the requests per second of callers who never pause, as a share of the limit."""
    limiter = Window(rate)
    began = asyncio.get_running_loop().time()
    last = began

    async def send() -> float | None:
        nonlocal last
        last = asyncio.get_running_loop().time()
        await asyncio.sleep(round_trip)
        return None

    await limiter.all(send, 51 * rate.limit)
    return 50 * rate.period / (last - began)


def print_throughput() -> None:
    round_trips = (0.05, 0.3, 1.0, 5.0)
    print("Share of the limit that callers who never pause can use, by round trip")
    print(f"{'limit':32}" + "".join(f"{f'{seconds:g} s':>10}" for seconds in round_trips))
    for name, rate in RATES.items():
        shares = [run_virtual(share_used(rate, seconds)) for seconds in round_trips]
        title = f"{name} ({rate.limit} per {rate.period:g} s)"
        print(f"{title:32}" + "".join(f"{share:>10.3f}" for share in shares))
    print()


# -- cost


class Timer:
    """Measure CPU time."""

    def __init__(self) -> None:
        self._at = 0.0

    def start(self) -> None:
        """Begin."""
        gc.collect()
        self._at = time.process_time()

    def lap(self, units: int) -> float:
        """Return the microseconds for each of so many things that were done, and begin again."""
        passed = time.process_time() - self._at
        self.start()
        return passed * 1e6 / units


class CountingLoop(VirtualLoop):
    """Count the callbacks that come to run."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks = 0

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Count, and schedule."""
        self.callbacks += 1
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule, and count when it comes to that."""

        def fire() -> None:
            self.callbacks += 1
            callback(*args)

        return super().call_at(when, fire, context=context)


async def uncontended(kind: type[Limiter], calls: int = 20_000) -> float:
    return await passing(kind(Rate(10**9, 1.0)), calls)


async def passing(limiter: Limiter, calls: int = 20_000) -> float:
    timer = Timer()
    await limiter.wait()
    timer.start()
    for _ in range(calls):
        await limiter.wait()
    return timer.lap(calls)


async def waiters(kind: type[Limiter], count: int) -> tuple[float, float, float]:
    """Return the cost of a caller who joins the line, of one who leaves it (every second), and of one who is served."""
    return await in_line(kind(GET), count)


async def in_line(limiter: Limiter, count: int) -> tuple[float, float, float]:
    timer = Timer()
    timer.start()
    tasks = [asyncio.create_task(limiter.wait()) for _ in range(count)]
    await asyncio.sleep(0)
    joined = timer.lap(count)
    stayers, leavers = tasks[::2], tasks[1::2]
    for task in leavers:
        task.cancel()
    await asyncio.sleep(0)
    left = timer.lap(len(leavers))
    await asyncio.gather(*stayers)
    return joined, left, timer.lap(len(stayers))


async def quiet(kind: type[Limiter] | None, count: int) -> tuple[float, float]:
    """Return what waiting costs: callbacks in a second in which two are served, and bytes for each who waits.

    With no limiter, of tasks that wait for a bare future.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    wait = loop.create_future if kind is None else kind(GET).wait
    gc.disable()  # no time is measured here, and it would take most of it
    tracemalloc.start()
    tasks = [asyncio.create_task(_await(wait)) for _ in range(count)]
    await asyncio.sleep(0)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    gc.enable()
    await asyncio.sleep(GET.period)
    before = loop.callbacks
    await asyncio.sleep(10 * GET.period)
    callbacks = loop.callbacks - before - 2  # without those of this sleep
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return callbacks / (10 * GET.period), size / count


async def _await(wait: Callable[[], Awaitable[None]]) -> None:
    await wait()


def run_counting(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        return runner.run(main)


def print_row(title: str, *costs: float) -> None:
    least = min(costs[1:])
    ratio = f"{costs[0] / least:.2f}" if least > 0 else "-"
    print(f"{title:40}" + "".join(f"{cost:>16.2f}" for cost in costs) + f"{ratio:>20}")


def uncontended_costs(rounds: int) -> list[float]:
    """Return the microseconds of a caller who need not wait, by limiter."""
    free = [[run_virtual(uncontended(kind)) for kind in COSTED] for _ in range(rounds)]
    return [median(costs) for costs in zip(*free, strict=True)]


def waiting_costs(count: int, rounds: int) -> list[list[float]]:
    """Return the microseconds to join the line, to leave it, and to be served: each by limiter."""
    played = [[run_virtual(waiters(kind, count)) for kind in COSTED] for _ in range(rounds)]
    return [[median(row[kind][place] for row in played) for kind in range(len(COSTED))] for place in range(3)]


def print_cost(rounds: int, counts: Sequence[int]) -> None:
    titles = "".join(f"{kind.name:>16}" for kind in COSTED)
    print(f"{f'Cost, median of {rounds} rounds':40}{titles}{'ours / best other':>20}")
    print_row("take and give back, nobody waits: us", *uncontended_costs(rounds))
    _, bare = run_counting(quiet(None, counts[0]))
    for count in counts:
        print(f"{count:,} callers wait")
        titles_of = ("  join the line: us", "  leave the line: us", "  be served: us")
        for title, costs in zip(titles_of, waiting_costs(count, rounds), strict=True):
            print_row(title, *costs)
        figures = [run_counting(quiet(kind, count)) for kind in COSTED]
        print_row("  callbacks per s while waiting", *(callbacks for callbacks, _ in figures))
        print_row("  bytes of each beyond a bare task", *(size - bare for _, size in figures))


CHAINS = (Rate(60, 30.0), Rate(600, 300.0), Rate(5000, 3600.0))


def print_chains(rounds: int, callers: int) -> None:
    """Print what a request costs that takes a slot of several windows."""

    async def free(rates: int) -> float:
        return await passing(Window(*[Rate(10**9, 1.0 + number) for number in range(rates)]))

    async def waiting(rates: int) -> tuple[float, float, float]:
        return await in_line(Window(*CHAINS[:rates]), callers)

    print(f"\n{'Rates at once':40}{'1':>16}{'2':>16}{'3':>16}")
    numbers = (1, 2, 3)
    costs = [[median(run_virtual(free(rates)) for _ in range(rounds)) for rates in numbers]]
    served = [[run_virtual(waiting(rates))[2] for _ in range(rounds)] for rates in numbers]
    costs.append([median(each) for each in served])
    for title, row in zip(("take and give back: us", f"be served of {callers:,}: us"), costs, strict=True):
        print(f"{title:40}" + "".join(f"{cost:>16.2f}" for cost in row))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="of servers and latencies (default: 20)")
    parser.add_argument("--rounds", type=int, default=5, help="of each figure of CPU time (default: 5)")
    parser.add_argument("--callers", type=int, nargs="+", default=[10_000, 100_000], help="in the line")
    options = parser.parse_args(arguments)
    print_rejections(options.seeds)
    print_throughput()
    print_cost(options.rounds, options.callers)
    print_chains(options.rounds, options.callers[0])


if __name__ == "__main__":
    main()
