"""What a call costs: CPU time per get, list page and logs page over loopback, beside thinner and other ways.

The server is a second process that sends prepared bytes. Each way is measured in short rounds that take turns, and the
median of its rounds counts, so that whatever else the machine does falls on all of them alike. Limits are set so high
that no call waits, but every call of ours passes its limiter.

Run: python -m benchmarks.transport [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import random
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import msgspec
import pydantic

from codegen_async import AgentRun, AgentRunLogs, AgentRunPage, CodegenClient, Rate
from codegen_async.codegen.dialect import RATES
from codegen_async.limits import Slot
from codegen_async.polling import ListPoll, Stream
from codegen_async.testing import World

ORG = 323
AGENT = f"/v1/organizations/{ORG}/agent"
Call = Callable[[], Awaitable[object]]


# The server


def bodies() -> dict[str, bytes]:
    """Return the answers: runs that have ended, with results as the simulated service writes them."""
    now = 0.0
    world = World(lambda: now, org_id=ORG, seed=1)
    runs = [world.create(f"task {number}") for number in range(100)]
    now = 100_000.0
    page = [world.response(run) for run in reversed(runs)]
    rows = max((world.logs(run) for run in runs), key=len)
    rows = (rows * 100)[:100]
    total = {"page": 1, "size": 100, "pages": 1}
    return {
        "get": msgspec.json.encode(page[0]),
        "list": msgspec.json.encode({"items": page, "total": 100, **total}),
        "logs": msgspec.json.encode({**page[0], "logs": rows, "total_logs": 100, **total}),
    }


class Answering(asyncio.Protocol):
    """Answer each request at once; one request fits into one packet."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1]
        name = "logs" if b"/logs" in path else "list" if b"/runs" in path else "get"
        if self._transport is not None:
            self._transport.write(self._answers[name])


def serve(ready: multiprocessing.connection.Connection) -> None:
    head = "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\nServer: bench\r\nContent-Type: application/json"
    answers = {
        name: f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body for name, body in bodies().items()
    }

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Answering(answers), "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


# The ways to ask


@asynccontextmanager
async def ours(url: str, run_id: int) -> AsyncGenerator[dict[str, Call]]:
    rates = {endpoint: Rate(1_000_000, 1.0) for endpoint in RATES}
    async with CodegenClient("benchmark", org_id=ORG, base_url=url, rates=rates) as client:
        yield {
            "get": lambda: client.get_run(run_id, max_age=0),
            "list": client.list_runs_page,
            "logs": lambda: client.run_logs_page(run_id),
        }


@asynccontextmanager
async def our_polls(url: str, run_id: int) -> AsyncGenerator[dict[str, Call]]:
    rates = {endpoint: Rate(1_000_000, 1.0) for endpoint in RATES}
    async with CodegenClient("benchmark", org_id=ORG, base_url=url, rates=rates) as client:
        remote = client._remote(client._linked().calls)

        async def slot_of(stream: Stream) -> Slot:
            slot = remote.slot(stream)
            await slot.__aenter__()  # as the driver does
            return slot

        async def get() -> object:
            return await remote.get(run_id, await slot_of(Stream.GET))

        async def page() -> object:
            return await remote.page(ListPoll(0, 100, None), await slot_of(Stream.LIST))

        yield {"get": get, "list": page}


def paths(run_id: int) -> dict[str, str]:
    return {
        "get": f"{AGENT}/run/{run_id}",
        "list": f"{AGENT}/runs?skip=0&limit=100",
        "logs": f"/v1/alpha/organizations/{ORG}/agent/run/{run_id}/logs?skip=0&limit=100",
    }


@asynccontextmanager
async def bare_aiohttp(url: str, run_id: int) -> AsyncGenerator[dict[str, Call]]:
    async with aiohttp.ClientSession(url, headers={"Authorization": "Bearer benchmark"}) as session:

        def reading(path: str) -> Call:
            async def read() -> bytes:
                async with session.get(path) as response:
                    return await response.read()

            return read

        yield {name: reading(path) for name, path in paths(run_id).items()}


@asynccontextmanager
async def aiohttp_and_msgspec(url: str, run_id: int) -> AsyncGenerator[dict[str, Call]]:
    models: dict[str, msgspec.json.Decoder[Any]] = {
        "get": msgspec.json.Decoder(AgentRun),
        "list": msgspec.json.Decoder(AgentRunPage),
        "logs": msgspec.json.Decoder(AgentRunLogs),
    }
    async with bare_aiohttp(url, run_id) as reads:

        def decoding(name: str) -> Call:
            async def decode() -> object:
                body: Any = await reads[name]()
                return models[name].decode(body)

            return decode

        yield {name: decoding(name) for name in reads}


