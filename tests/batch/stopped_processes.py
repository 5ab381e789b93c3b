"""Processes whose calls to the system are stopped: a batch and its server in virtual time, on a disk that fails."""

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from codegen_async import Rate
from codegen_async.errors import JournalError
from codegen_async.testing import CodegenServer, Fault, Life
from codegen_async.testing.clock import run_virtual
from tests.batch.helpers import opened
from tests.batch.kill_processes import run_to_the_end

PROMPTS = [f"prompt {n}" for n in range(6)]
RATE = Rate(4, 30.0)
LIFE = Life(median=10.0, sigma=0.5, outcomes={"COMPLETE": 1})
SETTLE = 20.0


def journal_in(folder: Path) -> Path:
    """Return the journal of a folder."""
    return folder / "batch.db"


def mended_in(folder: Path) -> Path:
    """Return the file that is opened to say that the disk is to be a good one from now on."""
    return folder / "mended"


def told_in(folder: Path) -> Path:
    """Return the file that tells of runs."""
    return folder / "runs"


def server_of(kind: type[CodegenServer] = CodegenServer, **options: Any) -> CodegenServer:
    """Return a server that loses some answers to creates; the same ones each time."""
    server = kind(rates={"create": RATE}, life=LIFE, latency=(0.0, 0.3), seed=5, **options)
    server.faults.add(Fault.RESET_AFTER, endpoint="create", after=1, times=1)
    server.faults.add(Fault.RESET_BEFORE, endpoint="create", after=1, times=1)
    return server


async def run_them(server: CodegenServer, folder: Path) -> None:
    """Add all prompts, as a script that is started again does, and run them to their ends."""
    async with opened(server, journal_in(folder), settle=SETTLE, rates={"create": RATE}) as batch:
        for prompt in PROMPTS:
            batch.add(prompt)
        await run_to_the_end(batch)
        report = await batch.audit()
        assert report.ok, report


def prompts_of(server: CodegenServer) -> Counter[str]:
    """Return how many runs each prompt has."""
    return Counter(run.prompt for run in server.world.runs.values())


def faults_in(folder: Path, made: Mapping[str, int]) -> tuple[int, int]:
    """Return how many prompts have no run, and how many more than one; the journal has to be sound. Blocking."""
    with contextlib.closing(sqlite3.connect(journal_in(folder))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    missing = sum(made.get(prompt, 0) == 0 for prompt in PROMPTS)
    return missing, sum(made.get(prompt, 0) > 1 for prompt in PROMPTS)


# -- a disk that fails

REFUSED = 3
"""What a process ends with whose journal was refused before the disk was mended."""


def live_on_a_bad_disk(folder: Path) -> None:
    """Run a batch while calls may fail, and again once the disk is mended: then it has to come to its end."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    sys.exit(run_virtual(_live_on_a_bad_disk(folder)))


async def _live_on_a_bad_disk(folder: Path) -> int:
    end = 0
    forgets = _Forgets()
    logging.getLogger("codegen_async").addFilter(forgets)
    async with server_of() as server:
        try:
            await run_them(server, folder)
        except JournalError as error:
            end = REFUSED if str(error).startswith(str(journal_in(folder))) else 1
        os.close(os.open(mended_in(folder), os.O_CREAT | os.O_WRONLY))
        await run_them(server, folder)
        assert faults_in(folder, prompts_of(server)) == (0, 0)
        # What a disk does not take cannot be counted after a restart.
        assert server.violations == 0 or forgets.said
    return end


class _Forgets(logging.Filter):
    """Hear whether it is said that what is sent cannot be remembered."""

    said = False

    def filter(self, record: logging.LogRecord) -> bool:
        self.said = self.said or "cannot remember what is sent" in record.getMessage()
        return True


# -- a power cut


class _Telling(CodegenServer):
    """A server that writes each run down when it is created."""

    told = -1

    def _create(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        answer = super()._create(request, body)
        run = self.world.runs[answer["id"]]
        os.write(self.told, json.dumps([run.created, run.prompt, run.metadata]).encode())
        return answer


def live_and_tell(folder: Path, port: int) -> None:
    """Run a batch to its end, and tell of each run when it is created."""
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    run_virtual(_live_and_tell(folder, port))


async def _live_and_tell(folder: Path, port: int) -> None:
    async with server_of(_Telling, port=port) as server:
        _Telling.told = os.open(told_in(folder), os.O_CREAT | os.O_WRONLY)
        await run_them(server, folder)
        assert faults_in(folder, prompts_of(server)) == (0, 0)


async def live_on(folder: Path, port: int, runs: Sequence[bytes]) -> Counter[str]:
    """Go on after a power cut with these runs on the server; return how many runs each prompt has in the end.

    Raises:
        JournalError: the journal is refused.
    """
    async with server_of(port=port) as server:
        server.faults.clear()
        for created, prompt, metadata in map(json.loads, runs):
            await asyncio.sleep(created - server.now())
            server.world.create(prompt, metadata=metadata)
        await asyncio.sleep(120)  # until there is power again
        await run_them(server, folder)
        return prompts_of(server)
