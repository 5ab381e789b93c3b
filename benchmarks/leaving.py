"""How long the loop is blocked when many who wait for one run leave in one moment.

Browsers that watch a run come and go together: a page is closed, a deploy ends all streams. What is measured is the
CPU time from the first cancellation until all tasks have ended, and beside it the same for tasks that wait for nothing
but a future: what asyncio takes by itself. The latencies are all the same, or all different.

Run: python -m benchmarks.leaving [--watchers N]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from codegen_async.codegen.models import AgentRun
from codegen_async.limits import Limits, Priority, Rate, Slot
from codegen_async.models import RunId
from codegen_async.polling import ListPoll, PollSchedule, Stream
from codegen_async.waiting import Page, Waiting

RUN = AgentRun(id=1, organization_id=1, status="ACTIVE")
GOAL = 0.2  # seconds for 20,000
BARE = "bare futures"

Wait = Callable[[int], Coroutine[Any, Any, object]]


class Still:
    """A server whose only run goes on for ever."""

    def __init__(self) -> None:
        self._limits = Limits({"all": Rate(60, 30.0)})

    def slot(self, stream: Stream) -> Slot:
        del stream
        return self._limits.slot("all", Priority.BACKGROUND)

    async def get(self, run_id: RunId, slot: Slot) -> AgentRun:
        del run_id
        async with slot:
            return RUN

    async def page(self, poll: ListPoll, slot: Slot) -> Page[AgentRun]:
        del poll
        async with slot:
            return Page((RUN,), 1)


async def leave(wait: Wait, watchers: int) -> float:
    """Return the CPU seconds from the first cancellation until all have left."""
    tasks = [asyncio.create_task(wait(number)) for number in range(watchers)]
    await asyncio.sleep(0.5)
    began = time.process_time()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return time.process_time() - began


async def measure(watchers: int) -> dict[str, float]:
    rate = Rate(60, 30.0)
    waiting = Waiting(Still(), PollSchedule(get=rate, page=rate), latency=5.0)

    async def bare(_: int) -> None:
        await asyncio.get_running_loop().create_future()

    async def wait(_: int) -> None:
        await waiting.wait_for_run(1)

    async def wait_unlike(number: int) -> None:
        await waiting.wait_for_run(1, latency=5.0 + number)

    async def watch(_: int) -> None:
        async for _run in waiting.watch([1]):
            pass

    ways: dict[str, Wait] = {
        BARE: bare,
        "wait_for_run": wait,
        "wait_for_run, unlike latencies": wait_unlike,
        "watch": watch,
    }
    seconds = {name: min([await leave(way, watchers) for _ in range(3)]) for name, way in ways.items()}
    await waiting.aclose()
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=20_000, help="(default: 20000)")
    watchers = parser.parse_args(arguments).watchers
    seconds = asyncio.run(measure(watchers))
    print(f"{watchers:,} watchers of one run leave at once; CPU seconds until all have left, the best of 3")
    for name, took in seconds.items():
        print(f"{name:32}{took:8.3f}")
    allowed = GOAL * watchers / 20_000
    own = max(seconds.values()) - seconds[BARE]
    if own > allowed:
        sys.exit(f"leaving takes {own:.3f} s more than bare futures do; {allowed:.3f} s are allowed")


if __name__ == "__main__":
    main()
