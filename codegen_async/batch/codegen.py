"""Make the runs of a batch at Codegen, which knows no keys: they stand in the metadata that its list shows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from codegen_async.batch.audit import AuditReport, audit
from codegen_async.batch.columns import FIELDS
from codegen_async.batch.items import Item, State, Task, idempotency_key
from codegen_async.batch.journal import Journal
from codegen_async.batch.making import Maker, Search
from codegen_async.batch.places import OVERTAKEN, Account
from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.creating import Creating
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.searching import Ours, Question, Sight, key_of
from codegen_async.errors import JournalError
from codegen_async.hosted.places import Places
from codegen_async.limits import Concurrency, Slot
from codegen_async.models import Phase, RunId, RunLike

_TELLING = 32  # characters of a key that tell whose it is


class CodegenMaker(Maker[AgentRun]):
    """Make runs with a `CodegenClient`.

    Args:
        client: an open client.
        repo_id: the repository of tasks that name none.
    """

    def __init__(self, client: CodegenClient, repo_id: int | None) -> None:
        self._client = client
        self._creating = client.creating
        self._places = Places(Concurrency())
        self._repo_id = repo_id
        self._sent: Mapping[str, int] = {}  # runs of the batch that were created from another file, by key
        self._keyed_from: float | None = None  # the oldest run that is seen to bear a key, once that was asked

    @property
    def account(self) -> Account:
        """Return the organization."""
        return Account.at(self._client.base_url, self._client.org_id)

    @property
    def limit(self) -> str:
        """Return the limit of creates."""
        return "create"

    @property
    def most_lookups(self) -> int:
        """Return how many creates the server takes at once."""
        return self._client.limits[self.limit].rate.limit

    @property
    def places(self) -> Places:
        """Return places for as many runs as there are: the pages state no number."""
        return self._places

    @property
    def floor(self) -> int:
        """Return the id of a run that exists; 0 while none is known."""
        return self._creating.floor or 0

    @property
    def begun(self) -> int:
        """Return the moment before which the newest run of ours was not sent."""
        return self._creating.begun

    def task(self, fields: dict[str, Any]) -> Task:
        """Return a task of the arguments of `CodegenClient.create_run`."""
        if unknown := sorted(fields.keys() - FIELDS):
            raise TypeError(f"add() got an unexpected keyword argument {unknown[0]!r}")
        if "prompt" not in fields:
            raise TypeError("add() missing 1 required argument: 'prompt'")
        return Task.checked(**fields)

    async def begin(self, journal: Journal) -> None:  # noqa: ARG002 - an interface
        """Learn the id of a run that exists."""
        await self._creating.learn_floor()

    async def prove(self) -> None:
        """Ask for a page of the list."""
        await self._client.list_runs_page(limit=1)

    async def catch_up(self, journal: Journal) -> None:
        """Find the keys of the batch in the list."""
        await asyncio.sleep(sum(self._creating.pauses))  # what was sent just before may not be shown yet
        sight = await self._creating.newest(await journal.first_floor() or 0)
        known = await journal.runs_by_key()
        if journal.moved == OVERTAKEN and not _proves(sight, known):
            await journal.give_back()
            raise JournalError(
                str(journal.path),
                "is a copy, and nothing proves that the list would show what was sent since; go on with the original, "
                "or, if nothing was sent from it, adopt this: --adopt, Batch(adopt=True)",
            )
        self._sent = {key: run.id for key, run in sight.keyed.items() if key.startswith(f"{journal.batch_id}-")}
        async for item in journal.items(State.PLANNED, State.REJECTED):
            for attempt in range(item.attempt, item.attempt + len(self._sent)):
                run_id = self._sent.get(idempotency_key(journal.batch_id, item.identity, attempt))
                if run_id is None:
                    break
                await journal.found(item.seq, attempt, run_id)
        if self._sent.keys() <= known.keys():  # else one may be that of an item that is added later
            await journal.settled()

    async def sent_elsewhere(self, key: str) -> RunId | None:
        """Return what the list has shown for a key."""
        return self._sent.get(key)

    def hearing(self, hear: Callable[[RunLike], object]) -> AbstractContextManager[None]:
        """Return a context in which the client tells of phases."""
        return self._client.reporter.hearing(hear)

    def slot(self) -> Slot:
        """Return a slot for a create."""
        return self._creating.slot()

    async def send(self, task: Task, key: str, slot: Slot) -> AgentRun:
        """Send a create with its key in the metadata."""
        fields = await self._creating.prepare(**task.arguments(self._repo_id))
        return await self._creating.attempt(fields, key, slot, renew=False)

    async def search(self, item: Item, journal: Journal) -> Search[AgentRun]:
        """Return the search for a key in the list."""
        ours = {int(run_id): Ours(key) for key, run_id in await journal.near(item.floor or 0)}
        later = await journal.later(item, sum(self._creating.pauses))
        question = self._creating.question(item.key, item.floor, ours, later and (int(later[1]), later[0]))
        return _Search(self._creating, question)

    async def wait(self, run: AgentRun | RunId) -> AgentRun:
        """Return the final snapshot of a run."""
        return await self._client.wait_for_run(run if isinstance(run, AgentRun) else int(run))

    async def answer(self, run_id: RunId, text: str) -> AgentRun | None:
        """Take up a paused run with a new prompt."""
        run = await self._client.get_run(int(run_id), max_age=0)
        return None if run.phase is not Phase.BLOCKED else await self._client.resume_run(run.id, text)

    async def strange(self, item: Item, run: AgentRun) -> str | None:
        """Hold the key that a run bears against that of its item."""
        if key_of(run) is None and await self._shows_key_of(item, run.id):
            run = await self._creating.fetch(run.id)  # a list may show less
            if key_of(run) is None:
                return f"run {run.id} bears no key: it is not the one of this prompt"
        key = key_of(run)
        if key is None or item.key.startswith(key[:_TELLING]):  # some servers cut them short
            return None
        return f"run {run.id} bears another key: it is not the one of this prompt"

    async def _shows_key_of(self, item: Item, run_id: int) -> bool:
        """Whether the server gives back the keys of runs as old as this one."""
        if self._keyed_from is None:
            sight = await self._creating.newest(item.floor or 0)
            self._keyed_from = min((run.id for run in sight.keyed.values()), default=math.inf)
        return self._keyed_from <= run_id

    async def audit(self, journal: Journal) -> AuditReport:
        """Compare a journal with the list."""
        return await audit(journal, self._creating)


class _Search:
    """Search the list for a key; a `Search`."""

    def __init__(self, creating: Creating, question: Question) -> None:
        self._creating = creating
        self._question = question

    @property
    def over(self) -> int:
        """Return the moment by which the create was given up."""
        return self._question.over

    async def settle(self, *, over: bool = False) -> tuple[AgentRun | None, bool]:
        """Look several times."""
        return await self._creating.settle(self._question, over=over)

    async def decide(self) -> tuple[AgentRun | None, bool]:
        """Look once."""
        return await self._creating.decide(self._question)

    def forget(self) -> None:
        """Take the key for one that was never sent."""
        self._creating.forget(self._question.key)


def _proves(sight: Sight, known: Mapping[str, RunId | None]) -> bool:
    """Whether a walk through the list has shown the runs of all keys that are to be found."""
    runs = [(key, int(run_id)) for key, run_id in known.items() if run_id is not None]
    seen = {run_id: key for key, run_id in runs if run_id in sight.runs}
    shown = all(key_of(sight.runs[run_id]) == key for run_id, key in seen.items())
    newest = max((run_id for _, run_id in runs), default=None)
    return shown and sight.whole and bool(sight.keyed) and (newest is None or newest in seen)
