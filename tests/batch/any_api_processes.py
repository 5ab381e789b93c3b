"""What the processes of the kill loop at any API do: a server that survives, and drivers that do not."""

import asyncio
import json
import random
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aiohttp import web

from codegen_async import HostedRuns, Rate
from codegen_async.batch.batch import Batch
from codegen_async.batch.items import State
from codegen_async.http.answers import Request
from tests.hosted.api import Api, Keyed, Named, Plain, Tagged, Threaded

DIALECTS: dict[str, type[Plain]] = {"named": Named, "keyed": Keyed, "tagged": Tagged, "threaded": Threaded}
LOST = 0.15  # of creates, each half before and after they are carried out


class Front:
    """Serve an `Api` over HTTP, and lose some of the answers to its creates."""

    def __init__(self, kind: str, seed: int) -> None:
        self._api = Api(keyed=kind == "keyed")
        self._rng = random.Random(seed)
        self.tasks: Counter[str] = Counter()

    async def answer(self, asked: web.Request) -> web.Response:
        body = await asked.read()
        is_create = asked.method == "POST" and asked.path == "/v1/runs"
        luck = self._rng.random() if is_create and self.tasks else 1.0
        if luck < LOST / 2:
            self._lose(asked)
        known = len(self._api.runs)
        status, said = self._api._answer(
            Request(
                endpoint="",
                method=asked.method,
                path=asked.rel_url.raw_path.removeprefix("/v1"),
                template="",
                query=tuple(asked.query.items()),
                body=body,
                headers=tuple(asked.headers.items()),
            )
        )
        if len(self._api.runs) > known:
            self.tasks[json.loads(body)["task"]] += 1
        if LOST / 2 <= luck < LOST:
            self._lose(asked)
        return web.json_response(said, status=status)

    @staticmethod
    def _lose(asked: web.Request) -> None:
        assert asked.transport is not None
        asked.transport.abort()
        raise asyncio.CancelledError


def serve(pipe: "Connection[Any, Any]", kind: str, seed: int) -> None:
    """Serve until the other end of the pipe is closed; answer each message with the runs of each task."""

    async def main() -> None:
        front = Front(kind, seed)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", front.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        pipe.send(runner.addresses[0][1])
        over, loop = asyncio.Event(), asyncio.get_running_loop()

        def asked() -> None:
            try:
                pipe.recv()
                pipe.send(dict(front.tasks))
            except (EOFError, OSError):
                loop.remove_reader(pipe.fileno())
                over.set()

        loop.add_reader(pipe.fileno(), asked)
        await over.wait()
        await runner.cleanup()

    asyncio.run(main())


def drive(kind: str, port: int, path: Path, tasks: list[str]) -> None:
    """Run a batch to its end; decide, one by one, what was created last and lost, as no run since can show it."""

    async def main() -> None:
        rates = {"create": Rate(20, 1.0), "read": Rate(200, 1.0)}
        base_url = f"http://127.0.0.1:{port}/v1"
        client = HostedRuns(DIALECTS[kind](), "token", base_url=base_url, rates=rates, settle=1.0, latency=0.3)
        async with client, Batch(client, path) as batch:
            for task in tasks:
                batch.add(key=task, task=task, life=0.3)
            while undecided := [one.key async for one in batch.run() if one.state is State.UNKNOWN]:
                await batch.resend(undecided[0])  # its run shows whether the others could be found
            assert (await batch.status())[State.ENDED] == len(tasks)

    asyncio.run(main())
