"""Workers that share looks: real waits over one server without HTTP, and a bus in memory."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import msgspec

from benchmarks._fleet_air import Air, AirBus
from codegen_async.fleet.looks import Looks
from codegen_async.models import Phase
from codegen_async.polling import Listing, PollSchedule
from codegen_async.waiting import Waiting
from tests.waiting.fakes import RATE, Remote, Run

CHANNEL = "channel"


class RunWire:
    """Write the runs of the fake server as JSON."""

    def write(self, run: Run) -> bytes:
        return msgspec.json.encode(run)

    def read(self, content: bytes, phase: Phase) -> Run:
        return msgspec.structs.replace(msgspec.json.decode(content, type=Run), phase=phase)


class Worker:
    """One process of a fleet: its waits, and what it shares."""

    def __init__(
        self,
        remote: Remote,
        air: Air,
        name: str,
        *,
        latency: float = 5.0,
        is_old: Callable[[str, Run], bool] | None = None,
    ) -> None:
        schedule = PollSchedule(get=RATE, page=RATE, listing=Listing("API"))
        self.waiting: Waiting[Run] = Waiting(
            remote,
            schedule,
            latency=latency,
            end_of=lambda run: run.life,
            is_old=None if is_old is None else partial(is_old, name),
        )
        self.bus = AirBus(air, name)
        self.name = name
        self.looks: Looks[Run] = Looks(self.waiting.elsewhere, self.bus, CHANNEL, RunWire(), name=name)
        self.dead = False

    async def die(self) -> None:
        """End without a word."""
        self.bus.cut()
        await self.aclose()

    async def aclose(self) -> None:
        if not self.dead:
            self.dead = True
            await self.looks.aclose()
            await self.waiting.aclose()


@asynccontextmanager
async def fleet(
    remote: Remote,
    count: int,
    air: Air | None = None,
    *,
    settled: bool = True,
    names: str = "w",
    latency: float = 5.0,
    is_old: Callable[[str, Run], bool] | None = None,
) -> AsyncGenerator[list[Worker]]:
    """Yield so many workers, of which the first leads; when they are closed, no task and no slot may be left."""
    air = air or Air()
    mine = asyncio.all_tasks()
    async with AsyncExitStack() as stack, asyncio.timeout(50_000):
        workers = [Worker(remote, air, f"{names}{place}", latency=latency, is_old=is_old) for place in range(count)]
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
