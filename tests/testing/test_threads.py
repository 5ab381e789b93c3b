"""Servers on threads of their own, and what stands in for them."""

import asyncio
import threading
from collections.abc import Generator

import pytest

from codegen_async import CodegenClient
from codegen_async.testing import CodegenServer, Fault, MiddeskServer, Run, ServerThread


@pytest.fixture
def thread() -> ServerThread[CodegenServer]:
    return ServerThread(CodegenServer)


@pytest.fixture
def server(thread: ServerThread[CodegenServer]) -> Generator[CodegenServer]:
    with thread as server:
        yield server


def test_the_stand_in_has_the_names_and_the_kind_of_the_server(server: CodegenServer) -> None:
    assert isinstance(server, CodegenServer)
    assert server.url.startswith("http://127.0.0.1:")
    assert (server.token, server.org_id) == ("simulated", 323)
    assert server.worst("create") == (0, 10)
    with pytest.raises(KeyError):
        server.worst("nothing")
    with pytest.raises(AttributeError):
        server.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_runs_can_be_made_and_looked_at(server: CodegenServer) -> None:
    run = server.world.create("do it", script=[(0.0, "COMPLETE")])
    assert isinstance(run, Run)
    assert server.world.runs[run.id] is run
    assert run.id in server.world.runs
    assert list(server.world.runs.values()) == [run]
    assert len(server.world.runs) == 1
    server.world.delete(run.id)
    assert not server.world.runs


def test_what_is_set_and_changed_is_the_server_s_own(server: CodegenServer) -> None:
    server.plan_limit = 0
    assert server.plan_limit == 0
    server.account.organizations[5] = "Another"
    assert server.account.organizations == {323: "Example", 5: "Another"}
    del server.account.organizations[5]
    assert 5 not in server.account.organizations
    server.faults.add(Fault.ERROR_BEFORE, endpoint="get")
    assert server.faults.take("get") is not None
    assert server.faults.injected[Fault.ERROR_BEFORE] == 1


def test_it_is_all_done_on_the_server_s_thread(thread: ServerThread[CodegenServer], server: CodegenServer) -> None:
    on: set[str] = set()
    server.world.create = lambda *_: on.add(threading.current_thread().name)  # type: ignore[assignment, method-assign]
    server.world.create("do it")
    assert on == {"simulated-server"}
    assert thread.do(threading.current_thread).name == "simulated-server"


def test_a_loop_that_runs_can_use_it_without_being_blocked_for_long(server: CodegenServer) -> None:
    async def main() -> None:
        async with CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client:
            run = await client.create_run("do it")
            server.world.end(run.id)
            assert (await client.wait_for_run(run)).phase.is_terminal

    asyncio.run(main())
    assert [request.status for request in server.requests] == [200] * len(server.requests)


def test_the_record_can_be_read_when_it_is_over() -> None:
    with ServerThread(CodegenServer) as server:
        server.world.create("do it")
    assert len(server.world.runs) == 1
    assert server.violations == 0


def test_a_server_that_cannot_start_says_why_at_once(server: CodegenServer) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"), ServerThread(lambda: CodegenServer(port=port)):
        pass


def test_a_server_knows_the_variables_that_lead_to_it() -> None:
    with ServerThread(lambda: CodegenServer(speed=60)) as fast, ServerThread(MiddeskServer) as middesk:
        assert fast.environment == {
            "CODEGEN_API_BASE_URL": fast.url,
            "CODEGEN_ORG_ID": "323",
            "CODEGEN_API_TOKEN": "simulated",
            "CODEGEN_ASYNC_SPEED": f"60@{fast.url}",
        }
        assert middesk.environment == {"MIDDESK_API_BASE_URL": middesk.url, "MIDDESK_API_KEY": middesk.token}


def test_what_replaces_a_method_may_use_the_one_before(server: CodegenServer) -> None:
    say = server.world.response
    server.world.response = lambda run: {**say(run), "summary": "replaced"}  # type: ignore[method-assign]

    async def look() -> str | None:
        async with CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client:
            return (await client.create_run("x")).summary

    assert asyncio.run(look()) == "replaced"
