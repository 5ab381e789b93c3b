"""Make the runs of a batch at any API that a dialect describes, each once by what its API offers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from codegen_async.arguments import check_json_object
from codegen_async.batch.audit import AuditReport
from codegen_async.batch.fields import ANY_KEY, call_of
from codegen_async.batch.items import Item, State, Task, idempotency_key
from codegen_async.batch.journal import Journal
from codegen_async.batch.making import Maker, Search
from codegen_async.batch.places import OVERTAKEN, Account
from codegen_async.errors import InvalidArgumentError, JournalError, NotFoundError, NotOfferedError
from codegen_async.hosted.runs import HostedRuns
from codegen_async.hosted.searching import Search as DoubtSearch
from codegen_async.http.answers import Twice
from codegen_async.limits import Slot
from codegen_async.models import RunId, RunLike

R = TypeVar("R", bound=RunLike)


class HostedMaker(Maker[R]):
    """Make runs with a `HostedRuns`.

    Args:
        client: an open client.
    """

    def __init__(self, client: HostedRuns[R]) -> None:
        self._client = client
        self._creating = client.creating
        self._limit: str | None = None  # whose rates creates spend
        self._twice: Twice | None = None
        self._moved = False

    @property
    def account(self) -> Account:
        """Return the API and its address."""
        return Account.at(self._client.base_url, api=self._client.dialect.name)

    @property
    def limit(self) -> str | None:
        """Return the limit of the creates that were looked at."""
        return self._limit

    @property
    def most_lookups(self) -> int:
        """Return how many creates the API takes at once."""
        return 1 if self._limit is None else self._client.limits[self._limit].rate.limit

    @property
    def most_active(self) -> float:
        """Return how many runs may go on at once, as stated or learned."""
        return self._client.concurrency.limit or math.inf

    @property
    def floor(self) -> int:
        """Return 0: ids are text, and tell no order."""
        return 0

    @property
    def begun(self) -> int:
        """Return the number of the newest create whose run is known."""
        return self._creating.begun

    def task(self, fields: dict[str, Any]) -> Task:
        """Return a task of what the dialect's `create` takes."""
        task = Task(prompt="", fields=check_json_object("fields", fields))
        self._look_at(task)
        return task

    def _look_at(self, task: Task) -> Mapping[str, Any]:
        """Return the fields of a task, and know from the call that they make how creates are sent."""
        fields = task.fields
        if fields is None:
            raise InvalidArgumentError("prompt", task.prompt, f"fields of {self._client.dialect.name}")
        call = call_of(self._client.dialect, fields)
        if self._client.dialect.parent(fields) is not None:
            raise NotOfferedError(
                f"{self._client.dialect.name} makes a parent for each run, which a journal cannot keep"
            )
        self._limit, self._twice = call.limit, call.twice
        return fields

    async def begin(self, journal: Journal) -> None:
        """Learn from a task how creates are sent."""
        if self._limit is None and (task := await journal.task()) is not None:
            self._look_at(task)

    async def prove(self) -> None:
        """Ask for nothing: no call of all dialects needs no run."""

    async def catch_up(self, journal: Journal) -> None:
        """Make sure that what was sent from another file can be found, where it is not safe to send it again."""
        if self._is_safe():
            await journal.settled()
            return
        await asyncio.sleep(self._creating.settle_time)  # what was sent just before may not be shown yet
        if journal.moved == OVERTAKEN and not await self._shows_keys(journal):
            await journal.give_back()
            raise JournalError(
                str(journal.path),
                "is a copy, and nothing proves that what was sent since would be found; go on with the original, "
                "or, if nothing was sent from it, adopt this: Batch(adopt=True)",
            )
        self._moved = self._creating.finds(ANY_KEY)

    def _is_safe(self) -> bool:
        """Whether the same key may be sent again: the API gives back the same run, or refuses to make another."""
        return self._twice in (Twice.SAME, Twice.REFUSED)

    async def _shows_keys(self, journal: Journal) -> bool:
        """Whether the newest run that the journal knows is found under its key."""
        known = [(key, run_id) for key, run_id in (await journal.runs_by_key()).items() if run_id is not None]
        if not known or not self._creating.finds(ANY_KEY):
            return False
        found = await self._creating.find(known[-1][0], None)
        return found is not None and found.id == known[-1][1]

    async def sent_elsewhere(self, key: str) -> RunId | None:
        """Look for a key, in a journal that may be a copy."""
        found = await self._creating.find(key, None) if self._moved else None
        return None if found is None else found.id

    def slot(self) -> Slot:
        """Return a slot for a create."""
        if self._limit is None:
            raise AssertionError("nothing is sent before there is a task")
        return self._creating.slot(self._limit)

    async def send(self, task: Task, key: str, slot: Slot) -> R:
        """Send a create with its key."""
        limit = self._limit
        fields = self._look_at(task)
        return await self._creating.attempt(key, fields, slot if limit == self._limit else None)

    async def search(self, item: Item, journal: Journal) -> Search[R]:
        """Return the search for a key, or what sends it again."""
        task = await journal.task(item.seq)
        fields: Mapping[str, Any] = {} if task is None else self._look_at(task)
        doubt = self._creating.doubt(item.key, fields, await journal.earlier(item))
        return DoubtSearch(self._creating, doubt, fields)

    async def wait(self, run: R | RunId) -> R:
        """Return the final snapshot of a run."""
        return await self._client.wait_for_run(str(run) if isinstance(run, int) else run)

    async def strange(self, item: Item, run: R) -> str | None:  # noqa: ARG002 - an interface
        """Return nothing: snapshots show no keys."""
        return None

    async def audit(self, journal: Journal) -> AuditReport:
        """Look for the run of each key.

        Raises:
            NotOfferedError: the API shows no keys.
        """
        if not self._creating.finds(ANY_KEY):
            raise NotOfferedError(f"{self._client.dialect.name} has no search for keys")
        items = runs = 0
        missing: list[str] = []
        duplicates: dict[str, tuple[RunId, ...]] = {}
        unrecorded: dict[str, RunId] = {}
        async for fact in journal.facts():
            items += 1
            key = idempotency_key(journal.batch_id, fact.identity, fact.attempt)
            found = await self._creating.find(key, None)
            runs += found is not None
            if found is None and fact.run_id is not None and not await self._is_there(str(fact.run_id)):
                missing.append(fact.name)
            elif found is not None and fact.run_id is None and fact.state not in (State.SENDING, State.UNKNOWN):
                unrecorded[fact.name] = found.id
            elif found is not None and fact.run_id not in (None, found.id):
                duplicates[fact.name] = (str(fact.run_id), found.id)
        return AuditReport(
            items=items, runs=runs, missing=missing, duplicates=duplicates, unrecorded=unrecorded, foreign=()
        )

    async def _is_there(self, run_id: str) -> bool:
        try:
            await self._client.get_run(run_id, max_age=0)
        except NotFoundError:
            return False
        return True
