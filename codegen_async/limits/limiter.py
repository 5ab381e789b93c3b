"""One limiter: as many slots as the server allows requests, each away until its request can no longer count."""

# A slot is the other half of its limiter:
# pyright: reportPrivateUsage=false

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from codegen_async.limits.budget import Budget
from codegen_async.limits.dispatcher import Dispatcher, Line
from codegen_async.limits.meter import Meter
from codegen_async.limits.rates import LimiterState, Priority, Rate, StaleSlotError


class WindowLimiter:
    """Let at most `rate.limit` requests into any `rate.period`, as the server counts them, for each of its rates.

    Waiters are served by priority and in order of arrival within one; a waiting background request is passed by at most
    four interactive ones. State belongs to the event loop that uses the limiter first.

    Args:
        rate: the server's limit, or all that hold at once: a request takes a slot of each. None at all (`()`): the
            server states none, so that one is assumed, which the headers of its answers may correct.
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
        rate: Rate | Sequence[Rate],
        *,
        burst: int | None = None,
        margin: float | None = None,
        lateness: float = 5.0,
        send_by: float = 15.0,
    ) -> None:
        rates = (rate,) if isinstance(rate, Rate) else tuple(rate)
        if burst is not None:
            rates = tuple(Rate(each.limit, each.period, burst) for each in rates)
        if not (margin is None or 0 <= margin < math.inf):
            raise ValueError(f"margin: expected seconds >= 0, got {margin!r}")
        for name, seconds in (("lateness", lateness), ("send_by", send_by)):
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{name}: expected seconds >= 0, got {seconds!r}")
        self.lateness = lateness
        self.send_by = send_by
        self.on_sent: list[Callable[[], Callable[[], None]]] = []
        """Called when a request is about to be sent, for who has to know after a restart, to `seed` then. What they
        return is called when its slot begins to cool."""
        self.on_queued: list[Callable[[Priority], None]] = []
        """Called when a caller is about to join the line."""
        self._stand(self._make_meter(rates, margin), Dispatcher())

    def _make_meter(self, rates: Sequence[Rate], margin: float | None) -> Meter:
        return Meter(rates, margin=margin, lateness=self.lateness)

    def _stand(self, meter: Meter, dispatcher: Dispatcher) -> None:
        self._meter = meter
        self._dispatcher = dispatcher
        self._line = Line(meter)
        dispatcher.lines.append(self._line)

    def under(self, dispatcher: Dispatcher) -> Self:
        """Share a ceiling with others from now on, before the first use; return itself."""
        self._stand(self._meter, dispatcher)
        return self

    def followed(self, dispatcher: Dispatcher | None = None) -> WindowLimiter:
        """Return a limiter for the loop that runs now, which knows what this one does; itself, if it may be used on.

        What is in flight has an unknown outcome: it cools as such, and its slot comes back to a limiter nobody uses.
        """
        lag = self._dispatcher.lag()
        if lag is None:
            return self
        new = type(self)(self.rate, lateness=self.lateness, send_by=self.send_by)
        dispatcher = dispatcher or Dispatcher()
        new._stand(self._meter.moved(lag, dispatcher.now()), dispatcher)
        return new

    def close(self) -> None:
        """Be used no more: who waits, or comes to wait, is told that the client was closed."""
        self._dispatcher.close()

    @property
    def rate(self) -> Rate:
        """The server's limit; of several, the one that lets the fewest pass in the long run."""
        return self._meter.slowest.rate

    @property
    def rates(self) -> tuple[Rate, ...]:
        """All rates that hold at once."""
        return tuple(window.rate for window in self._meter.windows)

    @property
    def margin(self) -> float:
        """Seconds added to the period of `rate`."""
        return self._meter.slowest.margin

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
        self._meter.gate.hold(self._dispatcher.now() + seconds)

    def seed(self, ages: Iterable[float]) -> None:
        """Count requests that were sent before this limiter existed, so that a restart spends no second burst.

        Args:
            ages: for each, the seconds since it was sent. Whether it was answered is not known, so it cools as an
                unknown outcome does.
        """
        self._dispatcher.seed(self._line, tuple(ages))

    @property
    def state(self) -> LimiterState:
        """What the limiter is doing now."""
        return self._meter.state(self._dispatcher.now(), self.queue_length, self.expected_wait())

    @property
    def available(self) -> int:
        """How many requests could be sent at this moment."""
        return self.state.available

    @property
    def queue_length(self) -> int:
        """How many callers wait for a slot."""
        return len(self._line)

    @property
    def next_free(self) -> float:
        """When a slot is free, in loop time; `inf` while all are in flight and none is cooling."""
        return self._meter.free_at(self._dispatcher.now())

    def expected_wait(self, priority: Priority = Priority.INTERACTIVE) -> float:
        """Return the seconds until one more caller would get a slot.

        Nobody knows when requests under way will be answered, nor who will leave or pass: it is what can be known now,
        with requests under way taken to be answered now, and each later one at once.
        """
        return self._dispatcher.expected_wait(self._line, priority)

    @property
    def ceiling(self) -> LimiterState | None:
        """What the ceiling is doing now that it shares with other limiters; None if there is none."""
        return self._dispatcher.ceiling_state()

    def total_wait(self, priority: Priority) -> float:
        """Return the same where a ceiling counts as well."""
        ceiling_wait = self._dispatcher.ceiling_wait(self._line, priority)
        return max(self.expected_wait(priority), ceiling_wait)


