"""What an observer is told of the phases of runs."""

import asyncio

import pytest

from codegen_async import Phase
from codegen_async.events import Event, PhaseChanged
from codegen_async.testing import CodegenServer
from tests.support.clients import open_client

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def changes(events: list[Event]) -> list[tuple[object, Phase | None, Phase]]:
    return [(event.run.id, event.before, event.run.phase) for event in events if isinstance(event, PhaseChanged)]


async def test_a_new_run_is_told_and_each_change_while_it_is_waited_for(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (20.0, "PAUSED"), (40.0, "ACTIVE"), (60.0, "ERROR")]
    events: list[Event] = []
    async with open_client(codegen_server.url, observe=events.append) as client:
        run = await client.create_run("x")
        async for _ in client.watch([run]):
            pass
    assert changes(events) == [
        (run.id, None, Phase.RUNNING),  # created
        (run.id, None, Phase.RUNNING),  # waited for
        (run.id, Phase.RUNNING, Phase.BLOCKED),
        (run.id, Phase.BLOCKED, Phase.RUNNING),
        (run.id, Phase.RUNNING, Phase.FAILED),
    ]


async def test_several_waits_for_one_run_hear_of_each_change_once(codegen_server: CodegenServer) -> None:
    run_id = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (20.0, "COMPLETE")]).id
    events: list[Event] = []
    async with open_client(codegen_server.url, observe=events.append) as client:
        await asyncio.gather(*(client.wait_for_run(run_id) for _ in range(3)))
    assert changes(events) == [(run_id, None, Phase.RUNNING), (run_id, Phase.RUNNING, Phase.SUCCEEDED)]


async def test_runs_that_nobody_waits_for_are_not_told(codegen_server: CodegenServer) -> None:
    run_id = codegen_server.world.create("x").id
    events: list[Event] = []
    async with open_client(codegen_server.url, observe=events.append) as client:
        await client.get_run(run_id)
        await client.list_runs_page()
    assert changes(events) == []
