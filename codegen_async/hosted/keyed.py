"""Give each key of a caller's one run: the same key again, now or later, brings back the first.

Callers of one key wait for one another. Of a key that was sent and whose outcome is unknown, nothing is sent again
before it is proven that there is no run, unless the API itself makes that safe.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from codegen_async.errors import NotFoundError
from codegen_async.hosted.calls import Calls
from codegen_async.hosted.creating import Creating, Doubt
from codegen_async.hosted.settling import OnUnknown
from codegen_async.models import RunLike
from codegen_async.recent import Recent

R = TypeVar("R", bound=RunLike)

_KEYS = 1000  # that are remembered, each with its run as it was at first


class Keys(Generic[R]):
    """Remember keys: the runs they have, and those of which nobody knows whether they have one."""

    def __init__(self) -> None:
        self.runs: Recent[str, R] = Recent(_KEYS)
        self.doubts: dict[str, Doubt] = {}
        self.locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()


class KeyedCreates(Generic[R]):
    """Create runs under keys of the caller's.

    Args:
        calls: carries the calls.
        creating: sends and looks.
        keys: what is known of them from before, and what comes to it.
    """

    def __init__(self, calls: Calls[R], creating: Creating[R], keys: Keys[R]) -> None:
        self._calls = calls
        self._creating = creating
        self._keys = keys

    async def create(
        self, key: str, fields: Mapping[str, Any], *, on_unknown: OnUnknown, patience: float | None
    ) -> tuple[R, bool]:
        """Return the run of this key, created if there is none, and whether it was; see `HostedRuns.create_run`."""
        lock = self._keys.locks.setdefault(key, asyncio.Lock())  # as long as somebody holds or wants it
        async with lock:
            known = self._keys.runs.get(key)
            if known is not None:
                return await self._now(known), False
            found = await self._look(key, fields)
            if found is None:
                run = await self._creating.create(
                    key, fields, on_unknown=on_unknown, patience=patience, on_doubt=self._doubt
                )
            else:
                run = found
            self._keys.runs[key] = run
            return run, found is None

    async def _now(self, known: R) -> R:
        """Return a run as it is now, or as it was at first where the server does not show it yet."""
        try:
            return await self._calls.run(self._calls.dialect.get(str(known.id)))
        except NotFoundError:
            return known

    async def _look(self, key: str, fields: Mapping[str, Any]) -> R | None:
        """Return the run that bears a key.

        Raises:
            CreateOutcomeUnknownError: it was sent before, and it is not proven that there is none.
            APIError: it could not be looked for; nothing was sent.
        """
        doubt = self._keys.doubts.get(key)
        if doubt is None or self._creating.is_safe(key, fields):
            return await self._creating.glance(key, fields)
        found = await self._creating.settle(doubt)
        del self._keys.doubts[key]
        return found

    def _doubt(self, doubt: Doubt) -> None:
        self._keys.doubts.setdefault(doubt.key, doubt)  # what was sent first may be the one that counts
