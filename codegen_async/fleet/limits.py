"""The limits of a client whose budget is shared with other processes: what `Limits` is to one alone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import anyio
import msgspec

from codegen_async.fleet.board import Outcome, Terms
from codegen_async.fleet.limiter import FleetLimiter
from codegen_async.fleet.member import Member
from codegen_async.fleet.meter import FleetMeter, Seat
from codegen_async.fleet.slots import Slots
from codegen_async.fleet.store import Store
from codegen_async.fleet.watch import WatchedStore
from codegen_async.limits import Concurrency, Limits, Rate, WindowLimiter
from codegen_async.limits.dispatcher import Dispatcher
from codegen_async.limits.meter import Meter

_LAST_WORD = 1.0  # seconds that the last calls may take in all


class FleetLimits(Limits):
    """Keep one limiter per endpoint and, if asked, a ceiling over all, each with a board in a store.

    Args:
        rates: see `Limits`.
        open_store: returns the store, each time that the limits are opened.
        key_of: returns the key of the board of an endpoint, or of `ceiling`; asked when it is first used.
        terms: the times that all members go by.
        ceiling: see `Limits`.
        concurrency: see `Limits`; each process for itself.
    """

    outlives: bool = True  # on the boards

    def __init__(
        self,
        rates: Mapping[str, Rate | Sequence[Rate]],
        *,
        open_store: Callable[[], Store],
        key_of: Callable[[str], str],
        terms: Terms,
        ceiling: Rate | Sequence[Rate] | None = None,
        concurrency: Concurrency | None = None,
    ) -> None:
        self._terms = terms
        super().__init__(rates, ceiling=ceiling, concurrency=concurrency)
        self._open_store = open_store
        self._key_of = key_of
        self._store: WatchedStore | None = None
        self._members: list[Member] = []

    def _make_limiter(self, rate: Rate | Sequence[Rate]) -> WindowLimiter:
        terms = self._terms
        return FleetLimiter(rate, margin=terms.margin, lateness=terms.lateness, send_by=terms.send_by)

    def _make_ceiling(self, rates: Sequence[Rate]) -> Meter:
        return FleetMeter(rates, margin=self._terms.margin, lateness=self._terms.lateness)

    def send_by(self, seconds: float) -> None:
        """Let every slot be used for so long after it was granted."""
        super().send_by(seconds)
        self._terms = msgspec.structs.replace(self._terms, send_by=seconds)

    def follow(self) -> None:
        """Take part from now on, on the loop that runs now, under a new name."""
        super().follow()
        self._store = WatchedStore(self._open_store())
        name = secrets.token_hex(4)
        self.member: str | None = name
        make = partial(self._make_member, self._store, name)
        self._members = []
        for endpoint, limiter in self._limiters.items():
            if isinstance(limiter, FleetLimiter):
                self._members += limiter.join(partial(make, endpoint))
        if self._shared is not None and isinstance(self._shared.ceiling, FleetMeter):
            self._members += _join_ceiling(self._shared, self._shared.ceiling, partial(make, "ceiling"))

    async def look(self, endpoint: str) -> None:
        """See what others have, if it was never seen, so that it can be told how far away a slot is."""
        limiter = self[endpoint]
        if isinstance(limiter, FleetLimiter):
            await limiter.look()

    def _make_member(self, store: WatchedStore, name: str, endpoint: str, seat: Seat) -> Member:
        def key() -> str:
            return self._key_of(endpoint) + (f":{seat.number + 1}" if seat.number else "")

        slots = Slots(seat.rate, seat.rank, self._terms)
        return Member(name, key, store, slots, demand=seat.demand, confirmed=seat.confirmed)

    async def aclose(self) -> None:
        """Tell who waits, and write last entries, so that others need not wait for what was held; a second at most."""
        await super().aclose()
        store, self._store = self._store, None
        if store is None:
            return
        with anyio.CancelScope(shield=True):
            await _in_time([asyncio.create_task(member.leave()) for member in self._members])
            await store.close()


async def _in_time(last_words: Sequence[asyncio.Task[None]]) -> None:
    """Wait for what is to be said last, and for no longer than it may take."""
    if not last_words:
        return
    _, late = await asyncio.wait(last_words, timeout=_LAST_WORD)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)  # stores drop their connection at once


def _join_ceiling(shared: Dispatcher, ceiling: FleetMeter, make: Callable[[Seat], Member]) -> tuple[Member, ...]:
    def confirmed(outcome: Outcome) -> None:
        ceiling.take_in(outcome, shared.now())
        shared.serve()

    return ceiling.join(make, shared.waiting_for_ceiling, confirmed)
