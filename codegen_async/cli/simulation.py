"""A simulated server inside the process of a command."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from codegen_async.cli.errors import CommandError
from codegen_async.cli.session import telling
from codegen_async.codegen.client import CodegenClient
from codegen_async.events import Observer
from codegen_async.settings import Timeouts
from codegen_async.testing import CodegenServer, FastLoop, Life
from codegen_async.testing.server import SimulatedServer

SPEED = 60.0
"""How many times faster than life a simulation runs."""

# A second of a busy machine is a minute of the simulation.
_PATIENT = Timeouts(connect=600.0, read=600.0, total=600.0)
# Runs that are created now succeed, so that a demonstration ends with code 0; what failed was there before.
_LIVES = Life(median=120.0, sigma=0.8, outcomes={"COMPLETE": 1.0})


class Simulated:
    """Serve and ask over real HTTP; both clocks run faster together, so the limits are those of production."""

    speed = SPEED
    server: CodegenServer

    def __init__(self) -> None:
        self.observers: list[Observer] = []

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return a loop whose clock runs fast."""
        return FastLoop(SPEED)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[CodegenClient]:
        """Yield a client of a server that has a few runs."""
        async with (
            CodegenServer(seed=7, latency=(0.05, 0.3), life=_LIVES) as self.server,
            CodegenClient(
                self.server.token,
                org_id=self.server.org_id,
                base_url=self.server.url,
                fleet="",  # whatever the environment says: a fleet's clock is not that of a simulation
                timeouts=_PATIENT,
                observe=telling(self.observers),
            ) as client,
        ):
            _populate(self.server)
            yield client

    def clock(self) -> float:
        """Return the time of the simulation."""
        return asyncio.get_running_loop().time()

    def record(self) -> Sequence[str]:
        """Return what the server counted.

        Raises:
            CommandError: it had to refuse a request for its limits.
        """
        if self.server.violations:
            raise CommandError(f"the simulated server refused {self.server.violations} requests for its limits")
        return counted(self.server)


def _populate(server: CodegenServer) -> None:
    """Let there be runs in every phase."""
    for status in ("COMPLETE", "COMPLETE", "ERROR", "CANCELLED", "PAUSED"):
        server.world.create(f"A task that is {status.lower()}", script=[(0.0, status)])
    for number in range(1, 6):
        server.world.create(f"A task that goes on, number {number}")


def counted(server: SimulatedServer) -> Sequence[str]:
    """Return how much of its limits a simulated server saw used, and what that bought."""
    lines = [_budget(server)]
    return [*lines, _polls(server)] if isinstance(server, CodegenServer) else lines


def _budget(server: SimulatedServer) -> str:
    used = [
        f"{endpoint} {server.worst(endpoint).seen} of {limit} in {period:g} s"
        for endpoint, (limit, period) in server.rates.items()
        if server.worst(endpoint).seen
    ]
    return f"budget, fullest window: {', '.join(used) or 'nothing asked'}; {server.violations} violations"


def _polls(server: CodegenServer) -> str:
    asked = Counter(request.endpoint for request in server.requests)
    now = server.now()
    lived = sum(min(run.finished_at or now, now) - run.created for run in server.world.runs.values())
    return f"polls: {asked['get'] + asked['list']} (a get for each run every 5 s: {lived / 5:.0f})"
