"""The store as members see it: it answers in time or is away, and who waits for it is told once."""

from __future__ import annotations

import asyncio
import logging
import math

from codegen_async.fleet.store import Reply, Store, StoreAwayError

_log = logging.getLogger("codegen_async")

_PATIENCE = 5.0  # seconds for an answer; stores themselves give up sooner
_LONG = 1.0  # seconds; a shorter absence is not worth a word


class WatchedStore:
    """Ask a store, and note since when it is away.

    Args:
        store: the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._away_since: float | None = None
        self._told = False
        self._cold_until = -math.inf

    @property
    def away_for(self) -> float:
        """Seconds for which it has not answered; 0.0 if it does."""
        return 0.0 if self._away_since is None else asyncio.get_running_loop().time() - self._away_since

    async def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
        """Ask it; see `Store.swap`.

        Raises:
            StoreAwayError: it does not answer.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                reply = await self._store.swap(key, expected, value, epoch)
        except Exception as exc:  # noqa: BLE001 - whatever it is that a driver stumbles over: calls wait, and do not fail
            self._gone(exc)
            raise StoreAwayError(_reason(exc)) from None
        self._back()
        return reply

    def forgot(self, seconds: float) -> None:
        """Note that nothing is sent for so long, since the store may have lost what was sent before."""
        now = asyncio.get_running_loop().time()
        if now >= self._cold_until:
            _log.warning(
                "fleet: the store was started or replaced a short while ago, and may have lost what was sent before: "
                "nothing is sent for %.0f s",
                seconds,
            )
        self._cold_until = max(self._cold_until, now + seconds)

    async def close(self) -> None:
        """Close it."""
        await self._store.close()

    def _gone(self, failure: Exception) -> None:
        if self._away_since is None:
            self._away_since = asyncio.get_running_loop().time()
        if not self._told and self.away_for >= _LONG:
            self._told = True
            _log.warning("fleet: the store is away (%s): calls wait until it is back", _reason(failure))

    def _back(self) -> None:
        if self._away_since is None:
            return
        if self._told:
            _log.warning("fleet: the store is back after %.0f s", self.away_for)
        self._away_since, self._told = None, False


def _reason(failure: Exception) -> str:
    if isinstance(failure, TimeoutError):
        return "no answer"
    return str(failure) if isinstance(failure, StoreAwayError) else type(failure).__name__
