"""The simulated Middesk API against the vendor's pages, asked with plain aiohttp."""

import asyncio
import json
import uuid
from typing import Any

import aiohttp
import pytest

from codegen_async.testing import Fault, MiddeskServer
from codegen_async.testing.middesk_world import MiddeskWorld
from tests.middesk.helpers import AGENT, BUSINESS, ask
from tests.testing.test_package import loaded_by

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN_FIELDS = {
    "object",
    "id",
    "created_at",
    "updated_at",
    "status",
    "thread_id",
    "agent",
    "requester",
    "started_at",
    "ended_at",
    "output",
    "interrupts",
}


async def call(server: MiddeskServer, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """Send one request on a connection of its own and return status and decoded body of the answer."""
    options.setdefault("headers", {"Authorization": f"Bearer {server.token}"})
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        session.request(method, server.url + path, **options) as response,
    ):
        assert response.content_type == "application/json"
        return response.status, json.loads(await response.read())


async def refused(server: MiddeskServer, method: str, path: str, **options: Any) -> tuple[int, str | None]:
    """Send a request that must be refused; return the status and the parameter that is to blame."""
    status, body = await call(server, method, path, **options)
    (error,) = body["errors"]
    assert error["message"]
    return status, error.get("parameter")


async def test_a_created_run_has_the_fields_of_the_page(middesk_server: MiddeskServer) -> None:
    status, run = await call(middesk_server, "POST", "/v1/runs", json={"type": AGENT, "business_id": BUSINESS})
    assert status == 201
    assert set(run) == RUN_FIELDS
    assert (run["object"], run["status"], run["agent"], run["output"], run["interrupts"]) == (
        "run",
        "running",
        AGENT,
        None,
        [],
    )
    assert str(uuid.UUID(run["id"])) == run["id"]
    assert run["created_at"].endswith("Z")
    assert await call(middesk_server, "GET", f"/v1/runs/{run['id']}") == (200, run)


async def test_a_run_asks_goes_on_and_completes(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(10.0, ask("a", "b")), (5.0, "completed")])
    path = f"/v1/runs/{run.id}"
    await asyncio.sleep(9.0)
    assert (await call(middesk_server, "GET", path))[1]["status"] == "running"
    await asyncio.sleep(2.0)
    shown = (await call(middesk_server, "GET", path))[1]
    assert shown["status"] == "interrupted"
    assert shown["ended_at"] is None
    first, second = shown["interrupts"]
    assert first["value"] == {"agent": AGENT, "label": "a"}
    assert first["id"] != second["id"]

    for interrupt, status, left in ((first, "interrupted", [second]), (second, "running", [])):
        body = {"id": interrupt["id"], "input": {"ok": True}}
        code, resumed = await call(middesk_server, "POST", f"{path}/resume", json=body)
        assert (code, resumed["status"], resumed["interrupts"]) == (200, status, left)
        assert await refused(middesk_server, "POST", f"{path}/resume", json=body) == (422, "id")
    assert run.answers == {first["id"]: {"ok": True}, second["id"]: {"ok": True}}
    assert run.refused == [first["id"], second["id"]]

    await asyncio.sleep(6.0)
    shown = (await call(middesk_server, "GET", path))[1]
    assert shown["status"] == "completed"
    assert shown["ended_at"] is not None
    assert shown["output"]["artifacts"][0]["id"]


@pytest.mark.parametrize("method_and_path", [("GET", "/v1/runs/{id}"), ("POST", "/v1/runs/{id}/resume")])
async def test_steps_are_shown_only_when_asked_for(
    middesk_server: MiddeskServer, method_and_path: tuple[str, str]
) -> None:
    method, path = method_and_path
    run = middesk_server.world.create(script=[(0.0, ask("a", "b"))])
    run.advance(middesk_server.now())
    for query, shown in (("", False), ("?include=steps", True)):
        body = {"id": next(iter(run.moments[-1].pending)), "input": 1}
        options = {"json": body} if method == "POST" else {}
        _, answer = await call(middesk_server, method, path.format(id=run.id) + query, **options)
        assert ("steps" in answer) is shown
    steps = (await call(middesk_server, "GET", f"/v1/runs/{run.id}?include=output,steps"))[1]["steps"]
    assert [step["type"] for step in steps][:2] == ["activity", "interrupt"]
    assert steps[0]["steps"][0]["parent_step_id"] == steps[0]["id"]


