"""What the processes of the kill loop at Middesk do: a server that survives, and drivers that do not."""

import asyncio
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from codegen_async import Rate
from codegen_async.batch.batch import Batch
from codegen_async.batch.items import State
from codegen_async.middesk.client import MiddeskClient
from codegen_async.testing import Fault, MiddeskServer
from tests.middesk.helpers import AGENT

LOSSES = ((Fault.RESET_BEFORE, 0.07), (Fault.RESET_AFTER, 0.08))
RATE = Rate(100, 1.0)


def serve(pipe: "Connection[Any, Any]", _: str, seed: int) -> None:
    """Serve until the other end of the pipe is closed; answer each message with the runs of each business."""

    async def main() -> None:
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        async with MiddeskServer(token="token", seed=seed, rates={"ceiling": RATE}) as server:
            server.world.script = [(0.3, "COMPLETED")]
            for endpoint in ("create", "create_thread"):
                for fault, probability in LOSSES:
                    server.faults.add(fault, endpoint=endpoint, times=None, probability=probability)
            pipe.send(int(server.url.rpartition(":")[2]))

            def asked() -> None:
                try:
                    pipe.recv()
                    pipe.send(businesses(server))
                except (EOFError, OSError):
                    loop.remove_reader(pipe.fileno())
                    over.set()

            loop.add_reader(pipe.fileno(), asked)
            await over.wait()

    asyncio.run(main())


def businesses(server: MiddeskServer) -> dict[str, int]:
    """Return how many runs there are about each business."""
    world = server.world
    return dict(Counter(str(world._businesses[run.thread_id]) for run in world.runs.values()))


def drive(_: str, port: int, path: Path, tasks: list[str]) -> None:
    """Run a batch to its end; decide, one by one, what was created last and lost, as no run since can show it."""

    async def main() -> None:
        base_url = f"http://127.0.0.1:{port}"
        client = MiddeskClient("token", base_url=base_url, rate=RATE, settle=1.0, latency=0.3)
        async with client, Batch(client, path) as batch:
            for task in tasks:
                batch.add(key=task, type=AGENT, business_id=task)
            while undecided := [one.key async for one in batch.run() if one.state is State.UNKNOWN]:
                await batch.resend(undecided[0])  # its run shows whether the others could be found
            assert (await batch.status())[State.ENDED] == len(tasks)

    asyncio.run(main())
