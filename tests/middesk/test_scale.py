"""Many runs at once, within the limit of twenty requests per second."""

import asyncio

import pytest

from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.models import MiddeskRun
from codegen_async.models import Phase
from codegen_async.testing import MiddeskServer
from tests.middesk.helpers import AGENT, BUSINESS, Person, client_of, now
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUNS = 300


async def live(client: MiddeskClient, person: Person) -> MiddeskRun:
    run = await client.create_run(AGENT, business_id=BUSINESS)
    return await client.wait_for_run(run, on_blocked=person)


@pytest.mark.slow
async def test_three_hundred_runs_stay_within_the_limit() -> None:
    async with (
        MiddeskServer(token=CANARY, latency=(0.02, 0.2), lag=(0.0, 10.0), seed=5) as server,
        client_of(server) as client,
    ):
        person = Person(thinks=20.0)
        finals = await asyncio.gather(*(live(client, person) for _ in range(RUNS)))
        asked = sum(len(run.questions) for run in server.world.runs.values())
        answered = [len(run.answers) for run in server.world.runs.values()]
        assert server.violations == 0
        assert server.worst("ceiling").seen <= 20
        assert client.limits["all"].rejections == 0
        assert sum(answered) == asked > RUNS
        assert not any(run.refused for run in server.world.runs.values())
        assert {final.phase for final in finals} == {Phase.SUCCEEDED, Phase.FAILED}
        for final in finals:
            assert server.world.response(server.world.runs[final.id])["status"] == final.status


async def test_a_hundred_runs_are_seen_as_often_as_the_limit_allows(middesk_server: MiddeskServer) -> None:
    ends = [middesk_server.world.create(script=[(60.0 + number, "completed")]).id for number in range(100)]
    began = now()
    async with client_of(middesk_server) as client:
        late = [now() - began - 60.0 - ends.index(run.id) async for run in client.as_completed(ends)]
    assert len(late) == 100
    assert max(late) <= 100 / 16 + 0.5  # 16 looks a second: 0.8 of the limit
    assert middesk_server.violations == 0
