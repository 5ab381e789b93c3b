"""Who is next: callers of one limit, or of several under one ceiling, each served by all windows at once."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from codegen_async.errors import ClientClosedError
from codegen_async.limits.budget import Budget
from codegen_async.limits.meter import Meter
from codegen_async.limits.rates import PATIENCE, LimiterState, Priority

_SHORTEST = 0.001  # seconds of a timer: some loops count in milliseconds, and would call at once, over and over


Queue = OrderedDict[asyncio.Future[None], int]
"""Who waits, and when it came, counted in arrivals."""


class Line:
    """Callers who wait for one limit, by priority and in order of arrival."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.queues: tuple[Queue, Queue] = (OrderedDict(), OrderedDict())

    def __len__(self) -> int:
        return sum(map(len, self.queues))


def _oldest(lines: list[Line], priority: Priority) -> Line | None:
    """Return the line whose first caller of that priority has waited longest; None if there is none."""
    if len(lines) == 1:
        return lines[0] if lines[0].queues[priority] else None
    waiting = [line for line in lines if line.queues[priority]]
    return min(waiting, key=lambda line: next(iter(line.queues[priority].values())), default=None)


class Dispatcher:
    """Hand out slots on one event loop, the first that uses it.

    A caller gets a slot of each window of its limit, and of the ceiling's, in one step. While it waits it holds none:
    nobody waits for somebody who waits, and who leaves has nothing to give back. Of those who lack nothing but the
    ceiling, the first is waited for: who came later does not pass him.

    Args:
        ceiling: a limit that the callers of all lines share. With none there is one line.
    """

    def __init__(self, ceiling: Meter | None = None) -> None:
        self.ceiling = ceiling
        self.lines: list[Line] = []
        self._waiting = 0
        self._passed = 0  # interactive grants since background work began to wait
        self._arrivals = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._wakes_at = math.inf  # the timer's time; not every loop's timer can tell
        self._is_closed = False

    def now(self) -> float:
        """Return the time of the loop that runs.

        Raises:
            RuntimeError: it is another one than before.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise RuntimeError(
                    "this limiter belongs to another event loop; make a client (or limiter) per event loop"
                )
            self._loop = loop
        return loop.time()

    def lag(self) -> float | None:
        """Return by how much the running loop's clock is ahead of the one used before; None if it may be used on."""
        running = asyncio.get_running_loop()
        if self._loop is None or self._loop is running:
            return 0.0 if self._is_closed else None
        return running.time() - self._loop.time()  # of a closed one, the present, or when it last ran: cools longer

    def followed(self) -> Dispatcher:
        """Return one for the loop that runs now, which knows what the ceiling does; itself, if it may be used on."""
        lag = self.lag()
        if lag is None:
            return self
        new = Dispatcher()
        new.ceiling = None if self.ceiling is None else self.ceiling.moved(lag, new.now())
        return new

    # -- taking a slot

    def take(self, line: Line, now: float) -> bool:
        """Take a slot, if one is free and nobody waits for it."""
        ceiling = self.ceiling
        if self._waiting or not line.meter.is_ready(now) or not (ceiling is None or ceiling.is_ready(now)):
            return False
        line.meter.take(now)
        if ceiling is not None:
            ceiling.take(now)
        return True

    async def wait(self, line: Line, priority: Priority, notes: Iterable[Callable[[Priority], None]]) -> None:
        """Stand in line for a slot, and tell of it first."""
        queue = line.queues[priority]
        if self._is_closed:
            raise _closed()
        turn = asyncio.get_running_loop().create_future()
        try:
            for note in notes:
                note(priority)
            queue[turn] = next(self._arrivals)
            self._waiting += 1
            self.serve()
            await turn
        except BaseException:
            if turn.done() and not (turn.cancelled() or turn.exception()):  # served and, in the same tick, cancelled
                self._put_back(line)
            elif queue.pop(turn, None) is not None:
                self._waiting -= 1
            self.serve()
            raise

    def close(self) -> None:
        """Be used no more: who waits, or comes to wait, is told that the client was closed."""
        self._is_closed = True
        self._waiting = 0
        for queue in itertools.chain.from_iterable(line.queues for line in self.lines):
            while queue:
                turn = queue.popitem(last=False)[0]
                if not turn.done():
                    turn.set_exception(_closed())
        self._wake_at(math.inf)

    def serve(self) -> None:
        """Hand out what can be handed out now, and see to being called again when there is more."""
        now = self.now()
        while self._waiting:
            ready, ready_at = self._ready(now)
            if ready and self.ceiling is not None:
                ceiling_at = self.ceiling.ready_at(now)
                if ceiling_at > now:
                    ready, ready_at = [], min(ceiling_at, ready_at)
            if not ready:
                self._wake_at(ready_at)
                return
            line, queue = self._next_in_line(ready)
            turn = queue.popitem(last=False)[0]
            self._waiting -= 1
            if not turn.done():  # else cancelled, and about to leave by itself
                self._grant(line, now)
                turn.set_result(None)
        self._wake_at(math.inf)

    def _grant(self, line: Line, now: float) -> None:
        line.meter.take(now)
        if self.ceiling is not None:
            self.ceiling.take(now)

    def _ready(self, now: float) -> tuple[list[Line], float]:
        """Return the lines whose own limits let somebody pass, and when the first of the others will."""
        ready: list[Line] = []
        ready_at = math.inf
        for line in self.lines:
            interactive, background = line.queues
            if interactive or background:
                at = line.meter.ready_at(now)
                if at <= now:
                    ready.append(line)
                elif at < ready_at:
                    ready_at = at
        return ready, ready_at

    def _next_in_line(self, ready: list[Line]) -> tuple[Line, Queue]:
        interactive = _oldest(ready, Priority.INTERACTIVE)
        background = _oldest(ready, Priority.BACKGROUND)
        if interactive is not None and background is not None:
            self._passed = (self._passed + 1) % (PATIENCE + 1)
            if self._passed:
                background = None
        else:
            self._passed = 0
        if background is not None:
            return background, background.queues[Priority.BACKGROUND]
        line = interactive or ready[0]
        return line, line.queues[Priority.INTERACTIVE]

    def _wake_at(self, when: float) -> None:
        if self._wakes_at == when:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._wakes_at = None, math.inf
        if when < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(when, loop.time() + _SHORTEST), self._wake)
            self._wakes_at = when

    def _wake(self) -> None:
        self._timer, self._wakes_at = None, math.inf
        self.serve()

    # -- giving it back

    def cool(self, line: Line, now: float, answered: bool) -> None:
        """Let a slot cool in each window."""
        line.meter.cool(now, answered)
        if self.ceiling is not None:
            self.ceiling.cool(now, answered)
        # Not before the timer, if it comes earlier than this slot: the answer may be a 429, which will shut the gate.
        if self._waiting and now + self._shortest_cycle(line) < self._wakes_at:
            self.serve()

    def _shortest_cycle(self, line: Line) -> float:
        return line.meter.cycle if self.ceiling is None else min(line.meter.cycle, self.ceiling.cycle)

    def return_unused(self, line: Line) -> None:
        """Give a slot back of which nothing was sent: it is free at once."""
        self._put_back(line)
        self.serve()

    def seed(self, line: Line, ages: Collection[float]) -> None:
        """Count earlier requests; see `WindowLimiter.seed`."""
        now = self.now()
        line.meter.seed(ages, now)
        if self.ceiling is not None:
            self.ceiling.seed(ages, now)

    def _put_back(self, line: Line) -> None:
        line.meter.put_back()
        if self.ceiling is not None:
            self.ceiling.put_back()

    # -- what the server says

    def heard(self, line: Line, budget: Budget, ended_before: tuple[int, int], asked_at: float) -> None:
        """Take note of a budget: the ceiling's if it has that limit and the line has not, else the line's."""
        now = self.now()
        own, common = ended_before
        if self.ceiling is not None and self.ceiling.states(budget.limit) and not line.meter.states(budget.limit):
            self.ceiling.heard(budget, common, asked_at, now)
        else:
            line.meter.heard(budget, own, asked_at, now)
        self.serve()

    def rejected(self, line: Line, taken_at: float, retry_after: float | None) -> bool:
        """Take note of a 429; which limit is spent, nobody knows: the line's and the ceiling's are told."""
        now = self.now()
        excused = line.meter.rejected(taken_at, now, retry_after)
        if self.ceiling is not None:
            excused = self.ceiling.rejected(taken_at, now, retry_after) or excused
        self.serve()
        return excused

    # -- to look at

    def waiting_for_ceiling(self) -> tuple[int, int]:
        """Return how many callers lack nothing but the ceiling, by priority."""
        now = self.now()
        waiting = [self._delayed(line, now, limited=True) for line in self.lines]
        return sum(interactive for interactive, _ in waiting), sum(background for _, background in waiting)

    def expected_wait(self, line: Line, priority: Priority) -> float:
        """Return the seconds until one more caller would get a slot of that line, the ceiling aside."""
        now = self.now()
        return line.meter.expected_at(now, self._ahead(priority, *map(len, line.queues))) - now

    def ceiling_wait(self, line: Line | None, priority: Priority) -> float:
        """Return the seconds until one more caller of that line (or of none) would get a slot of the ceiling."""
        if self.ceiling is None:
            return 0.0
        now = self.now()
        waiting = [self._delayed(each, now, limited=each is not line) for each in self.lines]
        interactive, background = (sum(counts) for counts in zip(*waiting, strict=True))
        return self.ceiling.expected_at(now, self._ahead(priority, interactive, background)) - now

    def ceiling_state(self) -> LimiterState | None:
        """Return what the ceiling is doing now; its line are those whom nothing else delays."""
        if self.ceiling is None:
            return None
        now = self.now()
        return self.ceiling.state(now, sum(self.waiting_for_ceiling()), self.ceiling_wait(None, Priority.INTERACTIVE))

    def _delayed(self, line: Line, now: float, *, limited: bool) -> tuple[int, int]:
        """How many of a line the ceiling alone delays, by priority."""
        interactive, background = map(len, line.queues)
        if not limited:
            return interactive, background
        room = line.meter.room(now)
        return min(interactive, room), min(background, max(0, room - interactive))

    def _ahead(self, priority: Priority, interactive: int, background: int) -> int:
        """How many of those who wait now would be served before one more."""
        if priority is Priority.INTERACTIVE:
            return interactive + min(background, (self._passed + interactive) // PATIENCE)
        return background + min(interactive, max(0, PATIENCE * (background + 1) - self._passed))


def _closed() -> ClientClosedError:
    return ClientClosedError("the client was closed while this call waited for its turn")
