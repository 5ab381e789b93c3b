"""The routes for runs: who sees what, what is created, what reports do, what is answered when things go wrong."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest

from codegen_async import AgentRun, CodegenClient, ConfigurationError, HostedRuns, MiddeskClient
from codegen_async.hosted.run import HostedRun
from codegen_async.testing import CodegenServer, Fault, MiddeskServer
from codegen_async.web import RunFeed, RunsApp
from tests.hosted.api import Api, Plain
from tests.middesk.helpers import AGENT, BUSINESS
from tests.support.canary import CANARY
from tests.web.calling import Call, get, post

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

JSON = {"content-type": "application/json"}
FOREVER = [(0.0, "ACTIVE")]
LIFE = [(0.0, "ACTIVE"), (20.0, "COMPLETE")]


@asynccontextmanager
async def serving(server: CodegenServer, **options: Any) -> AsyncGenerator[RunsApp[AgentRun]]:
    async with CodegenClient(CANARY, org_id=server.org_id, base_url=server.url) as client:
        runs = RunsApp(RunFeed(client), **{"authorize": anybody, **options})
        yield runs
        await runs.aclose()


def anybody(_: object, __: object) -> bool:
    return True


async def test_there_is_no_default_for_who_may_see_a_run() -> None:
    with pytest.raises(TypeError, match="authorize"):
        RunsApp(RunFeed(CodegenClient(CANARY, org_id=1)))  # type: ignore[call-arg]


@pytest.mark.parametrize("answer", ["no", (False, "not yours"), object(), 1])
async def test_what_is_neither_yes_nor_no_shows_nothing(codegen_server: CodegenServer, answer: Any) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with serving(codegen_server, authorize=lambda _, __: answer) as app:
        for path in (f"/{run.id}", f"/{run.id}/events", f"/events?run={run.id}"):
            assert (await get(app, path)).status == 500
        assert codegen_server.requests == []


async def test_nobody_who_says_nothing_is_shown_a_run(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with serving(codegen_server, authorize=lambda _, __: None) as app:
        assert (await get(app, f"/{run.id}")).status == 404


async def test_a_run_is_shown(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with serving(codegen_server) as app:
        answer = await get(app, f"/{run.id}")
        assert (answer.status, answer.json["id"], answer.json["phase"]) == (200, run.id, "running")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        empty = await Call(app, "HEAD", f"/{run.id}").answer()
        assert (empty.status, empty.body) == (200, b"")
        assert int(empty.headers["content-length"]) == len(answer.body)


async def test_what_is_refused_looks_like_what_is_unknown(codegen_server: CodegenServer) -> None:
    secret = codegen_server.world.create("x", script=FOREVER)
    mine = codegen_server.world.create("x", script=FOREVER)

    async def authorize(_: object, run_id: int) -> bool:
        await asyncio.sleep(0)
        return run_id != secret.id

    async with serving(codegen_server, authorize=authorize) as app:
        for path in ("/{}", "/{}/events", "/events?run={}"):
            refused, unknown = await get(app, path.format(secret.id)), await get(app, path.format(4711))
            assert refused == unknown
            assert refused.status == 404
            assert (await get(app, path.format("no-number"))).status == 404
        assert sum(request.endpoint == "get" for request in codegen_server.requests) == 1  # for 4711
        both = Call(app, "GET", f"/events?run={secret.id},{mine.id},4711")
        await asyncio.sleep(1)
        told = [event.data for event in both.events if event.name == "problem"]
        assert {problem.pop("run") for problem in told} == {secret.id, 4711}
        assert told[0] == told[1]
        both.leave()
        await both.task


async def test_a_stream_ends_and_a_browser_that_comes_back_is_stopped(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=LIFE)
    async with serving(codegen_server) as app:
        call = Call(app, "GET", f"/{run.id}/events")
        await call.task
        assert call.is_whole
        assert [event.name for event in call.events] == ["run", "run", "end"]
        assert call.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (call.headers["cache-control"], call.headers["x-accel-buffering"]) == ("no-store", "no")
        asked = len(codegen_server.requests)
        for _ in range(10):
            again = await get(app, f"/{run.id}/events", last_event_id=call.events[-1].id or "")
            assert (again.status, again.body) == (204, b"")
        assert len(codegen_server.requests) == asked


async def test_several_runs_come_in_one_stream(codegen_server: CodegenServer) -> None:
    runs = [codegen_server.world.create("x", script=LIFE).id for _ in range(3)]
    async with serving(codegen_server) as app:
        call = Call(app, "GET", f"/events?run={runs[0]},{runs[1]}&run={runs[2]}&run={runs[0]}")
        await call.task
        ended = {event.data["id"] for event in call.events if event.data.get("phase") == "succeeded"}
        assert ended == set(runs)
        assert [event.name for event in call.events].count("end") == 1


@pytest.mark.parametrize("query", ["", "?run=", "?run=" + ",".join(map(str, range(1, 102)))])
async def test_a_stream_is_of_one_run_to_a_hundred(codegen_server: CodegenServer, query: str) -> None:
    async with serving(codegen_server) as app:
        assert (await get(app, f"/events{query}")).status == 422


async def test_a_browser_that_leaves_is_heard_while_nothing_is_sent(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with serving(codegen_server) as app:
        call = Call(app, "GET", f"/{run.id}/events")
        await asyncio.sleep(1)
        assert app.feed.watched == 1
        call.leave()
        await asyncio.sleep(0.01)
        assert call.task.done()
        assert (app.feed.watched, app.feed.client.waits) == (0, 0)


async def test_a_server_that_says_by_an_error_that_a_browser_has_left_is_understood(
    codegen_server: CodegenServer,
) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with serving(codegen_server) as app:
        await Call(app, "GET", f"/{run.id}/events", breaks=True).task
        await asyncio.sleep(0)
        assert app.feed.watched == 0


async def test_a_closing_application_ends_streams_without_an_end(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with serving(codegen_server) as app:
        call = Call(app, "GET", f"/{run.id}/events")
        await asyncio.sleep(1)
        app.close()
        await call.task
        assert call.is_whole
        assert [event.name for event in call.events] == ["run"]
        late = await get(app, f"/{run.id}/events")
        assert (late.status, late.body) == (200, b"retry: 3000\n\n")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/17", "GET, HEAD"), ("DELETE", "/17/events", "GET, HEAD"), ("PUT", "/events", "GET, HEAD")],
)
async def test_other_methods_are_told_what_there_is(
    codegen_server: CodegenServer, method: str, path: str, allowed: str
) -> None:
    async with serving(codegen_server) as app:
        answer = await Call(app, method, path).answer()
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "", "/hooks/codegen/guess", "/17/more/events", "/../17", "//17", "/17/"])
async def test_what_is_not_there_is_not_found(codegen_server: CodegenServer, path: str) -> None:
    async with serving(codegen_server) as app:
        assert (await get(app, path)).status == 404
        assert codegen_server.requests == []


async def test_below_where_it_is_mounted_its_paths_are_the_same(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with serving(codegen_server) as app:
        for path in (f"/outer/runs/{run.id}", f"/{run.id}"):  # as servers and frameworks differ in it

            async def mounted(scope: Any, receive: Any, send: Any, path: str = path) -> None:
                await app({**scope, "root_path": "/outer/runs", "path": path}, receive, send)

            assert (await get(mounted, "/x")).json["id"] == run.id


# -- creating


async def creating(app: RunsApp[AgentRun], fields: dict[str, Any], key: str | None) -> AgentRun:
    client = app.feed.client
    assert isinstance(client, CodegenClient)
    return await client.create_run(fields["prompt"], idempotency_key=key)


def create_of(apps: list[RunsApp[AgentRun]]) -> Any:
    async def create(_: object, fields: dict[str, Any], key: str | None) -> AgentRun:
        return await creating(apps[0], fields, key)

    return create


@asynccontextmanager
async def taking(server: CodegenServer) -> AsyncGenerator[RunsApp[AgentRun]]:
    apps: list[RunsApp[AgentRun]] = []
    async with serving(server, create=create_of(apps)) as app:
        apps.append(app)
        yield app


async def test_a_run_is_created_and_where_it_is_is_told(codegen_server: CodegenServer) -> None:
    async with taking(codegen_server) as app:
        answer = await post(app, "/", {"prompt": "do it"})
        (run,) = codegen_server.world.runs.values()
        assert (answer.status, answer.headers["location"]) == (202, f"/{run.id}")
        assert answer.json["id"] == run.id
        assert len(codegen_server.requests) == 1


@pytest.mark.parametrize(
    ("root", "place"),
    [
        ("/runs", "/runs/"),
        ("/\u044f", "/%D1%8F/"),
        ("/a\r\nset-cookie: b", "/a%0D%0Aset-cookie%3A%20b/"),
        ("//evil.example", "/evil.example/"),
        ("/\\evil.example", "/%5Cevil.example/"),
    ],
)
async def test_a_place_is_a_path_of_this_server_whatever_it_is_mounted_under(
    codegen_server: CodegenServer, root: str, place: str
) -> None:
    async with taking(codegen_server) as app:

        async def mounted(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "root_path": root, "path": f"{root}/"}, receive, send)

        answer = await post(mounted, "/", {"prompt": "do it"})
        assert (answer.status, answer.headers["location"]) == (202, f"{place}{answer.json['id']}")


@pytest.mark.parametrize("key", ["abc", '"abc"'])
async def test_the_same_key_brings_back_the_first_run(codegen_server: CodegenServer, key: str) -> None:
    async with taking(codegen_server) as app:
        answers = await asyncio.gather(
            *(post(app, "/", {"prompt": "do it"}, idempotency_key=each) for each in (key, "abc", key))
        )
        assert {answer.headers["location"] for answer in answers} == {f"/{answers[0].json['id']}"}
        assert len(codegen_server.world.runs) == 1


async def test_a_create_goes_on_when_its_browser_is_cut_off(codegen_server: CodegenServer) -> None:
    async with taking(codegen_server) as app:
        call = Call(app, "POST", "/", body=b'{"prompt": "do it"}', headers=JSON)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert call.scope["method"] == "POST"
        call.task.cancel()
        await asyncio.sleep(1)
        assert call.task.cancelled()
        assert len(codegen_server.world.runs) == 1
        assert app._creates == set()


async def test_an_application_that_ends_lets_creates_come_to_their_end(codegen_server: CodegenServer) -> None:
    codegen_server._latency = (1.0, 1.0)
    async with taking(codegen_server) as app:
        call = Call(app, "POST", "/", body=b'{"prompt": "do it"}', headers=JSON)
        await asyncio.sleep(0.5)
    assert (await call.answer()).status == 202


async def test_an_application_that_ends_waits_for_no_create_for_ever(codegen_server: CodegenServer) -> None:
    codegen_server._latency = (15.0, 15.0)
    started = asyncio.get_running_loop().time()
    async with taking(codegen_server) as app:
        call = Call(app, "POST", "/", body=b'{"prompt": "do it"}', headers=JSON)
        await asyncio.sleep(0.5)
        await app.aclose()
        assert asyncio.get_running_loop().time() - started == pytest.approx(5.5, abs=0.1)
        assert app._creates == set()
    with pytest.raises(asyncio.CancelledError):
        await call.task


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"not json", {}, 400),
        (b"[1]", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b'{"prompt": "\xff"}', {}, 400),
        (b'{"prompt": " "}', {}, 422),
        (b'{"prompt": "x"}', {"idempotency_key": "with a space"}, 422),
        (b'{"prompt": "x"}', {"content_type": "text/plain"}, 415),  # what a form of another site can send
        (b'{"prompt": "' + b"x" * 2**20 + b'"}', {}, 413),
    ],
)
async def test_what_cannot_be_created_is_refused(
    codegen_server: CodegenServer, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with taking(codegen_server) as app:
        answer = await post(app, "/", body, **headers)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == status
        assert codegen_server.world.runs == {}


async def test_a_body_that_does_not_come_is_not_waited_for(codegen_server: CodegenServer) -> None:
    begun = asyncio.get_running_loop().time()
    async with taking(codegen_server) as app:
        call = Call(app, "POST", "/", body=b'{"prompt":', headers=JSON, whole=False)
        answer = await call.answer()
        assert answer.status == 408
        assert asyncio.get_running_loop().time() - begun == pytest.approx(30.0, abs=0.1)
        assert codegen_server.world.runs == {}


async def test_where_there_is_no_run_yet_what_is_told_is_handed_on(codegen_server: CodegenServer) -> None:
    async def create(_: object, fields: dict[str, Any], key: str | None) -> dict[str, Any]:
        return {"queued": key, "prompt": fields["prompt"]}

    async with serving(codegen_server, create=create) as app:
        answer = await post(app, "/", {"prompt": "x"}, idempotency_key="k")
        assert (answer.status, answer.json) == (202, {"queued": "k", "prompt": "x"})
        assert "location" not in answer.headers
        assert (await get(app, "/")).headers["allow"] == "POST"


async def test_who_may_start_no_runs_is_told(codegen_server: CodegenServer) -> None:
    async def create(_: object, __: object, ___: object) -> AgentRun:
        raise PermissionError

    async with serving(codegen_server, create=create) as app:
        assert (await post(app, "/", {"prompt": "x"})).status == 403


async def test_a_run_that_was_missing_and_is_created_now_is_shown(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    del codegen_server.world.runs[run.id]
    async with serving(codegen_server) as app:
        assert (await get(app, f"/{run.id}")).status == 404
        codegen_server.world.runs[run.id] = run
        assert (await get(app, f"/{run.id}")).status == 404
        app.feed.made(await app.feed.client.get_run(run.id))  # type: ignore[attr-defined]
        assert (await get(app, f"/{run.id}")).status == 200


# -- reports


async def test_a_report_is_a_reason_to_look_and_nothing_more(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with CodegenClient(CANARY, org_id=codegen_server.org_id, base_url=codegen_server.url, latency=3600) as client:
        app = RunsApp(RunFeed(client), authorize=anybody, hook_secret="a-long-secret")
        call = Call(app, "GET", f"/{run.id}/events")
        await asyncio.sleep(100)
        codegen_server.world.end(run.id)
        lie = {"data": [{"agent_run_id": run.id, "status": "FAILED"}], "id": "evt"}
        for path in ("/hooks/codegen/", "/hooks/codegen", "/hooks/codegen/a-long-secre", "/hooks/other/a-long-secret"):
            assert (await post(app, path, lie)).status in (404, 405)
        await asyncio.sleep(1)
        assert not call.task.done()
        assert (await post(app, "/hooks/codegen/a-long-secret", lie)).status == 204
        await asyncio.sleep(1)
        assert [event.data.get("phase") for event in call.events] == ["running", "succeeded", None]


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"{", b"[" * 100_000, b'{"id": true}', b'{"id": "x", "run_id": -1}', b"\xff", b'{"id": "\xff"}'],
)
async def test_a_report_that_says_nothing_does_nothing(codegen_server: CodegenServer, body: bytes) -> None:
    async with serving(codegen_server, hook_secret="a-long-secret") as app:
        assert (await post(app, "/hooks/codegen/a-long-secret", body)).status == 204
        assert codegen_server.requests == []


async def test_a_hook_without_a_secret_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="hook_secret"):
        RunsApp(RunFeed(CodegenClient(CANARY, org_id=1)), authorize=anybody, hook_secret="")


def signed(body: bytes, secret: str) -> dict[str, str]:
    return {"x_middesk_signature_256": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


async def test_an_event_of_middesk_is_verified_and_heeded_once(middesk_server: MiddeskServer) -> None:
    async with MiddeskClient(middesk_server.token, base_url=middesk_server.url, latency=3600) as client:
        run = await client.create_run(AGENT, business_id=BUSINESS)
        app = RunsApp(RunFeed(client), authorize=anybody, hook_secret="whsec")
        call = Call(app, "GET", f"/{run.id}/events")
        await asyncio.sleep(10)
        asked = len(middesk_server.requests)
        body = json.dumps({"id": "evt_1", "type": "run.completed", "data": {"object": {"id": run.id}}}).encode()
        assert (await post(app, "/hooks/middesk", body, **signed(body, "wrong"))).status == 403
        assert (await post(app, "/hooks/middesk", body)).status == 403
        await asyncio.sleep(1)
        assert len(middesk_server.requests) == asked
        for _ in range(3):
            assert (await post(app, "/hooks/middesk", body, **signed(body, "whsec"))).status == 204
            await asyncio.sleep(1)
        assert len(middesk_server.requests) == asked + 1
        odd = b'{"type": "run.completed"}'
        assert (await post(app, "/hooks/middesk", odd, **signed(odd, "whsec"))).status == 422
        call.leave()
        await call.task


# -- other dialects


async def test_runs_of_any_dialect_are_shown() -> None:
    api = Api()
    async with HostedRuns(Plain(), CANARY, sender=api) as client:
        run = await client.create_run(task="x")
        app = RunsApp[HostedRun](RunFeed(client), authorize=anybody)
        assert run.id == "run/0"
        assert (await get(app, "/run/0")).json["phase"] == "running"
        call = Call(app, "GET", "/run/0/events")
        await call.task
        assert [event.id for event in call.events] == ["run/0:1", "run/0:2", "end"]


async def test_an_id_writes_no_events_of_its_own() -> None:
    api = Api()
    async with HostedRuns(Plain(), CANARY, sender=api) as client:
        evil = "x\r\nevent: evil\ndata: 1\n\n"
        await client.create_run(task="x", name=evil)
        app = RunsApp[HostedRun](RunFeed(client), authorize=anybody)
        call = Call(app, "GET", f"/{evil}/events")
        await call.task
        assert [event.name for event in call.events] == ["run", "run", "end"]
        assert call.events[0].data["id"] == evil
        other = Call(app, "GET", "/y\nevent: evil\ndata: 1/events")
        assert (await other.answer()).status == 404
        both = Call(app, "GET", f"/events?run=y%0Aevent:%20evil&run={quote(evil)}")
        await both.task
        assert [event.name for event in both.events] == ["run", "problem", "end"]


# -- when things go wrong


@pytest.mark.parametrize("path", ["/17", "/17/events"])
async def test_what_goes_wrong_behind_us_is_no_login_of_the_browser(
    codegen_server: CodegenServer, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(codegen_server) as app:
        codegen_server.token = "another"
        answer = await get(app, path)
        assert answer.status == 502
        assert answer.headers["content-type"] == "application/problem+json"
        for secret in (CANARY, str(codegen_server.org_id), "organizations"):
            assert secret not in answer.body.decode()
        (warned,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert warned.startswith("web: a request failed: ")  # only here it is told why
        assert "401" in warned


async def test_a_browser_that_comes_back_while_runs_cannot_be_had_comes_back_again(
    codegen_server: CodegenServer,
) -> None:
    """Browsers come back to a stream that was cut off, and never again after an answer that says of an error."""
    run = codegen_server.world.create("x", script=FOREVER)
    async with serving(codegen_server) as app:
        codegen_server.token, token = "another", codegen_server.token
        again = Call(app, "GET", f"/{run.id}/events", headers={"last_event_id": f"{run.id}:1"})
        await again.task
        assert (again.status, [event.name for event in again.events]) == (200, ["problem"])
        codegen_server.token = token
        shown = Call(app, "GET", f"/{run.id}/events", headers={"last_event_id": f"{run.id}:1"})
        await asyncio.sleep(10)
        assert [event.name for event in shown.events] == ["run"]
        shown.leave()
        await shown.task


async def test_a_browser_that_comes_back_to_a_run_that_is_gone_is_stopped(codegen_server: CodegenServer) -> None:
    async with serving(codegen_server) as app:
        again = Call(app, "GET", "/4711/events", headers={"last_event_id": "4711:1"})
        await again.task
        assert [event.name for event in again.events] == ["problem", "end"]


async def test_a_defect_of_the_users_own_is_a_500_that_says_nothing(
    codegen_server: CodegenServer, caplog: pytest.LogCaptureFixture
) -> None:
    def authorize(_: object, __: object) -> bool:
        raise KeyError("the password")

    async with serving(codegen_server, authorize=authorize) as app:
        answer = await get(app, "/17")
        assert answer.status == 500
        assert b"password" not in answer.body
    assert "a request failed" in caplog.text


async def test_what_is_no_request_is_refused(codegen_server: CodegenServer) -> None:
    async with serving(codegen_server) as app:
        for kind in ("lifespan", "websocket"):
            with pytest.raises(RuntimeError, match=kind):
                await app({"type": kind}, asyncio.sleep, asyncio.sleep)  # type: ignore[arg-type]


async def test_a_create_whose_answer_is_lost_is_found_and_not_made_twice(codegen_server: CodegenServer) -> None:
    async with taking(codegen_server) as app:
        codegen_server.faults.add(Fault.DROP_AFTER, endpoint="create")
        answer = await post(app, "/", {"prompt": "x"}, idempotency_key="k")
        assert answer.status == 202  # it was looked for, and found
        assert len(codegen_server.world.runs) == 1
