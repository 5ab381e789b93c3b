"""Measure one change of a board at each kind of store, on this machine: alone, and with seven others at the same board.

python benchmarks/fleet_stores.py
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the servers are those of the tests

from codegen_async.fleet.opening import open_store
from codegen_async.fleet.store import Store
from tests.fleet.conftest import ALWAYS, url_of
from tests.support.servers import postgres, running, valkey

BOARD = bytes(1600)  # of eight members and sixty slots
SWAPS = 2000


@asynccontextmanager
async def place(kind: str) -> AsyncGenerator[str]:
    """Yield the URL of a place of that kind."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:{folder}/fleet.db"
        return
    server = {"postgresql": postgres(), "valkey": valkey(), "valkey-durable": valkey(*ALWAYS)}[kind]
    async with running(server) as started:
        yield url_of(started, "postgresql" if kind == "postgresql" else "redis")


async def change(store: Store, times: int) -> list[float]:
    """Replace a board so many times, whoever else does; return how long each took that was not lost."""
    there = await store.swap("board", b"", None, None)
    took: list[float] = []
    while len(took) < times:
        began = time.perf_counter()
        there = await store.swap("board", there.version, BOARD, there.epoch)
        if there.swapped:
            took.append(time.perf_counter() - began)
    return took


async def run(kind: str) -> None:
    async with place(kind) as url:
        stores = [open_store(url) for _ in range(8)]
        await change(stores[0], 100)
        cpu = time.process_time()
        took = sorted(await change(stores[0], SWAPS))
        cpu = (time.process_time() - cpu) / SWAPS
        began = time.perf_counter()
        await asyncio.gather(*(change(store, SWAPS // 8) for store in stores))
        together = SWAPS / (time.perf_counter() - began)
        await asyncio.gather(*(store.close() for store in stores))
    middle, late = took[SWAPS // 2] * 1e3, took[SWAPS * 99 // 100] * 1e3
    print(f"{kind:16}{middle:9.3f}{late:9.3f}{cpu * 1e6:12.0f}{together:16,.0f}")


def main() -> None:
    print(f"{'store':16}{'p50 ms':>9}{'p99 ms':>9}{'our CPU us':>12}{'8 together/s':>16}")
    for kind in ("sqlite", "postgresql", "valkey", "valkey-durable"):
        asyncio.run(run(kind))


if __name__ == "__main__":
    main()
