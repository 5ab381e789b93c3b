"""Real servers in processes of their own, with the programs of the page on web frameworks in them."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.ports import own_port
from tests.web.recipes import RECIPES


class Server(NamedTuple):
    """How a server is started, and what it says when it listens."""

    arguments: Sequence[str]
    listens: str


SERVERS = {
    "uvicorn": Server(("uvicorn", "probe:app", "--port", "{port}"), "Uvicorn running on"),
    "granian": Server(("granian", "--interface", "asgi", "--port", "{port}", "probe:app"), "Started worker"),
    "hypercorn": Server(("hypercorn", "probe:app", "--bind", "127.0.0.1:{port}"), "Running on"),
    "aiohttp": Server(("probe", "{port}"), "Running on"),
    "sanic": Server(("sanic", "probe:app", "--single-process", "--port", "{port}"), "Starting worker"),
}


class Process:
    """A server that listens."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self.output: list[str] = []

    async def listen(self, words: str) -> None:
        """Wait until it says that it listens."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output.append(line.decode())
            if words in self.output[-1]:
                break
        else:
            raise AssertionError("".join(self.output))
        while not await self._accepts():  # granian says it a moment too early
            pass

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def read(self) -> None:
        """Read what it says, so that it is never kept from saying it."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output.append(line.decode())


def put(folder: Path, probe: str) -> Path:
    """Write the recipes into a folder, and beside them what is to be served."""
    for name, text in {**RECIPES, "probe": probe}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@contextlib.asynccontextmanager
async def running(server: str, folder: Path) -> AsyncGenerator[Process]:
    """Yield a server that runs the module `probe` of a folder."""
    with own_port() as port:
        async with _running(server, folder, port) as started:
            yield started


@contextlib.asynccontextmanager
async def _running(server: str, folder: Path, port: int) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *(argument.format(port=port) for argument in SERVERS[server].arguments),
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    started = Process(process, port)
    try:
        await started.listen(SERVERS[server].listens)
        reading = asyncio.ensure_future(started.read())
        yield started
        await reading
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL)  # some have workers
            await process.wait()