async def test_a_failed_run_says_why_only_in_its_steps(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(0.0, "error")])
    _, shown = await call(middesk_server, "GET", f"/v1/runs/{run.id}?include=steps")
    assert (shown["status"], shown["output"], shown["steps"][-1]["type"]) == ("error", None, "error")


async def test_reads_can_lag_behind_an_answer() -> None:
    async with MiddeskServer(lag=(30.0, 30.0)) as server:
        run = server.world.create(script=[(0.0, ask("a")), (5.0, "completed")])
        path = f"/v1/runs/{run.id}"
        await asyncio.sleep(60.0)
        (interrupt,) = (await call(server, "GET", path))[1]["interrupts"]
        body = {"id": interrupt["id"], "input": 1}
        assert (await call(server, "POST", f"{path}/resume", json=body))[1]["status"] == "running"
        await asyncio.sleep(29.0)
        stale = (await call(server, "GET", path))[1]
        assert (stale["status"], stale["interrupts"]) == ("interrupted", [interrupt])
        await asyncio.sleep(2.0)
        assert (await call(server, "GET", path))[1]["status"] == "running"
        await asyncio.sleep(10.0)
        assert (await call(server, "GET", path))[1]["status"] == "completed"


async def test_older_words_on_demand() -> None:
    async with MiddeskServer(old_words=True) as server:
        run = server.world.create(script=[(10.0, "error")])
        assert (await call(server, "GET", f"/v1/runs/{run.id}"))[1]["status"] == "pending"
        await asyncio.sleep(11.0)
        assert (await call(server, "GET", f"/v1/runs/{run.id}"))[1]["status"] == "failed"


async def test_the_fields_of_a_resume_can_be_others() -> None:
    async with MiddeskServer(resume_fields=("interrupt_id", "answer")) as server:
        run = server.world.create(script=[(0.0, ask("a"))])
        run.advance(server.now())
        interrupt_id = run.moments[-1].pending[0]
        path = f"/v1/runs/{run.id}/resume"
        assert (await refused(server, "POST", path, json={"id": interrupt_id, "input": 1}))[0] == 400
        assert (await call(server, "POST", path, json={"interrupt_id": interrupt_id, "answer": 1}))[0] == 200


async def test_pages_say_whether_there_are_more(middesk_server: MiddeskServer) -> None:
    ids = [middesk_server.world.create(script=[]).id for _ in range(7)][::-1]
    pages = [await call(middesk_server, "GET", f"/v1/runs?per_page=3&page={number}") for number in (1, 2, 3, 4)]
    assert [[run["id"] for run in page["data"]] for _, page in pages] == [ids[:3], ids[3:6], ids[6:], []]
    assert [page["has_more"] for _, page in pages] == [True, True, False, False]
    assert {(page["object"], page["total_count"]) for _, page in pages} == {("list", 7)}
    assert await refused(middesk_server, "GET", "/v1/runs?page=x") == (422, "page")
    assert await refused(middesk_server, "GET", "/v1/runs?per_page=0") == (422, "per_page")


async def listed(server: MiddeskServer, query: str = "") -> list[str]:
    """Return the ids of a page."""
    return [run["id"] for run in (await call(server, "GET", f"/v1/runs{query}"))[1]["data"]]


