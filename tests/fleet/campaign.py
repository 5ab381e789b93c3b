"""A fleet under fire in virtual time: the real limits on hosts that freeze and die, over a store that fails.

What is counted is what reaches the server, by its own clock: how many requests were one too many within some window.
"""

import asyncio
import contextlib
import gc
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from unittest import mock

from codegen_async.fleet.board import Terms
from codegen_async.fleet.limits import FleetLimits
from codegen_async.limits import Priority, Rate, StaleSlotError
from codegen_async.limits.limiter import WindowSlot
from tests.fleet.hosts import Host, HostsLoop, later, the_loop
from tests.fleet.shelf import Line, Shelf

SHORT = Terms(send_by=2.0, total=3.0, lateness=2.0, pause=1.0)
"""Times of ten seconds in all where the period is 2: so much happens within one life of a slot."""

TEN = Rate(10, 2.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to happen. Rates are events per second of true time in the whole fleet.

    Attributes:
        rate: the limit.
        terms: what the members go by.
        workers: hosts.
        callers: tasks on each that send without a pause.
        seconds: true ones.
        kills, freezes, cuts, restarts, empties, returns, jumps: how often; a store that returns to what was saved last
            says nothing of it.
        frozen: seconds that a freeze lasts at most.
        ahead: seconds that the store's clock jumps ahead at most; half of the jumps go an hour back.
        forgets: whether the store may lose writes.
        lost: share of the calls to the store that are.
        slow: share of the requests that take as long as they may.
        gaps: share of the requests before which a host stands still, between the check of the slot and the write.
        interactive: share of the calls that go before the others.
        leg: seconds that a request takes to the server, and an answer back.
        stalls: share of the kills and freezes before which the network of the host is as slow for a while.
    """

    rate: Rate = TEN
    terms: Terms = SHORT
    workers: int = 5
    callers: int = 4
    seconds: float = 300.0
    kills: float = 0.15
    freezes: float = 0.15
    cuts: float = 0.15
    restarts: float = 0.0
    empties: float = 0.0
    returns: float = 0.0
    jumps: float = 0.0
    frozen: float = 4.0
    ahead: float = 4.0
    forgets: bool = True
    lost: float = 0.02
    late: float = 0.01
    slow: float = 0.05
    stalls: float = 0.2
    gaps: float = 0.01
    interactive: float = 0.5
    leg: tuple[float, float] = (0.01, 0.05)
    seed: int = 0


@dataclass
class Result:
    """What came of it.

    Attributes:
        requests: that reached the server.
        over: those of them that were one too many.
        refused: those whose slot had grown too old, so that they were not sent.
        by_worker: calls that were answered after the first period.
    """

    requests: int = 0
    over: int = 0
    refused: int = 0
    kills: int = 0
    freezes: int = 0
    cuts: int = 0
    restarts: int = 0
    jumps: int = 0
    swaps: int = 0
    by_worker: dict[int, int] = field(default_factory=dict[int, int])

    def __add__(self, other: "Result") -> "Result":
        names = [name for name in self.__dataclass_fields__ if name != "by_worker"]
        return Result(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Server:
    """Count what arrives."""

    def __init__(self, rate: Rate, result: Result) -> None:
        self._rate = rate
        self._result = result
        self._last: deque[float] = deque(maxlen=rate.limit)

    def arrive(self, answer: "asyncio.Future[None]", back: float) -> None:
        """Take a request, and send the answer back."""
        now = the_loop().true_time()
        last = self._last
        self._result.requests += 1
        self._result.over += len(last) == self._rate.limit and now - last[0] < self._rate.period
        last.append(now)
        later(back, _answer, answer)


def _answer(answer: "asyncio.Future[None]") -> None:
    if not answer.done():
        answer.set_result(None)


class Campaign:
    """Let a plan happen."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rnd = random.Random(plan.seed)
        self.result = Result()
        self.server = Server(plan.rate, self.result)
        self.shelf = Shelf(random.Random(plan.seed + 1), forgets=plan.forgets)
        self.hosts: list[Host] = []
        self.lines: list[Line] = []
        self._all_hosts: list[Host] = []
        self._tasks: list[asyncio.Task[object]] = []
        self._is_over = False

    async def run(self) -> Result:
        """Do it."""
        plan = self.plan
        self.shelf.began = the_loop().true_time() - 1e6  # up for long: it need not be cold in the beginning
        for number in range(plan.workers):
            self._start(number)
        events: list[tuple[float, Callable[[], None]]] = [
            (plan.kills, self._kill),
            (plan.freezes, self._freeze),
            (plan.cuts, self._cut),
            (plan.restarts, self._restart),
            (plan.empties, self._empty),
            (plan.returns, self._return),
            (plan.jumps, self._jump),
            (0.2, self.shelf.save),
        ]
        later(plan.rate.period, self.result.by_worker.clear)
        chaos = [asyncio.create_task(self._repeat(*event)) for event in events if event[0]]
        await asyncio.sleep(plan.seconds)
        for event in chaos:
            event.cancel()
        for task in self._tasks:
            if task.done():
                task.result()  # a process ends by itself only where something is wrong
        # A copy: what was killed long ago is let go to its end now, and may send what it was about to send then.
        result = replace(self.result, swaps=self.shelf.swaps, by_worker=dict(self.result.by_worker))
        await self._end()
        return result

    async def _end(self) -> None:
        """Let all tasks end, whatever came of their hosts."""
        self.shelf.is_away = self._is_over = True
        for host in self._all_hosts:
            host.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, per_second: float, happen: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self.rnd.expovariate(per_second))
            happen()

    # -- what happens

    def _start(self, number: int) -> None:
        rnd, plan = self.rnd, self.plan
        host = Host(rnd.uniform(-4e-4, 4e-4), rnd.uniform(0.0, 1e5))
        line = Line(self.shelf, random.Random(rnd.random()), lost=plan.lost, late=plan.late)
        if number < len(self.hosts):
            self.hosts[number], self.lines[number] = host, line
        else:
            self.hosts.append(host)
            self.lines.append(line)
        self._all_hosts.append(host)
        self._tasks.append(host.start(Worker(self, number, host, line).run()))

    def _kill(self) -> None:
        number = self.rnd.randrange(self.plan.workers)
        host = self.hosts[number]

        def kill() -> None:
            if self.hosts[number] is host:
                host.kill()
                self.result.kills += 1
                self._start(number)

        self._stall(host, kill)

    def _freeze(self) -> None:
        host = self.rnd.choice(self.hosts)
        seconds = self.rnd.uniform(0.1, self.plan.frozen)

        def thaw() -> None:
            host.is_stalled = False
            host.thaw()

        def freeze() -> None:
            if host.freeze():
                self.result.freezes += 1
                later(seconds, thaw)

        self._stall(host, freeze)

    def _stall(self, host: Host, then: Callable[[], None]) -> None:
        """Let something happen, now or when all requests of a host have been slow for a while."""

        def happen() -> None:
            if not self._is_over:
                then()

        if self.rnd.random() < self.plan.stalls:
            host.is_stalled = True
            later(self.rnd.uniform(0.5, 1.0) * min(self.plan.rate.period, self.plan.terms.send_by), happen)
        else:
            happen()

    def _cut(self) -> None:
        line = self.rnd.choice(self.lines)
        line.is_cut = True
        self.result.cuts += 1

        def mend() -> None:
            line.is_cut = False

        later(self.rnd.uniform(0.1, 8.0), mend)

    def _restart(self) -> None:
        self.shelf.is_away = True
        self.result.restarts += 1

        def back() -> None:
            self.shelf.restart(empty=self.rnd.random() < 0.3)
            self.shelf.is_away = False

        later(self.rnd.uniform(0.0, 1.0), back)

    def _empty(self) -> None:
        self.shelf.values.clear()
        self.result.restarts += 1

    def _return(self) -> None:
        self.shelf.values = dict(self.shelf.saved)
        self.result.restarts += 1

    def _jump(self) -> None:
        self.shelf.offset += self.rnd.uniform(0.1, self.plan.ahead) if self.rnd.random() < 0.5 else -3600.0
        self.result.jumps += 1


