"""A fleet of real processes at a strict server, while processes are killed and frozen and the store comes and goes.

As a program it is one process: a member of the fleet, or the server.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codegen_async.errors import CodegenAsyncError
from codegen_async.fleet.board import Terms
from codegen_async.fleet.limits import FleetLimits
from codegen_async.fleet.opening import open_store
from codegen_async.http.answers import Request
from codegen_async.http.sender import AiohttpSender
from codegen_async.http.transport import Transport
from codegen_async.limits import Rate
from codegen_async.secret import Secret
from codegen_async.settings import Timeouts
from codegen_async.testing import CodegenServer, Fault
from tests.support.relay import Relay
from tests.support.servers import Server, valkey_command

ROOT = Path(__file__).parents[2]
TOKEN = "simulated"

TIMEOUTS = Timeouts(connect=1.0, read=3.0, total=3.0)
TERMS = Terms(send_by=2.0, total=3.0, lateness=2.0, pause=1.0, step=1.0)
"""Short: what a dead member had comes back after some ten seconds."""

Strike = Callable[[random.Random], Awaitable[None]]
Strikes = Mapping[str, Strike]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a campaign is.

    Attributes:
        rate: of the server.
        requests: after how many it ends.
        seconds: how long after the first request it ends at the latest.
        workers, tasks: processes, and callers in each.
        every: seconds between two strikes, at least and at most.
        strikes: what happens, each once at first, and then how often in proportion.
        seed: of all that happens.
    """

    rate: Rate
    requests: int
    seconds: float
    workers: int = 6
    tasks: int = 5
    every: tuple[float, float] = (0.5, 2.0)
    strikes: Mapping[str, int]
    seed: int = 1


@dataclass
class Result:
    """What came of it: of the server what it counted, and what happened."""

    requests: int = 0
    answered: int = 0
    rejected: int = 0
    fullest: int = 0
    struck: Counter[str] = field(default_factory=Counter)


# -- a member


async def work(api: str, run: str, fleet: str, rate: Rate, tasks: int) -> None:
    """Ask for a run again and again, as fast as the fleet lets us."""
    limits = FleetLimits(
        {"get": rate}, open_store=lambda: open_store(fleet), key_of=lambda name: f"campaign:{name}", terms=TERMS
    )
    limits.send_by(TERMS.send_by)
    limits.follow()
    token = Secret(TOKEN)
    sender = AiohttpSender(api, token, timeouts=TIMEOUTS, max_body=2**20, user_agent="campaign")
    transport = Transport(sender, limits, token=token, attempts=1)
    request = Request(endpoint="get", method="GET", path=run)

    async def ask() -> None:
        while True:
            with contextlib.suppress(CodegenAsyncError):
                await transport.call(request, len)

    await asyncio.gather(*(ask() for _ in range(tasks)))


# -- the server


async def serve(rate: Rate, seed: int) -> None:
    """Answer, some of it late and some never, until nobody reads any more; then tell what was counted."""
    server = CodegenServer(rates={"get": rate}, count_rejected=True, latency=(0.0, 0.05), token=TOKEN, seed=seed)
    for fault in (Fault.RESET_BEFORE, Fault.RESET_AFTER):
        server.faults.add(fault, endpoint="get", times=None, probability=0.01)
    async with server:
        run = server.world.create("look at me")
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        _say(server.url)
        _say(f"/v1/organizations/{server.org_id}/agent/run/{run.id}")
        while await lines.readline():
            statuses = Counter(request.status for request in server.requests)
            told = {"requests": len(server.requests), "rejected": server.violations, "answered": statuses[200]}
            _say(json.dumps({**told, "fullest": server.worst("get").seen}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Api:
    """The server, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, run: str) -> None:
        self._process = process
        self.url = url
        self.run = run

    async def counted(self) -> dict[str, int]:
        """Return what it has counted."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        counted: dict[str, int] = json.loads(await _line(self._process))
        return counted


@asynccontextmanager
async def _api(rate: Rate, seed: int) -> AsyncGenerator[Api]:
    process = await _started("serve", str(rate.limit), str(rate.period), str(seed), stdin=subprocess.PIPE)
    try:
        url, run = [(await _line(process)).decode().strip() for _ in range(2)]
        yield Api(process, url, run)
    finally:
        process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


async def _started(*arguments: str, stdin: int | None = None) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "tests.fleet.processes", *arguments)
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE)


# -- what happens to them


