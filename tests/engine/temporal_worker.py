"""A worker of the example, at a simulated server, with short times; run by the Python of `build/temporal`."""

import asyncio
import sys

import temporal_batch  # its folder is on the path
from temporalio.client import Client

from codegen_async import CodegenClient, Rate, Timeouts


async def main(url: str, org_id: str, address: str) -> None:
    """Work until killed."""
    temporal = await Client.connect(address)
    rates = {"create": Rate(10, 5.0), "get": Rate(100, 5.0), "list": Rate(100, 5.0)}
    timeouts = Timeouts(connect=1.0, read=2.0, total=2.0)
    async with CodegenClient(
        "simulated", org_id=int(org_id), base_url=url, rates=rates, settle=6.0, latency=0.5, timeouts=timeouts
    ) as client:
        await temporal_batch.worker(client, temporal)


asyncio.run(main(*sys.argv[1:]))
