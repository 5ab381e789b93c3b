"""Make the runs of a batch at any API that a dialect describes, each once by what its API offers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from codegen_async.arguments import check_json_object
from codegen_async.batch.audit import AuditReport, audit_by_keys
from codegen_async.batch.fields import DialectColumns
from codegen_async.batch.items import Item, Task
from codegen_async.batch.journal import Journal
from codegen_async.batch.making import Maker, Search
from codegen_async.batch.places import OVERTAKEN, Account
from codegen_async.errors import (
    DecodeError,
    InvalidArgumentError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    NotOfferedError,
)
from codegen_async.events import Reporter
from codegen_async.hosted.asking import ANY_KEY, call_of
from codegen_async.hosted.creating import Creating
from codegen_async.hosted.dialect import Dialect
from codegen_async.hosted.places import Places
from codegen_async.hosted.searching import Search as DoubtSearch
from codegen_async.http.answers import Twice
from codegen_async.limits import LimiterState, Slot
from codegen_async.models import Phase, RunId, RunLike

R = TypeVar("R", bound=RunLike)


class Client(Protocol[R]):
    """Ask of the client of an API what making its runs takes."""

    base_url: str
    dialect: Dialect[R]
    reporter: Reporter

    @property
    def creating(self) -> Creating[R]:
        """The single steps of a create."""
        ...

    @property
    def limits(self) -> Mapping[str, LimiterState]:
        """What the limiters are doing."""
        ...

    def without_run(self) -> Callable[[], Awaitable[object]] | None:
        """Return a call that needs no run; None if there is none."""
        ...

    async def get_run(self, run_id: str, *, max_age: float | None = None) -> R:
        """Return a run as it is now."""
        ...

    async def wait_for_run(self, run: str | R) -> R:
        """Return the final snapshot of a run."""
        ...


@runtime_checkable
class Replying(Protocol):
    """Be a client that tells runs to go on."""

    async def reply(self, run_id: str, text: str) -> RunLike:
        """Tell a run to go on, and return the one that does."""
        ...


class HostedMaker(Maker[R]):
    """Make runs with the client of any dialect.

    Args:
        client: an open client.
    """

    def __init__(self, client: Client[R]) -> None:
        self._client = client
        self._creating = client.creating
        self._columns = DialectColumns(client.dialect)
        self._limit: str | None = None  # whose rates creates spend
        self._twice: Twice | None = None
        self._parents = False  # whether runs belong to what is made for each of them
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
    def places(self) -> Places:
        """Return those of the client: the cap counts all its runs."""
        return self._creating.places

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
        self._columns.check(fields)
        return task

    def _look_at(self, task: Task) -> Mapping[str, Any]:
        """Return the fields of a task, and know from the call that they make how creates are sent."""
        fields = task.fields
        if fields is None:
            raise InvalidArgumentError("prompt", task.prompt, f"fields of {self._client.dialect.name}")
        call = call_of(self._client.dialect, fields)
        self._limit, self._twice = call.limit, call.twice
        self._parents = self._client.dialect.parent(fields) is not None
        return fields

    async def begin(self, journal: Journal) -> None:
        """Learn how creates are sent, if there is anything to send."""
        await self.learn(journal)

    async def learn(self, journal: Journal) -> None:
        """Learn from a task how creates are sent."""
        if self._limit is None and (task := await journal.task()) is not None:
            self._look_at(task)

    async def prove(self) -> None:
        """Ask what needs no run, where the API has such a call: that it cannot say is no refusal of the token."""
        ask = self._client.without_run()
        with contextlib.suppress(DecodeError, InvalidRequestError, NotFoundError):
            if ask is not None:
                await ask()

    async def catch_up(self, journal: Journal) -> None:
        """Make sure that what was sent from another file can be found, where it is not safe to send it again."""
        if self._is_safe() and not self._parents:
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
        self._moved = self._creating.finding.finds(ANY_KEY)

    def _is_safe(self) -> bool:
        """Whether the same key may be sent again: the API gives back the same run, or refuses to make another."""
        return self._twice in (Twice.SAME, Twice.REFUSED)

    async def _shows_keys(self, journal: Journal) -> bool:
        """Whether what was sent from another file has keys that this one knows, and its own are found by theirs."""
        if self._parents:
            return False
        known = [(key, run_id) for key, run_id in (await journal.runs_by_key()).items() if run_id is not None]
        if not known or not self._creating.finding.finds(ANY_KEY):
            return False
        found = await self._creating.finding.find(known[-1][0], None)
        return found is not None and found.id == known[-1][1]

    async def sent_elsewhere(self, key: str) -> RunId | None:
        """Look for a key, in a journal that may be a copy."""
        found = await self._creating.finding.find(key, None) if self._moved and not self._parents else None
        return None if found is None else found.id

    def needs_parent(self, item: Item, task: Task) -> bool:
        """Whether the dialect makes a parent for such a run, and the journal knows of none."""
        return item.parent is None and self._client.dialect.parent(self._look_at(task)) is not None

    async def parent(self, task: Task) -> str:
        """Make what the run of a task is to belong to."""
        return await self._creating.parent(self._look_at(task))

    def hearing(self, hear: Callable[[RunLike], object]) -> AbstractContextManager[None]:
        """Return a context in which the client tells of phases."""
        return self._client.reporter.hearing(hear)

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
        if task is not None and self.needs_parent(item, task):
            return _NeverSent()
        fields: Mapping[str, Any] = {} if task is None else self._look_at(task)
        later = await journal.later(item, self._creating.settle_time)
        doubt = self._creating.doubt(
            item.key, fields, before=await journal.earlier(item), after=None if later is None else later[0]
        )
        return DoubtSearch(self._creating, doubt, fields)

    async def wait(self, run: R | RunId) -> R:
        """Return the final snapshot of a run."""
        return await self._client.wait_for_run(str(run) if isinstance(run, int) else run)

    async def answer(self, run_id: RunId, text: str) -> R | None:
        """Reply to a run that waits."""
        if not isinstance(self._client, Replying):
            raise NotOfferedError(f"{self._client.dialect.name} has no reply that is a text alone")
        run = await self._client.get_run(str(run_id), max_age=0)
        return None if run.phase is not Phase.BLOCKED else cast("R", await self._client.reply(str(run_id), text))

    async def strange(self, item: Item, run: R) -> str | None:  # noqa: ARG002 - an interface
        """Return nothing: snapshots show no keys."""
        return None

    async def audit(self, journal: Journal) -> AuditReport:
        """Look for the run of each key.

        Raises:
            NotOfferedError: the API shows no keys.
        """
        if not self._creating.finding.finds(ANY_KEY):
            raise NotOfferedError(f"{self._client.dialect.name} has no search for keys")
        await self.begin(journal)
        return await audit_by_keys(journal, self._creating, self._is_there, parents=self._parents)

    async def _is_there(self, run_id: RunId) -> bool:
        try:
            await self._client.get_run(str(run_id), max_age=0)
        except NotFoundError:
            return False
        return True


class _NeverSent:
    """The search for the run of a create that was not sent: what it was to belong to was not there yet."""

    over = 0

    async def settle(self, *, over: bool = False) -> tuple[None, bool]:  # noqa: ARG002 - an interface
        """Return that there is none."""
        return None, True

    async def decide(self) -> tuple[None, bool]:
        """Return that there is none."""
        return None, True

    def forget(self) -> None:
        """Do nothing."""
