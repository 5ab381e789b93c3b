"""Give each key of a caller's one run: the same key again, now or later, brings back the first.

Callers of one key that come at once share what comes of it. Of a key that was sent and whose outcome is unknown,
nothing is sent again before it is proven that there is no run, unless the API itself makes that safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from codegen_async.errors import APIError, InvalidArgumentError, NotFoundError, own_copy
from codegen_async.models import RunId, RunLike
from codegen_async.recent import Recent

R = TypeVar("R", bound=RunLike)
D = TypeVar("D")

_KEYS = 10_000  # that are remembered
_SNAPSHOTS = 1000  # of runs as they were at first


class Known(NamedTuple):
    """What is known of a key: its run, and the content it was made with, if that is known."""

    run_id: RunId
    digest: str | None = None


class Keys(Generic[R, D]):
    """Remember keys: the runs they have, and those of which nobody knows whether they have one."""

    def __init__(self) -> None:
        self.known: Recent[str, Known] = Recent(_KEYS)
        self.first: Recent[str, R] = Recent(_SNAPSHOTS)
        self.doubts: dict[str, D] = {}


class KeyedCreates(Generic[R, D]):
    """Create runs under keys of the caller's.

    Args:
        keys: what is known of them from before, and what comes to it.
        look: returns the run that bears a key, if there is one.
        settle: returns the run of a create in doubt, or None where it is proven that there is none; else raises.
        fetch: returns a run as it is now.
    """

    def __init__(
        self,
        keys: Keys[R, D],
        *,
        look: Callable[[str], Awaitable[R | None]],
        settle: Callable[[D], Awaitable[R | None]],
        fetch: Callable[[RunId], Awaitable[R]],
    ) -> None:
        self._keys = keys
        self._look = look
        self._settle = settle
        self._fetch = fetch
        self._turns: dict[str, _Turn[R]] = {}

    def __contains__(self, key: str) -> bool:
        """Whether a key has a run, or is just being given one."""
        return key in self._keys.known or key in self._turns

    async def create(
        self, key: str, make: Callable[[], Awaitable[R]], *, digest: str | None = None, safe: bool = False
    ) -> tuple[R, bool]:
        """Return the run of a key, made if there is none, and whether it was.

        Args:
            key: the key.
            make: makes the run; called once at most.
            digest: tells what it is made of from other content. Default: that is not compared.
            safe: whether the API itself sees to it that making it again makes no second one.

        Raises:
            InvalidArgumentError: the run of this key has other content.
            CreateOutcomeUnknownError: it was sent, now or before, and nobody knows whether there is a run.
            APIError: any other failure; there is no run.
        """
        turn = self._turns.setdefault(key, _Turn(digest))
        _check_same(key, "is being created", turn.digest, digest)
        waits, turn.callers = turn.lock.locked(), turn.callers + 1
        try:
            async with turn.lock:
                if waits and turn.error is not None:
                    raise own_copy(turn.error)
                if waits and turn.run is not None:
                    return turn.run, False
                turn.run = turn.error = None  # should this caller be cancelled, another has to see to it
                turn.run, new = await self._given(key, make, digest, safe=safe)
                return turn.run, new
        except APIError as error:
            turn.error = own_copy(error)
            raise
        finally:
            turn.callers -= 1
            if not turn.callers:
                del self._turns[key]

    async def _given(
        self, key: str, make: Callable[[], Awaitable[R]], digest: str | None, *, safe: bool
    ) -> tuple[R, bool]:
        found = None if safe or key in self._keys.known else await self._find(key)
        if found is not None:
            self._keys.known.setdefault(key, Known(found.id))
        if known := self._keys.known.get(key):
            _check_same(key, f"exists (run {known.run_id})", known.digest, digest)
            return found or await self._now(key, known), False
        run = await make()
        self._keys.known[key], self._keys.first[key] = Known(run.id, digest), run
        return run, True

    async def _find(self, key: str) -> R | None:
        if key not in self._keys.doubts:
            return await self._look(key)
        found = await self._settle(self._keys.doubts[key])
        del self._keys.doubts[key]
        return found

    async def _now(self, key: str, known: Known) -> R:
        """Return a run as it is now, or as it was at first where the server does not show it yet."""
        try:
            return await self._fetch(known.run_id)
        except NotFoundError:
            if key not in self._keys.first:
                raise
            return self._keys.first[key]


class _Turn(Generic[R]):
    """Let callers of one key go one after the other; what comes of one is for all who wait meanwhile."""

    def __init__(self, digest: str | None) -> None:
        self.digest = digest
        self.callers = 0
        self.lock = asyncio.Lock()
        self.run: R | None = None
        self.error: APIError | None = None


def _check_same(key: str, what: str, theirs: str | None, ours: str | None) -> None:
    if None not in (theirs, ours) and theirs != ours:
        raise InvalidArgumentError(
            "idempotency_key", key, f"another key, as a run of this one {what}, of other content"
        )
