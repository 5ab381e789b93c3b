"""All that one limit asks for: its windows at once, what the server's headers leave, and silence after a 429. Pure."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Collection, Sequence
from heapq import heappush

from codegen_async.limits.allowance import Allowance
from codegen_async.limits.budget import Budget
from codegen_async.limits.gate import Gate
from codegen_async.limits.rates import ASSUMED, LimiterState, Rate, Source
from codegen_async.limits.window import Window

_MINUTE = 60.0  # seconds; a period of which a server says nothing is taken to be no shorter


class Meter:
    """Say when the next request may be sent, and count it in each window.

    Args:
        rates: all that hold at once. None: one is assumed, and headers may tell of it.
        margin: see `WindowLimiter`.
        lateness: see `WindowLimiter`.
    """

    def __init__(self, rates: Sequence[Rate], *, margin: float | None = None, lateness: float = 5.0) -> None:
        self.source: Source = "stated" if rates else "assumed"
        stated = bool(rates)
        self.windows: tuple[Window, ...] = tuple(
            Window(rate, margin=margin, stated=stated) for rate in rates or (ASSUMED,)
        )
        self.lateness = lateness
        self.cycle: float = min(window.cycle for window in self.windows)
        """Seconds after an answer until the first of its slots comes back."""
        self.gate: Gate = Gate(max(window.cycle for window in self.windows), self.cycle)
        self.ended: int = 0
        """Requests that the server must have counted: their answers were seen, or their time is over."""
        self.late: deque[float] = deque()
        """When requests with unknown outcome are taken to have ended."""
        self._allowance: Allowance | None = None
        self._rejections = 0

    @property
    def slowest(self) -> Window:
        """The window that lets the fewest pass in the long run."""
        return min(self.windows, key=lambda window: window.rate.limit / window.rate.period)

    # -- taking a slot of each window

    def is_ready(self, now: float) -> bool:
        """Whether a request may be sent now."""
        if now < self.gate.shut_until:
            return False
        for window in self.windows:
            cooling = window.cooling
            if cooling and cooling[0] <= now:
                window.expire(now)
            if window.free < 1 or (window.pacer.paced and window.pacer.ready_at(now) > now):
                return False
        return self._allowance is None or self._allowance.ready_at(now) <= now

    def ready_at(self, now: float) -> float:
        """Return when a request may be sent, as far as it is known; `inf` while it depends on answers."""
        if self.is_ready(now):
            return now
        at = max(now, self.gate.shut_until, self._allowed_at(now))
        for window in self.windows:
            window.expire(now)
            at = max(at, window.ready_at(now))
        return at

    def _allowed_at(self, now: float, ahead: int = 0) -> float:
        return now if self._allowance is None else self._allowance.ready_at(now, ahead)

    def take(self, now: float) -> None:
        """Take a slot of each window at once; each is free."""
        for window in self.windows:
            window.free -= 1
            if window.pacer.paced:
                window.pacer.take(now)
        if self._allowance is not None:
            self._allowance.left -= 1

    # -- giving it back

    def put_back(self) -> None:
        """Give back what was not used."""
        for window in self.windows:
            window.free += 1
        if self._allowance is not None:
            self._allowance.left += 1

    def cool(self, now: float, answered: bool) -> None:
        """Let the slots of a request cool, in each window for its own period."""
        lateness = 0.0 if answered else self.lateness
        for window in self.windows:
            heappush(window.cooling, now + window.cycle + lateness)
        if answered:
            self.ended += 1
        else:
            self.late.append(now + lateness)

    def ended_by(self, now: float) -> int:
        """Return how many requests have `ended`."""
        while self.late and self.late[0] <= now:
            self.late.popleft()
            self.ended += 1
        return self.ended

    def seed(self, ages: Collection[float], now: float) -> None:
        """Count requests that were sent so many seconds ago, and whose outcome is not known, in each window."""
        for window in self.windows:
            window.expire(now)
            window.seed(ages, self.lateness, now)

    # -- what the server says

    def states(self, limit: int | None) -> bool:
        """Whether one of its rates has that limit."""
        return any(window.rate.limit == limit for window in self.windows)

    def heard(self, budget: Budget, ended_before: int, asked_at: float, now: float) -> None:
        """Take note of a budget: it narrows a stated rate, and tells of one that nobody stated.

        Args:
            budget: what an answer said.
            ended_before: `ended_by` the time when the request of that answer was sent.
            asked_at: when its slot was taken.
            now: the time.
        """
        # What had not ended when the request was sent, the server may have counted after it, or not yet; of all that
        # was taken since, the request itself is one, and in its own budget.
        unseen = self.ended_by(now) - ended_before + len(self.late) + self.windows[0].in_flight - 1
        if self._allowance is None:
            self._allowance = Allowance()
        self._allowance.narrow(budget, max(0, unseen), asked_at, now)
        if self.source != "stated" and budget.limit is not None:
            self._learn(budget, budget.limit)

    def _learn(self, budget: Budget, limit: int) -> None:
        known = self.windows[0].rate.period if self.source == "learned" else 0.0
        self.learn(Rate(limit, budget.period or max(_MINUTE, known, budget.reset)))

    def learn(self, rate: Rate) -> None:
        """Hold a rate that headers told of."""
        window = self.windows[0]
        window.learn(rate)
        self.cycle = window.cycle
        self.gate.learn(self.cycle, self.cycle)
        self.source = "learned"

    def rejected(self, taken_at: float, now: float, retry_after: float | None) -> bool:
        """Take note of a 429; see `Slot.rejected`."""
        self._rejections += 1
        excused = self.gate.refused(taken_at, now, retry_after)
        if not excused:  # a silence that was too short says nothing about the pace
            for window in self.windows:
                window.pacer.slow_down(taken_at, now, self.gate.shut_until)
        return excused

    # -- to look at

    def room(self, now: float) -> int:
        """Return how many requests could be sent now, one after another at once."""
        if not self.is_ready(now):
            return 0
        left = min(window.free for window in self.windows)
        budget = self._budget(now)
        return left if budget is None else min(left, budget.remaining)

    def expected_at(self, now: float, ahead: int) -> float:
        """Return when who comes after `ahead` others could send, as far as it is known; see `WindowLimiter`."""
        at = now
        for window in self.windows:
            window.expire(now)
            at = max(at, window.expected_at(now, ahead, self.gate.shut_until))
        return max(at, self._allowed_at(now, ahead))

    def free_at(self, now: float) -> float:
        """Return when each window has a slot, whatever its pace."""
        at = max(now, self.gate.shut_until, self._allowed_at(now))
        for window in self.windows:
            window.expire(now)
            if window.free < 1:
                at = max(at, window.ready_at(now))
        return at

    def state(self, now: float, queue_length: int, wait: float) -> LimiterState:
        """Return what it is doing now."""
        for window in self.windows:
            window.expire(now)
        windows = tuple(window.state(now) for window in self.windows)
        tightest = min(windows, key=lambda window: (window.available, window.rate.limit / window.rate.period))
        held = max(0.0, self.gate.shut_until - now)
        paces = [window.pace for window in windows if window.pace is not None]
        budget = self._budget(now)
        left = tightest.available if budget is None else min(tightest.available, budget.remaining)
        return LimiterState(
            rate=tightest.rate,
            available=0 if held or queue_length else left,
            in_flight=tightest.in_flight,
            cooling=tightest.cooling,
            queue_length=queue_length,
            held_for=held,
            pace=min(paces, default=None),
            rejections=self._rejections,
            wait=wait,
            source=self.source,
            windows=windows,
            budget=budget,
        )

    def _budget(self, now: float) -> Budget | None:
        allowance = self._allowance
        if allowance is None or now >= allowance.until:
            return None
        return Budget(remaining=max(0, allowance.left), reset=allowance.until - now)

    def moved(self, lag: float, now: float) -> Meter:
        """Return a copy for a clock that shows `lag` more; what is in flight has an unknown outcome there."""
        new = copy.copy(self)
        new.windows = tuple(window.moved(lag, now, self.lateness) for window in self.windows)
        new.gate = copy.copy(self.gate)
        new.gate.shift(lag)
        new.late = deque([at + lag for at in self.late] + [now + self.lateness] * self.windows[0].in_flight)
        new._allowance = None if self._allowance is None else self._allowance.moved(lag)  # noqa: SLF001 - its own
        return new
