"""Each method of the client: what it sends, what it refuses to send, what it returns and what it raises."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from uuid import UUID

import msgspec
import pytest

from codegen_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    InvalidArgumentError,
    InvalidRequestError,
    LimiterBusyError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
)
from codegen_async.limits import Rate
from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.models import Rating, RunFeedback
from codegen_async.middesk.requests import ENDPOINT
from codegen_async.models import Phase
from codegen_async.testing import Fault, MiddeskServer
from tests.middesk.helpers import AGENT, BUSINESS, ask, client_of, client_with, endpoints
from tests.support.canary import CANARY
from tests.support.sender import LOST, REFUSED, SILENT, FakeSender, reply

virtual = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = {"object": "run", "id": "r-1", "status": "running"}

Call = Callable[[MiddeskClient], Coroutine[Any, Any, Any]]


def sent(sender: FakeSender) -> list[tuple[str, str, dict[str, str], Any]]:
    """Return method, path, query and body of what was sent."""
    return [
        (one.method, one.path, dict(one.query), None if one.body is None else msgspec.json.decode(one.body))
        for one in sender.requests
    ]


# Setting up


@pytest.mark.parametrize(
    ("token", "base_url"),
    [
        ("mk_test_1", "https://api-sandbox.middesk.com"),
        ("mk_live_1", "https://api.middesk.com"),
        ("anything", "https://api.middesk.com"),
    ],
)
def test_the_key_decides_where_the_api_is(token: str, base_url: str) -> None:
    assert MiddeskClient(token).base_url == base_url


def test_the_environment_stands_in_for_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDDESK_API_KEY", "mk_test_2")
    assert MiddeskClient().base_url == "https://api-sandbox.middesk.com"
    monkeypatch.setenv("MIDDESK_API_BASE_URL", "http://localhost:8000/")
    assert MiddeskClient().base_url == "http://localhost:8000"
    assert MiddeskClient(base_url="https://api-sandbox.middesk.com").base_url == "https://api-sandbox.middesk.com"


def test_a_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIDDESK_API_KEY")
    with pytest.raises(ConfigurationError, match="MIDDESK_API_KEY"):
        MiddeskClient()


@pytest.mark.parametrize(
    ("token", "base_url"),
    [
        ("mk_test_secret", "https://api.middesk.com"),
        ("mk_live_secret", "https://api-sandbox.middesk.com"),
        ("mk_live_secret", "https://api-sandbox.middesk.com:443/v"),
        ("mk_test_secret", "https://API.MIDDESK.COM"),
        ("mk_test_secret", "https://api-sandbox.middesk.com.example.com"),
        ("mk_live_secret", "https://example.com"),
        ("mk_live_secret", "https://api.middesk.com."),
    ],
)
def test_a_key_is_refused_where_it_does_not_belong(token: str, base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="keys that begin with mk_") as caught:
        MiddeskClient(token, base_url=base_url)
    assert "secret" not in str(caught.value)


def test_a_key_from_the_environment_is_checked_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDDESK_API_KEY", "mk_test_secret")
    monkeypatch.setenv("MIDDESK_API_BASE_URL", "https://api.middesk.com")
    with pytest.raises(ConfigurationError, match="mk_test_"):
        MiddeskClient()


@pytest.mark.parametrize("token", ["mk_test_1", "mk_live_1", "mk_other_1", "key"])
@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1", "http://localhost:1", "https://[::1]"])
def test_every_key_is_good_on_this_machine(token: str, base_url: str) -> None:
    assert MiddeskClient(token, base_url=base_url).base_url == base_url


def test_other_keys_are_good_everywhere() -> None:
    assert MiddeskClient("mk_other_1", base_url="https://example.com").base_url == "https://example.com"


def test_the_right_host_is_right_in_capitals_too() -> None:
    assert MiddeskClient("mk_live_1", base_url="https://API.middesk.com").base_url == "https://API.middesk.com"


def test_http_would_show_the_key() -> None:
    with pytest.raises(ConfigurationError, match="https"):
        MiddeskClient("key", base_url="http://example.com")


def test_the_client_shows_no_key() -> None:
    assert repr(MiddeskClient("mk_test_secret")) == "MiddeskClient(base_url='https://api-sandbox.middesk.com')"


@virtual
async def test_a_client_works_only_inside_its_block() -> None:
    client = client_with(FakeSender())
    with pytest.raises(ClientClosedError, match="MiddeskClient"):
        await client.get_run("r")


@virtual
async def test_all_endpoints_share_one_limiter(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        run = await client.create_run(AGENT, business_id=BUSINESS)
        await client.get_run(run.id)
        await client.list_agents()
        await client.list_runs_page()
        (state,) = client.limits.values()
        assert state.rate == Rate(20, 1.0)
        assert state.cooling == 5  # a run has a thread of its own


@virtual
async def test_the_limit_can_be_another() -> None:
    sender = FakeSender(*[reply(body=RUN | {"id": "r"})] * 3)
    async with client_with(sender, rate=Rate(1, 10.0)) as client:
        for _ in range(3):
            await client.get_run("r")
    assert sender.times[2] - sender.times[0] >= 20.0


# What is sent


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda c: c.get_run("r-1"), ("GET", "/v1/runs/r-1", {}, None)),
        (lambda c: c.get_run("r-1", include_steps=True), ("GET", "/v1/runs/r-1", {"include": "steps"}, None)),
        (
            lambda c: c.create_run(AGENT, context_type="order", context_id="o-1", thread_id="t-1"),
            (
                "POST",
                "/v1/runs",
                {},
                {"type": AGENT, "context_type": "order", "context_id": "o-1", "thread_id": "t-1"},
            ),
        ),
        (
            lambda c: c.create_run(AGENT, thread_id="t-1"),
            ("POST", "/v1/runs", {}, {"type": AGENT, "thread_id": "t-1"}),
        ),
        (
            lambda c: c.resume_run("r-1", "i-1", {"approved": True}),
            ("POST", "/v1/runs/r-1/resume", {}, {"id": "i-1", "input": {"approved": True}}),
        ),
        (
            lambda c: c.resume_run("r-1", "i-1", None, include_steps=True),
            ("POST", "/v1/runs/r-1/resume", {"include": "steps"}, {"id": "i-1", "input": None}),
        ),
        (
            lambda c: c.resume_run("r-1", "i-1", "x", body={"interrupt_id": "i-1", "response": [1]}),
            ("POST", "/v1/runs/r-1/resume", {}, {"interrupt_id": "i-1", "response": [1]}),
        ),
    ],
)
@virtual
async def test_a_call_sends_what_the_pages_say(call: Call, expected: tuple[Any, ...]) -> None:
    sender = FakeSender(reply(body=RUN))
    async with client_with(sender) as client:
        assert (await call(client)).id == "r-1"
    assert sent(sender) == [expected]


@virtual
async def test_the_body_of_every_resume_can_be_another() -> None:
    def body(interrupt_id: str, answer: object) -> Mapping[str, Any]:
        return {"interrupt": interrupt_id, "resume": answer}

    sender = FakeSender(reply(body=RUN))
    async with client_with(sender, resume_body=body) as client:
        await client.resume_run("r-1", "i-1", [1])
    assert sent(sender)[0][3] == {"interrupt": "i-1", "resume": [1]}


ODD_IDS = ["a b", "ä", "a%2Fb", "a?b#c", "a\\b", "a\nb", "...", ".a", "a;b"]


@pytest.mark.parametrize("odd", ODD_IDS)
@virtual
async def test_ids_are_quoted_in_paths(odd: str) -> None:
    sender = FakeSender(*[reply(body=RUN | {"id": odd})] * 2, reply(body={"id": odd}), reply(body={"id": "f"}))
    async with client_with(sender) as client:
        await client.get_run(odd)
        await client.resume_run(odd, "i", 1)
        await client.get_thread(odd)
        await client.submit_feedback(odd, rating="POSITIVE", artifact_id="a")
    for request in sender.requests:
        quoted = request.path.split("/")[3]
        assert set(quoted) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%._-~")
        assert len(request.path.split("/")) <= 5


@virtual
async def test_a_quoted_id_arrives_as_it_was(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[])
    del middesk_server.world.runs[run.id]
    run.id = "ä/../%2e b".replace("/", "_")
    middesk_server.world.runs[run.id] = run
    async with client_of(middesk_server) as client:
        assert (await client.get_run(run.id)).id == run.id


# What is refused


@pytest.mark.parametrize("bad", ["", " ", ".", "..", "a/b", "/", "../1", 7, None, b"r", "\ud800", True])
@pytest.mark.parametrize(
    "call",
    [
        lambda c, bad: c.get_run(bad),
        lambda c, bad: c.wait_for_run(bad),
        lambda c, bad: c.wait_for_runs([bad]),
        lambda c, bad: c.get_thread(bad),
        lambda c, bad: c.resume_run(bad, "i", 1),
        lambda c, bad: c.submit_feedback(bad, rating="POSITIVE", artifact_id="a"),
        lambda c, bad: anext(c.stream_run(bad)),
    ],
)
@virtual
async def test_what_cannot_be_an_id_is_not_sent(call: Callable[[MiddeskClient, Any], Any], bad: Any) -> None:
    sender = FakeSender()
    async with client_with(sender) as client:
        with pytest.raises(InvalidArgumentError):
            await call(client, bad)
    assert sender.requests == []


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: c.create_run(AGENT), "business_id"),
        (lambda c: c.create_run("", business_id="b"), "type"),
        (lambda c: c.create_run(None, business_id="b"), "type"),
        (lambda c: c.create_run(AGENT, business_id=""), "business_id"),
        (lambda c: c.create_run(AGENT, business_id=7), "business_id"),
        (lambda c: c.create_run(AGENT, context_type="order"), "context_id"),
        (lambda c: c.create_run(AGENT, context_id="o"), "context_id"),
        (lambda c: c.create_run(AGENT, context_type="order", thread_id="t"), "context_id"),
        (lambda c: c.create_run(AGENT, context_type="order", context_id="o", business_id="b"), "context_type"),
        (lambda c: c.create_run(AGENT, thread_id=" "), "thread_id"),
        (lambda c: c.create_thread(AGENT), "business_id"),
        (lambda c: c.create_thread(AGENT, context_type="order"), "context_id"),
        (lambda c: c.create_thread(" ", business_id="b"), "type"),
        (lambda c: c.resume_run("r", "", 1), "interrupt_id"),
        (lambda c: c.resume_run("r", "i", object()), "input"),
        (lambda c: c.resume_run("r", "i", float("inf")), "input"),
        (lambda c: c.resume_run("r", "i", 1, body=["i"]), "body"),
        (lambda c: c.resume_run("r", "i", 1, body={"a": {1, 2}}), "body.a"),
        (lambda c: c.submit_feedback("r", rating="GOOD", artifact_id="a"), "rating"),
        (lambda c: c.submit_feedback("r", rating="POSITIVE", artifact_id=""), "artifact_id"),
        (lambda c: c.submit_feedback("r", rating="POSITIVE", artifact_id="a", comment="x" * 5001), "comment"),
        (lambda c: c.submit_feedback("r", rating="POSITIVE", artifact_id="a", comment=7), "comment"),
        (lambda c: c.list_runs_page(page=-1), "page"),
        (lambda c: c.list_runs_page(per_page=0), "per_page"),
        (lambda c: c.list_runs_page(per_page=True), "per_page"),
        (lambda c: anext(c.list_runs(page_size=0)), "page_size"),
        (lambda c: anext(c.stream_run("r", silence=-1)), "silence"),
    ],
)
@virtual
async def test_an_argument_that_cannot_be_right_is_not_sent(call: Call, field: str) -> None:
    sender = FakeSender()
    async with client_with(sender) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await call(client)
    assert caught.value.field == field
    assert sender.requests == []


# Against the simulated server


@virtual
async def test_a_run_is_created_for_a_business_another_context_or_a_thread(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        thread = await client.create_thread(AGENT, business_id=BUSINESS)
        assert (await client.get_thread(thread.id)).id == thread.id
        runs = [
            await client.create_run(AGENT, business_id=BUSINESS),
            await client.create_run(AGENT, context_type="order", context_id=BUSINESS),
            await client.create_run(AGENT, thread_id=thread.id),
        ]
    assert list(middesk_server.world.runs) == [run.id for run in runs]
    assert runs[2].thread_id == thread.id
    assert {run.phase for run in runs} == {Phase.RUNNING}
    assert [request.status for request in middesk_server.requests] == [201, 200, 201, 201, 201, 201, 201]


@virtual
async def test_threads_are_listed_each_once_and_by_business(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        made = [await client.create_thread(AGENT, business_id=BUSINESS) for _ in range(7)]
        other = await client.create_thread(AGENT, business_id=BUSINESS.replace("0", "1"))
        listed = [thread.id async for thread in client.list_threads(page_size=3)]
        mine = [thread.id async for thread in client.list_threads(business_id=BUSINESS, page_size=2)]
        page = await client.list_threads_page(page=2, per_page=3)
    assert sorted(listed) == sorted(thread.id for thread in (*made, other))
    assert sorted(mine) == sorted(thread.id for thread in made)
    assert (len(page.data), page.has_more, page.total_count) == (3, True, 8)


@virtual
async def test_an_agent_is_found_by_its_id_and_no_other_way(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        (first, second) = await client.list_agents()
        assert await client.get_agent(second.id) == second
        with pytest.raises(NotFoundError, match="Agent not found"):
            await client.get_agent(str(first.type))
        with pytest.raises(InvalidArgumentError, match="agent_id"):
            await client.get_agent("../runs")
    assert UUID(first.id) != UUID(second.id)


@virtual
@pytest.mark.parametrize("body", [{"object": "list"}, {"object": "list", "data": None}, {"has_more": False}])
async def test_a_list_of_agents_without_data_is_an_empty_one(body: object) -> None:
    async with MiddeskClient("mk_test_1", sender=FakeSender(reply(200, body))) as client:
        assert await client.list_agents() == ()


@virtual
async def test_agents_are_listed(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        agents = await client.list_agents()
        assert [agent.type for agent in agents] == ["cip_orchestrator", "web_presence"]
        thread = await client.create_thread(str(agents[1].type), business_id=BUSINESS)
        assert (thread.status, thread.created_time is None) == ("running", False)


@virtual
async def test_steps_come_only_when_asked_for(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(0.0, "error")])
    async with client_of(middesk_server) as client:
        assert (await client.get_run(run.id)).steps is msgspec.UNSET
        steps = (await client.get_run(run.id, include_steps=True)).steps
        assert isinstance(steps, tuple)
        assert [step.type for step in steps] == ["activity", "error"]


@virtual
async def test_an_answer_lets_the_run_go_on(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(0.0, ask("a")), (10.0, "completed")])
    async with client_of(middesk_server) as client:
        blocked = await client.get_run(run.id)
        resumed = await client.resume_run(run.id, blocked.interrupts[0].id, {"approved": True}, include_steps=True)
        assert resumed is not None
        assert (resumed.phase, resumed.interrupts) == (Phase.RUNNING, ())
        assert isinstance(resumed.steps, tuple)
        assert run.answers == {blocked.interrupts[0].id: {"approved": True}}
        with pytest.raises(InvalidRequestError, match="is not a pending interrupt"):
            await client.resume_run(run.id, blocked.interrupts[0].id, {"approved": True})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'{"id": "r-1"}',
        b'{"object": "resume", "id": "x"}',
        b"<html>",
        b'"ok"',
        b"\xff",
        b"[" * 5000,
    ],
)
@virtual
async def test_an_answer_to_a_resume_that_is_no_run_is_no_failure(body: bytes) -> None:
    sender = FakeSender(reply(202, body))
    async with client_with(sender) as client:
        assert await client.resume_run("r-1", "i-1", 1) is None


@virtual
async def test_an_answer_to_a_resume_about_another_run_is_no_proof() -> None:
    sender = FakeSender(reply(200, RUN | {"id": "r-2"}))
    async with client_with(sender) as client:
        with pytest.raises(OutcomeUnknownError, match="about run r-2, not r-1") as caught:
            await client.resume_run("r-1", "i-1", 1)
    assert caught.value.likely_done
    assert sender.renewals == 1


@virtual
async def test_feedback_is_stored(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(0.0, "completed")])
    async with client_of(middesk_server) as client:
        output = (await client.get_run(run.id)).output
        assert output is not None
        artifact_id = output.artifacts[0].id
        assert artifact_id is not None
        first = await client.submit_feedback(
            run.id, rating=Rating.NEGATIVE, artifact_id=artifact_id, comment="x" * 5000
        )
        second = await client.submit_feedback(run.id, rating="POSITIVE", artifact_id=artifact_id)
        assert isinstance(first, RunFeedback)
        assert (first.rating, first.superseded_prior, second.superseded_prior) == ("NEGATIVE", False, True)
        assert second.reviewer is not None
        assert second.reviewer.type == "Account"
        with pytest.raises(NotFoundError):
            await client.submit_feedback(run.id, rating="POSITIVE", artifact_id="another")
    assert len(middesk_server.world.feedback) == 2


# Pages


@pytest.mark.parametrize("first_page", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
@virtual
async def test_every_run_is_listed_once_whatever_the_number_of_the_first_page(first_page: int, count: int) -> None:
    async with MiddeskServer(token=CANARY, first_page=first_page, page_size=10) as server, client_of(server) as client:
        runs = [server.world.create(script=[]).id for _ in range(count)]
        assert sorted([run.id async for run in client.list_runs()]) == sorted(runs)
        assert server.requests[0].endpoint == "list"
        assert len(server.requests) <= count // 10 + 2


@virtual
async def test_a_page_size_is_asked_for(middesk_server: MiddeskServer) -> None:
    for _ in range(7):
        middesk_server.world.create(script=[])
    async with client_of(middesk_server) as client:
        assert len([run async for run in client.list_runs(page_size=3)]) == 7
        page = await client.list_runs_page(page=2, per_page=3)
        assert (len(page.data), page.has_more, page.total_count, page.unreadable) == (3, True, 7, 0)


@virtual
async def test_a_server_that_knows_no_pages_is_not_asked_for_ever() -> None:
    same = reply(body={"object": "list", "has_more": True, "data": [RUN], "total_count": 500})
    sender = FakeSender(*[same] * 10)
    async with client_with(sender) as client:
        assert [run.id async for run in client.list_runs()] == ["r-1"]
    assert [dict(request.query).get("page") for request in sender.requests] == [None, "1", "2", "3"]


@virtual
async def test_an_empty_page_is_the_last() -> None:
    empty = reply(body={"has_more": True, "data": []})
    sender = FakeSender(empty)
    async with client_with(sender) as client:
        assert [run async for run in client.list_runs()] == []
    assert len(sender.requests) == 1


@virtual
async def test_one_odd_run_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    page = {"has_more": False, "total_count": 3, "data": [RUN, {"id": 7}, RUN | {"id": "r-2"}]}
    sender = FakeSender(reply(body=page), reply(body=page))
    async with client_with(sender) as client:
        shown = await client.list_runs_page()
        assert [run.id for run in shown.data] == ["r-1", "r-2"]
        assert (shown.unreadable, shown.total_count) == (1, 3)
        await client.list_runs_page()
    assert caplog.text.count("middesk: a page has items of an unknown shape") == 1


@virtual
async def test_what_a_page_shows_ends_a_wait_for_it_when_a_get_confirms_it(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(60.0, "completed")])
    async with client_of(middesk_server, latency=3600.0) as client:
        watched = client.watch([run.id])
        assert (await anext(watched)).phase is Phase.RUNNING
        middesk_server.world.end(run.id)
        await client.list_runs_page()
        assert [shown.phase async for shown in watched] == [Phase.SUCCEEDED]
        assert endpoints(middesk_server) == ["get", "list", "get"]


# Patience


@virtual
async def test_calls_can_be_impatient(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        client.limiter(ENDPOINT).hold(100.0)
        calls = [
            client.create_run(AGENT, business_id="b", patience=1),
            client.resume_run("r-1", "i-1", 1, patience=1),
            client.get_run("r-1", patience=1),
            client.list_runs_page(patience=1),
            anext(client.list_runs(patience=1)),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [LimiterBusyError] * len(calls)
    assert middesk_server.requests == []


# Failures

POSTS: list[Call] = [
    lambda c: c.create_run(AGENT, thread_id="t-1"),  # which may have runs, so that no look tells; else see `test_once`
    lambda c: c.create_thread(AGENT, business_id="b"),
    lambda c: c.resume_run("r-1", "i-1", 1),
    lambda c: c.submit_feedback("r-1", rating="POSITIVE", artifact_id="a"),
]


@pytest.mark.parametrize("call", POSTS)
@pytest.mark.parametrize("outcome", [LOST, SILENT, reply(500), reply(502, b"bad gateway"), reply(408)])
@virtual
async def test_a_post_of_unknown_outcome_is_not_repeated(call: Call, outcome: Any) -> None:
    sender = FakeSender(outcome)
    async with client_with(sender) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await call(client)
    assert not caught.value.likely_done
    assert len(sender.requests) == 1


@pytest.mark.parametrize("call", [POSTS[0], POSTS[1], POSTS[3]])
@virtual
async def test_a_success_that_cannot_be_read_is_likely_done(call: Call) -> None:
    sender = FakeSender(reply(201, b"{"))
    async with client_with(sender) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await call(client)
    assert caught.value.likely_done


@pytest.mark.parametrize("call", POSTS)
@virtual
async def test_a_post_that_was_not_sent_is_repeated(call: Call) -> None:
    sender = FakeSender(REFUSED, reply(429), reply(body=RUN))
    async with client_with(sender) as client:
        await call(client)
    assert len(sender.requests) == 3


@virtual
async def test_a_get_is_repeated() -> None:
    sender = FakeSender(LOST, reply(503), reply(200, b"{"), reply(body=RUN))
    async with client_with(sender) as client:
        assert (await client.get_run("r-1")).id == "r-1"


@virtual
async def test_an_answer_about_another_run_or_thread_is_not_believed() -> None:
    sender = FakeSender(*[reply(body=RUN | {"id": "r-2"})] * 4, *[reply(body={"id": "t-2"})] * 4)
    async with client_with(sender) as client:
        with pytest.raises(DecodeError, match="about run r-2, not r-1"):
            await client.get_run("r-1")
        with pytest.raises(DecodeError, match="about thread t-2, not t-1"):
            await client.get_thread("t-1")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (422, InvalidRequestError),
    ],
)
@virtual
async def test_a_refusal_says_what_the_server_says(status: int, error: type[Exception]) -> None:
    body = {"errors": [{"message": "is in audit", "parameter": "business_id"}, {"message": "no"}]}
    sender = FakeSender(reply(status, body))
    async with client_with(sender) as client:
        with pytest.raises(error, match="business_id: is in audit; no"):
            await client.create_run(AGENT, business_id="b")


@virtual
async def test_a_server_that_goes_on_failing_is_an_error(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.ERROR_BEFORE, times=None, status=503)
    async with client_of(middesk_server) as client:
        with pytest.raises(ServerError) as caught:
            await client.get_run("r")
    assert caught.value.attempts == 4


@virtual
async def test_a_429_is_waited_out(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[])
    middesk_server.faults.add(Fault.RATE_LIMITED, times=2, retry_after=30)
    async with client_of(middesk_server) as client:
        assert (await client.get_run(run.id)).id == run.id
        assert client.limits["all"].rejections == 2
        middesk_server.faults.add(Fault.RATE_LIMITED, times=None)
        with pytest.raises(RateLimitedError):
            await client.get_run(run.id)


@virtual
async def test_a_wrong_key_ends_all_waits(middesk_server: MiddeskServer) -> None:
    async with MiddeskClient("wrong", base_url=middesk_server.url) as client:
        with pytest.raises(AuthenticationError, match="Invalid API key"):
            await client.wait_for_runs(["a", "b"])


@virtual
async def test_outages_delay_a_wait_and_do_not_end_it(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(60.0, "completed")])
    for fault in (Fault.RESET_BEFORE, Fault.ERROR_BEFORE, Fault.BROKEN_JSON, Fault.WRONG_ID, Fault.RATE_LIMITED):
        middesk_server.faults.add(fault, endpoint="get", times=2)
    async with client_of(middesk_server) as client:
        assert (await client.wait_for_run(run.id)).phase is Phase.SUCCEEDED
    assert middesk_server.faults.injected.total() == 10


@virtual
async def test_a_run_that_is_not_there_is_told_after_a_grace(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        with pytest.raises(NotFoundError):
            await client.wait_for_run("nothing")
    first, *_, last = middesk_server.requests
    assert 5.0 <= last.time - first.time <= 6.0
