"""What it costs that many browsers watch one run: beside sse-starlette and FastAPI's own server-sent events.

The same server (uvicorn), the same simulated API, the same number of subscribers, one process each: memory of the
process for each subscriber, its CPU time to connect them all, how long it takes to end at SIGTERM while three browsers
watch, requests to the API while they watch, and how often a browser comes back in the ten seconds after the run has
ended. A browser that is told 204 does not come back; all others come back after `retry` (3 s unless it is said). Beside
them, a bare ASGI application that sends one event: what uvicorn itself takes.

Run: python -m benchmarks.web [--subscribers N] [--watch SECONDS]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from codegen_async.testing import CodegenServer, ServerThread

PATIENCE = 10.0  # seconds after which a server counts as one that does not end
BACK = 10.0  # seconds for which browsers come back
RETRY = 3.0  # seconds after which a browser comes back

BARE = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"event: run\\n\\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
"""

OURS = """
from starlette.applications import Starlette
from codegen_async.web import attach

app = attach(Starlette(), authorize=lambda scope, run_id: True)
"""

SSE_STARLETTE = """
import contextlib
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.routing import Route
from codegen_async import CodegenClient

client = CodegenClient()

@contextlib.asynccontextmanager
async def lifespan(_):
    async with client:
        yield

async def events(request):
    async def changes():
        async for run in client.watch([int(request.path_params["id"])]):
            yield {"event": "run", "data": run.to_json()}
    return EventSourceResponse(changes())

app = Starlette(routes=[Route("/runs/{id:int}/events", events)], lifespan=lifespan)
"""

FASTAPI = """
import contextlib
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from codegen_async import CodegenClient

client = CodegenClient()

@contextlib.asynccontextmanager
async def lifespan(_):
    async with client:
        yield

app = FastAPI(lifespan=lifespan)

@app.get("/runs/{id}/events", response_class=EventSourceResponse)
async def events(id: int):
    async for run in client.watch([id]):
        yield ServerSentEvent(event="run", data=run.to_dict())
"""

LEAST, MINE = "bare ASGI", "codegen_async.web"
CONTENDERS = {LEAST: BARE, MINE: OURS, "sse-starlette": SSE_STARLETTE, "FastAPI's own": FASTAPI}


class Row(NamedTuple):
    name: str
    memory: float  # KiB for each subscriber
    cpu: float  # seconds to connect them
    asked: int  # requests to the API
    ended: float | None  # seconds from SIGTERM; None: not in time
    returns: int | None = None  # of one browser

    def __str__(self) -> str:
        ended = f"> {PATIENCE:.0f}" if self.ended is None else f"{self.ended:.2f}"
        return f"{self.name:20} {self.memory:8.1f} {self.cpu:8.2f} {self.asked:8} {ended:>8} {self.returns or 0:8}"


def used(pid: int) -> tuple[float, float]:
    """Return the memory (KiB) and CPU time (s) of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return float(line.split()[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def served(text: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, int]]:
    """Serve an application by uvicorn, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as place:
        Path(folder, "contender.py").write_text(text, encoding="utf-8")  # noqa: ASYNC240 - nothing else is under way
        place.bind(("127.0.0.1", 0))
        place.listen(4096)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "contender:app", "--fd", str(place.fileno()), "--log-level", "error"),
            cwd=folder,
            pass_fds=[place.fileno()],
        )
        try:
            yield process, place.getsockname()[1]
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def subscribe(port: int, run_id: int, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Watch a run as a browser does, and return when it was shown, or is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**14)
    lines = (f"GET /runs/{run_id}/events HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", "")
    writer.write("\r\n".join(lines).encode())
    if b" 204 " not in await reader.readline():
        await reader.readuntil(b"event: run")
    return reader, writer


async def measure(
    name: str, text: str, server: CodegenServer, subscribers: int, seconds: float, *, patience: float = PATIENCE
) -> Row:
    run = server.world.create("x", script=[(0.0, "ACTIVE")])
    async with served(text) as (process, port):
        (await subscribe(port, run.id))[1].close()  # what is imported and compiled at first is not counted
        await asyncio.sleep(1.0)
        memory, cpu = used(process.pid)
        asked = len(server.requests)
        streams = [await subscribe(port, run.id) for _ in range(subscribers)]
        more_memory, more_cpu = used(process.pid)
        await asyncio.sleep(seconds)
        asked = len(server.requests) - asked
        for _, writer in streams[3:]:
            writer.close()
        await asyncio.sleep(1.0)
        ended = await seconds_to_end(process, patience)
    return Row(name, (more_memory - memory) / subscribers, more_cpu - cpu, asked, ended)


async def seconds_to_end(process: asyncio.subprocess.Process, patience: float) -> float | None:
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        return None
    return time.monotonic() - started


async def count_returns(text: str, server: CodegenServer) -> int:
    """Return how often a browser comes back in the time after a run has ended: until it is told 204."""
    run = server.world.create("x", script=[(0.0, "COMPLETE")])
    returns = 0
    async with served(text) as (_, port):
        last = ""
        began = time.monotonic()
        while time.monotonic() - began < BACK:
            reader, writer = await subscribe(port, run.id, *([f"Last-Event-ID: {last}"] if last else []))
            shown = await reader.read() if last != "end" else b""
            writer.close()
            if last == "end":
                break
            last = "end" if b"id: end" in shown else ""
            await asyncio.sleep(RETRY)
            returns += 1
    return returns


def raise_limit(subscribers: int) -> None:
    """Let this process have a connection for each subscriber."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * subscribers + 512)), hard))


async def compare(subscribers: int, seconds: float) -> None:
    raise_limit(subscribers)
    print(f"{subscribers} subscribers of one run, watched for {seconds:.0f} s, uvicorn")
    print(f"{'':20} {'KiB each':>8} {'CPU s':>8} {'asked':>8} {'SIGTERM':>8} {'returns':>8}")
    with ServerThread(CodegenServer) as server:
        os.environ.update(server.environment)
        for name, text in CONTENDERS.items():
            row = await measure(name, text, server, subscribers, seconds)
            print(row if text is BARE else row._replace(returns=await count_returns(text, server)), flush=True)
        for number in (1, 100):
            row = await measure("", OURS, server, number, seconds)
            print(f"codegen_async.web with {number} of them asked {row.asked} times")


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--watch", type=float, default=20.0, metavar="SECONDS", help="(default: 20)")
    arguments = parser.parse_args(options)
    asyncio.run(compare(arguments.subscribers, arguments.watch))


if __name__ == "__main__":
    main()
