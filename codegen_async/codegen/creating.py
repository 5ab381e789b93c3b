"""Create runs exactly once, although the API has no idempotency key.

Every create carries a key in its metadata. When nobody knows whether a create happened, the key is looked for in the
newest list pages, several times, since the server may be slow to finish and the list slow to show. What is found is
the run; where nothing is found, the key is sent again only if the caller wants that and the last look, made after all
this time, proves that there is no run (`searching`). Else a person decides.

What remains: a server that commits a create later than all looks can still make a second run. An audit sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from codegen_async.arguments import LARGEST_PAGE, check_id, check_json_object, check_text
from codegen_async.codegen.decoding import Decoding
from codegen_async.codegen.images import read_images
from codegen_async.codegen.models import AgentRun, AgentRunPage
from codegen_async.codegen.requests import Requests
from codegen_async.codegen.searching import (
    IDEMPOTENCY_KEY,
    PAGES_TO_DECIDE,
    Ours,
    Question,
    Sight,
    Walks,
    key_of,
)
from codegen_async.codegen.webhooks import RunWebhook, check_webhooks
from codegen_async.errors import (
    APIError,
    ClientClosedError,
    CreateOutcomeUnknownError,
    InvalidArgumentError,
    OutcomeUnknownError,
)
from codegen_async.http.transport import ForeignAnswerError, Transport
from codegen_async.limits import Priority, Slot
from codegen_async.recent import Recent

OnUnknown = Literal["raise", "retry"]
Doubt = Callable[[Question, OutcomeUnknownError], None]

DIGEST = "idempotency_digest"
"""The metadata key that is reserved for what tells whether creates under a key of the caller's have one content."""

_LOOKS = (1 / 30, 1 / 4, 1 / 2)  # of the settle time; one more, which decides, comes at its end
_SENDS = 3
_OURS = 1000  # runs that are remembered as ours

_log = logging.getLogger("codegen_async")


