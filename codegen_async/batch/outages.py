"""Wait out a server that does not let creates through."""

from __future__ import annotations

import asyncio
import logging
import math
from types import TracebackType

from codegen_async.batch.making import OUTAGE
from codegen_async.errors import (
    APIError,
    ConnectionFailedError,
    OutcomeUnknownError,
    RequestTimeoutError,
    ServerError,
)

_log = logging.getLogger("codegen_async")

_LOST = (ConnectionFailedError, RequestTimeoutError, ServerError, OutcomeUnknownError)


class Outages:
    """Know when it makes sense to create.

    Until a create has come through, and from one that has not to the next that has, they go one by one: what became of
    those whose outcome is unknown is shown by a create that comes after them, so an outage must not use up all.
    """

    def __init__(self) -> None:
        self._comes_through = False
        self._failures = 0  # in a row
        self._over_at = -math.inf
        self._under_way = 0
        self._landed = asyncio.Event()  # one of these has

    async def wait(self) -> None:
        """Wait until one more may be sent: where none comes through, for the one under way, and a pause after it."""
        while not self._comes_through:
            await asyncio.sleep(max(0.0, self._over_at - _now()))
            if not self._under_way:
                return
            self._landed.clear()
            await self._landed.wait()

    def attempt(self) -> Attempt:
        """Return a create that is under way until it is closed."""
        self._under_way += 1
        return Attempt(self)

    def come_through(self) -> None:
        """Take in that one has."""
        self._comes_through, self._failures = True, 0

    def landed(self) -> None:
        """Take in that one is not under way any more."""
        self._under_way -= 1
        self._landed.set()

    @property
    def failures(self) -> int:
        """How many have failed in a row."""
        return self._failures

    def failed(self, error: APIError) -> None:
        """Take in that one has not come through."""
        self._comes_through = False
        if _now() < self._over_at:
            return  # it was sent before the present outage was known
        self._failures += 1
        self._over_at = _now() + OUTAGE.delay(self._failures)
        _log.warning("batch: a create did not come through, the next ones go one by one: %s", error.reason)


class Attempt:
    """Tell what becomes of a create: of what is done in the block."""

    def __init__(self, outages: Outages) -> None:
        self._outages = outages
        self._failures = outages.failures
        self._is_over = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None and self._failures == self._outages.failures:  # else an outage has begun since
            self._outages.come_through()
        elif isinstance(error, _LOST):
            self._outages.failed(error)
        self.close()

    def close(self) -> None:
        """End it, if it has not ended."""
        if not self._is_over:
            self._is_over = True
            self._outages.landed()


def _now() -> float:
    return asyncio.get_running_loop().time()
