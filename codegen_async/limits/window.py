"""One rate: as many slots as the server allows requests, each away until its request can no longer count. Pure."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from heapq import heappop, heappush, nlargest, nsmallest

from codegen_async.limits.pacer import Pacer
from codegen_async.limits.rates import Rate, WindowState


class Window:
    """Count the slots of one rate.

    Args:
        rate: the server's limit.
        margin: seconds added to the period. Default: see `WindowLimiter`.
        stated: whether the server states it; what it does not is never sent in bursts.
    """

    __slots__ = ("_margin", "cooling", "cycle", "free", "pacer", "rate")

    def __init__(self, rate: Rate, *, margin: float | None = None, stated: bool = True) -> None:
        self._margin = margin
        self.rate: Rate = rate
        self.cycle: float = rate.period + self.margin
        """Seconds that a slot is away after its answer."""
        self.pacer: Pacer = Pacer(rate, bursts=stated)
        self.free: int = rate.limit
        self.cooling: list[float] = []
        """Heap of the times at which slots come back."""

    @property
    def margin(self) -> float:
        """Seconds added to the period."""
        return max(0.005, self.rate.period / 600) if self._margin is None else self._margin

    @property
    def in_flight(self) -> int:
        """Slots that are taken and do not cool yet."""
        return self.rate.limit - self.free - len(self.cooling)

    def expire(self, now: float) -> None:
        """Take back what has cooled."""
        cooling = self.cooling
        while cooling and cooling[0] <= now:
            heappop(cooling)
            self.free += 1

    def ready_at(self, now: float) -> float:
        """Return when a slot can be taken, as far as it is known; `inf` while it depends on answers."""
        if self.free > 0:
            return self.pacer.ready_at(now) if self.pacer.paced else now
        lacking = 1 - self.free  # more than one where a rate was learned that is lower than the one before
        if lacking > len(self.cooling):
            return math.inf
        return self.cooling[0] if lacking == 1 else nsmallest(lacking, self.cooling)[-1]

    def seed(self, ages: Iterable[float], lateness: float, now: float) -> None:
        """Count requests that were sent so many seconds ago, and whose outcome is not known."""
        cool = self.cycle + lateness
        # More than N can be that young, as an unknown outcome outlives its window; the older ones cool off before
        # the youngest N do.
        for until in nlargest(max(0, self.free), (now - age + cool for age in ages if age < cool)):
            self.free -= 1
            heappush(self.cooling, until)

    def expected_at(self, now: float, ahead: int, shut_until: float) -> float:
        """Return when a slot would be free for who comes after `ahead` others, while a gate is shut until then.

        A request under way is taken to be answered now, and each later one at once.
        """
        rounds, place = divmod(ahead, self.rate.limit)
        at = max(self._free_at(place, now), shut_until) + rounds * self.cycle
        return max(at, self.pacer.next_token(max(now, shut_until), ahead))

    def _free_at(self, place: int, now: float) -> float:
        """When that slot is free, counted from the first one."""
        place -= self.free
        if place < 0:
            return now
        if place < len(self.cooling):
            return nsmallest(place + 1, self.cooling)[-1]
        return now + self.cycle

    def learn(self, rate: Rate) -> None:
        """Hold this rate from now on, whatever it was."""
        if rate == self.rate:
            return
        self.free += rate.limit - self.rate.limit
        self.rate = rate
        self.cycle = rate.period + self.margin
        self.pacer.learn(rate)

    def moved(self, lag: float, now: float, lateness: float) -> Window:
        """Return a copy for a clock that shows `lag` more; what is in flight has an unknown outcome there."""
        new = copy.copy(self)
        new.cooling = [until + lag for until in self.cooling] + [now + self.cycle + lateness] * self.in_flight
        new.pacer = copy.copy(self.pacer)
        new.pacer.shift(lag)
        return new

    def state(self, now: float) -> WindowState:
        """Return what it is doing now."""
        self.pacer.speed_up(now)
        return WindowState(
            rate=self.rate,
            available=max(0, self.free),
            in_flight=self.in_flight,
            cooling=len(self.cooling),
            pace=self.pacer.pace,
        )
