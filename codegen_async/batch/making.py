"""What driving a journal asks of the client that makes its runs. Knows no API."""

from __future__ import annotations

import asyncio
import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

from codegen_async.batch.audit import AuditReport
from codegen_async.batch.items import Item, Task
from codegen_async.batch.journal import Journal
from codegen_async.batch.places import Account
from codegen_async.errors import PASSING, DecodeError
from codegen_async.hosted.places import Places
from codegen_async.http.retry import Backoff
from codegen_async.limits import Slot
from codegen_async.models import RunId, RunLike

T = TypeVar("T")
R = TypeVar("R", bound=RunLike)
R_co = TypeVar("R_co", bound=RunLike, covariant=True)

_log = logging.getLogger("codegen_async")

OUTAGE = Backoff(first=1.0, ceiling=30.0)


class Search(Protocol[R_co]):
    """The search for the run of one create whose outcome is unknown. It may be asked again and again."""

    @property
    def over(self) -> int:
        """The moment by which the create was given up; see `Maker.begun`."""
        ...

    async def settle(self, *, over: bool = False) -> tuple[R_co | None, bool]:
        """Look for the run until it is found or its time is over; return it, or None and whether there is none.

        Args:
            over: whether that time was over before, so that each look decides.

        Raises:
            APIError: it could not be looked for.
        """
        ...

    async def decide(self) -> tuple[R_co | None, bool]:
        """Look once; return as `settle` does.

        Raises:
            APIError: it could not be looked for.
        """
        ...

    def forget(self) -> None:
        """Take the create for one that was never sent."""
        ...


class Maker(ABC, Generic[R]):
    """Make the runs of a batch at one API, and find them again."""

    @property
    @abstractmethod
    def account(self) -> Account:
        """Where the runs are."""

    @property
    @abstractmethod
    def limit(self) -> str | None:
        """The name of the limit that creates spend; None while it is not known."""

    @property
    @abstractmethod
    def most_lookups(self) -> int:
        """How many creates may be looked for at once: who loses every answer must not make half a batch ambiguous."""

    @property
    @abstractmethod
    def places(self) -> Places:
        """The places of runs that go on, which the batch shares with its client."""

    @property
    @abstractmethod
    def floor(self) -> int:
        """The number of a run that exists, where runs have numbers that grow; 0 while none is known, and elsewhere."""

    @property
    @abstractmethod
    def begun(self) -> int:
        """The moment before which the newest run of ours was not sent; later ones have larger numbers."""

    @abstractmethod
    def task(self, fields: dict[str, Any]) -> Task:
        """Return a task of these fields.

        Raises:
            InvalidArgumentError: one of them cannot be right.
        """

    @abstractmethod
    async def begin(self, journal: Journal) -> None:
        """Learn what has to be known before anything is sent.

        Raises:
            APIError: it could not be asked for.
        """

    async def learn(self, journal: Journal) -> None:
        """Learn from what is planned how creates are sent, where that depends on it. Default: it does not."""

    @abstractmethod
    async def prove(self) -> None:
        """Ask for something that needs no run.

        Raises:
            APIError: it could not be had; the token is refused, say.
        """

    @abstractmethod
    async def catch_up(self, journal: Journal) -> None:
        """Find what was sent from another file of a batch: the one that this is a copy of, or a copy of it.

        Raises:
            JournalError: nobody can tell what was sent from there.
            APIError: the server could not be asked.
        """

    @abstractmethod
    async def sent_elsewhere(self, key: str) -> RunId | None:
        """Return the run that was created under a key from another file of the batch.

        Raises:
            APIError: the server could not be asked.
        """

    def needs_parent(self, item: Item, task: Task) -> bool:  # noqa: ARG002 - an interface
        """Whether something has to be made first for the run of an item to belong to. Default: never."""
        return False

    async def parent(self, task: Task) -> str:
        """Make that, and return its id; one more, made in vain, does no harm.

        Raises:
            APIError: it could not be made.
        """
        raise NotImplementedError("nothing is needed")

    @abstractmethod
    def hearing(self, hear: Callable[[RunLike], object]) -> AbstractContextManager[None]:
        """Return a context in which `hear` is called with a snapshot whenever the phase of a run is another."""

    @abstractmethod
    def slot(self) -> Slot:
        """Return a slot for one `send`."""

    @abstractmethod
    async def send(self, task: Task, key: str, slot: Slot) -> R:
        """Make one attempt at a create.

        Raises:
            InvalidArgumentError: it cannot be right; nothing was sent.
            OutcomeUnknownError: it was sent, and whether there is a run now is unknown.
            StaleSlotError: the slot has grown too old; nothing was sent.
            APIError: any other failure; there is no run.
        """

    @abstractmethod
    async def search(self, item: Item, journal: Journal) -> Search[R]:
        """Return the search for the run of an item that was sent."""

    @abstractmethod
    async def wait(self, run: R | RunId) -> R:
        """Return the final snapshot of a run; raises as `wait_for_run` does."""

    @abstractmethod
    async def answer(self, run_id: RunId, text: str) -> R | None:
        """Tell a run that waits for a person to go on, and return the one that does; None if it does not wait.

        Raises:
            NotOfferedError: the API has no such call.
            OutcomeUnknownError: it was sent, and whether the run goes on is unknown.
            APIError: any other failure; the run is as it was.
        """

    @abstractmethod
    async def strange(self, item: Item, run: R) -> str | None:
        """Return what is wrong if a run is not that of its item but a stranger's of the same id.

        Raises:
            APIError: the server could not be asked.
        """

    @abstractmethod
    async def audit(self, journal: Journal) -> AuditReport:
        """Compare a journal with what the server has; see `Batch.audit`."""


async def outlast(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call that changes nothing until no outage spoils it."""
    for attempt in itertools.count(1):
        try:
            return await call()
        except PASSING as error:
            level = logging.WARNING if attempt == 1 else logging.DEBUG
            _log.log(level, "batch: the server cannot be asked, trying again: %s", error.reason)
        await asyncio.sleep(OUTAGE.delay(attempt))
    raise AssertionError("unreachable")


async def understood(look: Callable[[], Awaitable[tuple[R | None, bool]]]) -> tuple[R | None, bool]:
    """Return what a look tells, once no outage spoils it; one that cannot be read tells nothing."""
    try:
        return await outlast(look)
    except DecodeError as error:
        _log.warning("batch: runs cannot be looked for by their keys: %s", error.reason)
        return None, False
