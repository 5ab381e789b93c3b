"""Measure one change of a board at each kind of store, on this machine: alone, and with seven others at the same board.

Run: python -m benchmarks.fleet_stores [--changes N] [sqlite] [postgresql] [valkey] [valkey-durable]
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from codegen_async.fleet.opening import open_store
from codegen_async.fleet.store import Store
from tests.fleet.conftest import ALWAYS, url_of
from tests.support.servers import postgres, running, valkey

BOARD = bytes(1600)  # of eight members and sixty slots
KINDS = ("sqlite", "postgresql", "valkey", "valkey-durable")


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


async def run(kind: str, changes: int) -> None:
    async with place(kind) as url:
        stores = [open_store(url) for _ in range(8)]
        await change(stores[0], 100)
        cpu = time.process_time()
        took = sorted(await change(stores[0], changes))
        cpu = (time.process_time() - cpu) / changes
        began = time.perf_counter()
        await asyncio.gather(*(change(store, changes // 8) for store in stores))
        together = changes / (time.perf_counter() - began)
        await asyncio.gather(*(store.close() for store in stores))
    middle, late = took[changes // 2] * 1e3, took[changes * 99 // 100] * 1e3
    print(f"{kind:16}{middle:9.3f}{late:9.3f}{cpu * 1e6:12.0f}{together:16,.0f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=2000, help="of the board (default: 2000)")
    parser.add_argument("kinds", nargs="*", metavar="KIND", choices=[[], *KINDS], help=f"of store: {', '.join(KINDS)}")
    options = parser.parse_args(arguments)
    print(f"{'store':16}{'p50 ms':>9}{'p99 ms':>9}{'our CPU us':>12}{'8 together/s':>16}")
    for kind in options.kinds or KINDS:
        asyncio.run(run(kind, options.changes))


if __name__ == "__main__":
    main()
