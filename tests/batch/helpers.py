"""What the tests of batches share."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from codegen_async import CodegenClient
from codegen_async.batch.batch import Batch
from codegen_async.batch.items import Outcome, State, Task
from codegen_async.batch.journal import Journal, driving
from codegen_async.testing import CodegenServer
from codegen_async.testing.life import Script

SHORT: Script = [(0.0, "ACTIVE"), (1.0, "COMPLETE")]
ENDLESS: Script = [(0.0, "ACTIVE")]


class Forgetful(CodegenServer):
    """A server that does not give back metadata."""

    def _create(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        return {**super()._create(request, body), "metadata": None}

    def _list(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        page = super()._list(request, _)
        return {**page, "items": [{**item, "metadata": None} for item in page["items"]]}


def loop_time() -> float:
    """Return the time of the running loop; the wall clock of journals in virtual time."""
    return asyncio.get_running_loop().time()


def client_of(server: CodegenServer, **options: Any) -> CodegenClient:
    """Return a client of the server."""
    return CodegenClient(**{"token": server.token, "org_id": server.org_id, "base_url": server.url, **options})


@contextlib.asynccontextmanager
async def opened(server: CodegenServer, path: Path, *, adopt: bool = False, **options: Any) -> AsyncGenerator[Batch]:
    """Open a batch with a client of its own, as a new process would."""
    loop = asyncio.get_running_loop()
    async with client_of(server, **options) as client, Batch(client, path, adopt=adopt, clock=loop.time) as batch:
        yield batch


@contextlib.asynccontextmanager
async def journal_at(path: Path, clock: Callable[[], float] = lambda: 1000.0) -> AsyncGenerator[Journal]:
    """Open a journal without a batch."""
    async with driving(path, clock) as journal:
        yield journal


async def run_all(batch: Batch, *, into: list[Outcome] | None = None, **options: Any) -> list[Outcome]:
    """Run a batch to its end and return the outcomes, in a list that also shows them if it fails."""
    outcomes = [] if into is None else into
    async for outcome in batch.run(**options):
        outcomes.append(outcome)
    return outcomes


async def plan(journal: Journal, *names: str) -> None:
    """Plan items of these names."""
    await journal.add([(name, Task(prompt=name)) for name in names])


async def states(journal: Journal) -> dict[str, State]:
    """Return the state of each item."""
    return {fact.name: fact.state async for fact in journal.facts()}


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Read a database with a connection of its own, as another process would. Blocking."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()
