"""Five hundred waits over real HTTP against the strictest server."""

import asyncio
import random
from statistics import mean

import msgspec

from codegen_async import AgentRun, CodegenClient, Timeouts
from codegen_async.testing import CodegenServer, FastLoop, Fault, Life, run_virtual
from tests.support.canary import CANARY

RUNS = 500
LATENCY = (0.02, 0.2)
LIFE = Life(median=120.0, sigma=0.5)


def server_for_many(seed: int) -> CodegenServer:
    """Return a server with a bad day: it refuses, drops and breaks some of what it is asked."""
    server = CodegenServer(window="sliding", count_rejected=True, latency=LATENCY, token=CANARY, seed=seed, life=LIFE)
    for fault in (Fault.RESET_AFTER, Fault.ERROR_AFTER, Fault.TRUNCATED_BODY):
        for endpoint in ("get", "list"):
            server.faults.add(fault, endpoint=endpoint, times=None, probability=0.02)
    return server


def client_of(server: CodegenServer) -> CodegenClient:
    """Return a client with time for a machine that is slow by the fast clock."""
    patience = Timeouts(connect=600.0, read=600.0, total=600.0)
    return CodegenClient(CANARY, org_id=server.org_id, base_url=server.url, timeouts=patience)


async def wait_for_all(server: CodegenServer) -> list[float]:
    """Wait for five hundred runs among as many of others; return how late each end was known, in seconds."""
    rng = random.Random(1)
    async with server, client_of(server) as client:
        ours: list[int] = []
        while len(ours) < RUNS:
            run = server.world.create("x", source_type=rng.choice(["API", "SLACK"]))
            if rng.random() < 0.5:
                ours.append(run.id)
        late: dict[int, float] = {}
        async for final in client.as_completed(ours):
            finished = server.world.runs[final.id].finished_at
            assert finished is not None
            late[final.id] = server.now() - finished
            assert final == msgspec.convert(server.world.response(server.world.runs[final.id]), AgentRun)
        assert sorted(late) == ours
        assert min(late.values()) >= 0
        assert server.violations == 0
        assert server.faults.injected.total() > 10
    return list(late.values())


def test_five_hundred_runs_are_waited_for_in_virtual_time() -> None:
    async def main() -> tuple[list[float], int]:
        server = server_for_many(seed=3)
        return await wait_for_all(server), len(server.requests)

    late, requests = run_virtual(main())
    assert mean(late) < 6.0  # ten pages in turn, 1.6 a second
    assert requests < 3 * RUNS


def test_five_hundred_runs_are_waited_for_at_sixty_times_the_speed_of_life() -> None:
    async def main() -> list[float]:
        return await wait_for_all(server_for_many(seed=4))

    with asyncio.Runner(loop_factory=lambda: FastLoop(60.0)) as runner:
        assert len(runner.run(main())) == RUNS
