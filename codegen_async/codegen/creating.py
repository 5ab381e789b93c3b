"""Create runs exactly once, although the API has no idempotency key.

Every create carries a key in its metadata. When nobody knows whether a create happened, the key is looked for in the
newest list pages, several times, since the server may be slow to finish and the list slow to show. What is found is
the run; where nothing is found, only the caller may decide to send the same key again.

What remains: a server that commits a create later than all looks can still make a second run. An audit sees it.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal

from codegen_async.arguments import LARGEST_PAGE, check_id, check_json_object, check_text
from codegen_async.codegen.decoding import Decoding
from codegen_async.codegen.images import read_images
from codegen_async.codegen.models import AgentRun, AgentRunPage
from codegen_async.codegen.requests import Requests
from codegen_async.codegen.webhooks import RunWebhook, check_webhooks
from codegen_async.errors import (
    APIError,
    ClientClosedError,
    CreateOutcomeUnknownError,
    InvalidArgumentError,
    OutcomeUnknownError,
)
from codegen_async.limits import Priority, Slot
from codegen_async.transport import ForeignAnswerError, Transport

OnUnknown = Literal["raise", "retry"]

IDEMPOTENCY_KEY = "idempotency_key"
"""The metadata key that is reserved for the key of a create."""

_LOOKS = (1 / 30, 1 / 4, 1 / 2, 1.0)  # of the settle time
_MISSES = 2  # looks that must have found nothing before a create is taken not to have happened
_SENDS = 3
_LONGEST_KEY = 128
_PAGES_WITHOUT_FLOOR = 10

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
        self._walks = _Walks(self._page)
        self.echoed: bool | None = None
        """Whether the server gives back metadata, None while that is unknown. Without it nothing can be found again."""

    @property
    def newest_id(self) -> int | None:
        """The largest run id any answer has shown: a run that is created from now on has a larger one."""
        return self._decoding.newest_id

    def slot(self) -> Slot:
        """Return a slot for one `attempt`."""
        return self._transport.limits.slot("create", Priority.BACKGROUND)

    async def prepare(
        self,
        prompt: str,
        *,
        images: Iterable[str | os.PathLike[str]] = (),
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

    async def create(self, fields: Mapping[str, Any], key: str, *, on_unknown: OnUnknown) -> AgentRun:
        """Create a run once; see `CodegenClient.create_run`."""
        sent = asyncio.Event()
        try:
            return await self._create(fields, key, on_unknown, sent)
        except asyncio.CancelledError as cancelled:
            if sent.is_set():
                cancelled.add_note(f"a run may have been created; find_run_by_key({key!r}) tells")
                _log.warning("codegen: a create was cancelled; its run, if there is one, has the key %r", key)
            raise

    async def _create(
        self, fields: Mapping[str, Any], key: str, on_unknown: OnUnknown, sent: asyncio.Event
    ) -> AgentRun:
        floor = self.newest_id
        sends = 0
        while True:
            sends += 1
            try:
                return await self._send(fields, key, on_sent=sent.set)
            except OutcomeUnknownError as error:
                unknown = error
            found, searched = await self._search(key, floor)
            if found is not None:
                return found
            # Sending again is safe only if a run of the first send would have been found.
            if on_unknown == "raise" or unknown.likely_done or not searched or not self.echoed or sends == _SENDS:
                raise CreateOutcomeUnknownError.of(unknown, key, searched=searched)

    async def _search(self, key: str, floor: int | None) -> tuple[AgentRun | None, bool]:
        """Return what `settle` finds, and whether it could look at all."""
        if self.echoed is False:
            return None, False
        try:
            return await self.settle(key, floor), True
        except (APIError, ClientClosedError):
            return None, False

    async def attempt(self, fields: Mapping[str, Any], key: str, slot: Slot) -> AgentRun:
        """Make one attempt at a create, with a slot that the caller holds.

        Raises:
            OutcomeUnknownError: it was sent, and whether there is a run now is unknown.
            APIError: any other failure; there is no run.
        """
        return await self._send(fields, key, slot=slot)

    async def settle(self, key: str, floor: int | None) -> AgentRun | None:
        """Look for a run several times over the settle time; return it as soon as it is found, else None.

        Raises:
            APIError: so many looks failed that a miss means nothing.
        """
        started = asyncio.get_running_loop().time()
        misses = 0
        failure: APIError | None = None
        for share in _LOOKS:
            await asyncio.sleep(started + share * self._settle - asyncio.get_running_loop().time())
            try:
                found = await self.look(key, floor)
            except APIError as error:
                failure = error
                continue
            if found is not None:
                return found
            misses += 1
        if failure is not None and misses < _MISSES:
            raise failure
        return None

    async def look(self, key: str, floor: int | None) -> AgentRun | None:
        """Look for a run once; looks that wait at the same time share one walk through the list.

        Args:
            key: the key it was created with.
            floor: an id that existed before it; the walk ends there. None: it ends after ten pages.
        """
        keyed = await self._walks.walk(floor)
        if keyed:
            self.echoed = True
        return keyed.get(key)

    async def keyed_runs(self, floor: int) -> list[AgentRun]:
        """Return all runs newer than `floor` that carry a key, newest first."""
        return [run async for run in self._walks.runs(floor) if key_of(run) is not None]

    async def _send(
        self,
        fields: Mapping[str, Any],
        key: str,
        *,
        slot: Slot | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> AgentRun:
        body = {**fields, "metadata": {**fields["metadata"], IDEMPOTENCY_KEY: key}}
        request = self._requests.create(body)

        def decode(answer: bytes) -> AgentRun:
            run = self._decoding.created(answer)
            if key_of(run) not in (key, None):
                raise ForeignAnswerError(f"the answer is about run {run.id}, which another create has made")
            return run

        run = await self._transport.call(request, decode, slot=slot, on_sent=on_sent)
        echoed = key_of(run) == key
        if not echoed and self.echoed is not False:
            _log.warning("codegen: the server does not give back metadata; a create without answer cannot be looked up")
        self.echoed = echoed
        return run

    async def _page(self, skip: int, oldest: int | None) -> AgentRunPage:
        def decode(answer: bytes) -> AgentRunPage:
            page = self._decoding.page(answer)
            if oldest is not None and page.items and page.items[-1].id >= oldest:  # it would be read for ever
                raise ForeignAnswerError("the page shows no run that is older than those of the page before")
            return page

        return await self._transport.call(self._requests.page(skip, LARGEST_PAGE), decode)


class _Walks:
    """Walk through the newest runs; who asks while a walk waits to begin shares it."""

    def __init__(self, page: Callable[[int, int | None], Awaitable[AgentRunPage]]) -> None:
        self._page = page
        self._lock = asyncio.Lock()
        self._tickets = itertools.count(1)
        self._waiting: dict[int, int | None] = {}  # ticket: floor
        self._served = 0  # the newest ticket that the last walk served
        self._found: dict[str, AgentRun] = {}
        self._failure: APIError | None = None

    async def walk(self, floor: int | None) -> Mapping[str, AgentRun]:
        """Return the runs that carry a key, by key, from a walk that began after this call.

        Raises:
            APIError: that walk failed.
        """
        ticket = next(self._tickets)
        self._waiting[ticket] = floor
        try:
            async with self._lock:
                if self._served < ticket:
                    await self._walk()
                if self._failure is not None:
                    raise copy.copy(self._failure)  # each who waited has a traceback of his own
                return self._found
        finally:
            del self._waiting[ticket]
            if not self._waiting:
                self._found = {}  # it may be thousands of runs

    async def _walk(self) -> None:
        served = max(self._waiting)
        floors = set(self._waiting.values())
        pages = _PAGES_WITHOUT_FLOOR if None in floors else 1
        found: dict[str, AgentRun] = {}
        failure: APIError | None = None
        try:
            found = await self._collect(min((floor for floor in floors if floor is not None), default=None), pages)
        except APIError as error:
            failure = error.with_traceback(None)
        self._served, self._found, self._failure = served, found, failure

    async def _collect(self, floor: int | None, pages: int) -> dict[str, AgentRun]:
        # Newest first, so that of two runs with one key the older stays.
        runs = self.runs(floor, pages)
        return {key: run async for run in runs if (key := key_of(run)) is not None}

    async def runs(self, floor: int | None, pages: int = 1) -> AsyncIterator[AgentRun]:
        """Yield runs newest first: at least so many pages of them, and all down to the floor.

        Raises:
            APIError: a page could not be had, or does not lead on. What was not seen may exist.
        """
        skip = 0
        oldest: int | None = None
        for number in itertools.count(1):
            page = await self._page(skip, oldest)
            for run in page.items:
                yield run
            skip += len(page.items) + page.unreadable
            if not page.items:
                return
            oldest = page.items[-1].id
            if number >= pages and (floor is None or oldest <= floor):
                return


def check_fields(
    prompt: str, *, metadata: Mapping[str, Any] | None, repo_id: int | None, model: str | None, agent_type: str | None
) -> dict[str, Any]:
    """Return the fields of a create as plain JSON, without its images.

    Raises:
        InvalidArgumentError: one of them cannot be right.
    """
    if metadata is not None and IDEMPOTENCY_KEY in metadata:
        raise InvalidArgumentError("metadata", IDEMPOTENCY_KEY, f"no key {IDEMPOTENCY_KEY!r}, as it is reserved")
    return {
        "prompt": check_text("prompt", prompt),
        "metadata": None if metadata is None else check_json_object("metadata", metadata),
        "repo_id": None if repo_id is None else check_id("repo_id", repo_id),
        "model": None if model is None else check_text("model", model),
        "agent_type": None if agent_type is None else check_text("agent_type", agent_type),
    }


def key_of(run: AgentRun) -> str | None:
    """Return the idempotency key that a run was created with."""
    key = (run.metadata or {}).get(IDEMPOTENCY_KEY)
    return key if isinstance(key, str) else None


def check_key(key: object) -> str:
    """Return a key if it can be one.

    Raises:
        InvalidArgumentError: it is no text of 1..128 visible ASCII characters.
    """
    if not isinstance(key, str) or not 1 <= len(key) <= _LONGEST_KEY or not all("!" <= c <= "~" for c in key):
        raise InvalidArgumentError("idempotency_key", key, f"1..{_LONGEST_KEY} visible ASCII characters without spaces")
    return key
