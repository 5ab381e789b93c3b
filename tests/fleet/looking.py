"""Workers that share looks: real waits over one server without HTTP, and a bus that may lose, delay and part."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from codegen_async.fleet.looks import Looks
from codegen_async.fleet.store import StoreAwayError
from codegen_async.models import Phase
from codegen_async.polling import Listing, PollSchedule
from codegen_async.waiting import Waiting
from tests.waiting.fakes import RATE, Remote, Run, now

CHANNEL = "channel"


class Air:
    """What the buses of all workers share.

    `lost` is the part of messages that are lost, `legs` the seconds that a message takes, `may_pass` tells whether one
    may pass from a worker to another.
    """

    def __init__(self, *, lost: float = 0.0, legs: tuple[float, float] = (0.001, 0.005), seed: int = 1) -> None:
        self.lost = lost
        self.legs = legs
        self.may_pass: Callable[[str, str], bool] = lambda _, __: True
        self.away = False
        self.sent = 0
        self.bytes = 0
        self.largest = 0
        self._rng = random.Random(seed)
        self._ears: defaultdict[str, dict[str, asyncio.Queue[bytes]]] = defaultdict(dict)
        self._last: dict[tuple[str, str], float] = {}

    def send(self, sender: str, channel: str, message: bytes) -> None:
        if self.away:
            raise StoreAwayError("the bus is away")
        self.sent += 1
        self.bytes += len(message)
        self.largest = max(self.largest, len(message))
        loop = asyncio.get_running_loop()
        for name, ear in self._ears[channel].items():
            if self._rng.random() >= self.lost and self.may_pass(sender, name):
                at = max(now() + self._rng.uniform(*self.legs), self._last.get((sender, name), 0.0))
                self._last[sender, name] = at
                loop.call_at(at, ear.put_nowait, message)

    def ear(self, name: str, channel: str) -> asyncio.Queue[bytes]:
        return self._ears[channel].setdefault(name, asyncio.Queue())

    def leave(self, name: str) -> None:
        for ears in self._ears.values():
            ears.pop(name, None)


class AirBus:
    """The bus of one worker; while `frozen`, it hears nothing, and all of it afterwards."""

    def __init__(self, air: Air, name: str) -> None:
        self._air = air
        self._name = name
        self.open = asyncio.Event()
        self.open.set()

    async def publish(self, channel: str, message: bytes) -> None:
        self._air.send(self._name, channel, message)

    async def listen(self, channel: str) -> AsyncIterator[bytes]:
        ear = self._air.ear(self._name, channel)
        while True:
            message = await ear.get()
            await self.open.wait()
            yield message

    async def close(self) -> None:
        self._air.leave(self._name)


class RunWire:
    """Write the runs of the fake server as JSON."""

    def write(self, run: Run) -> bytes:
        return msgspec.json.encode(run)

    def read(self, content: bytes, phase: Phase) -> Run:
        return msgspec.structs.replace(msgspec.json.decode(content, type=Run), phase=phase)


class Worker:
    """One process of a fleet: its waits, and what it shares."""

    def __init__(
        self, remote: Remote, air: Air, name: str, *, latency: float = 5.0, is_old: Callable[[Run], bool] | None = None
    ) -> None:
        schedule = PollSchedule(get=RATE, page=RATE, listing=Listing("API"))
        self.waiting: Waiting[Run] = Waiting(
            remote, schedule, latency=latency, end_of=lambda run: run.life, is_old=is_old
        )
        self.bus = AirBus(air, name)
        self.name = name
        self.looks: Looks[Run] = Looks(self.waiting.elsewhere, self.bus, CHANNEL, RunWire(), name=name)
        self.dead = False

    async def die(self) -> None:
        """End without a word."""
        self.dead = True
        await self.bus.close()
        for task in self.looks._talk._tasks:  # what is killed says no farewell
            task.cancel()
        await self.waiting.aclose()

    async def aclose(self) -> None:
        if not self.dead:
            await self.looks.aclose()
            await self.waiting.aclose()


@asynccontextmanager
async def fleet(
    remote: Remote,
    count: int,
    air: Air | None = None,
    *,
    settled: bool = True,
    latency: float = 5.0,
    is_old: Callable[[Run], bool] | None = None,
) -> AsyncGenerator[list[Worker]]:
    """Yield so many workers, of which the first leads; when they are closed, no task and no slot may be left."""
    air = air or Air()
    mine = asyncio.all_tasks()
    async with AsyncExitStack() as stack, asyncio.timeout(50_000):
        workers = [Worker(remote, air, f"w{place}", latency=latency, is_old=is_old) for place in range(count)]
        for worker in workers:
            worker.looks.start()
            stack.push_async_callback(worker.aclose)
        if settled:
            await asyncio.sleep(5)
        yield workers
    await asyncio.sleep(1)
    assert asyncio.all_tasks() <= mine
    assert remote.open_slots == 0


def leaders(workers: Iterable[Worker]) -> list[str]:
    return [worker.name for worker in workers if not worker.dead and worker.looks.state.leads]