class PullRequestModel(pydantic.BaseModel):
    id: int
    title: str | None = None
    url: str | None = None
    created_at: str | None = None
    head_branch_name: str | None = None


class LogModel(pydantic.BaseModel):
    agent_run_id: int
    created_at: str | None = None
    tool_name: str | None = None
    message_type: str | None = None
    thought: str | None = None
    observation: Any = None
    tool_input: Any = None
    tool_output: Any = None


class RunModel(pydantic.BaseModel):
    id: int
    organization_id: int
    status: str | None = None
    created_at: str | None = None
    web_url: str | None = None
    result: str | None = None
    metadata: dict[str, Any] | None = None
    summary: str | None = None
    source_type: str | None = None
    github_pull_requests: list[PullRequestModel] | None = None


class PageModel(pydantic.BaseModel):
    items: list[RunModel]
    total: int
    page: int
    size: int
    pages: int


class LogsModel(RunModel):
    logs: list[LogModel]


@asynccontextmanager
async def httpx_and_pydantic(url: str, run_id: int) -> AsyncGenerator[dict[str, Call]]:
    models: dict[str, type[pydantic.BaseModel]] = {"get": RunModel, "list": PageModel, "logs": LogsModel}
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": "Bearer benchmark"}) as client:

        def reading(name: str, path: str) -> Call:
            async def read() -> object:
                response = await client.get(path)
                return models[name].model_validate_json(response.content)

            return read

        yield {name: reading(name, path) for name, path in paths(run_id).items()}


WAYS = {
    "aiohttp, bytes": bare_aiohttp,
    "aiohttp + msgspec": aiohttp_and_msgspec,
    "codegen_async": ours,
    "codegen_async, polls": our_polls,
    "httpx + pydantic": httpx_and_pydantic,
}
CALLS = {"get": 100, "list": 20, "logs": 20}  # of a round


# The measurement


async def cpu_per_call(call: Call, times: int) -> float:
    """Return the microseconds of this process's CPU that one call takes."""
    gc.collect()
    began = time.process_time()
    for _ in range(times):
        await call()
    return (time.process_time() - began) / times * 1e6


async def measure(url: str, rounds: int) -> dict[tuple[str, str], float]:
    run_id = msgspec.json.decode(bodies()["get"])["id"]
    async with contextlib.AsyncExitStack() as stack:
        calls = {way: await stack.enter_async_context(open_way(url, run_id)) for way, open_way in WAYS.items()}
        costs: dict[tuple[str, str], list[float]] = {(way, name): [] for way in WAYS for name in calls[way]}
        order = list(costs)
        for number in range(rounds + 1):
            random.shuffle(order)
            for way, name in order:
                cost = await cpu_per_call(calls[way][name], CALLS[name])
                if number:  # the first round warms up
                    costs[way, name].append(cost)
    return {key: statistics.median(values) for key, values in costs.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="(default: 40)")
    rounds = parser.parse_args(arguments).rounds
    with server() as url:
        costs = asyncio.run(measure(url, rounds))
    sizes = {name: len(body) for name, body in bodies().items()}
    print(f"CPU per call, microseconds; medians of {rounds} rounds; in brackets: relative to aiohttp with bytes")
    print(f"{'':20}" + "".join(f"{f'{name} ({sizes[name] / 1000:.0f} KB)':>20}" for name in CALLS))
    for way in WAYS:
        shown = [name for name in CALLS if (way, name) in costs]
        cells = (f"{costs[way, name]:.0f} ({costs[way, name] / costs['aiohttp, bytes', name]:.2f})" for name in shown)
        print(f"{way:20}" + "".join(f"{cell:>20}" for cell in cells))
    for name in ("list", "logs"):
        ratio = costs["codegen_async", name] / costs["aiohttp + msgspec", name]
        print(f"{name}: codegen_async / (aiohttp + msgspec) = {ratio:.2f}")
    check(costs, "list", "aiohttp + msgspec", 1.0)
    check(costs, "get", "aiohttp, bytes", 1.4)


def check(costs: dict[tuple[str, str], float], name: str, beside: str, most: float) -> None:
    """Print what a poll costs beside another way, and whether that is as promised."""
    ratio = costs["codegen_async, polls", name] / costs[beside, name]
    print(f"{name} poll / ({beside}) = {ratio:.2f}, {'at most' if ratio <= most else 'MORE THAN'} {most}")


if __name__ == "__main__":
    main()
