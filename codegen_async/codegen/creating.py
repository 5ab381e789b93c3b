"""Create runs exactly once, although the API has no idempotency key.

Every create carries a key in its metadata. When nobody knows whether a create happened, the key is looked for in the
newest list pages, several times, since the server may be slow to finish and the list slow to show. What is found is
the run; where nothing is found, the key is sent again only if the caller wants that and the last look, made after all
this time, proves that there is no run (`searching`): it has to show a run of ours that was created since. Else a person
decides.

What remains: a server that commits a create later than all looks can still make a second run. An audit sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import types
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from codegen_async.arguments import LARGEST_PAGE, check_id, check_json_object, check_text
from codegen_async.codegen.dialect import CodegenDialect
from codegen_async.codegen.images import read_images
from codegen_async.codegen.models import AgentRun, AgentRunPage
from codegen_async.codegen.searching import (
    IDEMPOTENCY_KEY,
    PAGES_TO_DECIDE,
    Ours,
    Question,
    Sight,
    Walks,
    key_of,
    moment,
)
from codegen_async.codegen.webhooks import RunWebhook, check_webhooks
from codegen_async.errors import (
    APIError,
    ClientClosedError,
    CreateOutcomeUnknownError,
    InvalidArgumentError,
    OutcomeUnknownError,
)
from codegen_async.hosted.calls import Calls
from codegen_async.hosted.dialect import Call
from codegen_async.hosted.settling import OnUnknown, noting_cancellation, pauses, settle
from codegen_async.limits import Priority, Slot, StaleSlotError
from codegen_async.models import RunId
from codegen_async.recent import Recent

Doubt = Callable[[Question, OutcomeUnknownError], None]

Confirm = Callable[[], Awaitable[object]]

DIGEST = "idempotency_digest"
"""The metadata key that is reserved for what tells whether creates under a key of the caller's have one content."""

_SENDS = 3
_OURS = 1000  # runs that are remembered as ours, and keys of creates
_SEEN = 5000  # runs of which it is remembered when they were first seen

_log = logging.getLogger("codegen_async")


