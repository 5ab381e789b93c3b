"""The slots of one member, by his own clock: granted and unused, on their way, cooling, and kept."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush

from codegen_async.fleet.board import Own, Terms
from codegen_async.limits.rates import Rate

_FRESH = 1 / 3  # of `send_by`; an older grant may be too old when its request is connected, and goes back


class Moment:
    """A moment by two clocks: one may stand still while the machine sleeps, the other be set back."""

    __slots__ = ("at", "wall")

    def __init__(self, at: float) -> None:
        self.at: float = at
        self.wall: float = time.time()

    def age(self, now: float) -> float:
        """Return how long ago it is, at least."""
        return max(now - self.at, time.time() - self.wall)


class Grant:
    """A slot that may be used once.

    Args:
        since: the beginning of the call that brought it; of one that is kept, when it was taken.
        kept: whether it is one of those that are kept.
    """

    __slots__ = ("kept", "since")

    def __init__(self, since: Moment, *, kept: bool = False) -> None:
        self.since: Moment = since
        self.kept: bool = kept


class Slots:
    """Hold the slots of one member.

    Args:
        rate: the limit, as far as the member knows.
        rank: how it knows; see `records.RANKS`.
        terms: the times that it goes by.
    """

    def __init__(self, rate: Rate, rank: int, terms: Terms) -> None:
        self.rate: Rate = rate
        self.rank: int = rank
        self.terms: Terms = terms
        self.cycle: float = terms.cycle(rate.period)
        """Seconds that a slot cools after an answer."""
        self.kept: int = 0
        """Slots that are kept for times when the store is away."""
        self.unused: deque[Grant] = deque()
        self.cooling: list[float] = []
        self._handed: deque[Grant] = deque()  # to callers who have not woken up yet; which one gets which is open
        self._claimed: set[Grant] = set()
        self._kept_free = 0
        self._kept_cooling: list[float] = []
        self._confirmed: Moment | None = None  # the beginning of the last call that was
        self._calls = 0  # its number

    # -- what callers take and give back

    def ready_at(self, now: float) -> float:
        """Return when there is one to take, as far as that does not depend on a call."""
        while self.unused and not self._is_fresh(self.unused[0], now):
            self.unused.popleft()
        if self.unused:
            return now
        return self._kept_at(now) if self.kept else math.inf

    def room(self, now: float) -> int:
        """Return how many can be taken at once."""
        self.ready_at(now)
        return len(self.unused) + (self._kept_free if self.kept and self._keeps(now) else 0)

    def hand(self, now: float) -> None:
        """Set one aside for a caller; it is there."""
        if self.unused:
            self._handed.append(self.unused.popleft())
        else:
            self._kept_free -= 1
            self._handed.append(Grant(Moment(now), kept=True))

    def unhand(self, now: float) -> None:
        """Take back what was set aside and not used."""
        grant = self._handed.popleft()
        if grant.kept:
            self._kept_free += 1
        elif self._is_fresh(grant, now):
            self.unused.appendleft(grant)

    def claim(self) -> Grant:
        """Return one that was set aside."""
        grant = self._handed.popleft()
        self._claimed.add(grant)
        return grant

    def unclaim(self, grant: Grant) -> None:
        """Set it aside again; nothing was sent."""
        self._claimed.discard(grant)
        self._handed.appendleft(grant)

    def is_stale(self, grant: Grant, now: float) -> bool:
        """Whether it must not be used any more."""
        return grant.since.age(now) > self.terms.send_by or (grant.kept and not self._keeps(now))

    def cool(self, grant: Grant, now: float, *, answered: bool) -> None:
        """Let it cool."""
        self._claimed.discard(grant)
        end = now + self.cycle + (0.0 if answered else self.terms.lateness)
        heappush(self._kept_cooling if grant.kept else self.cooling, end)

    def seed(self, ages: Iterable[float], now: float) -> None:
        """Count requests that were sent so many seconds ago, and whose outcome is not known."""
        cool = self.cycle + self.terms.lateness
        for age in ages:
            if age < cool:
                heappush(self.cooling, now - age + cool)

    def _is_fresh(self, grant: Grant, now: float) -> bool:
        return grant.since.age(now) <= self.terms.send_by * _FRESH

    def _kept_at(self, now: float) -> float:
        cooling = self._kept_cooling
        while cooling and cooling[0] <= now:
            heappop(cooling)
            self._kept_free += 1
        if not self._keeps(now):
            return math.inf
        return now if self._kept_free > 0 else cooling[0] if cooling else math.inf

    def _keeps(self, now: float) -> bool:
        return self._confirmed is not None and self._confirmed.age(now) <= self.terms.keep_for

    # -- what a call tells of them, and brings

    def told(self, name: str, demand: tuple[int, int], now: float, *, leaving: bool) -> Own:
        """Return what this member has and wants; of what is not told no use is made any more."""
        if self.kept and not self._keeps(now):
            self._keep_none()
        while self.cooling and self.cooling[0] <= now:
            heappop(self.cooling)
        room = self.room(now)
        waiting = 0 if leaving else sum(demand)
        while len(self.unused) > waiting:
            self.unused.popleft()
        away = [*self.unused, *self._handed, *self._claimed]
        cooling = [*self.cooling, *self._kept_cooling] if leaving else self.cooling
        return Own(
            name=name,
            rate=self.rate,
            rank=self.rank,
            away=[now - grant.since.at for grant in away if leaving or not grant.kept],
            cooling=[end - now for end in cooling],
            wanted=(0, 0) if leaving else _lacking(*demand, room),
            kept=0 if leaving else self.kept,
            leaving=leaving,
            calls=self._calls,
            called=math.inf if self._confirmed is None else now - self._confirmed.at,
        )

    def _keep_none(self) -> None:
        """Keep no slot any more: others may have taken them back. What was sent on them ends as all else does."""
        self.kept = self._kept_free = 0
        for grant in (*self._handed, *self._claimed):
            grant.kept = False
        for end in self._kept_cooling:
            heappush(self.cooling, end)
        self._kept_cooling.clear()

    def confirm(self, since: Moment, granted: int, kept: int, cycle: float, calls: int) -> None:
        """Take what a call has brought that began then."""
        self._confirmed, self._calls = since, calls
        self.cycle = max(cycle, self.terms.cycle(self.rate.period))
        self._kept_free += kept - self.kept
        self.kept = kept
        self.unused.extend(Grant(since) for _ in range(granted))

    def next_change(self, now: float, patience: float) -> float:
        """Return when there is something to tell: a slot has cooled (no sooner than that), or nobody used a grant."""
        at = math.inf
        if self.cooling:
            at = self.cooling[0] + patience
        if self.unused:
            at = min(at, self.unused[0].since.at + self.terms.send_by * _FRESH)
        if self.kept:
            at = min(at, now + self.terms.keep_for / 6)
        return at


def _lacking(interactive: int, background: int, room: int) -> tuple[int, int]:
    return max(0, interactive - room), max(0, background - max(0, room - interactive))
