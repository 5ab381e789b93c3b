"""Give each key of a caller one run: the same key again, now or later, here or elsewhere, brings back the first.

Where the caller gave the key, the newest runs are looked through for it before anything is sent: ten pages for the
first key of a client, and a page or so for each further one, as only newer runs can be news. What was made with other
content under the same key is an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from codegen_async.arguments import LARGEST_PAGE
from codegen_async.codegen.creating import DIGEST, Confirm, Creating
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.searching import Question, Sight, key_of
from codegen_async.errors import CreateOutcomeUnknownError, NotFoundError, OutcomeUnknownError
from codegen_async.hosted.keyed import KeyedCreates as Shared
from codegen_async.hosted.keyed import Keys, Known
from codegen_async.hosted.settling import OnUnknown

Doubt = tuple[Question, OutcomeUnknownError]
"""A create that was sent, and of which nobody knows whether it happened."""


class KeyedCreates:
    """Create runs under keys of the caller's.

    Args:
        creating: sends and looks.
        keys: what is known of them from before, and what comes to it.
    """

    def __init__(self, creating: Creating, keys: Keys[AgentRun, Doubt]) -> None:
        self._creating = creating
        self._keys = keys
        self._shared = Shared(keys, look=self._glance, settle=self._settle, fetch=creating.fetch)
        self._looked_to: int | None = None

    async def create(
        self,
        fields: Mapping[str, Any],
        key: str,
        *,
        on_unknown: OnUnknown,
        patience: float | None = None,
        newer_than: int | None = None,
        confirm: Confirm | None = None,
    ) -> AgentRun:
        """Return the run of this key, created if there is none; see `CodegenClient.create_run`."""
        digest = blake2b(msgspec.json.encode(fields, order="sorted"), digest_size=8).hexdigest()
        if newer_than is not None and key not in self._shared:
            self._keys.doubts.setdefault(key, self._creating.sent_elsewhere(key, newer_than))
        marked = {**fields, "metadata": {**fields["metadata"], DIGEST: digest}}

        def make() -> Awaitable[AgentRun]:
            return self._creating.create(
                marked, key, on_unknown=on_unknown, on_doubt=self._doubt, patience=patience, confirm=confirm
            )

        run, _ = await self._shared.create(key, make, digest=digest)
        return run

    def _note(self, key: str, run: AgentRun) -> None:
        digest = (run.metadata or {}).get(DIGEST)
        self._keys.known[key] = Known(run.id, digest if isinstance(digest, str) else None)

    def _doubt(self, question: Question, unknown: OutcomeUnknownError) -> None:
        # What was sent first may be the one that counts.
        first, _ = self._keys.doubts.get(question.key, (question, unknown))
        asked = msgspec.structs.replace(question, floor=first.floor, begun=first.begun)
        self._keys.doubts[question.key] = asked, unknown

    async def _settle(self, doubt: Doubt) -> AgentRun | None:
        question, unknown = doubt
        found, proven = await self._creating.settle(question)
        if found is not None:
            self._note(question.key, found)
        elif unknown.likely_done or not proven:
            raise CreateOutcomeUnknownError.of(unknown, question.key, searched=True)
        return found

    async def _glance(self, key: str) -> AgentRun | None:
        sight = await self._creating.newest(self._looked_to)
        for seen, run in sight.keyed.items():
            if seen not in self._keys.known:
                self._note(seen, run)
        found = sight.keyed.get(key)
        if found is None and (found := await self._check_suspects(sight, key)) is not None:
            self._note(key, found)
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
