"""A limiter for each endpoint, and one over all of them where limits are shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from codegen_async.limits.announcer import Announcer
from codegen_async.limits.rates import LimiterState, Priority, Rate, Slot
from codegen_async.limits.window import WindowLimiter, WindowSlot


class Limits:
    """Keep one `WindowLimiter` per endpoint and, if asked, a ceiling over all of them.

    Args:
        rates: the limit of each endpoint.
        ceiling: a limit over all endpoints together, for a server whose limits are shared. Default: none.
    """

    def __init__(self, rates: Mapping[str, Rate], *, ceiling: Rate | None = None) -> None:
        limiters = {endpoint: WindowLimiter(rate) for endpoint, rate in rates.items()}
        self._limiters: dict[str, WindowLimiter] = {name: _announced(name, each) for name, each in limiters.items()}
        self._ceiling: WindowLimiter | None = None
        if ceiling is not None:
            self._ceiling = _announced("ceiling", WindowLimiter(ceiling))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Whatever has a limiter, the ceiling aside."""
        return tuple(self._limiters)

    def send_by(self, seconds: float) -> None:
        """Let every slot be used for so long after it was taken; see `WindowLimiter`."""
        for limiter in (*self._limiters.values(), self._ceiling):
            if limiter is not None:
                limiter.send_by = seconds

    def follow(self) -> None:
        """Go on with the loop that runs now, where the one before is over; what still cools goes along."""
        self._limiters = {name: _announced(name, limiter.followed()) for name, limiter in self._limiters.items()}
        if self._ceiling is not None:
            self._ceiling = _announced("ceiling", self._ceiling.followed())

    def __getitem__(self, endpoint: str) -> WindowLimiter:
        """Return the limiter of an endpoint."""
        return self._limiters[endpoint]

    def slot(self, endpoint: str, priority: Priority) -> Slot:
        """Return a slot of that endpoint (and of the ceiling)."""
        slot = self._limiters[endpoint].slot(priority)
        return slot if self._ceiling is None else _SlotPair(slot, self._ceiling.slot(priority))

    def hold(self, endpoint: str, seconds: float) -> None:
        """Let nobody pass to an endpoint for that long; see `WindowLimiter.hold`."""
        self._limiters[endpoint].hold(seconds)

    def expected_wait(self, endpoint: str, priority: Priority) -> float:
        """Return the seconds until one more caller would get a slot; see `WindowLimiter.expected_wait`."""
        limiters = (self._limiters[endpoint], self._ceiling)
        return max(limiter.expected_wait(priority) for limiter in limiters if limiter is not None)

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


def _announced(name: str, limiter: WindowLimiter) -> WindowLimiter:
    if not limiter.on_queued:
        limiter.on_queued.append(Announcer(name, limiter))
    return limiter


class _SlotPair:
    """A slot of an endpoint together with one of the ceiling; always taken in this order, so nobody deadlocks."""

    __slots__ = ("_slots",)

    def __init__(self, endpoint: WindowSlot, ceiling: WindowSlot) -> None:
        self._slots = (endpoint, ceiling)

    @property
    def waited(self) -> float:
        return sum(slot.waited for slot in self._slots)

    @property
    def taken_at(self) -> float | None:
        return self._slots[-1].taken_at

    async def __aenter__(self) -> Self:
        endpoint, ceiling = self._slots
        stood_in_line = ceiling.taken_at is None
        await endpoint.__aenter__()
        try:
            await ceiling.__aenter__()
        except BaseException:
            endpoint.close()
            raise
        if stood_in_line:
            endpoint.refresh()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        endpoint, ceiling = self._slots
        try:
            endpoint.close()
        finally:
            ceiling.close()

    def sent(self) -> None:
        for slot in self._slots:
            slot.sent()

    def answered(self) -> None:
        endpoint, ceiling = self._slots
        try:
            endpoint.answered()
        finally:
            ceiling.answered()

    def rejected(self, retry_after: float | None) -> bool:
        # Which of them is spent, nobody knows: both are told.
        endpoint, ceiling = (slot.rejected(retry_after) for slot in self._slots)
        return endpoint or ceiling
