"""Send at least 20,000 requests by a fleet of real processes at each kind of store, while all of them come and go.

Six processes of ten callers each at a server that takes 200 requests in any 2 s. Processes are killed and frozen, the
way to the store is cut, the store is frozen and started again. The server must never see the 201st.

Run: python -m benchmarks.fleet_processes [--requests N] [sqlite] [postgresql] [valkey] [valkey-durable]
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from codegen_async.limits import Rate
from tests.fleet.conftest import ALWAYS, url_of
from tests.fleet.processes import Plan, Strikes, before_file, before_server, campaign
from tests.support.servers import postgres, running, valkey

RATE = Rate(200, 2.0)
SECONDS = 900.0

KINDS = ("sqlite", "postgresql", "valkey", "valkey-durable")


@asynccontextmanager
async def place(kind: str) -> AsyncGenerator[tuple[str, Strikes]]:
    """Yield the URL of a place of that kind, and what may happen to it."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            async with before_file(Path(folder) / "fleet.db") as found:
                yield found
        return
    server = {"postgresql": postgres(), "valkey": valkey(), "valkey-durable": valkey(*ALWAYS)}[kind]
    async with running(server) as started:
        url = url_of(started, "postgresql" if kind == "postgresql" else "redis")
        async with before_server(started, f"{url}?durable" if kind == "valkey-durable" else url) as found:
            yield found


async def run(kind: str, requests: int) -> None:
    async with place(kind) as (url, may_happen):
        # What begins another epoch costs a silence of 12 s, all else little.
        weights = {"restart": 1 if kind == "valkey" else 4, "freeze_store": 4, "cut": 8, "kill": 12, "freeze": 12}
        strikes = {name: weight for name, weight in weights.items() if name in may_happen or name in ("kill", "freeze")}
        plan = Plan(rate=RATE, requests=requests, seconds=SECONDS, tasks=10, strikes=strikes)
        began = time.perf_counter()
        result = await campaign(url, may_happen, plan)
    seconds = time.perf_counter() - began
    struck = ", ".join(f"{name} {count}" for name, count in sorted(result.struck.items()))
    counted = f"{result.requests:10,}{seconds:9.0f}{result.answered:10,}{result.fullest:9}{result.rejected:6}"
    print(f"{kind:15}{counted}  {struck}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="at each store, at least (default: 20000)")
    parser.add_argument("kinds", nargs="*", metavar="KIND", choices=[[], *KINDS], help=f"of store: {', '.join(KINDS)}")
    options = parser.parse_args(arguments)
    print(f"{'store':15}{'requests':>10}{'seconds':>9}{'answered':>10}{'fullest':>9}{'429s':>6}  struck", flush=True)
    for kind in options.kinds or KINDS:
        asyncio.run(run(kind, options.requests))


if __name__ == "__main__":
    main()
