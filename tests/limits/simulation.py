"""A server far away, and a client on whose way everything may happen that happens on the way to servers."""

import asyncio
import functools
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

from codegen_async.limits import Priority
from codegen_async.testing.clock import run_virtual
from codegen_async.testing.rates import RateModel

T = TypeVar("T")
P = ParamSpec("P")

LATENESS = 5.0
"""Seconds: no request reaches the server later than this after its client gave it up."""

Latency = Callable[[random.Random], float]
"""Draw the seconds that one leg takes, there or back."""


class Marks(Protocol):
    """What a client tells its limiter."""

    def sent(self) -> None: ...
    def answered(self) -> None: ...
    def rejected(self, retry_after: float | None) -> object: ...


class Limiter(Protocol):
    """What a client asks of a limiter."""

    def slot(self, priority: Priority = ...) -> AbstractAsyncContextManager[Marks]: ...


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on a virtual clock; fail after a virtual year instead of waiting for ever."""

    async def bounded() -> T:
        async with asyncio.timeout(365 * 24 * 3600.0):
            return await main

    return run_virtual(bounded())


def on_virtual_clock(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a plain test of a coroutine, bounded as in `run`."""

    @functools.wraps(test)
    def bounded(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return bounded


def no_latency(_: random.Random) -> float:
    return 0.0


def fast_link(rnd: random.Random) -> float:
    return rnd.uniform(0.0001, 0.0005)


def jitter(rnd: random.Random) -> float:
    return rnd.uniform(0.005, 0.3)


def spikes(rnd: random.Random) -> float:
    return rnd.uniform(1.0, LATENESS) if rnd.random() < 0.01 else jitter(rnd)


def round_trips_up_to(seconds: float) -> Latency:
    return lambda rnd: rnd.uniform(0.0, seconds / 2)


@dataclass
class Server:
    """Count what arrives, by a clock that runs `drift` faster than the client's and is `offset` seconds ahead."""

    model: RateModel
    drift: float = 0.0
    offset: float = 0.0
    hits: int = 0
    rejections: int = 0

    def send(self, there: float, back: float) -> asyncio.Future[float | None]:
        """Send a request that takes `there` seconds; the answer (None: admitted) takes `back` more."""
        answer = asyncio.get_running_loop().create_future()
        answer.get_loop().call_later(there, self._arrive, answer, back)
        return answer

    def _arrive(self, answer: asyncio.Future[float | None], back: float) -> None:
        loop = answer.get_loop()
        retry_after = self.model.hit(loop.time() * (1 + self.drift) + self.offset)
        self.hits += 1
        self.rejections += retry_after is not None
        loop.call_later(back, _deliver, answer, retry_after)


def _deliver(answer: asyncio.Future[float | None], retry_after: float | None) -> None:
    if not answer.done():
        answer.set_result(retry_after)


@dataclass
class Client:
    """Send requests through a limiter and tell it what became of each, as `Slot` asks.

    Attributes:
        patience: seconds after which an answer is no longer waited for.
        lost: share of the requests that are still on their way then, for up to `LATENESS` more.
        cancelled: share of the calls that are cancelled between request and answer.
        honours_hints: pass the server's Retry-After on; else tell the limiter of a bare 429.
    """

    limiter: Limiter
    server: Server
    rnd: random.Random
    latency: Latency = jitter
    patience: float = 30.0
    lost: float = 0.0
    cancelled: float = 0.0
    honours_hints: bool = False
    waiting: dict[asyncio.Task[object], None] = field(default_factory=dict[asyncio.Task[object], None])
    sent: list[float] = field(default_factory=list[float])
    served: list[float] = field(default_factory=list[float])
    rejected: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])  # sent, seen

    async def call(self, priority: Priority = Priority.INTERACTIVE) -> None:
        """Make one request."""
        me = asyncio.current_task()
        assert me is not None
        self.waiting[me] = None
        try:
            async with self.limiter.slot(priority) as slot:
                del self.waiting[me]
                await self._request(slot, me)
        finally:
            self.waiting.pop(me, None)

    async def _request(self, slot: Marks, me: asyncio.Task[object]) -> None:
        loop = asyncio.get_running_loop()
        there, back = self._way_there(), self.latency(self.rnd)
        if self.rnd.random() < self.cancelled:
            earliest = max(0.0, there - LATENESS)  # given up earlier, it would arrive later than the client believes
            loop.call_later(self.rnd.uniform(earliest, there + back), me.cancel)
        slot.sent()
        sent_at = loop.time()
        self.sent.append(sent_at)
        try:
            async with asyncio.timeout(self.patience):
                retry_after = await self.server.send(there, back)
        except TimeoutError:
            return
        if retry_after is None:
            slot.answered()
            self.served.append(loop.time())
        else:
            slot.rejected(retry_after if self.honours_hints else None)
            self.rejected.append((sent_at, loop.time()))

    def _way_there(self) -> float:
        if self.rnd.random() < self.lost:
            return self.patience + self.rnd.uniform(0.0, LATENESS)
        return self.latency(self.rnd)

    async def saturate(self, calls: int, workers: int) -> None:
        """Make that many calls, as fast as the limiter lets them pass."""
        turns = iter(range(calls))
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(turns))

    async def _work(self, turns: Iterator[int]) -> None:
        for _ in turns:
            await self.call()
