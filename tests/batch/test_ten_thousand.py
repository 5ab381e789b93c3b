"""Ten thousand prompts in virtual time: as fast as the limit allows, in memory that does not grow."""

import contextlib
import gc
import logging
import tracemalloc
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from codegen_async.batch.items import State
from codegen_async.testing import CodegenServer
from codegen_async.waiting.ends import MOST_BYTES
from tests.batch.helpers import opened
from tests.support.canary import CANARY

PROMPTS = 10_000


@contextlib.contextmanager
def tracing() -> Generator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def memory() -> int:
    """Return the bytes that the package holds, without the simulated server."""
    gc.collect()
    ours = (tracemalloc.Filter(True, "*/codegen_async/*"), tracemalloc.Filter(False, "*/codegen_async/testing/*"))
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)


@pytest.mark.slow
@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_ten_thousand_prompts_are_as_fast_as_the_limit_and_take_no_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "codegen_async")  # records that are kept for the report would count as held
    held: dict[int, int] = {}
    async with CodegenServer(token=CANARY, latency=(0.05, 0.3)) as server:
        server.world.script = [(0.0, "ACTIVE"), (300.0, "COMPLETE")]
        async with opened(server, tmp_path / "batch.db", latency=60.0) as batch:
            for n in range(PROMPTS):
                batch.add(f"do {n} {'x' * 500}")
            await batch._opened()._rows("PRAGMA synchronous = OFF")  # power cuts are not the point here
            with tracing():
                outcomes = 0
                async for outcome in batch.run():
                    assert outcome.succeeded
                    outcomes += 1
                    if outcomes in (1000, 3000, 6000, 9000):
                        held[outcomes] = memory()
            assert (await batch.status())[State.ENDED] == PROMPTS
        assert set(Counter(run.prompt for run in server.world.runs.values()).values()) == {1}
        sent = [request.time for request in server.requests if request.endpoint == "create"]
        makespan = sent[-1] - sent[0]
        ideal = (PROMPTS - 10) / 10 * 60.0
        requests = len(server.requests)
        print(f"\nover the ideal: {makespan / ideal - 1:.2%}; bytes held: {held}; requests: {requests}")  # noqa: T201 - the figures
        assert outcomes == len(sent) == len(server.world.runs) == PROMPTS
        assert makespan <= ideal * 1.02
        assert server.violations == 0
        assert server.worst("create").seen == 10
    # What the client remembers of ended runs is bounded too, and full long before.
    assert max(held.values()) < 3_000_000 + MOST_BYTES
    assert held[9000] < held[3000] + 500_000
