"""Servers whose lists are odd, roads on which creates are lost, and batches that are run against them."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from codegen_async import Batch, CodegenClient
from codegen_async.batch.items import Outcome, State
from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.http.transport import Sender
from codegen_async.limits import Slot
from codegen_async.testing import CodegenServer
from codegen_async.testing.life import Run
from tests.support.canary import CANARY

Row = dict[str, Any]


class Odd(CodegenServer):
    """A server whose list and creates can be bent."""

    def __init__(self) -> None:
        super().__init__(token=CANARY, latency=(0.05, 0.05))
        self.world.script = [(0.0, "ACTIVE"), (1.0, "COMPLETE")]
        self.row: Callable[[Run, Row], Row | None] = lambda _, row: row
        self.store: Callable[[Row], Row] = lambda run: run
        self.order: Callable[[Run], float] = lambda run: run.id
        self.page: Callable[[int, Row], Row] = lambda _, page: page
        """Bends a page, given with what is left out before it."""
        self.most = 100
        """Rows that a page has at most."""

    def _list(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        page = super()._list(request, body)
        runs = sorted(self.world.runs.values(), key=self.order, reverse=True)
        rows = [row for run in runs if (row := self.row(run, self.world.response(run))) is not None]
        skip, limit = int(request.query.get("skip", 0)), min(int(request.query.get("limit", 100)), self.most)
        return self.page(skip, {**page, "items": rows[skip : skip + limit], "total": len(rows), "size": limit})

    def _create(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        before = set(self.world.runs)
        answer = super()._create(request, body)
        (new,) = set(self.world.runs) - before
        run = self.world.runs[new]
        run.metadata = self.store({"metadata": run.metadata})["metadata"]
        return {**answer, "metadata": run.metadata}

    def neighbours(self, count: int) -> list[Run]:
        """Let others make runs."""
        return [self.world.create("neighbour", script=[(0.0, "COMPLETE")]) for _ in range(count)]

    def doubled(self) -> list[str]:
        counts = Counter(run.prompt for run in self.world.runs.values() if run.prompt != "neighbour")
        return [prompt for prompt, count in counts.items() if count > 1]


class Road:
    """A sender on whose way something happens to some creates, counted from 1."""

    def __init__(self, sender: Sender, server: Odd, *lost: int) -> None:
        self._sender = sender
        self._server = server
        self._lost = lost
        self._creates = 0
        self.late: float | None = None
        self.answer: Response | None = None
        self.on_loss: Callable[[], object] = lambda: None
        self.lost: set[str] = set()
        """The prompts whose answers were lost."""
        self.sent: list[str] = []
        """The prompts of all creates, in the order in which they were sent."""

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        self._creates += request.method == "POST"
        if request.method == "POST":
            self.sent.append(json.loads(request.body or b"")["prompt"])
        if request.method != "POST" or self._creates not in self._lost:
            return await self._sender.send(request, take_slot)
        self.lost.add(self.sent[-1])
        if self.late is None:
            await self._sender.send(request, take_slot)
            self.on_loss()
            if self.answer is not None:
                return self.answer
            raise NoAnswerError("the connection broke", sent=True)
        async with take_slot() as slot:
            slot.sent()
            fields = json.loads(request.body or b"")
            world = self._server.world
            asyncio.get_running_loop().call_later(
                self.late, lambda: world.create(fields["prompt"], metadata=fields["metadata"])
            )
            self.on_loss()
            raise NoAnswerError("the connection broke", sent=True)

    def renew(self) -> None:
        self._sender.renew()

    async def aclose(self) -> None:
        await self._sender.aclose()


def client_on(server: Odd, *lost: int) -> tuple[CodegenClient, Road]:
    client = CodegenClient(server.token, org_id=server.org_id, base_url=server.url)
    road = Road(client._make_sender(), server, *lost)
    client._sender = road
    return client, road


async def run_batch(client: CodegenClient, path: Path, prompts: int = 10, *, first: int = 0) -> list[Outcome]:
    loop = asyncio.get_running_loop()
    outcomes: list[Outcome] = []
    async with client, Batch(client, path, clock=loop.time) as batch:
        for n in range(first, first + prompts):
            batch.add(f"do {n}", key=str(n))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1800):
                await batch_outcomes(batch, outcomes)
    return outcomes


async def batch_outcomes(batch: Batch, into: list[Outcome]) -> None:
    into += [outcome async for outcome in batch.run()]


def states(outcomes: list[Outcome]) -> Counter[State]:
    return Counter(outcome.state for outcome in outcomes)


def without(_: Run, row: Row) -> Row:
    return {**row, "metadata": None}


def cut(_: Run, row: Row) -> Row:
    key = (row["metadata"] or {}).get("idempotency_key")
    return {**row, "metadata": key and {"idempotency_key": key[:16]}}
