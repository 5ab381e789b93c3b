"""Wait out a server that does not let creates through."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable

import anyio

from codegen_async.batch.making import OUTAGE
from codegen_async.errors import APIError, RateLimitedError

_READS = 60.0  # seconds for which reads may fail until a create is tried all the same

_log = logging.getLogger("codegen_async")


class Outages:
    """Know when it makes sense to create.

    Until a create has come through, and from one that has not until one has that was sent later, they go one by one:
    what became of those whose outcome is unknown is shown by one that was sent after them, so an outage must not use
    up all. Where one has failed, a read that is answered comes before the next, as it costs nothing.

    Args:
        read: asks the server something; returns when it has answered.
    """

    def __init__(self, read: Callable[[], Awaitable[object]]) -> None:
        self._read = read
        # Creates are numbered as they are sent; these are the numbers
        self._newest = 0  # of the newest,
        self._through = -1  # of the newest that is known to have come through,
        self._lost = 0  # of the newest that has not,
        self._known = 0  # of the newest that was sent when an outage was last met,
        self._under_way: set[int] = set()  # and of those that may come through yet.
        self._failures = 0  # in a row
        self._over_at = -math.inf
        self._news = asyncio.Event()

    async def wait(self) -> None:
        """Wait until one more may be sent: where none comes through, for the one under way, and a pause after it."""
        while self._through < self._lost:
            hopes = max(self._under_way, default=0) > self._lost
            pause = math.inf if hopes else self._over_at - _now()
            if pause <= 0.0:
                await self._wait_for_reads()
                return
            self._news.clear()
            with anyio.move_on_after(pause):
                await self._news.wait()

    async def _wait_for_reads(self) -> None:
        if self._failures:
            with anyio.move_on_after(_READS), contextlib.suppress(APIError):  # a refusal is an answer
                await self._read()

    def attempt(self) -> Attempt:
        """Return a create that is under way until it is closed."""
        self._newest += 1
        self._under_way.add(self._newest)
        return Attempt(self, self._newest)

    def closed(self, number: int) -> None:
        """Take in that one is not under way any more."""
        self._under_way.discard(number)
        self._news.set()

    def came_through(self, number: int) -> None:
        """Take in that one has come through."""
        self._through = max(number, self._through)
        if self._through >= self._lost:
            self._failures, self._known = 0, self._through

    def failed(self, number: int, error: APIError) -> None:
        """Take in that one has not come through."""
        if number < self._through:
            return
        self._lost = max(number, self._lost)
        if number > self._known:  # else it is of the outage that was met before
            self._known = self._newest
            self._failures += 1
            self._over_at = _now() + OUTAGE.delay(self._failures)
            _log.warning("batch: a create did not come through, the next ones go one by one: %s", error.reason)


class Attempt:
    """Tell what becomes of a create."""

    def __init__(self, outages: Outages, number: int) -> None:
        self._outages = outages
        self._number = number

    def came_through(self) -> None:
        """Take in that the API has answered it, or that its run was found."""
        self._outages.came_through(self._number)
        self.close()

    def failed(self, error: APIError) -> None:
        """Take in that it has not come through. A rate limit is no outage: the limiter sees to it."""
        if not isinstance(error, RateLimitedError):
            self._outages.failed(self._number, error)
        self.close()

    def close(self) -> None:
        """End it, if it has not ended."""
        self._outages.closed(self._number)


def _now() -> float:
    return asyncio.get_running_loop().time()
