"""What the API or a gateway says of a run for a while does not end the waits for it."""

import asyncio
from typing import Any

import pytest

from codegen_async import CodegenClient, MiddeskClient, NotFoundError
from codegen_async.codegen.models import AgentRunLog
from codegen_async.testing import CodegenServer, MiddeskServer, Run

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

OWN = (404, {"message": "Agent run not found.", "status_code": 404})
ROUTER = (404, {"detail": "Not Found"})
MIDDESK = (404, {"errors": [{"message": "not found"}]})


class Denying(CodegenServer):
    """Answers every look alike while `denial` is set."""

    denial: Any = None

    def _work(self, request: Any, endpoint: str, handler: Any, body: bytes) -> Any:
        if self.denial and endpoint in {"get", "list", "logs"}:
            self._count(endpoint)
            status, content = self.denial
            return self._answer(status, content, {}), None
        return super()._work(request, endpoint, handler, body)


class DenyingMiddesk(MiddeskServer):
    """The same of the other API."""

    denial: Any = None

    def _work(self, request: Any, endpoint: str, handler: Any, body: bytes) -> Any:
        if self.denial and endpoint in {"get", "list"}:
            self._count(endpoint)
            status, content = self.denial
            return self._answer(status, content, {}), None
        return super()._work(request, endpoint, handler, body)


@pytest.mark.parametrize("denial", [OWN, ROUTER, (400, {"detail": "no"}), (200, {"status": "ok"})])
@pytest.mark.parametrize("runs", [1, 40])
async def test_a_deploy_that_denies_all_runs_for_a_while_ends_no_wait(denial: Any, runs: int) -> None:
    async with (
        Denying() as server,
        CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client,
    ):
        server.world.script = [(0.0, "ACTIVE"), (300.0, "COMPLETE")]
        ids = [(await client.create_run("x")).id for _ in range(min(runs, 10))]
        ids += [server.world.create("x").id for _ in range(runs - len(ids))]
        wait = asyncio.ensure_future(client.wait_for_runs(ids))
        await asyncio.sleep(100)
        server.denial = denial
        await asyncio.sleep(45)
        server.denial = None
        assert {run.status for run in await wait} == {"COMPLETE"}


async def test_a_run_that_was_just_made_may_be_denied_for_a_while() -> None:
    async with (
        Denying() as server,
        CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client,
    ):
        server.world.script = [(0.0, "ACTIVE"), (100.0, "COMPLETE")]
        run = await client.create_run("x")
        server.denial = OWN
        wait = asyncio.ensure_future(client.wait_for_run(run.id))
        await asyncio.sleep(50)
        server.denial = None
        assert (await wait).status == "COMPLETE"


@pytest.mark.parametrize("denial", [OWN, ROUTER, (400, {"detail": "no"}), (200, {"status": "ok"})])
@pytest.mark.parametrize("at", [0, 60])
async def test_a_log_that_is_denied_for_a_while_is_followed_to_its_end(denial: Any, at: float) -> None:
    async with (
        Denying() as server,
        CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client,
    ):
        server.world.script = [(0.0, "ACTIVE"), (300.0, "COMPLETE")]
        run = await client.create_run("x")
        following = asyncio.ensure_future(listed(client, run.id))
        await asyncio.sleep(at)
        server.denial = denial
        await asyncio.sleep(45)
        server.denial = None
        assert await following == [row async for row in client.run_logs(run.id)]


async def test_a_log_of_no_run_ends_after_some_seconds_and_one_of_a_deleted_run_after_a_minute() -> None:
    async with (
        Denying() as server,
        CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client,
    ):
        began = server.now()
        with pytest.raises(NotFoundError):
            await listed(client, 17)
        assert server.now() - began < 15
        run = server.world.create("x")
        following = asyncio.ensure_future(listed(client, run.id))
        await asyncio.sleep(20)
        server.denial = OWN
        with pytest.raises(NotFoundError):
            await following
        assert 60 < server.now() - began < 110


async def listed(client: CodegenClient, run_id: int) -> list[AgentRunLog]:
    return [row async for row in client.follow_logs(run_id)]


async def test_middesk_may_deny_a_run_for_a_while() -> None:
    async with (
        DenyingMiddesk() as server,
        MiddeskClient(server.token, base_url=server.url) as client,
    ):
        ids = [server.world.create(script=[(200.0, "completed")]).id for _ in range(12)]
        wait = asyncio.ensure_future(client.wait_for_runs([*ids, "nobody"]))
        await asyncio.sleep(60)
        server.denial = MIDDESK
        await asyncio.sleep(45)
        server.denial = None
        with pytest.raises(NotFoundError, match="nobody"):
            await wait
        asked = len(server.requests)
        assert {run.status for run in await client.wait_for_runs(ids)} == {"completed"}
        assert len(server.requests) == asked  # how they have ended is remembered


async def test_a_last_row_that_comes_later_than_the_status_is_not_lost(codegen_server: CodegenServer) -> None:
    world = codegen_server.world
    run = world.create("x", script=[(0.0, "ACTIVE"), (60.0, "COMPLETE")])
    written, hidden = world.logs, [True]

    def logs(asked: Run) -> list[dict[str, Any]]:
        late = world.now() >= (run.finished_at or 0.0) and bool(hidden) and hidden.pop()
        return written(asked)[:-1] if late else written(asked)

    world.logs = logs  # type: ignore[method-assign, assignment]
    async with CodegenClient(org_id=codegen_server.org_id, base_url=codegen_server.url) as client:
        rows = [row.created_at async for row in client.follow_logs(run.id)]
    assert rows == [row["created_at"] for row in written(run)]
    assert not hidden
