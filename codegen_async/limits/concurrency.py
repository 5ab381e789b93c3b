"""A cap on runs at once, which is no rate: a place comes back when a run ends, however long that takes."""

# A permit is the other half of its cap:
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict

import msgspec

from codegen_async.errors import ClientClosedError
from codegen_async.limits.rates import Source
from codegen_async.numeric import is_whole

_PROBE = 60.0  # seconds; so often one more run than were going on at the last refusal is tried, if somebody waits
_SHORTEST = 0.001  # seconds of a timer: some loops count in milliseconds


class ConcurrencyState(msgspec.Struct, frozen=True):
    """Show what a cap is doing now.

    Attributes:
        limit: runs that may go on at once, as far as is known; None if nothing is.
        source: how it is known: `stated`, `learned` from a refusal, or `assumed`, which is none.
        running: runs that have a place.
        queue_length: callers that wait for one.
    """

    limit: int | None
    source: Source
    running: int
    queue_length: int


class Concurrency:
    """Let no more runs go on at once than a server allows; callers are served in the order in which they came.

    What is learned from a refusal is the number of our runs that went on then. As others may use the same account, or
    its plan may change, one more is tried each minute while somebody waits, never more than were stated or told.

    Args:
        limit: runs at once, at least 1. Default: not known, so that nobody waits until the server refuses.
    """

    def __init__(self, limit: int | None = None) -> None:
        _check(limit)
        self._source: Source = "assumed" if limit is None else "stated"
        self._cap: float = math.inf if limit is None else limit
        self._most = self._cap  # that it may rise to
        self._rises_at = math.inf  # no refusal yet
        self._running = 0
        self._queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._timer: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @property
    def state(self) -> ConcurrencyState:
        """What the cap is doing now."""
        limit = None if self._cap == math.inf else int(self._cap)
        return ConcurrencyState(limit, self._source, self._running, len(self._queue))

    async def take(self) -> Permit:
        """Wait until one more run may be started, and return its place."""
        if self._queue or not self._has_room(self._now()):
            await self._wait_in_line()
        else:
            self._running += 1
        return Permit(self)

    def adopt(self) -> Permit:
        """Return a place for a run that goes on already, whether there is room or not."""
        self._running += 1
        return Permit(self)

    def follow(self) -> None:
        """Go on with the loop that runs now, where the one before is over: who waited is gone, the runs are not."""
        self._is_closed = False
        loop = asyncio.get_running_loop()
        if self._loop in (None, loop):
            return
        self._loop = loop
        self._queue.clear()
        self._timer = None
        self._rises_at = loop.time() + _PROBE

    def close(self) -> None:
        """Tell who waits, or comes to wait before `follow` is called, that the client was closed."""
        self._is_closed = True
        while self._queue:
            turn = self._queue.popitem(last=False)[0]
            if not turn.done():
                turn.set_exception(_closed())

    def _now(self) -> float:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RuntimeError("this cap belongs to another event loop; make a client (or cap) per event loop")
        self._loop = loop
        return loop.time()

    def _has_room(self, now: float) -> bool:
        if self._running < self._cap:
            return True
        if self._cap >= self._most or now < self._rises_at:
            return False
        self._cap = self._running + 1
        self._rises_at = now + _PROBE
        return True

    async def _wait_in_line(self) -> None:
        if self._is_closed:
            raise _closed()
        turn = asyncio.get_running_loop().create_future()
        self._queue[turn] = None
        try:
            self._serve()
            await turn
        except BaseException:
            if turn.done() and not (turn.cancelled() or turn.exception()):  # served and, in the same tick, cancelled
                self._running -= 1
            else:
                self._queue.pop(turn, None)
            self._serve()
            raise

    def _serve(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._now()
        while self._queue and self._has_room(now):
            turn = self._queue.popitem(last=False)[0]
            if not turn.done():  # else cancelled, and about to leave by itself
                self._running += 1
                turn.set_result(None)
        if self._queue and self._cap < self._most:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(self._rises_at, loop.time() + _SHORTEST), self._serve)

    def _release(self) -> None:
        self._running -= 1
        if self._queue:
            self._serve()

    def _refused(self, limit: int | None) -> None:
        self._running -= 1
        if limit is not None:
            self._most = min(self._most, limit)
        self._cap = min(self._running, self._most)
        self._source = "learned"
        self._rises_at = self._now() + _PROBE
        self._serve()


class Permit:
    """The place of one run, from `Concurrency.take`."""

    __slots__ = ("_concurrency",)

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency: Concurrency | None = concurrency

    def hand_over(self) -> Permit | None:
        """Return the place as another permit, which alone can give it back from now on; None if it was given back."""
        concurrency, self._concurrency = self._concurrency, None
        return None if concurrency is None else Permit(concurrency)

    def release(self) -> None:
        """Give the place back: the run has ended, or was never started. Does nothing the second time."""
        concurrency, self._concurrency = self._concurrency, None
        if concurrency is not None:
            concurrency._release()

    def full(self, limit: int | None = None) -> None:
        """Give the place back, as the server refused to start the run because too many are going on, and learn of it.

        Args:
            limit: how many may go on at once, where the refusal tells. Default: as many of ours as go on now.

        Raises:
            ValueError: it is no number of runs.
        """
        _check(limit)
        concurrency, self._concurrency = self._concurrency, None
        if concurrency is not None:
            concurrency._refused(limit)


def _closed() -> ClientClosedError:
    return ClientClosedError("the client was closed while this call waited for a run to end")


def _check(limit: int | None) -> None:
    if limit is not None and (not is_whole(limit) or limit < 1):
        raise ValueError(f"limit: expected a whole number of runs, at least 1, got {limit!r}")
