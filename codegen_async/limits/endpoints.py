"""A limiter for each endpoint, one ceiling over all of them where limits are shared, and a cap on runs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codegen_async.errors import InvalidArgumentError
from codegen_async.limits.announcer import Announcer
from codegen_async.limits.concurrency import Concurrency
from codegen_async.limits.dispatcher import Dispatcher
from codegen_async.limits.limiter import WindowLimiter
from codegen_async.limits.meter import Meter
from codegen_async.limits.rates import LimiterState, Priority, Rate, Slot


class Limits:
    """Keep one `WindowLimiter` per endpoint and, if asked, a ceiling over all of them.

    Args:
        rates: the limit of each endpoint: a rate, or all that hold at once; none (`()`) where the server states none.
        ceiling: a limit over all endpoints together, for a server whose limits are shared: a rate, or several. Default:
            none.
        concurrency: a cap on runs at once. Default: none, until one is learned.
    """

    outlives: bool = False
    """Whether the next process finds what this one has sent, although nobody here notes it."""

    def __init__(
        self,
        rates: Mapping[str, Rate | Sequence[Rate]],
        *,
        ceiling: Rate | Sequence[Rate] | None = None,
        concurrency: Concurrency | None = None,
    ) -> None:
        self._limiters = {name: _announced(name, self._make_limiter(rate)) for name, rate in rates.items()}
        self._shared: Dispatcher | None = None
        if ceiling:
            self._shared = Dispatcher(self._make_ceiling((ceiling,) if isinstance(ceiling, Rate) else ceiling))
            for limiter in self._limiters.values():
                limiter.under(self._shared)
        self.member: str | None = None
        """What this process is called in the fleet that it shares the limits with, while it is open; None if alone."""
        self.concurrency: Concurrency = concurrency or Concurrency()
        """The cap on runs at once."""

    def _make_limiter(self, rate: Rate | Sequence[Rate]) -> WindowLimiter:
        return WindowLimiter(rate)

    def _make_ceiling(self, rates: Sequence[Rate]) -> Meter:
        return Meter(rates)

    async def aclose(self) -> None:
        """Be used no more until `follow` is called again: who waits raises ClientClosedError."""
        for limiter in self._limiters.values():
            limiter.close()
        self.concurrency.close()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Whatever has a limiter, the ceiling aside."""
        return tuple(self._limiters)

    def send_by(self, seconds: float) -> None:
        """Let every slot be used for so long after it was taken; see `WindowLimiter`."""
        for limiter in self._limiters.values():
            limiter.send_by = seconds

    def follow(self) -> None:
        """Go on with the loop that runs now, where the one before is over, or all was closed; what cools goes along."""
        shared = None if self._shared is None else self._shared.followed()
        limiters = {name: limiter.followed(shared) for name, limiter in self._limiters.items()}
        self._limiters = {name: _announced(name, limiter) for name, limiter in limiters.items()}
        self._shared = shared
        self.concurrency.follow()

    def __getitem__(self, endpoint: str) -> WindowLimiter:
        """Return the limiter of an endpoint."""
        return self._limiters[endpoint]

    def slot(self, endpoint: str, priority: Priority) -> Slot:
        """Return a slot of that endpoint (and of the ceiling)."""
        return self._limiters[endpoint].slot(priority)

    def hold(self, endpoint: str, seconds: float) -> None:
        """Let nobody pass to an endpoint for that long; see `WindowLimiter.hold`."""
        self._limiters[endpoint].hold(seconds)

    async def look(self, endpoint: str) -> None:
        """See what there is to see before the first `expected_wait`; one process alone knows it."""

    def expected_wait(self, endpoint: str, priority: Priority) -> float:
        """Return the seconds until one more caller would get a slot; see `WindowLimiter.expected_wait`."""
        return self._limiters[endpoint].total_wait(priority)

    def seed(self, endpoint: str, ages: Sequence[float]) -> None:
        """Count requests to an endpoint that were sent before; see `WindowLimiter.seed`.

        Raises:
            InvalidArgumentError: there is no such endpoint.
        """
        if endpoint not in self._limiters:
            raise InvalidArgumentError("endpoint", endpoint, f"one of {', '.join(self._limiters)}")
        self._limiters[endpoint].seed(ages)

    def memory(self, endpoint: str) -> int:
        """Return how many requests to an endpoint a restart has to know of: as many as any of its rates counts."""
        rates = self._limiters[endpoint].rates
        if self._shared is not None and self._shared.ceiling is not None:
            rates += tuple(window.rate for window in self._shared.ceiling.windows)
        return max(rate.limit for rate in rates)

    @property
    def states(self) -> dict[str, LimiterState]:
        """What each limiter is doing now; the ceiling is called `ceiling`."""
        states = {endpoint: limiter.state for endpoint, limiter in self._limiters.items()}
        ceiling = None if self._shared is None else self._shared.ceiling_state()
        return states if ceiling is None else {**states, "ceiling": ceiling}


def _announced(name: str, limiter: WindowLimiter) -> WindowLimiter:
    if not any(isinstance(note, Announcer) for note in limiter.on_queued):
        limiter.on_queued.append(Announcer(name, limiter))
    return limiter