class WindowSlot:
    """One slot of each window of a limiter; see `Slot`."""

    __slots__ = (
        "_all_ended",
        "_cooling",
        "_ended",
        "_limiter",
        "_may_be_counted",
        "_on_over",
        "_priority",
        "_wall",
        "taken_at",
        "waited",
    )

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
            dispatcher = limiter._dispatcher
            now = asked_at = dispatcher.now()
            if not dispatcher.take(limiter._line, now):
                await dispatcher.wait(limiter._line, self._priority, limiter.on_queued)
                now = dispatcher.now()
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
            self._cool(answered=False)
        else:
            self._cooling = True
            self._limiter._dispatcher.return_unused(self._limiter._line)

    def sent(self) -> None:
        """Note that its request is sent now; see `Slot`."""
        limiter = self._limiter
        now = limiter._dispatcher.now()
        # A loop may tell the time of its last round, and its clock may stand still while the machine sleeps.
        if now - (self.taken_at or 0.0) > limiter.send_by or time.time() - self._wall > limiter.send_by:
            raise StaleSlotError
        self._may_be_counted = True
        meter, ceiling = limiter._meter, limiter._dispatcher.ceiling
        # How many requests of its limit, and of the ceiling, have ended by now: of later ones, no header of its answer
        # need know.
        self._ended = meter.ended_by(now) if meter.late else meter.ended
        if ceiling is not None:
            self._all_ended = ceiling.ended_by(now)
        if limiter.on_sent:
            self._on_over = (*self._on_over, *[note() for note in limiter.on_sent])

    def answered(self) -> None:
        """Note that an answer came; see `Slot`."""
        if self.taken_at is not None and not self._cooling:
            self._cool(answered=True)

    def _cool(self, *, answered: bool) -> None:
        limiter = self._limiter
        now = limiter._dispatcher.now()
        self._cooling = True
        limiter._dispatcher.cool(limiter._line, now, answered)
        for note in self._on_over:
            note()

    def heard(self, budget: Budget) -> None:
        """Note what the answer said of the budget; see `Slot`."""
        if self.taken_at is not None and self._may_be_counted:
            dispatcher = self._limiter._dispatcher
            common = 0 if dispatcher.ceiling is None else self._all_ended
            dispatcher.heard(self._limiter._line, budget, (self._ended, common), self.taken_at)

    def rejected(self, retry_after: float | None) -> bool:
        """Note that the answer was a 429; see `Slot`."""
        if self.taken_at is None:
            return False
        excused = self._limiter._dispatcher.rejected(self._limiter._line, self.taken_at, retry_after)
        self.answered()  # only now, as it may serve the next one
        return excused
