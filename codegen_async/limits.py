"""Rate limits that cannot be exceeded. The only user of aiolimiter.

The rule: a slot is taken before a request is sent and given back one period after its answer (or its failure) was
seen; there are as many slots as the server allows requests per period.

Why it cannot fail: the server counts a request somewhere between its sending and its answer. Suppose N+1 requests are
counted within one span shorter than the period W. When the one sent last was sent, one of the other N had given back
its slot, so its answer was seen at least W earlier, so it was counted at least W earlier: it is not in the span. That
covers fixed windows, sliding windows and token buckets of capacity N, whatever the latency and its jitter.

What the proof needs besides:
- the client's period must not be shorter than the server's: `margin` covers clocks that run at different speeds;
- a request must have been counted when its slot starts to cool: after a timeout, a cancellation or a reset nobody
  knows, so such a slot cools `lateness` longer; one of which no byte was sent is free at once;
- nobody else spends the same budget: a 429 shows that somebody does (or that the server estimates its window), and
  then the limiter stops, goes on paced evenly below the limit, and returns to bursts step by step.
"""

# A slot is the other half of its limiter:
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import enum
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush, nlargest
from types import TracebackType
from typing import Protocol, Self

import msgspec
from aiolimiter import AsyncLimiter

_PATIENCE = 4  # interactive requests that may pass a waiting background request before it gets its turn
_PACE = 0.95  # of the rate: even a server that estimates its window from two counters refuses nothing at this pace
_SLOWEST = 6  # steps; the pace halves with each beyond the first
_CALM = 10.0  # periods without a 429 until the pace is raised by one step
_RELAPSES = 6  # the calm before a return to bursts is doubled so often at most
_MOMENT = 0.001  # seconds; no loop's timer fires earlier than that before its time


