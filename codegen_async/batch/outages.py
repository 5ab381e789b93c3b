"""Wait out a server that does not let creates through."""

from __future__ import annotations

import asyncio
import logging
import math

from codegen_async.batch.making import OUTAGE
from codegen_async.errors import APIError, RateLimitedError

_log = logging.getLogger("codegen_async")


class Outages:
    """Know when it makes sense to create again."""

    def __init__(self) -> None:
        self._failures = 0  # creates in a row that did not reach the server
        self._over_at = -math.inf

    async def wait(self) -> None:
        """Wait until the present outage may be over."""
        await asyncio.sleep(max(0.0, self._over_at - _now()))

    def note(self, error: APIError) -> None:
        """Take in that a create did not reach the server."""
        if _now() < self._over_at or isinstance(error, RateLimitedError):
            return  # the same outage, or one that the limiter sees to
        self._failures += 1
        self._over_at = _now() + OUTAGE.delay(self._failures)
        _log.warning("batch: the server cannot be reached, creating goes on later: %s", error.reason)

    def end(self) -> None:
        """Take in that one did."""
        self._failures = 0


def _now() -> float:
    return asyncio.get_running_loop().time()