class Creating:
    """Create runs and find them again by their keys.

    Args:
        calls: carries the calls.
        dialect: writes them.
        settle: seconds until a create that nobody has seen is taken not to have happened.
    """

    def __init__(self, calls: Calls[AgentRun], dialect: CodegenDialect, *, settle: float) -> None:
        self._calls = calls
        self._dialect = dialect
        self._settle = settle
        self._walks = Walks(self._page)
        self._ours: Recent[int, Ours] = Recent(_OURS)
        self._sent: Recent[str, tuple[int, int]] = Recent(_OURS)  # the first and the last moment at which keys were
        self._seen: Recent[int, int] = Recent(_SEEN)  # the moments at which runs were first seen
        self.begun: int = 0
        """The moment before which the newest run of ours was not sent."""
        self.floor: int | None = None
        """The id of a run that exists, so that all that are created from now on have larger ones; None while none is
        known. Only runs that bear a key of ours move it: what a stranger's answer says may be wrong."""
        self.echoed: bool | None = None
        """Whether the last answer gave back metadata, None while there was none."""

    async def learn_floor(self) -> None:
        """Take the oldest run on the first pages of the list for the floor, if there is none yet.

        Raises:
            APIError: the page could not be had.
        """
        if self.floor is None:
            page, _ = await self._page(0)
            self.floor = min((run.id for run in page.items), default=None)
            self._note(run.id for run in page.items)

    def slot(self) -> Slot:
        """Return a slot for one `attempt`."""
        return self._calls.slot("create", Priority.BACKGROUND)

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
        confirm: Confirm | None = None,
    ) -> AgentRun:
        """Create a run once; see `CodegenClient.create_run`. The key must be a new one.

        Args:
            fields: from `prepare`.
            key: its key.
            on_unknown: what to do if nobody knows whether it happened.
            on_doubt: called where it ends so, with what is known of it.
            patience: seconds that the first attempts may wait for a slot.
            confirm: called with a slot in hand before each sending.
        """
        sent = asyncio.Event()
        floor = self.floor
        doubt = on_doubt or _nobody
        try:
            with noting_cancellation("codegen", key, sent.is_set):
                send = functools.partial(self._send, fields, key, on_sent=sent.set, confirm=confirm)
                return await self._create(send, key, floor=floor, on_unknown=on_unknown, patience=patience)
        except CreateOutcomeUnknownError as unknown:
            doubt(self.question(key, floor), unknown)
            raise
        except asyncio.CancelledError:
            if sent.is_set():
                doubt(self.question(key, floor), self._unknown("the create was cancelled"))
            raise

    async def _create(
        self,
        send: Callable[..., Awaitable[AgentRun]],
        key: str,
        *,
        floor: int | None,
        on_unknown: OnUnknown,
        patience: float | None,
    ) -> AgentRun:
        sends = 0
        while True:
            sends += 1
            try:
                return await send(patience=patience)
            except OutcomeUnknownError as error:
                unknown = error
                patience = None  # from now on, to say that nothing was sent would be wrong
            found, proven, searched = await self._search(self.question(key, floor))
            if found is not None:
                return found
            if on_unknown == "raise" or unknown.likely_done or not proven or sends == _SENDS:
                raise CreateOutcomeUnknownError.of(unknown, key, searched=searched)
            self.forget(key)

    async def _search(self, question: Question) -> tuple[AgentRun | None, bool, bool]:
        """Return what `settle` finds and whether it proves something, and whether it could look at all."""
        if self.echoed is False:
            return None, False, False
        try:
            return *await self.settle(question), True
        except (APIError, ClientClosedError):
            return None, False, False

    async def attempt(self, fields: Mapping[str, Any], key: str, slot: Slot, *, renew: bool = True) -> AgentRun:
        """Make one attempt at a create, with a slot that the caller holds.

        Args:
            fields: from `prepare`.
            key: its key.
            slot: from `slot`.
            renew: whether another slot may take its place if it has grown too old.

        Raises:
            OutcomeUnknownError: it was sent, and whether there is a run now is unknown.
            StaleSlotError: the slot has grown too old, and is not to be renewed; nothing was sent.
            APIError: any other failure; there is no run.
        """
        return await self._send(fields, key, slot=slot, renew=renew)

    def question(
        self,
        key: str,
        floor: int | None,
        ours: Mapping[int, Ours] = types.MappingProxyType({}),
        later: tuple[int, str] | None = None,
    ) -> Question:
        """Return what has to be known to look for the run of a create that is over; see `Question`."""
        # What was sent in a former life may be older than all that was seen, and was over before all of this one.
        over = moment()
        begun, sent = self._sent.setdefault(key, (0, over))
        return Question(key=key, floor=floor, begun=begun, sent=sent, over=over, ours=ours, later=later)

    def forget(self, key: str) -> None:
        """Take a key for one that was never sent, as it is proven that there is no run."""
        self._sent.pop(key, None)

    async def settle(self, question: Question, *, over: bool = False) -> tuple[AgentRun | None, bool]:
        """Look for a run several times over the settle time; return it as soon as it is found, else as `decide` does.

        Args:
            question: what is asked.
            over: whether the settle time of the create was over before, so that each look decides.

        Raises:
            APIError: the last look, which decides, failed.
        """

        async def look() -> tuple[AgentRun | None, bool] | None:
            found, proven = await self.decide(question, PAGES_TO_DECIDE if over else 1)
            return (found, True) if found is not None or (over and proven) else None

        return await settle(look, self._settle, lambda: self.decide(question))

    async def decide(self, question: Question, pages: int = PAGES_TO_DECIDE) -> tuple[AgentRun | None, bool]:
        """Look for a run once; return it, or None and whether it is proven that there is none.

        Raises:
            APIError: the look failed.
        """
        sight = await self._walks.walk(question.floor, pages)
        found = self._taken_in(sight, question.key)
        ours = question.all_ours(self._ours)
        return found, found is not None or sight.proves(question, ours, self._seen, self._settled())

    async def look(self, key: str, floor: int | None) -> AgentRun | None:
        """Look for a run once; looks that wait at the same time share one walk through the list.

        Args:
            key: the key it was created with.
            floor: an id that existed before it; the walk ends there. None: it ends after ten pages.

        Raises:
            CreateOutcomeUnknownError: a row that could be it cannot be read.
            APIError: the look failed.
        """
        sight = await self._walks.walk(floor)
        found = self._taken_in(sight, key)
        if found is None and sight.may_hide(key):
            raise self.unreadable(key)
        return found

    def _settled(self) -> float:
        """Return the loop time before which a run must have been known to be expected in a list."""
        return asyncio.get_running_loop().time() - self._settle

    def _taken_in(self, sight: Sight, key: str) -> AgentRun | None:
        """Return the run that is asked for, if the walk has shown it, and learn from what it has shown."""
        if sight.keyed:
            self.echoed = True
        found = sight.keyed.get(key)
        if found is not None:
            self._made(found, key, self._sent.get(key, (0, 0))[0])
        self._note(sight.runs)
        seen = [run_id for run_id, known in self._ours.items() if _bears(sight.runs.get(run_id), known.key)]
        self.floor = max([*seen, self.floor or 0]) or None
        return found

    def _note(self, run_ids: Iterable[int]) -> None:
        now = moment()
        for run_id in run_ids:
            self._seen.setdefault(run_id, now)

    def _made(self, run: AgentRun, key: str, begun: int) -> None:
        sure = _bears(run, key)
        if run.id not in self._ours:
            self._ours[run.id] = Ours(key, begun, asyncio.get_running_loop().time(), sure)
        self.begun = max(begun, self.begun)
        if sure:
            self.floor = max(run.id, self.floor or 0)

    @property
    def pauses(self) -> Sequence[float]:
        """Seconds between looks: from the first, made at once, to the last, made at the end of the settle time."""
        return pauses(self._settle)

    async def all_since(self, floor: int) -> Sight:
        """Return what is seen of all runs down to a floor; shared with nobody, as it may be long.

        Raises:
            APIError: a page could not be had.
        """
        return await self._walks.collect(floor)

    async def _send(
        self,
        fields: Mapping[str, Any],
        key: str,
        *,
        slot: Slot | None = None,
        renew: bool = True,
        on_sent: Callable[[], None] | None = None,
        patience: float | None = None,
        confirm: Confirm | None = None,
    ) -> AgentRun:
        begun = moment()
        self._sent[key] = self._sent.get(key, (begun, 0))[0], begun
        call = self._dialect.create(key, fields)
        if confirm is None:
            run = await self._calls.carry(call, slot=slot, renew=renew, on_sent=on_sent, patience=patience)
        else:
            run = await self._confirmed(call, confirm, on_sent)
        echoed = key_of(run) == key
        if not echoed and self.echoed is not False:
            _log.warning("codegen: the server does not give back metadata; a create without answer cannot be looked up")
        self.echoed = echoed
        self._made(run, key, begun)
        return run

    async def _confirmed(self, call: Call[AgentRun], confirm: Confirm, on_sent: Callable[[], None] | None) -> AgentRun:
        """Send a create with a slot that was taken before the confirmation, and so is no older when it is used."""
        while True:
            async with self._calls.slot("create", Priority.INTERACTIVE) as slot:
                await confirm()
                with contextlib.suppress(StaleSlotError):
                    return await self._calls.carry(call, slot=slot, renew=False, on_sent=on_sent)

    async def newest_id(self) -> int:
        """Return the id of the newest run; 0 if there is none.

        Raises:
            APIError: the page could not be had.
        """
        page, _ = await self._page(0)
        self._note(run.id for run in page.items)
        return max((run.id for run in page.items), default=0)

    def sent_elsewhere(self, key: str, floor: int) -> tuple[Question, OutcomeUnknownError]:
        """Return what is asked about a key that another process may have sent, a moment ago."""
        return self.question(key, floor), self._unknown("another process may have sent it")

    async def newest(self, floor: int | None) -> Sight:
        """Return what is seen of the newest runs, down to the floor; without one, ten pages of them.

        Raises:
            APIError: a page could not be had.
        """
        sight = await self._walks.walk(floor)
        self._note(sight.runs)
        if self.floor is None and sight.whole:
            self.floor = min(list(sight.runs)[:LARGEST_PAGE], default=None)
        return sight

    async def fetch(self, run_id: RunId) -> AgentRun:
        """Return a run as it is now.

        Raises:
            NotFoundError: it does not exist any more.
            APIError: any other failure.
        """
        return await self._calls.run(self._dialect.get(str(run_id)))

    def unreadable(
        self, key: str, reason: str = "a run that cannot be read bears the key"
    ) -> CreateOutcomeUnknownError:
        """Return the error for a run of this key that is there, or may be, and cannot be read."""
        return CreateOutcomeUnknownError.of(self._unknown(reason), key, searched=True)

    def _unknown(self, reason: str) -> OutcomeUnknownError:
        request = self._dialect.create("", {}).request({})
        return OutcomeUnknownError(reason, method=request.method, path=request.path)

    async def _page(self, skip: int, size: int = LARGEST_PAGE) -> tuple[AgentRunPage, bytes]:
        return await self._calls.carry(self._dialect.listed(skip, size))


def _nobody(_question: Question, _unknown: OutcomeUnknownError) -> None:
    """Hear of no doubt."""


def _bears(run: AgentRun | None, key: str) -> bool:
    return run is not None and key_of(run) == key


def check_fields(
    prompt: str, *, metadata: Mapping[str, Any] | None, repo_id: int | None, model: str | None, agent_type: str | None
) -> dict[str, Any]:
    """Return the fields of a create as plain JSON, without its images.

    Raises:
        InvalidArgumentError: one of them cannot be right.
    """
    plain = None if metadata is None else check_json_object("metadata", metadata)
    for reserved in (IDEMPOTENCY_KEY, DIGEST):
        if reserved in (plain or ()):
            raise InvalidArgumentError("metadata", reserved, f"no key {reserved!r}, as it is reserved")
    return {
        "prompt": check_text("prompt", prompt),
        "metadata": plain,
        "repo_id": None if repo_id is None else check_id("repo_id", repo_id),
        "model": None if model is None else check_text("model", model),
        "agent_type": None if agent_type is None else check_text("agent_type", agent_type),
    }
