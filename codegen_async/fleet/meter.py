"""What one process sees of a limit that it shares: its own windows, and grants from a board for each of them.

The own windows hold as they do in one process alone, whatever a board may say: so do their pace, the silence after a
429, and what the server's headers leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import msgspec

from codegen_async.fleet.board import Outcome
from codegen_async.fleet.member import Member
from codegen_async.fleet.records import RANKS
from codegen_async.fleet.slots import Grant
from codegen_async.limits.budget import Budget
from codegen_async.limits.meter import Meter
from codegen_async.limits.rates import LimiterState, Rate

Claim = tuple[Member, Grant]
"""A slot that a caller has, and of which member."""

Demand = Callable[[], tuple[int, int]]
"""Tell how many callers wait, by priority."""


class Seat(NamedTuple):
    """Be what a member is made for.

    Attributes:
        number: of the window, from 0.
        rate: the window's.
        rank: how that is known.
        demand: tells who waits.
        confirmed: hears of each call.
    """

    number: int
    rate: Rate
    rank: int
    demand: Demand
    confirmed: Callable[[Outcome], None]


class FleetMeter(Meter):
    """Let a request pass if the process may send it, and the fleet as well.

    Args:
        rates: see `Meter`.
        margin: see `WindowLimiter`.
        lateness: see `WindowLimiter`.
    """

    def __init__(self, rates: Sequence[Rate], *, margin: float | None = None, lateness: float = 5.0) -> None:
        super().__init__(rates, margin=margin, lateness=lateness)
        self.members: tuple[Member, ...] = ()
        """One for each window, while the client is open."""

    def join(
        self, make_member: Callable[[Seat], Member], demand: Demand, confirmed: Callable[[Outcome], None]
    ) -> tuple[Member, ...]:
        """Take part in a board for each window from now on; return the members."""
        rank = RANKS[self.source]
        self.members = tuple(
            make_member(Seat(number, window.rate, rank, demand, confirmed))
            for number, window in enumerate(self.windows)
        )
        return self.members

    # -- taking a slot of each window, and of each board

    def is_ready(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return self._granted_at(now) <= now and super().is_ready(now)

    def ready_at(self, now: float) -> float:
        """Return when a request may be sent, as far as it is known; `inf` while it depends on answers or on calls."""
        at = self._granted_at(now)
        return at if at > now else super().ready_at(now)

    def _granted_at(self, now: float) -> float:
        if not self.members:
            return math.inf
        return max(member.slots.ready_at(now) for member in self.members)

    def take(self, now: float) -> None:
        """Take a slot of each; each is free."""
        super().take(now)
        for member in self.members:
            member.slots.hand(now)

    def put_back(self) -> None:
        """Give back what was not used."""
        super().put_back()
        for member in self.members:
            member.take_back()

    def claim(self) -> tuple[Claim, ...]:
        """Return what was taken for a caller, when he has woken up."""
        return tuple((member, member.slots.claim()) for member in self.members)

    def wish(self) -> None:
        """See to more, if callers wait for it."""
        for member in self.members:
            member.wish()

    # -- what there is to tell

    def seed(self, ages: Collection[float], now: float) -> None:
        """Count earlier requests."""
        super().seed(ages, now)
        for member in self.members:
            member.seed(ages, now)

    def hold(self, until: float, now: float) -> None:
        """Be silent until then, and let all be."""
        self.gate.hold(until)
        for member in self.members:
            member.refuse(until, None, now)

    def heard(self, budget: Budget, ended_before: int, asked_at: float, now: float) -> None:
        """Take note of a budget; a limit that is learned, all learn."""
        super().heard(budget, ended_before, asked_at, now)
        self._tell_rates()

    def rejected(self, taken_at: float, now: float, retry_after: float | None) -> bool:
        """Take note of a 429, and tell all."""
        excused = super().rejected(taken_at, now, retry_after)
        for member in self.members:
            member.refuse(self.gate.shut_until, None if excused else taken_at, now)
        return excused

    def take_in(self, outcome: Outcome, now: float) -> None:
        """Keep to what others have learned."""
        if outcome.held_for:
            self.gate.hold(now + outcome.held_for)
        if outcome.rank == RANKS["learned"] and self.source == "assumed":
            self.learn(Rate(outcome.rate.limit, outcome.rate.period))
            self._tell_rates()

    def _tell_rates(self) -> None:
        if self.source != "stated":
            for member in self.members:
                member.learn(self.windows[0].rate, RANKS[self.source])

    # -- to look at

    def room(self, now: float) -> int:
        """Return how many requests could be sent now, one after another at once."""
        return min([super().room(now), *(member.slots.room(now) for member in self.members)])

    def expected_at(self, now: float, ahead: int) -> float:
        """Return when who comes after `ahead` others could send, as far as it is known."""
        waits = [member.expected_wait(now, ahead) for member in self.members]
        return max(super().expected_at(now, ahead), now + max(waits, default=0.0))

    def free_at(self, now: float) -> float:
        """Return when each window has a slot, whatever its pace."""
        waits = [member.expected_wait(now, 0) for member in self.members]
        return max(super().free_at(now), now + max(waits, default=0.0))

    def state(self, now: float, queue_length: int, wait: float) -> LimiterState:
        """Return what it is doing now."""
        state = super().state(now, queue_length, wait)
        if not self.members:
            return state
        tightest = min(self.members, key=lambda member: member.within_reach(now))
        available = min(state.available, tightest.within_reach(now))
        return msgspec.structs.replace(state, available=available, fleet=tightest.state(now))