async def test_a_list_can_be_in_another_order() -> None:
    async with MiddeskServer(list_order="oldest") as server:
        ids = [server.world.create(script=[]).id for _ in range(7)]
        assert await listed(server, "?per_page=3") == ids[:3]
        assert await listed(server, "?per_page=3&page=3") == ids[6:]
    async with MiddeskServer(list_order="random") as server:
        ids = [server.world.create(script=[]).id for _ in range(20)]
        first, second = await listed(server), await listed(server)
        assert sorted(first) == sorted(second) == sorted(ids)
        assert first != second


async def test_a_page_holds_no_more_than_the_largest(middesk_server: MiddeskServer) -> None:
    async with MiddeskServer(largest_page=30) as server:
        for one in (server, middesk_server):
            for _ in range(120):
                one.world.create(script=[])
        assert len(await listed(server, "?per_page=100")) == 30
        assert len(await listed(server, "?per_page=100&page=4")) == 30
        assert len(await listed(server, "?per_page=100&page=5")) == 0
        assert len(await listed(middesk_server, "?per_page=500")) == 100
        assert len(await listed(middesk_server)) == 25


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/runs", {"business_id": BUSINESS}, (400, "type")),
        ("/v1/runs", {"type": AGENT}, (400, "business_id")),
        ("/v1/runs", {"type": AGENT, "context_type": "order"}, (400, "business_id")),
        ("/v1/runs", {"type": AGENT, "business_id": "no uuid"}, (422, "business_id")),
        ("/v1/runs", {"type": "unknown", "business_id": BUSINESS}, (422, "type")),
        ("/v1/runs", {"type": AGENT, "thread_id": BUSINESS}, (404, None)),
        ("/v1/threads", {"type": "unknown", "business_id": BUSINESS}, (404, "type")),
        ("/v1/threads", {"type": AGENT}, (400, "business_id")),
        ("/v1/runs/unknown/resume", {"id": "i", "input": 1}, (404, None)),
        ("/v1/runs/unknown/feedback", {}, (404, None)),
    ],
)
async def test_what_is_wrong_is_refused(
    middesk_server: MiddeskServer, path: str, body: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    assert await refused(middesk_server, "POST", path, json=body) == expected
    assert middesk_server.world.runs == {}


@pytest.mark.parametrize("path", ["/v1/runs/unknown", "/v1/threads/unknown", "/v1/runs/unknown/stream"])
async def test_what_is_not_there_is_404(middesk_server: MiddeskServer, path: str) -> None:
    assert (await refused(middesk_server, "GET", path))[0] == 404


async def test_feedback_is_checked(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(0.0, "completed")])
    path = f"/v1/runs/{run.id}/feedback"
    artifact = middesk_server.world.response(run)["output"]["artifacts"][0]["id"]
    good = {"rating": "POSITIVE", "artifact_id": artifact, "comment": None}
    for change, expected in (
        ({"rating": "GOOD"}, (422, "rating")),
        ({"comment": "x" * 5001}, (422, "comment")),
        ({"artifact_id": BUSINESS}, (404, "artifact_id")),
    ):
        assert await refused(middesk_server, "POST", path, json={**good, **change}) == expected
    status, stored = await call(middesk_server, "POST", path, json=good)
    assert status == 201
    assert stored["reviewer"]["type"] == "Account"


async def test_bodies_must_be_json(middesk_server: MiddeskServer) -> None:
    json_type = {"Authorization": f"Bearer {middesk_server.token}", "Content-Type": "application/json"}
    for body in (b"", b"{", b"[]", b"\xff"):
        assert (await refused(middesk_server, "POST", "/v1/runs", data=body, headers=json_type))[0] == 400
    assert (await refused(middesk_server, "POST", "/v1/runs", data=b"{}"))[0] == 400


async def test_a_wrong_key_is_401(middesk_server: MiddeskServer) -> None:
    assert (await refused(middesk_server, "GET", "/v1/agents", headers={"Authorization": "Bearer no"}))[0] == 401


