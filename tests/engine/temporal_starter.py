"""Start items of the example and tell what came of them; run by the Python of `build/temporal`."""

import asyncio
import sys

import temporal_batch  # its folder is on the path
from temporalio.client import Client


async def main(address: str, first: str, count: str) -> None:
    """Run so many items from this one on; print each key."""
    temporal = await Client.connect(address)
    numbers = range(int(first), int(first) + int(count))
    async for key, run in temporal_batch.run(temporal, {f"item-{n}": f"item {n}" for n in numbers}):
        print(key, run.phase, flush=True)  # noqa: T201 - for the test


asyncio.run(main(*sys.argv[1:]))