class Creating:
    """Create runs and find them again by their keys.

    Args:
        transport: carries the calls.
        requests, decoding: write and read them.
        settle: seconds until a create that nobody has seen is taken not to have happened.
    """

    def __init__(self, transport: Transport, requests: Requests, decoding: Decoding, *, settle: float) -> None:
        self._transport = transport
        self._requests = requests
        self._decoding = decoding
        self._settle = settle
        self._walks = Walks(self._page)
        self._ours: Recent[int, Ours] = Recent(_OURS)
        self.floor: int | None = None
        """The id of a run that exists, so that all that are created from now on have larger ones; None while none is
        known. Only runs that bear a key of ours move it: what a stranger's answer says may be wrong."""
        self.echoed: bool | None = None
        """Whether the last answer gave back metadata, None while there was none."""

    async def learn_floor(self) -> None:
        """Take the oldest run on the first page of the list for the floor, if there is none yet.

        Raises:
            APIError: the page could not be had.
        """
        if self.floor is None:
            page, _ = await self._page(0)
            self.floor = min((run.id for run in page.items), default=None)

    def slot(self) -> Slot:
        """Return a slot for one `attempt`."""
        return self._transport.limits.slot("create", Priority.BACKGROUND)

    async def prepare(
        self,
        prompt: str,
        *,
        images: Iterable[str | os.PathLike[str] | bytes] = (),
        metadata: Mapping[str, Any] | None = None,
        repo_id: int | None = None,
        model: str | None = None,
        agent_type: str | None = None,
        webhooks: Iterable[RunWebhook] = (),
    ) -> dict[str, Any]:
        """Return the fields of a create, checked; see `CodegenClient.create_run`."""
        fields = check_fields(prompt, metadata=metadata, repo_id=repo_id, model=model, agent_type=agent_type)
        hooks = check_webhooks(webhooks) or None
        read = await read_images(images) or None
        return {**fields, "metadata": fields["metadata"] or {}, "images": read, "webhooks": hooks}

    async def create(
        self,
        fields: Mapping[str, Any],
        key: str,
        *,
        on_unknown: OnUnknown,
        on_doubt: Doubt | None = None,
        patience: float | None = None,
    ) -> AgentRun:
        """Create a run once; see `CodegenClient.create_run`. The key must be a new one.

        Args:
            fields: from `prepare`.
            key: its key.
            on_unknown: what to do if nobody knows whether it happened.
            on_doubt: called where it ends so, with what is known of it.
            patience: seconds that the first attempts may wait for a slot.
        """
        sent = asyncio.Event()
        question = Question(key=key, floor=self.floor)
        try:
            return await self._create(fields, question, on_unknown, sent, patience)
        except CreateOutcomeUnknownError as unknown:
            if on_doubt is not None:
                on_doubt(question, unknown)
            raise
        except asyncio.CancelledError as cancelled:
            if sent.is_set():
                cancelled.add_note(f"a run may have been created; find_run_by_key({key!r}) tells")
                _log.warning("codegen: a create was cancelled; its run, if there is one, has the key %r", key)
                if on_doubt is not None:
                    on_doubt(question, self._unknown("the create was cancelled"))
            raise

    async def _create(
        self,
        fields: Mapping[str, Any],
        question: Question,
        on_unknown: OnUnknown,
        sent: asyncio.Event,
        patience: float | None,
    ) -> AgentRun:
        sends = 0
        while True:
            sends += 1
            try:
                return await self._send(fields, question.key, on_sent=sent.set, patience=patience)
            except OutcomeUnknownError as error:
                unknown = error
                patience = None  # from now on, to say that nothing was sent would be wrong
            found, proven, searched = await self._search(question)
            if found is not None:
                return found
            if on_unknown == "raise" or unknown.likely_done or not proven or sends == _SENDS:
                raise CreateOutcomeUnknownError.of(unknown, question.key, searched=searched)

    async def _search(self, question: Question) -> tuple[AgentRun | None, bool, bool]:
        """Return what `settle` finds and whether it proves something, and whether it could look at all."""
        if self.echoed is False:
            return None, False, False
        try:
            return *await self.settle(question), True
        except (APIError, ClientClosedError):
            return None, False, False

    async def attempt(self, fields: Mapping[str, Any], key: str, slot: Slot) -> AgentRun:
        """Make one attempt at a create, with a slot that the caller holds.

        Raises:
            OutcomeUnknownError: it was sent, and whether there is a run now is unknown.
            APIError: any other failure; there is no run.
        """
        return await self._send(fields, key, slot=slot)

    async def settle(self, question: Question) -> tuple[AgentRun | None, bool]:
        """Look for a run several times over the settle time; return it as soon as it is found, else as `decide` does.

        Raises:
            APIError: the last look, which decides, failed.
        """
        started = asyncio.get_running_loop().time()
        for share in _LOOKS:
            await asyncio.sleep(started + share * self._settle - asyncio.get_running_loop().time())
            with contextlib.suppress(APIError):
                found = self._taken_in(await self._walks.walk(question.floor), question)
                if found is not None:
                    return found, True
        await asyncio.sleep(started + self._settle - asyncio.get_running_loop().time())
        return await self.decide(question)

    async def decide(self, question: Question) -> tuple[AgentRun | None, bool]:
        """Look for a run once; return it, or None and whether it is proven that there is none.

        Raises:
            APIError: the look failed.
        """
        sight = await self._walks.walk(question.floor, PAGES_TO_DECIDE)
        found = self._taken_in(sight, question)
        settled = asyncio.get_running_loop().time() - self._settle
        ours = {**question.ours, **self._ours}
        return found, found is not None or sight.proves(question, ours, settled)

    async def look(self, key: str, floor: int | None) -> AgentRun | None:
        """Look for a run once; looks that wait at the same time share one walk through the list.

        Args:
            key: the key it was created with.
            floor: an id that existed before it; the walk ends there. None: it ends after ten pages.
        """
        return self._taken_in(await self._walks.walk(floor), Question(key=key, floor=floor))

    def _taken_in(self, sight: Sight, question: Question) -> AgentRun | None:
        """Return the run that is asked for, if the walk has shown it, and learn from what it has shown."""
        if sight.keyed:
            self.echoed = True
        found = sight.keyed.get(question.key)
        if found is not None:
            self._made(found, question.key)
        seen = [run_id for run_id, known in self._ours.items() if _bears(sight.runs.get(run_id), known.key)]
        self.floor = max([*seen, self.floor or 0]) or None
        return found

    def _made(self, run: AgentRun, key: str) -> None:
        if run.id not in self._ours:
            self._ours[run.id] = Ours(key, asyncio.get_running_loop().time())
        if _bears(run, key):
            self.floor = max(run.id, self.floor or 0)

    async def keyed_runs(self, floor: int) -> list[AgentRun]:
        """Return all runs newer than `floor` that carry a key, newest first."""
        sight = await self._walks.collect(floor)
        return [run for run in sight.runs.values() if key_of(run) is not None]

    async def _send(
        self,
        fields: Mapping[str, Any],
        key: str,
        *,
        slot: Slot | None = None,
        on_sent: Callable[[], None] | None = None,
        patience: float | None = None,
    ) -> AgentRun:
        body = {**fields, "metadata": {**fields["metadata"], IDEMPOTENCY_KEY: key}}
        request = self._requests.create(body)

        def decode(answer: bytes) -> AgentRun:
            run = self._decoding.created(answer)
            if key_of(run) not in (key, None):
                raise ForeignAnswerError(f"the answer is about run {run.id}, which another create has made")
            return run

        run = await self._transport.call(request, decode, slot=slot, on_sent=on_sent, patience=patience)
        echoed = key_of(run) == key
        if not echoed and self.echoed is not False:
            _log.warning("codegen: the server does not give back metadata; a create without answer cannot be looked up")
        self.echoed = echoed
        self._made(run, key)
        return run

    async def newest(self, floor: int | None) -> Sight:
        """Return what is seen of the newest runs, down to the floor; without one, ten pages of them.

        Raises:
            APIError: a page could not be had.
        """
        return await self._walks.walk(floor)

    async def fetch(self, run_id: int) -> AgentRun:
        """Return a run as it is now.

        Raises:
            NotFoundError: it does not exist any more.
            APIError: any other failure.
        """
        return await self._transport.call(self._requests.get(run_id), self._decoding.run(run_id))

    def unreadable(self, key: str) -> CreateOutcomeUnknownError:
        """Return the error for a run of this key that is there and cannot be read."""
        return CreateOutcomeUnknownError.of(
            self._unknown("a run that cannot be read bears the key"), key, searched=True
        )

    def _unknown(self, reason: str) -> OutcomeUnknownError:
        request = self._requests.create({})
        return OutcomeUnknownError(reason, method=request.method, path=request.path)

    async def _page(self, skip: int) -> tuple[AgentRunPage, bytes]:
        def decode(body: bytes) -> tuple[AgentRunPage, bytes]:
            return self._decoding.page(body), body

        return await self._transport.call(self._requests.page(skip, LARGEST_PAGE), decode)


def _bears(run: AgentRun | None, key: str) -> bool:
    return run is not None and key_of(run) == key


def check_fields(
    prompt: str, *, metadata: Mapping[str, Any] | None, repo_id: int | None, model: str | None, agent_type: str | None
) -> dict[str, Any]:
    """Return the fields of a create as plain JSON, without its images.

    Raises:
        InvalidArgumentError: one of them cannot be right.
    """
    for reserved in (IDEMPOTENCY_KEY, DIGEST):
        if metadata is not None and reserved in metadata:
            raise InvalidArgumentError("metadata", reserved, f"no key {reserved!r}, as it is reserved")
    return {
        "prompt": check_text("prompt", prompt),
        "metadata": None if metadata is None else check_json_object("metadata", metadata),
        "repo_id": None if repo_id is None else check_id("repo_id", repo_id),
        "model": None if model is None else check_text("model", model),
        "agent_type": None if agent_type is None else check_text("agent_type", agent_type),
    }
