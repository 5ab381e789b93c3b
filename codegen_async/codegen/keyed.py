"""Give each key of a caller one run: the same key again, now or later, here or elsewhere, brings back the first.

Where the caller gave the key, the newest runs are looked through for it before anything is sent: ten pages for the
first key of a client, and a page or so for each further one, as only newer runs can be news. What was made with other
content under the same key is an error. Of a key that was sent and whose outcome is unknown, nothing is sent again
before it is proven that there is no run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from codegen_async.arguments import LARGEST_PAGE
from codegen_async.codegen.creating import DIGEST, Creating
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.searching import Question, Sight, key_of
from codegen_async.errors import (
    APIError,
    CreateOutcomeUnknownError,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    own_copy,
)
from codegen_async.hosted.settling import OnUnknown
from codegen_async.recent import Recent

_KEYS = 10_000  # that are remembered


class _Known(NamedTuple):
    """What is known of a key: its run, and the content it was made with, if that is known."""

    run_id: int
    digest: str | None


Doubts = dict[str, tuple[Question, OutcomeUnknownError]]
"""By key: creates that were sent, and of which nobody knows whether they happened."""


class KeyedCreates:
    """Create runs under keys of the caller's.

    Args:
        creating: sends and looks.
        doubts: what is known of them from before, and what comes to it.
    """

    def __init__(self, creating: Creating, doubts: Doubts) -> None:
        self._creating = creating
        self._known: Recent[str, _Known] = Recent(_KEYS)
        self._under_way: dict[str, tuple[str, asyncio.Future[AgentRun | None]]] = {}
        self._doubts = doubts
        self._looked_to: int | None = None

    async def create(
        self,
        fields: Mapping[str, Any],
        key: str,
        *,
        on_unknown: OnUnknown,
        patience: float | None = None,
        newer_than: int | None = None,
    ) -> AgentRun:
        """Return the run of this key, created if there is none; see `CodegenClient.create_run`."""
        digest = _digest(fields)
        if newer_than is not None and key not in self._known and key not in self._under_way:
            self._doubts.setdefault(key, self._creating.sent_elsewhere(key, newer_than))
        while key in self._under_way:
            run = await self._other(key, digest)
            if run is not None:
                return run
        answer: asyncio.Future[AgentRun | None] = asyncio.get_running_loop().create_future()
        self._under_way[key] = digest, answer
        try:
            run = await self._first(fields, key, digest, on_unknown, patience)
        except APIError as error:
            answer.set_exception(error)
            answer.exception()  # there may be nobody else to hear it
            raise
        except BaseException:
            answer.set_result(None)  # another has to see to it
            raise
        else:
            answer.set_result(run)
            return run
        finally:
            del self._under_way[key]

    async def _other(self, key: str, digest: str) -> AgentRun | None:
        """Return what another caller of the same key gets; None if it was cancelled."""
        theirs, answer = self._under_way[key]
        _check_same(key, "is being created", theirs, digest)
        await asyncio.wait((answer,))
        error = answer.exception()
        if error is not None:
            raise own_copy(error)
        return answer.result()

    async def _first(
        self, fields: Mapping[str, Any], key: str, digest: str, on_unknown: OnUnknown, patience: float | None
    ) -> AgentRun:
        found = None if key in self._known else await self._look(key)
        if found is not None:
            self._remember(key, found)
        if known := self._known.get(key):
            _check_same(key, f"exists (run {known.run_id})", known.digest, digest)
            return found or await self._creating.fetch(known.run_id)
        marked = {**fields, "metadata": {**fields["metadata"], DIGEST: digest}}
        run = await self._creating.create(marked, key, on_unknown=on_unknown, on_doubt=self._doubt, patience=patience)
        self._known[key] = _Known(run.id, digest)
        return run

    def _remember(self, key: str, run: AgentRun) -> None:
        digest = (run.metadata or {}).get(DIGEST)
        self._known[key] = _Known(run.id, digest if isinstance(digest, str) else None)

    def _doubt(self, question: Question, unknown: OutcomeUnknownError) -> None:
        # What was sent first may be the one that counts.
        first = self._doubts.get(question.key, (question, unknown))[0]
        self._doubts[question.key] = msgspec.structs.replace(question, floor=first.floor, begun=first.begun), unknown

    async def _look(self, key: str) -> AgentRun | None:
        """Return the run that bears a key.

        Raises:
            CreateOutcomeUnknownError: it was sent before, and it is not proven that there is none.
            APIError: the list could not be had; nothing was sent.
        """
        if key not in self._doubts:
            return await self._glance(key)
        question, unknown = self._doubts[key]
        found, proven = await self._creating.settle(question)
        if found is None and (unknown.likely_done or not proven):
            raise CreateOutcomeUnknownError.of(unknown, key, searched=True)
        del self._doubts[key]
        return found

    async def _glance(self, key: str) -> AgentRun | None:
        sight = await self._creating.newest(self._looked_to)
        for seen, run in sight.keyed.items():
            if seen not in self._known and seen != key:
                self._remember(seen, run)
        found = sight.keyed.get(key)
        if found is None:
            found = await self._check_suspects(sight, key)
        if sight.whole and sight.runs:
            self._looked_to = min(list(sight.runs)[:LARGEST_PAGE])
        return found

    async def _check_suspects(self, sight: Sight, key: str) -> AgentRun | None:
        """Return the run of a key that a list shows without it, or cut.

        Raises:
            CreateOutcomeUnknownError: the list does not show keys as they are, so another row may be the one.
        """
        if sight.may_hide(key):
            raise self._creating.unreadable(key)
        for row in sight.suspects(key):
            try:
                run = await self._creating.fetch(row.id)
            except NotFoundError:
                continue
            if key_of(run) == key:
                return run
            if key_of(run) != key_of(row):
                raise self._creating.unreadable(key, "the list does not show keys as they are")
        return None


def _digest(fields: Mapping[str, Any]) -> str:
    return blake2b(msgspec.json.encode(fields, order="sorted"), digest_size=8).hexdigest()


def _check_same(key: str, what: str, theirs: str | None, ours: str) -> None:
    if theirs not in (None, ours):
        raise InvalidArgumentError(
            "idempotency_key", key, f"another key, as a run of this one {what}, of other content"
        )
