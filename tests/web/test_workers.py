"""Several workers of a real server that meet in a file: one asks for all of them."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from codegen_async.testing import CodegenServer
from tests.web.serving import running

pytest.importorskip("uvicorn")
pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

WORKERS = 4
WAITERS = 16
SEVERAL = 2  # workers; the system may give one of them no browser
ENOUGH = 5  # requests of the one that asks
APP = """
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI

from codegen_async import CodegenClient
from codegen_async.events import Attempt

asked = []


@asynccontextmanager
async def lifespan(app):
    async with CodegenClient(latency=1.0, observe=note) as app.state.client:
        yield


def note(event):
    if isinstance(event, Attempt):
        asked.append(event.endpoint)


app = FastAPI(lifespan=lifespan)


@app.get("/wait/{run}")
async def wait(run: int):
    return {"pid": os.getpid(), "phase": (await app.state.client.wait_for_run(run)).phase}


@app.get("/state")
async def state():
    looks = app.state.client.looks
    known = {"members": len(looks.members), "leader": looks.leader, "asks": not looks.quiet}
    return {"pid": os.getpid(), "asked": len(asked), "waits": app.state.client.waits, **known}
"""


class Workers:
    """Ask workers, of which each new connection finds any."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str) -> Any:
        async with self._session.get(f"{self._url}{path}") as answer:
            return await answer.json()

    async def states(self) -> list[Any]:
        """Return what all of them say."""
        said: dict[int, Any] = {}
        while len(said) < WORKERS:
            state = await self.get("/state")
            said[state["pid"]] = state
        return [*said.values()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "probe.py").write_text(APP)
    return tmp_path


@pytest_asyncio.fixture
async def server(monkeypatch: pytest.MonkeyPatch, folder: Path) -> AsyncGenerator[CodegenServer]:
    async with CodegenServer() as server:
        variables = {"CODEGEN_FLEET": f"sqlite:{folder}/fleet.db", "WEB_CONCURRENCY": str(WORKERS)}
        for name, value in {**server.environment, **variables}.items():
            monkeypatch.setenv(name, value)
        yield server
        assert server.violations == 0


@asynccontextmanager
async def serving(folder: Path) -> AsyncGenerator[Workers]:
    """Yield workers that know of one another."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session, running("uvicorn", folder) as process:
        workers = Workers(session, process.url)
        while any(state["members"] < WORKERS for state in await workers.states()):
            pass
        yield workers
        process.process.terminate()


async def waiting(workers: Workers, run: int) -> list[asyncio.Task[Any]]:
    """Let browsers wait for a run, and return when several workers do, and have all heard who asks for them.

    The system may give all browsers to one worker: then more come.
    """
    waits: list[asyncio.Task[Any]] = []
    busy: list[Any] = []
    while not agreed(busy):
        if len(busy) < SEVERAL:
            waits += [asyncio.create_task(workers.get(f"/wait/{run}")) for _ in range(WAITERS)]
        busy = [state for state in await workers.states() if state["waits"]]
    return waits


def agreed(states: list[Any]) -> bool:
    return (
        len(states) >= SEVERAL
        and len({state["leader"] for state in states}) == 1
        and sum(state["asks"] for state in states) <= 1
    )


async def asked(workers: Workers, before: Mapping[int, int]) -> Counter[int]:
    """Return how often each has asked since then."""
    return Counter({state["pid"]: state["asked"] - before.get(state["pid"], 0) for state in await workers.states()})


async def test_workers_whose_browsers_wait_for_one_run_ask_as_one(folder: Path, server: CodegenServer) -> None:
    run = server.world.create("x", script=[(0.0, "ACTIVE")])
    async with serving(folder) as workers:
        waits = await waiting(workers, run.id)
        before = await asked(workers, {})
        while max((since := await asked(workers, before)).values()) < ENOUGH:
            pass
        server.world.end(run.id)
        ended = await asyncio.gather(*waits)
        assert {one["phase"] for one in ended} == {"succeeded"}
        assert len({one["pid"] for one in ended}) >= SEVERAL
        assert since.total() - max(since.values()) <= 2, since  # of those that asked when they heard that somebody does


async def test_a_worker_that_asks_for_all_and_is_killed_is_followed(folder: Path, server: CodegenServer) -> None:
    run = server.world.create("x", script=[(0.0, "ACTIVE")])
    async with serving(folder) as workers:
        waits = await waiting(workers, run.id)
        before = await asked(workers, {})
        while max((since := await asked(workers, before)).values()) < ENOUGH:
            pass
        ((leader, _),) = since.most_common(1)
        os.kill(leader, signal.SIGKILL)
        server.world.end(run.id)
        ended = [one for one in await asyncio.gather(*waits, return_exceptions=True) if isinstance(one, dict)]
        assert ended
        assert {one["phase"] for one in ended} == {"succeeded"}
        assert leader not in {one["pid"] for one in ended}
