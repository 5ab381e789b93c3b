"""Look at a batch that is open: where its items stand, and what the server has of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, cast

from codegen_async.arguments import LARGEST_ID, check_int
from codegen_async.batch.audit import AuditReport
from codegen_async.batch.items import Id, Outcome, R, State
from codegen_async.batch.journal import Journal
from codegen_async.batch.making import Maker
from codegen_async.batch.outside import export_journal
from codegen_async.hosted.client import RunClient


class Looking(ABC, Generic[R, Id]):
    """Be the part of a batch that only reads."""

    path: Path
    _maker: Maker[Any]
    _client: Any
    _paused: bool

    @abstractmethod
    async def save(self) -> None:
        """Write to the journal what was added."""

    @abstractmethod
    def _opened(self) -> Journal:
        """Return the journal."""

    @property
    def client(self) -> RunClient[Any, Any]:
        """The client that makes its runs."""
        return cast("RunClient[Any, Any]", self._client)

    @property
    def is_paused(self) -> bool:
        """Whether no more runs are created until `resume`."""
        return self._paused

    @property
    def limit(self) -> str | None:
        """The one of the client's limits that creates spend; None while nothing was added or sent that tells.

        Raises:
            ClientClosedError: the block has ended.
        """
        self._opened()
        return self._maker.limit

    async def status(self) -> dict[State, int]:
        """Return how many items are in each state.

        Raises:
            JournalError: the journal cannot be read.
        """
        await self.save()
        return await self._opened().counts()

    async def under_way(self, most: int = 100) -> list[Outcome[R, Id]]:
        """Return the items whose runs go on, those created first before the others.

        Args:
            most: how many at most. Default 100: what a person can look at.

        Raises:
            InvalidArgumentError: `most` is no number >= 1.
            JournalError: the journal cannot be read.
        """
        check_int("most", most, 1, LARGEST_ID)
        await self.save()
        return cast("list[Outcome[R, Id]]", await self._opened().under_way(most))

    async def audit(self) -> AuditReport:
        """Compare the journal with what the server has, run by run.

        Do it when `run` is over: what is created meanwhile would look like an error. A run that the list does not show
        is looked for over the client's `settle` time, and then by its id, before it is called missing.

        Raises:
            NotOfferedError: the API shows no keys.
            APIError: the runs could not be listed.
            JournalError: the journal cannot be read.
        """
        return await self._maker.audit(self._opened())

    async def export(self, path: str | os.PathLike[str], *, kind: str | None = None) -> int:
        """Write where each item stands to a file, and return how many they are; see `export_journal`."""
        await self.save()
        return await export_journal(self.path, path, kind=kind)
