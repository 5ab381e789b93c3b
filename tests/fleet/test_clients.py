"""Clients of every kind share their looks over whatever carries their messages."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from benchmarks._fleet_air import Air, AirBus
from codegen_async import AgentRun, AuthenticationError, CodegenClient, MiddeskClient, NotFoundError, Phase
from codegen_async.hosted.client import RunClient
from codegen_async.hosted.run import HostedRun
from codegen_async.hosted.runs import HostedRuns
from codegen_async.middesk.free import Interrupt
from codegen_async.middesk.models import MiddeskRun
from codegen_async.testing import CodegenServer, Fault, MiddeskServer
from tests.hosted.api import Api, Keyed, Plain
from tests.middesk.helpers import ask
from tests.support.canary import CANARY
from tests.waiting.fakes import begin, now

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

FOREVER = [(0.0, "ACTIVE")]

C = TypeVar("C", bound=RunClient[Any, Any])


@pytest_asyncio.fixture
async def middesk_server() -> AsyncGenerator[MiddeskServer]:
    async with MiddeskServer(token=CANARY) as server:
        yield server


@asynccontextmanager
async def several(make: Callable[[], C], count: int, air: Air | None = None) -> AsyncGenerator[list[C]]:
    """Yield so many open clients that share their looks."""
    air = air or Air()
    async with AsyncExitStack() as stack:
        clients: list[C] = []
        for place in range(count):
            client = make()
            bus = AirBus(air, f"c{place}")
            client._open_bus = lambda bus=bus: bus
            clients.append(await client.open())
            stack.push_async_callback(client.aclose)
        await asyncio.sleep(5)
        yield clients


def codegen(server: CodegenServer) -> Callable[[], CodegenClient]:
    return lambda: CodegenClient(CANARY, org_id=server.org_id, base_url=server.url)


def polls(server: CodegenServer | MiddeskServer) -> int:
    return sum(request.endpoint in {"get", "list"} for request in server.requests)


async def test_one_leads_and_all_say_who(codegen_server: CodegenServer) -> None:
    async with several(codegen(codegen_server), 3) as clients:
        states = [client.looks for client in clients]
        assert {state and state.leader for state in states} == {min(state.name for state in states if state)}
        assert all(state is not None and len(state.members) == 3 for state in states)
    assert clients[0].looks is None


async def test_workers_that_show_one_run_to_browsers_cost_one_poll_in_all(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with several(codegen(codegen_server), 4) as clients:

        async def browser(client: CodegenClient) -> list[AgentRun]:
            return [snapshot async for snapshot in client.watch([run.id])]

        browsers = [begin(browser(client)) for client in clients for _ in range(5)]
        await asyncio.sleep(60)
        assert polls(codegen_server) <= 14
        codegen_server.world.end(run.id)
        shown = await asyncio.gather(*browsers)
        assert polls(codegen_server) <= 15
        truth = await clients[0].get_run(run.id, max_age=0)
        for snapshots in shown:
            assert [each.phase for each in snapshots] == [Phase.RUNNING, Phase.SUCCEEDED]
            assert snapshots[-1] == truth
        asked = polls(codegen_server)
        assert [(await client.get_run(run.id)).phase for client in clients] == [Phase.SUCCEEDED] * 4  # which all know
        assert polls(codegen_server) == asked


async def test_those_of_another_token_or_organization_hear_nothing(codegen_server: CodegenServer) -> None:
    air = Air()
    async with several(codegen(codegen_server), 1, air) as ours:
        other = CodegenClient(CANARY, org_id=codegen_server.org_id + 1, base_url=codegen_server.url)
        async with several(lambda: other, 1, air) as theirs:
            states = [client.looks for client in (*ours, *theirs)]
            assert [state and len(state.members) for state in states] == [1, 1]
            assert not any(CANARY in channel for channel in air.channels)


async def test_a_resume_by_one_is_waited_for_by_all(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (30.0, "COMPLETE")])
    async with several(codegen(codegen_server), 3) as clients:
        await asyncio.gather(*(client.wait_for_run(run.id) for client in clients))
        codegen_server.world.script = [(0.0, "ACTIVE"), (100.0, "FAILED")]
        await clients[1].resume_run(run.id, "go on")
        await asyncio.sleep(0.1)
        began = now()
        final = await asyncio.gather(*(client.wait_for_run(run.id) for client in clients))
        assert {each.phase for each in final} == {Phase.FAILED}
        assert 90 <= now() - began <= 110


async def test_whoever_is_refused_learns_it_by_itself(codegen_server: CodegenServer) -> None:
    runs = [codegen_server.world.create("x", script=FOREVER).id for _ in range(4)]
    async with several(codegen(codegen_server), 3) as clients:
        waits = [begin(client.wait_for_runs(runs)) for client in clients]
        await asyncio.sleep(20)
        codegen_server.faults.add(Fault.REFUSED, times=None, status=401)
        refused = now()
        for wait in waits:
            with pytest.raises(AuthenticationError):
                await wait
        assert now() - refused <= 60


async def test_a_run_that_is_not_there_is_missed_as_soon_as_by_one_alone(codegen_server: CodegenServer) -> None:
    async with several(codegen(codegen_server), 2) as clients:
        for client in clients:
            began = now()
            with pytest.raises(NotFoundError):
                await client.wait_for_run(404404)
            assert now() - began <= 15


async def test_an_interrupt_is_answered_once_by_whoever_does(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(20.0, ask("a")), (30.0, "completed")])
    asked: list[int] = []

    def person(place: int) -> Callable[[MiddeskRun, Sequence[Interrupt]], Any]:
        async def answer(_: MiddeskRun, interrupts: Sequence[Interrupt]) -> Mapping[str, Any]:
            asked.append(place)
            return {interrupt.id: "yes" for interrupt in interrupts}

        return answer

    def make() -> MiddeskClient:
        return MiddeskClient(CANARY, base_url=middesk_server.url)

    async with several(make, 3) as clients:
        answering = begin(clients[0].wait_for_run(run.id, on_blocked=person(0)))
        await asyncio.sleep(27)
        others = [begin(clients[place].wait_for_run(run.id, on_blocked=person(place))) for place in (1, 2)]
        final = await asyncio.gather(answering, *others)
        assert {each.phase for each in final} == {Phase.SUCCEEDED}
        assert asked == [0]
        assert final[0].output == final[1].output == final[2].output
        assert polls(middesk_server) <= 40


def hosted(api: Api, **options: Any) -> Callable[[], HostedRuns[HostedRun]]:
    return lambda: HostedRuns(Plain(), CANARY, sender=api, **options)


async def test_clients_of_any_dialect_share_what_they_see() -> None:
    api = Api()
    async with several(hosted(api), 3) as clients:
        run = await clients[0].create_run(task="a")
        final = await asyncio.gather(*(client.wait_for_run(run.id) for client in clients))
        assert final[0] == final[1] == final[2]
        assert final[0].phase is Phase.SUCCEEDED
        assert len(api.reads) <= 8


async def test_those_of_another_dialect_hear_nothing() -> None:
    class Other(Plain):
        """Reads other things in what the API says."""

    api, air = Api(), Air()
    async with (
        several(hosted(api), 1, air) as ours,
        several(lambda: HostedRuns(Other(), CANARY, sender=api), 1, air) as theirs,
    ):
        states = [client.looks for client in (*ours, *theirs)]
        assert [state and len(state.members) for state in states] == [1, 1]


async def test_an_end_that_was_heard_makes_room_for_another_run() -> None:
    api = Api(keyed=True)

    class One(Keyed):
        concurrency = 1

    def make() -> HostedRuns[HostedRun]:
        return HostedRuns(One(), CANARY, sender=api)

    async with several(make, 2) as clients:
        for client in clients:
            for _ in range(2):
                run = await client.create_run()
                assert (await client.wait_for_run(run)).phase is Phase.SUCCEEDED
