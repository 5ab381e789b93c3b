"""What works on Windows, as far as one can pretend it: no file locks, no signal handlers of loops, and the like."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from codegen_async import Batch, CodegenClient
from codegen_async.testing import CodegenServer, ServerThread

_ROOT = Path(__file__).parents[2]


def on_windows(text: str, *words: object) -> str:
    """Run a script in a process that looks like one on Windows; return what it prints."""
    code = f"from tests.portability.windows import pretend; pretend()\n{text}"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code, *map(str, words)], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return a journal, as another system has written it."""
    path = tmp_path / "batch.db"

    async def fill(server: CodegenServer) -> None:
        async with (
            CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client,
            Batch(client, path) as batch,
        ):
            batch.add("do it", key="a")

    with ServerThread(CodegenServer) as server:
        asyncio.run(fill(server))
    return path


def test_all_names_can_be_imported() -> None:
    assert (
        on_windows("from codegen_async import *; print(CodegenClient.__name__, Batch.__name__)")
        == "CodegenClient Batch\n"
    )


def test_the_plugin_and_the_simulated_servers_can_be_imported() -> None:
    assert on_windows("import codegen_async.testing.plugin; from codegen_async.testing import *; print(FastLoop)")


def test_a_client_works_with_a_memory_too(tmp_path: Path) -> None:
    text = """
import asyncio, sys
from codegen_async import CodegenClient
from codegen_async.testing import CodegenServer, ServerThread

async def main(server):
    options = {"org_id": server.org_id, "base_url": server.url, "memory": sys.argv[1]}
    async with CodegenClient(server.token, **options) as client:
        run = await client.create_run("do it")
        server.world.end(run.id)
        print((await client.wait_for_run(run)).phase)

with ServerThread(CodegenServer) as server:
    asyncio.run(main(server))
"""
    assert on_windows(text, tmp_path / "memory") == "succeeded\n"


def test_journals_can_be_read(journal: Path, tmp_path: Path) -> None:
    text = """
import asyncio, sys
from codegen_async import State, export_journal, journal_status
status = asyncio.run(journal_status(sys.argv[1]))
print(status[State.PLANNED], asyncio.run(export_journal(sys.argv[1], sys.argv[2])))
"""
    assert on_windows(text, journal, tmp_path / "out.csv") == "1 1\n"


def test_driving_a_batch_says_what_it_needs(tmp_path: Path) -> None:
    text = """
import asyncio, sys
from codegen_async import Batch, CodegenClient, JournalError

async def main():
    async with CodegenClient("token", org_id=1) as client:
        try:
            async with Batch(client, sys.argv[1]):
                pass
        except JournalError as error:
            print(error)

asyncio.run(main())
"""
    assert "cannot be driven on this system, which lacks the file locks of POSIX" in on_windows(text, tmp_path / "b.db")


def test_the_command_line_asks_a_server() -> None:
    text = """
import os, sys
from codegen_async.testing import CodegenServer, ServerThread
from codegen_async.cli import app
with ServerThread(CodegenServer) as server:
    server.world.create("A task")
    os.environ.update(server.environment)
    print(app.run(["run", "list", "--json", "id"]), app.run(["run", "create", "x", "--quiet"]))
"""
    assert on_windows(text).splitlines()[-1] == "0 0"