class Crew:
    """The members, of which none stays dead."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._arguments = arguments
        self._members: list[asyncio.subprocess.Process] = []
        self._resting: set[asyncio.Task[None]] = set()

    async def hire(self, count: int) -> None:
        """Start members."""
        self._members += [await _started("work", *self._arguments) for _ in range(count)]

    async def kill(self, chance: random.Random) -> None:
        """Kill one, and start another."""
        gone = self._members.pop(chance.randrange(len(self._members)))
        gone.kill()
        await gone.wait()
        await self.hire(1)

    async def freeze(self, chance: random.Random) -> None:
        """Freeze one for a while, mostly shorter than what it had stays its own, and sometimes longer."""
        member = chance.choice(self._members)
        seconds = chance.uniform(11.0, 14.0) if chance.random() < 0.2 else chance.uniform(0.1, 4.0)
        _send(member, signal.SIGSTOP)
        task = asyncio.create_task(self._rest(member, seconds))
        self._resting.add(task)
        task.add_done_callback(self._resting.discard)

    async def _rest(self, member: asyncio.subprocess.Process, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            _send(member, signal.SIGCONT)

    async def dismiss(self) -> None:
        """End all."""
        for task in self._resting:
            task.cancel()
        for member in self._members:
            assert member.returncode is None, "a member has ended by itself"
            member.kill()
        await asyncio.gather(*(member.wait() for member in self._members))


def _send(member: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(member.pid, number)


@asynccontextmanager
async def before_server(server: Server, url: str) -> AsyncGenerator[tuple[str, Strikes]]:
    """Yield a URL that leads to a server by a relay, and what can happen to both."""
    async with Relay(server.port) as relay:

        async def cut(_: random.Random) -> None:
            relay.cut()

        async def restart(_: random.Random) -> None:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)

        async def freeze_store(chance: random.Random) -> None:
            await asyncio.to_thread(server.freeze)
            await asyncio.sleep(chance.uniform(0.2, 2.5))
            await asyncio.to_thread(server.thaw)

        way = url.replace(f":{server.port}", f":{relay.port}")
        yield way, {"cut": cut, "restart": restart, "freeze_store": freeze_store}


@asynccontextmanager
async def before_pair(first: Server, second: Server, url: str) -> AsyncGenerator[tuple[str, Strikes]]:
    """Yield a URL that leads to one of two servers of Valkey, of which the other is a replica that takes over."""
    pair = [first, second]
    await valkey_command(second, "REPLICAOF", "127.0.0.1", first.port)
    async with Relay(first.port) as relay:

        async def fail_over(chance: random.Random) -> None:
            gone, heir = pair
            await asyncio.to_thread(heir.freeze)  # so what comes now it will not know
            await asyncio.sleep(chance.uniform(0.5, 2.0))
            await asyncio.to_thread(gone.kill)
            await asyncio.to_thread(heir.thaw)
            await valkey_command(heir, "REPLICAOF", "NO", "ONE")
            relay.target = heir.port
            relay.cut()
            await asyncio.to_thread(gone.start)
            await valkey_command(gone, "REPLICAOF", "127.0.0.1", heir.port)
            pair.reverse()

        yield url.replace(f":{first.port}", f":{relay.port}"), {"fail_over": fail_over}


@asynccontextmanager
async def before_file(path: Path) -> AsyncGenerator[tuple[str, Strikes]]:
    """Yield the URL of a file, and what can happen to it: somebody holds it."""

    def hold(seconds: float) -> None:
        if not path.exists():
            return  # nobody has come yet
        # A member that is frozen may hold it, too, for as long as it is.
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            other.execute("ROLLBACK")

    async def cut(chance: random.Random) -> None:
        await asyncio.to_thread(hold, chance.uniform(0.2, 2.0))

    yield f"sqlite:{path}", {"cut": cut}


async def campaign(fleet: str, strikes: Strikes, plan: Plan) -> Result:
    """Let members work until enough requests came, strike them and the store, and return what the server counted."""
    chance, result, rate = random.Random(plan.seed), Result(), plan.rate
    async with _api(rate, plan.seed) as api, asyncio.timeout(plan.seconds + 60):
        crew = Crew((api.url, api.run, fleet, str(rate.limit), str(rate.period), str(plan.tasks)))
        happens = {"kill": crew.kill, "freeze": crew.freeze, **strikes}
        weighted = [name for name, weight in plan.strikes.items() for _ in range(weight)]
        strikes_to_come = itertools.chain(plan.strikes, iter(lambda: chance.choice(weighted), None))
        try:
            await crew.hire(plan.workers)
            while not (await api.counted())["requests"]:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.1)  # a fleet is silent at first where a store has just started
            until = asyncio.get_running_loop().time() + plan.seconds
            for name in strikes_to_come:
                await asyncio.sleep(chance.uniform(*plan.every))
                await happens[name](chance)
                result.struck[name] += 1
                if (await api.counted())["requests"] >= plan.requests or asyncio.get_running_loop().time() > until:
                    break
        finally:
            await crew.dismiss()
        counted = await api.counted()
    result.requests, result.answered = counted["requests"], counted["answered"]
    result.rejected, result.fullest = counted["rejected"], counted["fullest"]
    return result


def _main(what: str, *given: Any) -> None:
    if what == "work":
        api, run, fleet, limit, period, tasks = given
        asyncio.run(work(api, run, fleet, Rate(int(limit), float(period)), int(tasks)))
    else:
        limit, period, seed = given
        asyncio.run(serve(Rate(int(limit), float(period)), int(seed)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
