"""A limiter that many processes share: callers wait as they do in one alone, and members see to more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from codegen_async.fleet.board import Outcome
from codegen_async.fleet.member import Member
from codegen_async.fleet.meter import Claim, FleetMeter, Seat
from codegen_async.limits.dispatcher import Dispatcher
from codegen_async.limits.limiter import WindowLimiter, WindowSlot
from codegen_async.limits.meter import Meter
from codegen_async.limits.rates import Priority, Rate, StaleSlotError


class FleetLimiter(WindowLimiter):
    """Let at most `rate.limit` requests of a whole fleet into any `rate.period`; see `WindowLimiter`."""

    _meter: FleetMeter

    def _make_meter(self, rates: Sequence[Rate], margin: float | None) -> Meter:
        return FleetMeter(rates, margin=margin, lateness=self.lateness)

    def _stand(self, meter: Meter, dispatcher: Dispatcher) -> None:
        super()._stand(meter, dispatcher)
        if self._wish not in self.on_queued:
            self.on_queued.append(self._wish)

    def join(self, make_member: Callable[[Seat], Member]) -> tuple[Member, ...]:
        """Take part in a board for each window from now on; return the members."""
        return self._meter.join(make_member, self._waiting, self._confirmed)

    def slot(self, priority: Priority = Priority.INTERACTIVE) -> WindowSlot:
        """Return a context manager that waits for a slot and gives it back as the rule demands."""
        return FleetSlot(self, priority)

    def hold(self, seconds: float) -> None:
        """Let nobody of the fleet pass for that long, beginning now; see `WindowLimiter.hold`."""
        super().hold(seconds)
        now = self._dispatcher.now()
        self._meter.hold(now + seconds, now)

    def claim(self) -> tuple[Claim, ...]:
        """Return what a caller who has just been served has got; see `FleetMeter.claim`."""
        ceiling = self._dispatcher.ceiling
        return self._meter.claim() + (ceiling.claim() if isinstance(ceiling, FleetMeter) else ())

    async def look(self) -> None:
        """Come back when it is known, as far as it can be, who has what; see `Member.look`."""
        ceiling = self._dispatcher.ceiling
        for meter in (self._meter, ceiling):
            for member in meter.members if isinstance(meter, FleetMeter) else ():
                await member.look()

    def check_process(self) -> None:
        """Raise RuntimeError if this is not the process that takes part."""
        for member in self._meter.members:
            member.check_process()

    def now(self) -> float:
        """Return the time of its loop."""
        return self._dispatcher.now()

    def _waiting(self) -> tuple[int, int]:
        interactive, background = map(len, self._line.queues)
        return interactive, background

    def _wish(self, _: Priority) -> None:
        self._meter.wish()
        self._wish_for_ceiling()

    def _wish_for_ceiling(self) -> None:
        if isinstance(self._dispatcher.ceiling, FleetMeter):
            self._dispatcher.ceiling.wish()

    def _confirmed(self, outcome: Outcome) -> None:
        self._meter.take_in(outcome, self._dispatcher.now())
        self._dispatcher.serve()
        self._wish_for_ceiling()


class FleetSlot(WindowSlot):
    """One slot of each window of a limiter, and of each board; see `Slot`."""

    __slots__ = ("_claims",)

    _limiter: FleetLimiter

    def __init__(self, limiter: FleetLimiter, priority: Priority) -> None:
        super().__init__(limiter, priority)
        self._claims: tuple[Claim, ...] = ()

    async def __aenter__(self) -> Self:
        is_new = self.taken_at is None
        self._limiter.check_process()
        await super().__aenter__()
        if is_new:
            self._claims = self._limiter.claim()
        return self

    def sent(self) -> None:
        """Note that its request is sent now, unless what was granted has grown too old; see `Slot`."""
        now = self._limiter.now()
        if any(member.slots.is_stale(grant, now) for member, grant in self._claims):
            raise StaleSlotError
        super().sent()

    def close(self) -> None:
        """Give it back; see `Slot`."""
        if not self._cooling and not self._may_be_counted:
            for member, grant in self._claims:
                member.slots.unclaim(grant)
        super().close()

    def _cool(self, *, answered: bool) -> None:
        now = self._limiter.now()
        for member, grant in self._claims:
            member.slots.cool(grant, now, answered=answered)
            member.changed()
        super()._cool(answered=answered)
