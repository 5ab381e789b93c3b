"""Start items of the example and tell what came of them; run by the Python of `build/temporal`."""

import asyncio
import contextlib
import sys

import temporal_batch  # its folder is on the path
from temporalio.client import Client, WorkflowFailureError


async def main(address: str, first: str, count: str) -> None:
    """Run so many items from this one on; print each key. What is left unknown is run again, as a person would."""
    temporal = await Client.connect(address)
    left = {f"item-{n}": f"item {n}" for n in range(int(first), int(first) + int(count))}
    while left:
        with contextlib.suppress(WorkflowFailureError):
            async for key, run in temporal_batch.run(temporal, left):
                print(key, run.phase, flush=True)  # noqa: T201 - for the test
                del left[key]


asyncio.run(main(*sys.argv[1:]))