class Worker:
    """What runs on a host: a process that sends requests under the limits of the fleet."""

    def __init__(self, campaign: Campaign, number: int, host: Host, line: Line) -> None:
        plan = campaign.plan
        self._campaign = campaign
        self._plan = plan
        self._number = number
        self._host = host
        self._rnd = random.Random(campaign.rnd.random())
        self._limits = FleetLimits({"get": plan.rate}, open_store=lambda: line, key_of=str, terms=plan.terms)

    async def run(self) -> None:
        """Be a process."""
        self._limits.send_by(self._plan.terms.send_by)
        self._limits.follow()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._plan.callers):
                    group.create_task(self._call_forever())
        finally:
            await self._limits.aclose()

    async def _call_forever(self) -> None:
        rnd = self._rnd
        while True:
            priority = Priority.INTERACTIVE if rnd.random() < self._plan.interactive else Priority.BACKGROUND
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if rnd.random() < 0.9 else rnd.uniform(0.0, 3.0)):
                    await self._call(priority)

    async def _call(self, priority: Priority) -> None:
        async with self._limits.slot("get", priority) as slot:
            assert isinstance(slot, WindowSlot)
            rnd, terms = self._rnd, self._plan.terms
            began = the_loop().time()
            if self._is_slow():  # to connect
                await asyncio.sleep(rnd.uniform(0.0, 1.2 * terms.send_by))
            try:
                slot.sent()
            except StaleSlotError:
                self._campaign.result.refused += 1
                return
            if rnd.random() < self._plan.gaps and self._host.freeze():  # stands still between the check and the write
                later(rnd.uniform(0.0, terms.pause), self._host.thaw)
                await asyncio.sleep(0)
            left = terms.total - (the_loop().time() - began)
            await self._send(left)
            slot.answered()
        self._campaign.result.by_worker[self._number] = self._campaign.result.by_worker.get(self._number, 0) + 1

    def _is_slow(self) -> bool:
        return self._rnd.random() < (0.5 if self._host.is_stalled else self._plan.slow)

    async def _send(self, left: float) -> None:
        """Send a request that may be counted up to `lateness` after it is given up."""
        rnd, answer = self._rnd, asyncio.get_running_loop().create_future()
        there, back = (rnd.uniform(*self._plan.leg) for _ in range(2))
        if self._is_slow():
            there = rnd.uniform(0.0, max(0.0, left) + self._plan.terms.lateness)
        arrives_at = the_loop().true_time() + there
        arrival = later(there, self._campaign.server.arrive, answer, back)
        try:
            async with asyncio.timeout(left):
                await answer
        except BaseException:
            lateness = self._plan.terms.lateness
            if arrives_at > the_loop().true_time() + lateness:  # given up early: it arrives within `lateness`, or not
                arrival.cancel()
                later(rnd.uniform(0.0, lateness), self._campaign.server.arrive, answer, back)
            raise


def play(plan: Plan, *, within: float = 3600.0) -> Result:
    """Let a plan happen in virtual time."""

    async def bounded() -> Result:
        async with asyncio.timeout(plan.seconds + within):
            return await Campaign(plan).run()

    names = random.Random(plan.seed)
    with (
        asyncio.Runner(loop_factory=HostsLoop) as runner,
        mock.patch("secrets.token_hex", lambda size: names.randbytes(size).hex()),  # as all else: from the seed
    ):
        result = runner.run(bounded())
    gc.collect()
    return result


def campaign(plan: Plan, seeds: range) -> Result:
    """Let a plan happen with each seed, and return all that came of it."""
    total = Result()
    for seed in seeds:
        total += play(replace(plan, seed=seed))
    return total
