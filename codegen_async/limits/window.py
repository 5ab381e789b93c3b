"""One limiter: as many slots as the server allows requests, each away until its request can no longer count."""

# A slot is the other half of its limiter:
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush, nlargest, nsmallest
from types import TracebackType
from typing import Self

from codegen_async.limits.gate import Gate
from codegen_async.limits.pacer import Pacer
from codegen_async.limits.rates import LimiterState, Priority, Rate, StaleSlotError

_PATIENCE = 4  # interactive requests that may pass a waiting background request before it gets its turn
_SHORTEST = 0.001  # seconds of a timer: some loops count in milliseconds, and would call at once, over and over


class WindowLimiter:
    """Let at most `rate.limit` requests into any `rate.period`, as the server counts them.

    Waiters are served by priority and in order of arrival within one; a waiting background request is passed by at most
    four interactive ones. State belongs to the event loop that uses the limiter first.

    Args:
        rate: the server's limit.
        burst: how many requests may follow one another at once. Default: what the rate says.
        margin: seconds added to the period. Default: 1/600 of it (50 ms for 30 s), at least 5 ms; covers clocks
            that differ by more than 1000 ppm and costs 0.2 % of the throughput (0.5 % at 20 per second).
        lateness: seconds after which a request with unknown outcome is believed to reach the server no more.
            Default 5: measured, 0 s of it cost 6.8 rejections of 600, 5 s none.
        send_by: seconds after which a slot is too old to be used: whoever holds it was stopped, and what others believe
            of it may be over. Default 15, to connect and five more.
    """

    def __init__(
        self,
        rate: Rate,
        *,
        burst: int | None = None,
        margin: float | None = None,
        lateness: float = 5.0,
        send_by: float = 15.0,
    ) -> None:
        if burst is not None:
            rate = Rate(rate.limit, rate.period, burst)
        if not (margin is None or 0 <= margin < math.inf):
            raise ValueError(f"margin: expected seconds >= 0, got {margin!r}")
        for name, seconds in (("lateness", lateness), ("send_by", send_by)):
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{name}: expected seconds >= 0, got {seconds!r}")
        self.rate = rate
        self.margin: float = max(0.005, rate.period / 600) if margin is None else margin
        self.lateness = lateness
        self.send_by = send_by
        self.on_sent: list[Callable[[], Callable[[], None]]] = []
        """Called when a request is about to be sent, for who has to know after a restart, to `seed` then. What they
        return is called when its slot begins to cool."""
        self.on_queued: list[Callable[[Priority], None]] = []
        """Called when a caller is about to join the line."""
        self._cycle = rate.period + self.margin  # that a slot is away after its answer
        self._pacer = Pacer(rate)
        self._gate = Gate(self._cycle)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free = rate.limit
        self._cooling: list[float] = []  # heap of the times at which slots come back
        self._queues: tuple[OrderedDict[asyncio.Future[None], None], ...] = (OrderedDict(), OrderedDict())
        self._passed = 0  # interactive grants since background work began to wait
        self._timer: asyncio.Handle | None = None
        self._wakes_at = math.inf  # the timer's time; not every loop's timer can tell
        self._rejections = 0

    def slot(self, priority: Priority = Priority.INTERACTIVE) -> WindowSlot:
        """Return a context manager that waits for a slot and gives it back as the rule demands."""
        return WindowSlot(self, priority)

    def hold(self, seconds: float) -> None:
        """Let nobody pass for that long, beginning now.

        Raises:
            ValueError: it is no number of seconds.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds: expected seconds >= 0, got {seconds!r}")
        self._gate.hold(self._now() + seconds)

    def seed(self, ages: Iterable[float]) -> None:
        """Count requests that were sent before this limiter existed, so that a restart spends no second burst.

        Args:
            ages: for each, the seconds since it was sent. Whether it was answered is not known, so it cools as an
                unknown outcome does.
        """
        now = self._now()
        self._expire(now)
        cool = self._cycle + self.lateness
        # More than N can be that young, as an unknown outcome outlives its window; the older ones cool off before
        # the youngest N do.
        for until in nlargest(self._free, (now - age + cool for age in ages if age < cool)):
            self._free -= 1
            heappush(self._cooling, until)

    def followed(self) -> WindowLimiter:
        """Return a limiter for the loop that runs now, which knows what this one does; itself, if it is of this loop.

        What is in flight has an unknown outcome: it cools as such, and its slot comes back to a limiter nobody uses.
        """
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return self
        then = self._loop.time()  # of a loop that is closed, the present, or when it last ran: the slots cool longer
        self._expire(then)
        new = WindowLimiter(self.rate, margin=self.margin, lateness=self.lateness, send_by=self.send_by)
        now = new._now()
        flying = self.rate.limit - self._free - len(self._cooling)
        new._free = self._free
        new._cooling = [until - then + now for until in self._cooling]
        new._cooling += [now + self._cycle + self.lateness] * flying
        new._gate, new._pacer = copy.copy(self._gate), copy.copy(self._pacer)
        new._gate.shift(now - then)
        new._pacer.shift(now - then)
        new._rejections = self._rejections
        return new

    @property
    def state(self) -> LimiterState:
        """What the limiter is doing now."""
        now = self._now()
        self._expire(now)
        self._pacer.speed_up(now)
        held = max(0.0, self._gate.shut_until - now)
        return LimiterState(
            rate=self.rate,
            available=0 if held or self.queue_length else self._free,
            in_flight=self.rate.limit - self._free - len(self._cooling),
            cooling=len(self._cooling),
            queue_length=self.queue_length,
            held_for=held,
            pace=self._pacer.pace,
            rejections=self._rejections,
            wait=self.expected_wait(),
        )

    @property
    def available(self) -> int:
        """How many requests could be sent at this moment."""
        return self.state.available

    @property
    def queue_length(self) -> int:
        """How many callers wait for a slot."""
        return sum(map(len, self._queues))

    @property
    def next_free(self) -> float:
        """When a slot is free, in loop time; `inf` while all are in flight and none is cooling."""
        now = self._now()
        self._expire(now)
        free_at = now if self._free else self._cooling[0] if self._cooling else math.inf
        return max(free_at, self._gate.shut_until)

    def expected_wait(self, priority: Priority = Priority.INTERACTIVE) -> float:
        """Return the seconds until one more caller would get a slot.

        Nobody knows when requests under way will be answered, nor who will leave or pass: it is what can be known now,
        with requests under way taken to be answered now, and each later one at once.
        """
        now = self._now()
        self._expire(now)
        ahead = self._ahead(priority)
        rounds, place = divmod(ahead, self.rate.limit)
        at = max(self._free_at(place, now), self._gate.shut_until) + rounds * self._cycle
        return max(at, self._pacer.next_token(max(now, self._gate.shut_until), ahead)) - now

    def _ahead(self, priority: Priority) -> int:
        """How many of those who wait now would be served before one more."""
        interactive, background = map(len, self._queues)
        if priority is Priority.INTERACTIVE:
            return interactive + min(background, (self._passed + interactive) // _PATIENCE)
        return background + min(interactive, _PATIENCE * (background + 1) - self._passed)

    def _free_at(self, place: int, now: float) -> float:
        """When that slot is free, counted from the first one."""
        if place < self._free:
            return now
        place -= self._free
        if place < len(self._cooling):
            return nsmallest(place + 1, self._cooling)[-1]
        return now + self._cycle

    def _now(self) -> float:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise RuntimeError(
                    "this limiter belongs to another event loop; make a client (or limiter) per event loop"
                )
            self._loop = loop
        return loop.time()

    # -- taking a slot

    def _pass(self, now: float) -> bool:
        """Take a slot, if one is free and nobody waits for it."""
        cooling = self._cooling
        if cooling and cooling[0] <= now:
            self._expire(now)
        interactive, background = self._queues
        if interactive or background or not self._free or now < self._gate.shut_until or not self._pacer.token(now):
            return False
        self._free -= 1
        return True

    async def _wait_in_line(self, priority: Priority) -> None:
        queue = self._queues[priority]
        turn = asyncio.get_running_loop().create_future()
        try:
            for note in self.on_queued:
                note(priority)
            queue[turn] = None
            self._serve()
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # served and, in the same tick, cancelled: pass it on
                self._free += 1
            else:
                queue.pop(turn, None)
            self._serve()
            raise

    def _serve(self) -> None:
        """Hand out what can be handed out now, and see to being called again when there is more."""
        now = self._now()
        self._expire(now)
        while any(self._queues):
            ready_at = self._ready_at(now)
            if ready_at > now:
                self._wake_at(ready_at)
                return
            turn = self._next_in_line()
            if not turn.done():  # else cancelled, and about to leave by itself
                self._free -= 1
                turn.set_result(None)
        self._wake_at(math.inf)

    def _ready_at(self, now: float) -> float:
        """When the next waiter can be served; takes its token if that is now."""
        if now < self._gate.shut_until:
            return self._gate.shut_until
        if not self._free:
            return self._cooling[0] if self._cooling else math.inf
        if not self._pacer.token(now):
            return self._pacer.next_token(now)
        return now

    def _next_in_line(self) -> asyncio.Future[None]:
        interactive, background = self._queues
        if interactive and background:
            self._passed = (self._passed + 1) % (_PATIENCE + 1)
            queue = interactive if self._passed else background
        else:
            self._passed = 0
            queue = interactive or background
        return queue.popitem(last=False)[0]

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            if self._wakes_at == when:
                return
            self._timer.cancel()
            self._timer = None
        if when < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(when, loop.time() + _SHORTEST), self._wake)
            self._wakes_at = when

    def _wake(self) -> None:
        self._timer = None
        self._serve()

    # -- giving it back

    def _expire(self, now: float) -> None:
        cooling = self._cooling
        while cooling and cooling[0] <= now:
            heappop(cooling)
            self._free += 1

    def _cool(self, until: float) -> None:
        heappush(self._cooling, until)
        if not self._free and any(self._queues):
            self._serve()

    def _return_unused(self) -> None:
        self._free += 1
        self._serve()

    # -- 429

    def _reject(self, taken_at: float, retry_after: float | None) -> bool:
        now = self._now()
        self._rejections += 1
        excused = self._gate.refused(taken_at, now, retry_after)
        if not excused:  # a silence that was too short says nothing about the pace
            self._pacer.slow_down(taken_at, now, self._gate.shut_until)
        self._serve()
        return excused


class WindowSlot:
    """One slot of one limiter; see `Slot`."""

    __slots__ = ("_cooling", "_limiter", "_may_be_counted", "_on_over", "_priority", "_wall", "taken_at", "waited")

    def __init__(self, limiter: WindowLimiter, priority: Priority) -> None:
        self._limiter = limiter
        self._priority = priority
        self._may_be_counted = False
        self._cooling = False
        self.taken_at: float | None = None
        self.waited: float = 0.0
        self._wall = 0.0
        self._on_over: Sequence[Callable[[], None]] = ()

    async def __aenter__(self) -> Self:
        if self._cooling:
            raise RuntimeError("this slot was given back; take a new one for each request")
        if self.taken_at is None:  # a poll takes its slot before it chooses its request; the sender enters it again
            limiter = self._limiter
            now = asked_at = limiter._now()
            if not limiter._pass(now):
                await limiter._wait_in_line(self._priority)
                now = limiter._now()
                self.waited = now - asked_at
            self.taken_at = now
            self._wall = time.time()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._cooling:
            self.close()

    def close(self) -> None:
        """Give it back; see `Slot`."""
        if self._cooling or self.taken_at is None:
            return
        if self._may_be_counted:
            self._cool(self._limiter.lateness)
        else:
            self._cooling = True
            self._limiter._return_unused()

    def refresh(self) -> None:
        """Count its age from now: until now it stood in line for a slot of another limiter."""
        self.taken_at = self._limiter._now()
        self._wall = time.time()

    def sent(self) -> None:
        """Note that its request is sent now; see `Slot`."""
        limiter = self._limiter
        # A loop may tell the time of its last round, and its clock may stand still while the machine sleeps.
        aged = limiter._now() - (self.taken_at or 0.0) > limiter.send_by
        if aged or time.time() - self._wall > limiter.send_by:
            raise StaleSlotError
        self._may_be_counted = True
        if limiter.on_sent:
            self._on_over = (*self._on_over, *[note() for note in limiter.on_sent])

    def answered(self) -> None:
        """Note that an answer came; see `Slot`."""
        if self.taken_at is not None and not self._cooling:
            self._cool()

    def _cool(self, lateness: float = 0.0) -> None:
        limiter = self._limiter
        until = limiter._now() + limiter._cycle + lateness
        self._cooling = True
        limiter._cool(until)
        for note in self._on_over:
            note()

    def rejected(self, retry_after: float | None) -> bool:
        """Note that the answer was a 429; see `Slot`."""
        self.answered()
        return self.taken_at is not None and self._limiter._reject(self.taken_at, retry_after)
