"""What `WindowLimiter` promises and costs, beside a bare `aiolimiter.AsyncLimiter` of the same size.

Four tables: how many of 300 requests servers reject, what share of the limit is used, the CPU time and memory of
callers who need not wait and of callers who wait, and what two or three rates at once cost. All run on a virtual clock;
CPU time is the process's own, and each figure of it the median of five rounds.
"""

import asyncio
import gc
import random
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from statistics import mean, median
from typing import Any, TypeVar, TypeVarTuple, Unpack

from aiolimiter import AsyncLimiter

from codegen_async.limits import Rate, WindowLimiter
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
SEEDS = 20
ROUNDS = 5

Send = Callable[[], Awaitable[float | None]]
"""Send a request; the answer is None if it was admitted, else the seconds the server asks to wait."""


# -- the two limiters, made to look alike


class Window:
    """The limiter of this package."""

    def __init__(self, rate: Rate, *more: Rate) -> None:
        self.limiter = WindowLimiter((rate, *more))

    async def request(self, send: Send) -> None:
        """Send a request and tell the limiter what became of it."""
        async with self.limiter.slot() as slot:
            slot.sent()
            if await send() is None:
                slot.answered()
            else:
                slot.rejected(None)

    async def wait(self) -> None:
        """Pass, and have the answer at once."""
        async with self.limiter.slot() as slot:
            slot.sent()
            slot.answered()


class Bucket:
    """A bare token bucket."""

    def __init__(self, rate: Rate) -> None:
        self.limiter = AsyncLimiter(rate.limit, rate.period)

    async def request(self, send: Send) -> None:
        """Send a request."""
        async with self.limiter:
            await send()

    async def wait(self) -> None:
        """Pass, and have the answer at once."""
        async with self.limiter:
            pass


Limiter = Window | Bucket
LIMITERS: tuple[type[Limiter], ...] = (Window, Bucket)


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
    await asyncio.gather(*[limiter.request(server.answer) for _ in range(300)])
    return server


def print_rejections() -> None:
    print(f"Rejected of 300 requests at {GET.limit} per {GET.period:g} s, mean (max) of {SEEDS} seeds")
    print(f"{'server':32}{'WindowLimiter':>16}{'AsyncLimiter':>16}")
    peaks = dict.fromkeys(LIMITERS, 0)
    for name, model in MODELS.items():
        cells = ""
        for kind in LIMITERS:
            servers = [run_virtual(three_hundred(kind, model, seed)) for seed in range(SEEDS)]
            rejections = [server.rejections for server in servers]
            peaks[kind] = max(peaks[kind], *(worst_window(server.arrivals, GET.period) for server in servers))
            cells += f"{f'{mean(rejections):.1f} ({max(rejections)})':>16}"
        print(f"{name:32}{cells}")
    print(f"{'most arrivals in any 30 s':32}{peaks[Window]:>16}{peaks[Bucket]:>16}\n")


# -- throughput


async def share_used(rate: Rate, round_trip: float) -> float:
    """Return the requests per second of callers who never pause, as a share of the limit."""
    limiter = Window(rate)
    began = asyncio.get_running_loop().time()
    last = began

    async def send() -> None:
        nonlocal last
        last = asyncio.get_running_loop().time()
        await asyncio.sleep(round_trip)

    await asyncio.gather(*[limiter.request(send) for _ in range(51 * rate.limit)])
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


def print_row(title: str, window: float, bucket: float) -> None:
    print(f"{title:40}{window:>16.2f}{bucket:>16.2f}{window / bucket:>8.2f}")


def print_cost() -> None:
    print(f"{f'Cost, median of {ROUNDS} rounds':40}{'WindowLimiter':>16}{'AsyncLimiter':>16}{'ratio':>8}")
    free = [[run_virtual(uncontended(kind)) for kind in LIMITERS] for _ in range(ROUNDS)]
    print_row("take and give back, nobody waits: us", *map(median, zip(*free, strict=True)))
    _, bare = run_counting(quiet(None, 10_000))
    for count in (10_000, 100_000):
        rounds = [[run_virtual(waiters(kind, count)) for kind in LIMITERS] for _ in range(ROUNDS)]
        print(f"{count:,} callers wait")
        for place, title in enumerate(("join the line: us", "leave the line: us", "be served: us")):
            print_row(f"  {title}", *(median(row[kind][place] for row in rounds) for kind in (0, 1)))
        window, bucket = (run_counting(quiet(kind, count)) for kind in LIMITERS)
        print_row("  callbacks per s while waiting", window[0], bucket[0])
        print_row("  bytes of each beyond a bare task", window[1] - bare, bucket[1] - bare)


CHAINS = (Rate(60, 30.0), Rate(600, 300.0), Rate(5000, 3600.0))


def print_chains() -> None:
    """Print what a request costs that takes a slot of several windows."""

    async def free(rates: int) -> float:
        return await passing(Window(*[Rate(10**9, 1.0 + number) for number in range(rates)]))

    async def waiting(rates: int) -> tuple[float, float, float]:
        return await in_line(Window(*CHAINS[:rates]), 10_000)

    print(f"\n{'Rates at once':40}{'1':>16}{'2':>16}{'3':>16}")
    numbers = (1, 2, 3)
    costs = [[median(run_virtual(free(rates)) for _ in range(ROUNDS)) for rates in numbers]]
    served = [[run_virtual(waiting(rates))[2] for _ in range(ROUNDS)] for rates in numbers]
    costs.append([median(each) for each in served])
    for title, row in zip(("take and give back: us", "be served of 10,000: us"), costs, strict=True):
        print(f"{title:40}" + "".join(f"{cost:>16.2f}" for cost in row))


if __name__ == "__main__":
    print_rejections()
    print_throughput()
    print_cost()
    print_chains()