async def test_twenty_requests_a_second_over_all_endpoints(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[])
    paths = ["/v1/agents", "/v1/runs", f"/v1/runs/{run.id}", "/v1/runs/unknown"] * 5
    assert 429 not in [(await call(middesk_server, "GET", path))[0] for path in paths]
    assert (await refused(middesk_server, "GET", "/v1/agents"))[0] == 429
    assert middesk_server.violations == 1
    await asyncio.sleep(1.0)
    assert (await call(middesk_server, "GET", "/v1/agents"))[0] == 200


async def test_a_wrong_id_on_demand(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[])
    middesk_server.faults.add(Fault.WRONG_ID, times=2)
    assert (await call(middesk_server, "GET", f"/v1/runs/{run.id}"))[1]["id"] == run.id[::-1]
    assert (await call(middesk_server, "GET", "/v1/runs"))[1]["data"][0]["id"] == run.id[::-1]
    assert (await call(middesk_server, "GET", f"/v1/runs/{run.id}"))[1]["id"] == run.id


async def test_faults_say_whether_the_work_was_done(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(0.0, ask("a"))])
    run.advance(middesk_server.now())
    body = {"id": run.moments[-1].pending[0], "input": 1}
    for fault, done in ((Fault.RESET_BEFORE, False), (Fault.RESET_AFTER, True)):
        middesk_server.faults.add(fault)
        with pytest.raises(aiohttp.ClientError):
            await call(middesk_server, "POST", f"/v1/runs/{run.id}/resume", json=body)
        assert bool(run.answers) is done


async def test_the_clock_can_run_faster() -> None:
    async with MiddeskServer(speed=60.0) as server:
        run = server.world.create(script=[(600.0, "completed")])
        await asyncio.sleep(11.0)
        assert (await call(server, "GET", f"/v1/runs/{run.id}"))[1]["status"] == "completed"


async def test_a_seed_decides_what_runs_do() -> None:
    def lives(seed: int) -> list[Any]:
        world = MiddeskWorld(lambda: 0.0, seed=seed)
        return [(run.id, run.script) for run in (world.create() for _ in range(20))]

    assert lives(1) == lives(1)
    assert lives(1) != lives(2)
    assert {script[-1][1] for _, script in lives(1)} == {"completed", "error"}
    assert {len(script) for _, script in lives(1)} == {1, 2, 3}


async def test_the_fixture_of_the_plugin_is_a_server_of_its_own(middesk_server: MiddeskServer) -> None:
    assert (await call(middesk_server, "GET", "/v1/runs"))[1]["total_count"] == 0


async def test_the_world_needs_nothing_but_the_standard_library() -> None:
    assert await asyncio.to_thread(loaded_by, "middesk_world") == []


async def test_ids_and_words_have_the_documented_forms(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(1.0, [{"label": "Which?"}]), (1.0, "completed")])
    await asyncio.sleep(2)
    (asked,) = middesk_server.world.response(run)["interrupts"]
    middesk_server.world.answer(run.id, asked["id"], "this one")
    await asyncio.sleep(2)
    shown = middesk_server.world.response(run, steps=True)
    steps = [step for outer in shown["steps"] for step in (outer, *outer["steps"])]
    assert len({uuid.UUID(step["id"]) for step in steps}) == len(steps) == 8
    assert [step["result"] for step in steps] == [{}] * 8
    assert {step["parent_step_id"] for step in steps} == {None, *(step["id"] for step in shown["steps"])}
    assert isinstance(shown["output"]["artifacts"][0]["confidence"], str)
    assert [uuid.UUID(agent["id"]).version for agent in middesk_server.world.agents()] == [4, 4]


async def test_nulls_come_only_where_they_may() -> None:
    async with MiddeskServer(nulls=0.5, seed=3) as server:
        run = server.world.create(script=[(0.0, "completed")])
        looks = [server.world.response(run) for _ in range(50)]
    hidden = {name for look in looks for name, value in look.items() if value is None}
    assert hidden == {"requester", "started_at", "ended_at"}