class Rate(msgspec.Struct, frozen=True):
    """Say how many requests a server takes in how much time.

    Attributes:
        limit: requests, at least 1.
        period: seconds.
    """

    limit: int
    period: float

    def __post_init__(self) -> None:
        if not _is_whole(self.limit) or self.limit < 1:  # slots are counted down to none; a fraction never gets there
            raise ValueError(f"limit: expected a whole number of requests, at least 1, got {self.limit!r}")
        if not _is_number(self.period) or not 0 < self.period < math.inf:
            raise ValueError(f"period: expected seconds > 0, got {self.period!r}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Priority(enum.IntEnum):
    """Order who is served first: a call somebody waits for, before polls."""

    INTERACTIVE = 0
    BACKGROUND = 1


class LimiterState(msgspec.Struct, frozen=True):
    """Show what a limiter is doing now.

    Attributes:
        rate: the server's limit.
        available: requests that could be sent at this moment.
        in_flight: requests whose answer has not been seen.
        cooling: slots that wait for their period to pass.
        queue_length: callers that wait for a slot.
        held_for: seconds for which a 429 keeps the gate closed; 0.0 if it is open.
        pace: requests per second while evenly paced after a 429 (or for `burst`), None while bursts are allowed.
        rejections: 429s seen so far.
    """

    rate: Rate
    available: int
    in_flight: int
    cooling: int
    queue_length: int
    held_for: float
    pace: float | None
    rejections: int


class Slot(Protocol):
    """Be the permission to send one request, from `async with limiter.slot()`."""

    async def __aenter__(self) -> Self:
        """Wait for the permission."""
        ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the slot."""
        ...

    def close(self) -> None:
        """Give the slot back, if that is not done yet: at once if nothing was sent, else when it has cooled."""
        ...

    def sent(self) -> None:
        """Note that from now on bytes of the request may reach the server."""
        ...

    def answered(self) -> None:
        """Note that an answer came: the server has counted the request, the slot starts to cool."""
        ...

    def rejected(self, retry_after: float | None) -> None:
        """Note that the answer was a 429: stop everybody for `retry_after` seconds (None: one period)."""
        ...


class _Pacer:
    """Spread requests evenly where bursts are unwanted: by the user, or since a 429 that the rule does not explain."""

    def __init__(self, rate: Rate, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._step = 0  # 0: bursts allowed; 1: paced; 2, 3, ...: the pace halved again and again
        self._since = -math.inf
        self._relapses = 0
        self._bucket: AsyncLimiter | None = None
        self.next_token = -math.inf  # when a bucket that is empty holds one again, in loop time

    @property
    def pace(self) -> float | None:
        """Requests per second the token bucket lets through, None while there is none."""
        full = self._rate.limit / self._rate.period
        if self._step:
            return full * _PACE / 2.0 ** (self._step - 1)
        return full if self._burst < self._rate.limit else None

    def slow_down(self, taken_at: float, now: float, resume_at: float) -> None:
        """React to a 429 for a request whose slot was taken at `taken_at`; nothing is sent before `resume_at`."""
        if taken_at < self._since:
            return  # sent before the last step was taken: the same news again
        self._relapses += not self._step
        self._change(min(self._step + 1, _SLOWEST), max(now, resume_at))

    def token(self, now: float) -> bool:
        """Take a token; True where there is no need for one."""
        self.speed_up(now)
        pace = self.pace
        if pace is None:
            return True
        if self._bucket is None:
            capacity = 1 if self._step else self._burst
            self._bucket = AsyncLimiter(capacity, capacity / pace)
        if not self._bucket.has_capacity():
            self.next_token = max(self.next_token, now + _MOMENT)
            return False
        self.next_token = now + 1 / pace
        try:
            self._bucket.acquire().send(None)  # runs through without a pause, since there is capacity
        except StopIteration:
            return True
        raise AssertionError("a bucket with capacity made its caller wait")

    def speed_up(self, now: float) -> None:
        """Take back the steps whose time is over."""
        while self._step and now >= self._since + self._calm():
            self._change(self._step - 1, self._since + self._calm())

    def _calm(self) -> float:
        # A server that has refused every return to bursts so far is asked for one less and less often.
        doublings = min(self._relapses - 1, _RELAPSES) if self._step == 1 else 0
        return _CALM * self._rate.period * 2.0**doublings

    def _change(self, step: int, since: float) -> None:
        self._step = step
        self._since = since
        self._bucket = None


class WindowLimiter:
    """Let at most `rate.limit` requests into any `rate.period`, as the server counts them.

    Waiters are served by priority and in order of arrival within one; a waiting background request is passed by at most
    four interactive ones. State belongs to the event loop that uses the limiter first.

    Args:
        rate: the server's limit.
        burst: how many requests may follow one another at once; the rest is spread evenly by a token bucket. Default:
            the whole limit.
        margin: seconds added to the period. Default: 1/600 of it (50 ms for 30 s), at least 5 ms; covers clocks
            that differ by more than 1000 ppm and costs 0.2 % of the throughput (0.5 % at 20 per second).
        lateness: seconds after which a request with unknown outcome is believed to reach the server no more.
            Default 5: measured, 0 s of it cost 6.8 rejections of 600, 5 s none.
    """

    def __init__(
        self, rate: Rate, *, burst: int | None = None, margin: float | None = None, lateness: float = 5.0
    ) -> None:
        if burst is not None and (not _is_whole(burst) or not 1 <= burst <= rate.limit):
            raise ValueError(f"burst: expected 1..{rate.limit} requests, got {burst!r}")
        if not (margin is None or 0 <= margin < math.inf):
            raise ValueError(f"margin: expected seconds >= 0, got {margin!r}")
        if not 0 <= lateness < math.inf:
            raise ValueError(f"lateness: expected seconds >= 0, got {lateness!r}")
        self.rate = rate
        self.margin: float = max(0.005, rate.period / 600) if margin is None else margin
        self.lateness = lateness
        self.on_sent: list[Callable[[], Callable[[], None]]] = []
        """Called when a request is about to be sent, for who has to know after a restart, to `seed` then. What they
        return is called when its slot begins to cool."""
        self._pacer = _Pacer(rate, rate.limit if burst is None else burst)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free = rate.limit
        self._cooling: list[float] = []  # heap of the times at which slots come back
        self._queues: tuple[OrderedDict[asyncio.Future[None], None], ...] = (OrderedDict(), OrderedDict())
        self._passed = 0  # interactive grants since background work began to wait
        self._timer: asyncio.TimerHandle | None = None
        self._held_until = -math.inf
        self._rejections = 0

    def slot(self, priority: Priority = Priority.INTERACTIVE) -> Slot:
        """Return a context manager that waits for a slot and gives it back as the rule demands."""
        return _WindowSlot(self, priority)

    def hold(self, seconds: float) -> None:
        """Let nobody pass for that long, beginning now.

        Raises:
            ValueError: it is no number of seconds.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds: expected seconds >= 0, got {seconds!r}")
        self._held_until = max(self._held_until, self._now() + seconds)

    def seed(self, ages: Iterable[float]) -> None:
        """Count requests that were sent before this limiter existed, so that a restart spends no second burst.

        Args:
            ages: for each, the seconds since it was sent. Whether it was answered is not known, so it cools as an
                unknown outcome does.
        """
        now = self._now()
        self._expire(now)
        cool = self.rate.period + self.margin + self.lateness
        # More than N can be that young, as an unknown outcome outlives its window; the older ones cool off before
        # the youngest N do.
        for until in nlargest(self._free, (now - age + cool for age in ages if age < cool)):
            self._free -= 1
            heappush(self._cooling, until)

    @property
    def state(self) -> LimiterState:
        """What the limiter is doing now."""
        now = self._now()
        self._expire(now)
        self._pacer.speed_up(now)
        held = max(0.0, self._held_until - now)
        return LimiterState(
            rate=self.rate,
            available=0 if held or self.queue_length else self._free,
            in_flight=self.rate.limit - self._free - len(self._cooling),
            cooling=len(self._cooling),
            queue_length=self.queue_length,
            held_for=held,
            pace=self._pacer.pace,
            rejections=self._rejections,
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
        return max(free_at, self._held_until)

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

    async def _take(self, priority: Priority) -> None:
        now = self._now()
        self._expire(now)
        if self._free and now >= self._held_until and not any(self._queues) and self._pacer.token(now):
            self._free -= 1
            return
        await self._wait_in_line(priority)

    async def _wait_in_line(self, priority: Priority) -> None:
        queue = self._queues[priority]
        turn = asyncio.get_running_loop().create_future()
        queue[turn] = None
        self._serve()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # served and cancelled in the same tick: pass it on
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
        if now < self._held_until:
            return self._held_until
        if not self._free:
            return self._cooling[0] if self._cooling else math.inf
        if not self._pacer.token(now):
            return self._pacer.next_token
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
            if self._timer.when() == when:
                return
            self._timer.cancel()
            self._timer = None
        if when < math.inf:
            self._timer = asyncio.get_running_loop().call_at(when, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._serve()

    # -- giving it back

    def _expire(self, now: float) -> None:
        cooling = self._cooling
        while cooling and cooling[0] <= now:
            heappop(cooling)
            self._free += 1

    def _cool(self, extra: float = 0.0) -> None:
        heappush(self._cooling, self._now() + self.rate.period + self.margin + extra)
        if any(self._queues) and not self._free:
            self._serve()

    def _return_unused(self) -> None:
        self._free += 1
        self._serve()

    # -- 429

    def _reject(self, taken_at: float, retry_after: float | None) -> None:
        now = self._now()
        self._rejections += 1
        # Without a hint, a whole period of silence: whatever window the server keeps has then forgotten us.
        self.hold(self.rate.period + self.margin if retry_after is None else retry_after)
        self._pacer.slow_down(taken_at, now, self._held_until)
        self._serve()


class _WindowSlot:
    """One slot of one limiter; see `Slot`."""

    __slots__ = ("_cooling", "_limiter", "_may_be_counted", "_on_over", "_priority", "_taken", "_taken_at")

    def __init__(self, limiter: WindowLimiter, priority: Priority) -> None:
        self._limiter = limiter
        self._priority = priority
        self._may_be_counted = False
        self._taken = False
        self._cooling = False
        self._taken_at = 0.0
        self._on_over: list[Callable[[], None]] = []

    async def __aenter__(self) -> Self:
        if self._cooling:
            raise RuntimeError("this slot was given back; take a new one for each request")
        if not self._taken:  # a poll takes its slot before it chooses its request; the sender then enters it again
            await self._limiter._take(self._priority)
            self._taken = True
            self._taken_at = self._limiter._now()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._cooling or not self._taken:
            return
        self._cooling = True
        if self._may_be_counted:
            self._cool(self._limiter.lateness)
        else:
            self._limiter._return_unused()

    def sent(self) -> None:
        self._may_be_counted = True
        self._on_over += [note() for note in self._limiter.on_sent]

    def answered(self) -> None:
        if self._taken and not self._cooling:
            self._cooling = True
            self._cool()

    def _cool(self, lateness: float = 0.0) -> None:
        self._limiter._cool(lateness)
        for note in self._on_over:
            note()

    def rejected(self, retry_after: float | None) -> None:
        self.answered()
        self._limiter._reject(self._taken_at, retry_after)


class Limits:
    """Keep one `WindowLimiter` per endpoint and, if asked, a ceiling over all of them.

    Args:
        rates: the limit of each endpoint.
        ceiling: a limit over all endpoints together, for a server whose limits are shared. Default: none.
    """

    def __init__(self, rates: Mapping[str, Rate], *, ceiling: Rate | None = None) -> None:
        self._limiters = {endpoint: WindowLimiter(rate) for endpoint, rate in rates.items()}
        self._ceiling = None if ceiling is None else WindowLimiter(ceiling)

    def __getitem__(self, endpoint: str) -> WindowLimiter:
        """Return the limiter of an endpoint."""
        return self._limiters[endpoint]

    def slot(self, endpoint: str, priority: Priority) -> Slot:
        """Return a slot of that endpoint (and of the ceiling)."""
        slot = self._limiters[endpoint].slot(priority)
        return slot if self._ceiling is None else _SlotPair(slot, self._ceiling.slot(priority))

    def seed(self, endpoint: str, ages: Sequence[float]) -> None:
        """Count requests to an endpoint that were sent before; see `WindowLimiter.seed`."""
        self._limiters[endpoint].seed(ages)
        if self._ceiling is not None:
            self._ceiling.seed(ages)

    @property
    def states(self) -> dict[str, LimiterState]:
        """What each limiter is doing now; the ceiling is called `ceiling`."""
        states = {endpoint: limiter.state for endpoint, limiter in self._limiters.items()}
        return states if self._ceiling is None else {**states, "ceiling": self._ceiling.state}


class _SlotPair:
    """A slot of an endpoint together with one of the ceiling; always taken in this order, so nobody deadlocks."""

    __slots__ = ("_slots",)

    def __init__(self, endpoint: Slot, ceiling: Slot) -> None:
        self._slots = (endpoint, ceiling)

    async def __aenter__(self) -> Self:
        endpoint, ceiling = self._slots
        await endpoint.__aenter__()
        try:
            await ceiling.__aenter__()
        except BaseException:
            endpoint.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for slot in self._slots:
            slot.close()

    def sent(self) -> None:
        for slot in self._slots:
            slot.sent()

    def answered(self) -> None:
        for slot in self._slots:
            slot.answered()

    def rejected(self, retry_after: float | None) -> None:
        for slot in self._slots:
            slot.rejected(retry_after)
