"""Who drives a batch watches the others, and is watched, whatever the engine's database does."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import InternalError, OperationalError

from codegen_async.engine import dbos
from codegen_async.engine.database import open_database
from codegen_async.engine.dbos import Executor
from codegen_async.engine.desk import Desk
from codegen_async.engine.ledger import Held, sharing
from codegen_async.errors import JournalError
from codegen_async.http.retry import Backoff

pytestmark = pytest.mark.asyncio


class Engine:
    """List workflows, of executors that may be dead; be the module, too."""

    def __init__(self) -> None:
        self.DBOS = self
        self.live: list[Any] = []
        self.named: list[str] = []
        self.handles: list[Any] = []
        self.recovered: list[str] = []
        self.looks = 0

    async def list_workflows_async(self, **_: object) -> list[Any]:
        self.looks += 1
        await self.look()
        return self.live

    async def look(self) -> None:
        """Take as long as a test wants."""

    @contextmanager
    def SetWorkflowID(self, name: str) -> Generator[None]:  # noqa: N802 - as the module has it
        self.named.append(name)
        yield

    async def start_workflow_async(self, *_: object) -> Any:
        handle = self.handles.pop(0)
        if isinstance(handle, Exception):
            raise handle
        return handle

    def _recover_pending_workflows(self, names: list[str]) -> None:
        self.recovered += names
        self.live = []


@pytest.fixture
def engine() -> Engine:
    return Engine()


@asynccontextmanager
async def watching(path: Path, engine: Engine, lease: float = 0.08) -> AsyncGenerator[tuple[Executor, Desk]]:
    async with sharing(Desk, open_database(f"sqlite:{path}/batch.db"), lambda: 1000.0) as desk:
        executor = Executor(engine, desk, lease=lease, floor=lambda: 0, look=lambda: None)
        watch = asyncio.create_task(executor.watch())
        try:
            async with asyncio.timeout(60.0):
                yield executor, desk
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


async def test_who_begins_while_others_sweep_keeps_what_he_has(tmp_path: Path, engine: Engine) -> None:
    beaten = asyncio.Event()

    async def look() -> None:
        if engine.looks == 1:
            await desk.beat("new")
            engine.live = [SimpleNamespace(workflow_id="w", status="PENDING", executor_id="new")]
            beaten.set()

    vars(engine)["look"] = look
    async with watching(tmp_path, engine, lease=60.0) as (_, desk):
        await desk.look_again()
        await beaten.wait()
        assert engine.recovered == []


async def test_who_is_gone_is_taken_over(tmp_path: Path, engine: Engine) -> None:
    engine.live = [SimpleNamespace(workflow_id="w", status="PENDING", executor_id="gone")]
    async with watching(tmp_path, engine, lease=60.0) as (_, desk):
        await desk.look_again()
        assert engine.recovered == ["gone"]


async def test_a_long_sweep_is_not_taken_for_death(tmp_path: Path, engine: Engine) -> None:
    vars(engine)["look"] = asyncio.Event().wait
    async with watching(tmp_path, engine) as (executor, desk):
        while (await desk.beats()).get(executor.name, 0) < 5:
            pass


@pytest.mark.parametrize("fails", [1, 2])
async def test_who_cannot_look_looks_again_and_goes_on(tmp_path: Path, engine: Engine, fails: int) -> None:
    async def look() -> None:
        if engine.looks == fails:
            raise RuntimeError("the engine's database says something new")

    vars(engine)["look"] = look
    async with watching(tmp_path, engine) as (executor, desk):
        await desk.look_again()
        assert fails <= engine.looks
        before = (await desk.beats())[executor.name]
        while (await desk.beats())[executor.name] == before:
            pass


async def test_a_database_whose_name_is_not_known_for_now_delays_what_begins(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbos, "_AGAIN", Backoff(first=0.0, ceiling=0.0))
    lost = OperationalError("SELECT 1", {}, psycopg.OperationalError("failed to resolve host 'db.example'"))
    full = InternalError("SELECT 1", {}, psycopg.errors.ReadOnlySqlTransaction("in a read-only transaction"))
    async with watching(tmp_path, engine) as (executor, _):
        engine.handles = [lost, begun_before("SUCCESS", "gone", lost), lost, SimpleNamespace(task=None)]
        assert await executor.begin(Held(1, "key", ""))
        assert engine.named == ["key", "key", "key~2", "key~2"]
        engine.handles = [full]
        with pytest.raises(JournalError, match=r"batch.db: the engine cannot go on: in a read-only transaction"):
            await executor.begin(Held(2, "other", ""))


def begun_before(status: str, executor: str, *before: Exception) -> SimpleNamespace:
    failures = [*before]

    async def get_status() -> Any:
        if failures:
            raise failures.pop()
        return SimpleNamespace(status=status, executor_id=executor)

    return SimpleNamespace(get_status=get_status)


async def test_a_workflow_that_is_about_to_end_is_not_waited_for(tmp_path: Path, engine: Engine) -> None:
    async with watching(tmp_path, engine) as (executor, _):
        engine.handles = [begun_before("PENDING", executor.name)]
        assert not await executor.begin(Held(1, "key", ""))
        engine.handles = [begun_before("SUCCESS", executor.name), SimpleNamespace(task=None)]
        assert await executor.begin(Held(1, "key", ""))
        assert engine.named == ["key", "key", "key~2"]
