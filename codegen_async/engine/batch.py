"""A batch that several machines drive together, on a durable engine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Self, cast, overload

from codegen_async.arguments import check_seconds_given
from codegen_async.batch.batch import Batch
from codegen_async.batch.bounds import Bounds
from codegen_async.batch.items import Id, Outcome, R
from codegen_async.batch.outside import write_outcomes
from codegen_async.batch.readers import Where
from codegen_async.batch.runner import Runner
from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRun
from codegen_async.engine.database import Database, open_database
from codegen_async.engine.dbos import executing, imported
from codegen_async.engine.desk import Desk
from codegen_async.engine.ledger import sharing
from codegen_async.errors import ConfigurationError, NotOfferedError
from codegen_async.hosted.run import HostedRun
from codegen_async.hosted.runs import HostedRuns
from codegen_async.settings import speed_of

_LEASE = 45.0
_PAUSE = 10.0  # seconds that a process may stand still between the check of a slot and the first byte
_LATENESS = 5.0  # seconds after which a request whose client has given up reaches the server no more
_LAG = 5.0  # seconds that a list may be behind


class DBOSBatch(Batch[R, Id]):
    """Drive a batch from as many processes and machines as one likes; any of them may be killed or frozen.

    It is a `Batch` whose journal is in a database, and whose items are workflows of DBOS: open the same database
    elsewhere, and the items are shared. What a dead process had is taken over within a lease. Every process yields all
    outcomes from when it began to run. Needs the extra `dbos`; a process runs one at a time.

    The rates of the API hold for all processes together if their clients share them: give `fleet` to each client.

    Args:
        client: an open client: a `CodegenClient`, or a `HostedRuns` of any dialect.
        database: `sqlite:PATH`, for processes of one machine, or `postgresql://...`. One database holds one batch.
        repo_id: as for a `Batch`.
        adopt: as for a `Batch`; a database needs to be adopted where its server has another address.
        clock: as for a `Batch`.
        lease: seconds after which a process that stands still is taken over. Default 45.

    Raises:
        InvalidArgumentError: an argument cannot be right.
        ConfigurationError: the URL is none, `dbos` is not installed, or lease and the client's `settle` are too short:
            what was sent by a process that is taken for dead could come after it was looked for, and be sent twice.
        JournalError: on entering: the database cannot be used, or holds a batch of another server or organization.
        ClientClosedError: on entering: the client is not open; from any method: the block has ended.
    """

    @overload
    def __init__(
        self: DBOSBatch[AgentRun, int],
        client: CodegenClient,
        database: str | Database,
        *,
        repo_id: int | None = None,
        adopt: bool = False,
        lease: float = _LEASE,
        clock: Callable[[], float] = time.time,
    ) -> None: ...

    @overload
    def __init__(
        self: DBOSBatch[HostedRun, str],
        client: HostedRuns[Any],
        database: str | Database,
        *,
        adopt: bool = False,
        lease: float = _LEASE,
        clock: Callable[[], float] = time.time,
    ) -> None: ...

    def __init__(
        self,
        client: Any,
        database: str | Database,
        *,
        repo_id: int | None = None,
        adopt: bool = False,
        lease: float = _LEASE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database: Database = open_database(database) if isinstance(database, str) else database
        imported()
        self._lease = check_seconds_given("lease", lease)
        check_lease(
            self._lease, client.settle * speed_of(client.base_url), client.timeouts.total, client.timeouts.connect
        )
        cast("Any", Batch).__init__(self, client, self.database.name, repo_id=repo_id, adopt=adopt, clock=clock)

    @property
    def place(self) -> Where:
        """Where its items are, for who reads them from outside."""
        return self.database

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._client.check_open()
        self._maker = self._new_maker()
        async with sharing(Desk, self.database, self._clock) as desk:
            await desk.check_account(self._maker.account, adopt=self._adopt)
            self._journal = desk
            self._saving = asyncio.Lock()  # of this loop
            self._leaving = asyncio.Lock()
            self._engine = AsyncExitStack()
            try:
                yield self
                await self._save_added()
            finally:
                self._journal = self._runner = None
                try:
                    await self._end_driver()
                finally:  # a loop that was left may not be over yet, and ends nothing of its own then
                    await self._leave(self._engine)

    def _new_runner(self, bounds: Bounds, *, serving: bool) -> Runner[Any]:
        runner = super()._new_runner(bounds, serving=serving)
        desk = cast("Desk", self._opened())
        desk.serve(runner, bounds.max_runs)
        return runner

    async def _drive(
        self, bounds: Bounds, max_active: int | None, *, serving: bool, note: bool = True
    ) -> AsyncGenerator[Outcome[R, Id]]:
        desk = cast("Desk", self._opened())
        self._check_idle()
        engine = AsyncExitStack()
        try:
            await engine.enter_async_context(
                executing(self.database, desk, lease=self._lease, floor=lambda: self._maker.floor, look=self._look)
            )
            self._engine = engine
            async with aclosing(super()._drive(bounds, max_active, serving=serving, note=note)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
        finally:
            await self._leave(engine)

    async def _leave(self, engine: AsyncExitStack) -> None:
        """Let go of an engine; return when that is done, whoever does it."""
        async with self._leaving:
            await engine.aclose()

    def _look(self) -> None:
        if self._runner is not None:
            self._runner.news.set()
            self._runner.look()

    async def answer(self, key: str, text: str) -> None:  # noqa: ARG002 - an interface
        """Refuse: the workflow that has the item may be another process's.

        Raises:
            NotOfferedError: always; answer the run itself, then run the batch again.
        """
        raise NotOfferedError("a batch that several processes share has no answers; answer the run itself")

    async def export(self, path: str | os.PathLike[str], *, kind: str | None = None) -> int:
        """Write where each item stands to a file, and return how many they are; see `export_journal`."""
        await self.save()
        return await asyncio.to_thread(write_outcomes, self.database, Path(path), kind=kind)


def check_lease(lease: float, settle: float, total: float, connect: float) -> None:
    """Make sure that what a process sends that was taken for dead is there before its successor has looked for it.

    Raises:
        ConfigurationError: it may come later.
    """
    # It may have taken its slot just before its last beat, use it when it has almost grown too old, and stand still
    # once more before the first byte.
    beat, send_by = lease / 8, connect + 5.0
    needed = beat + send_by + _PAUSE + total + _LATENESS + _LAG
    if lease + settle < needed:
        raise ConfigurationError(
            f"lease: expected, with the client's settle of {settle:g} s and its total timeout of {total:g} s, at least "
            f"{(needed - beat - settle) * 8 / 7:.0f} s, got {lease:g}: a process that was taken for dead could send "
            "what is sent again"
        )
