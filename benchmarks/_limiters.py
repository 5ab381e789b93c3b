"""Limiters that are made to look alike, for `limiter.py`: that of this package, and those that others use."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

import aiometer
import pyrate_limiter
from aiolimiter import AsyncLimiter

from codegen_async.limits import Rate, WindowLimiter

Send = Callable[[], Awaitable[float | None]]
"""Send a request; the answer is None if it was admitted, else the seconds the server asks to wait."""


class Limiter:
    """Let requests pass."""

    name: ClassVar[str]

    def __init__(self, rate: Rate) -> None:
        raise NotImplementedError

    async def request(self, send: Send) -> bool:
        """Send a request when there is room for it; return whether it was admitted."""
        raise NotImplementedError

    async def wait(self) -> None:
        """Pass, and have the answer at once."""
        raise NotImplementedError

    async def all(self, send: Send, count: int, *, again: bool = False) -> None:
        """Send so many requests that come at once; if said, each again until it is admitted."""

        async def one() -> None:
            while not await self.request(send) and again:
                pass

        await asyncio.gather(*[one() for _ in range(count)])


class Window(Limiter):
    """The limiter of this package."""

    name = "WindowLimiter"

    def __init__(self, rate: Rate, *more: Rate) -> None:
        self.limiter = WindowLimiter((rate, *more))

    async def request(self, send: Send) -> bool:
        """Send a request and tell the limiter what became of it."""
        async with self.limiter.slot() as slot:
            slot.sent()
            if await send() is None:
                slot.answered()
                return True
            slot.rejected(None)
            return False

    async def wait(self) -> None:
        """Pass, and have the answer at once."""
        async with self.limiter.slot() as slot:
            slot.sent()
            slot.answered()


class Bucket(Limiter):
    """A bare token bucket."""

    name = "aiolimiter"

    def __init__(self, rate: Rate) -> None:
        self.limiter = AsyncLimiter(rate.limit, rate.period)

    async def request(self, send: Send) -> bool:
        """Send a request."""
        async with self.limiter:
            return await send() is None

    async def wait(self) -> None:
        """Pass."""
        async with self.limiter:
            pass


class _Clock(pyrate_limiter.AbstractClock):
    """The loop's clock."""

    def now(self) -> int:
        """Return milliseconds."""
        return int(asyncio.get_running_loop().time() * 1000)


class _Bucket(pyrate_limiter.InMemoryBucket):
    _clock = _Clock()


class Log(Limiter):
    """A log of what was sent within the last period."""

    name = "pyrate-limiter"

    def __init__(self, rate: Rate) -> None:
        bucket = _Bucket([pyrate_limiter.Rate(rate.limit, round(rate.period * 1000))])
        self.limiter = pyrate_limiter.Limiter(pyrate_limiter.SingleBucketFactory(bucket, schedule_leak=False))

    async def request(self, send: Send) -> bool:
        """Send a request."""
        await self.limiter.try_acquire_async()
        return await send() is None

    async def wait(self) -> None:
        """Pass."""
        await self.limiter.try_acquire_async()


class Even(Limiter):
    """One request after another at even distances."""

    name = "aiometer"

    def __init__(self, rate: Rate) -> None:
        self.rate = rate

    async def all(self, send: Send, count: int, *, again: bool = False) -> None:
        """Send so many requests; if said, those that were refused once more, and so on."""
        while count:
            admitted = await aiometer.run_all([send] * count, max_per_second=self.rate.limit / self.rate.period)
            count = count - admitted.count(None) if again else 0


PEERS: tuple[type[Limiter], ...] = (Bucket, Log, Even)
