"""What an observer is told of requests, and what the log says of them."""

import asyncio
import logging
from typing import Any

import pytest

from codegen_async import CodegenClient, ConfigurationError, NotFoundError, OutcomeUnknownError, Rate
from codegen_async.events import Attempt, ClientClosed, ClientOpened, Event, Held
from codegen_async.testing import CodegenServer, Fault
from tests.support.clients import ORG, open_client
from tests.support.raw import Connection, RawServer, answer, resetting, saying
from tests.support.sender import LOST, REFUSED, FakeSender, Hang, Reply, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = {"id": 17, "organization_id": ORG}
OK = reply(body=RUN)
TEMPLATE = "/v1/organizations/{org_id}/agent/run/{run_id}"


def attempts(events: list[Event]) -> list[Attempt]:
    return [event for event in events if isinstance(event, Attempt)]


async def got(*replies: Reply, **options: Any) -> list[Event]:
    """Return what is told of one get, however it ends."""
    events: list[Event] = []
    client = CodegenClient(org_id=ORG, sender=FakeSender(*replies), observe=events.append, **options)
    async with client:
        await asyncio.gather(client.get_run(17), return_exceptions=True)
    return events


async def test_an_attempt_is_told_with_all_that_is_known_of_it() -> None:
    [attempt] = attempts(await got(OK))
    assert attempt == Attempt(
        endpoint="get",
        method="GET",
        template=TEMPLATE,
        number=1,
        background=False,
        status=200,
        error=None,
        queued=0.0,
        seconds=attempt.seconds,
        size=len(OK.body),
        url=f"https://api.codegen.com/v1/organizations/{ORG}/agent/run/17",
    )
    assert 0 <= attempt.seconds < 0.001


async def test_each_attempt_at_a_call_is_told_with_its_number_and_its_own_outcome() -> None:
    told = attempts(await got(REFUSED, reply(503), reply(body=b"{"), OK))
    assert [(a.number, a.status, a.error) for a in told] == [
        (1, None, "ConnectionFailedError"),
        (2, 503, "ServerError"),
        (3, 200, "GatewayError"),
        (4, 200, None),
    ]


async def test_the_url_has_the_query_and_the_template_has_not() -> None:
    events: list[Event] = []
    page = {"items": [], "total": 0, "page": 1, "size": 5, "pages": 0}
    async with CodegenClient(org_id=ORG, sender=FakeSender(reply(body=page)), observe=events.append) as client:
        await client.list_runs_page(skip=10, limit=5)
    [attempt] = attempts(events)
    assert attempt.url.endswith(f"/v1/organizations/{ORG}/agent/runs?skip=10&limit=5")
    assert attempt.template == "/v1/organizations/{org_id}/agent/runs"


async def test_the_wait_for_a_slot_is_told_apart_from_the_time_of_the_request(codegen_server: CodegenServer) -> None:
    events: list[Event] = []
    async with open_client(codegen_server.url, observe=events.append, rates={"get": Rate(1, 30.0)}) as client:
        await asyncio.gather(client.get_run(1), client.get_run(2), return_exceptions=True)
    first, second = attempts(events)
    assert first.queued == 0.0
    assert 30.0 < second.queued < 31.0
    assert second.seconds < 0.1


async def test_with_a_ceiling_both_waits_count() -> None:
    events: list[Event] = []
    sender = FakeSender(OK, OK)
    client = CodegenClient(org_id=ORG, sender=sender, observe=events.append, ceiling=Rate(1, 20.0))
    async with client:
        await asyncio.gather(client.get_run(17), client.get_run(17))
    assert 20.0 < attempts(events)[1].queued < 21.0


async def test_polls_are_told_as_background(codegen_server: CodegenServer) -> None:
    events: list[Event] = []
    async with open_client(codegen_server.url, observe=events.append) as client:
        run = await client.create_run("x")
        await client.wait_for_run(run)
    created, *polls = attempts(events)
    assert (created.endpoint, created.background) == ("create", False)
    assert polls
    assert all(poll.background and poll.number == 1 for poll in polls)


async def test_a_create_whose_answer_is_lost_is_told_as_such() -> None:
    events: list[Event] = []
    sender = FakeSender(LOST, then=reply(404, {"message": "no", "status_code": 404}))
    async with CodegenClient(org_id=ORG, sender=sender, observe=events.append) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.create_run("x")
    assert attempts(events)[0].error == "OutcomeUnknownError"


@pytest.mark.parametrize("after", ["sent", "answered"])
async def test_a_request_whose_caller_leaves_is_told(after: str) -> None:
    events: list[Event] = []
    async with CodegenClient(org_id=ORG, sender=FakeSender(Hang(after)), observe=events.append) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await client.get_run(17)
    [attempt] = attempts(events)
    assert (attempt.status, attempt.error) == (None, "CancelledError")
    assert attempt.seconds == pytest.approx(3, abs=0.01)


async def test_a_caller_that_leaves_the_line_has_made_no_attempt() -> None:
    events: list[Event] = []
    client = CodegenClient(org_id=ORG, sender=FakeSender(OK), observe=events.append, rates={"get": Rate(1, 30.0)})
    async with client:
        await client.get_run(17)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await client.get_run(17)
    assert len(attempts(events)) == 1


async def test_the_second_get_that_the_http_library_makes_is_an_attempt_of_its_own() -> None:
    scripts = [saying(answer(body=b'{"id":17,"organization_id":323}')), resetting(b"")]

    async def serve(connection: Connection) -> None:
        await scripts.pop()(connection)

    events: list[Event] = []
    async with RawServer(serve) as server, open_client(server.url, observe=events.append) as client:
        await client.get_run(17)
    assert [(a.number, a.status, a.error) for a in attempts(events)] == [
        (1, None, "ConnectionFailedError"),
        (2, 200, None),
    ]


async def test_a_429_is_told_with_the_time_for_which_the_gate_is_closed(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.RATE_LIMITED, endpoint="get", times=1, retry_after=7)
    events: list[Event] = []
    async with open_client(codegen_server.url, observe=events.append) as client:
        with pytest.raises(NotFoundError):
            await client.get_run(1)
    [held] = [event for event in events if isinstance(event, Held)]
    assert held.endpoint == "get"
    assert held.seconds >= 7
    assert [a.status for a in attempts(events)] == [429, 404]


async def test_opening_and_closing_are_told_first_and_last() -> None:
    events: list[Event] = []
    client = CodegenClient(org_id=ORG, sender=FakeSender(), observe=events.append)
    async with client:
        assert events == [ClientOpened(client)]
        assert client.waits == 0
    assert events == [ClientOpened(client), ClientClosed(client)]


@pytest.mark.parametrize("kind", [ZeroDivisionError, StopIteration, asyncio.CancelledError, TimeoutError])
async def test_what_an_observer_raises_is_logged_once_and_spoils_nothing(
    caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    def observe(event: Event) -> None:
        raise kind(type(event).__name__)

    async with CodegenClient(org_id=ORG, sender=FakeSender(OK, OK), observe=observe) as client:
        assert (await client.get_run(17)).id == 17
        assert (await client.get_run(17)).id == 17
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage()[:28] for record in said] == ["the observer has failed (fur"]


async def _awaited(_: Event) -> None: ...


class _Awaited:
    async def __call__(self, _: Event) -> None: ...


@pytest.mark.parametrize("observe", [_awaited, _Awaited(), "print", 7])
async def test_an_observer_that_would_do_nothing_is_refused(observe: Any) -> None:
    with pytest.raises(ConfigurationError, match="observe: expected a plain function"):
        CodegenClient(org_id=ORG, observe=observe)


async def test_every_attempt_is_logged_with_its_figures(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "codegen_async")
    async with CodegenClient(org_id=ORG, sender=FakeSender(reply(503), OK)) as client:
        await client.get_run(17)
    records = [
        vars(record) for record in caplog.records if record.levelno == logging.DEBUG and "attempt" in vars(record)
    ]
    assert [(r["endpoint"], r["status"], r["attempt"]) for r in records] == [("get", 503, 1), ("get", 200, 2)]
    assert all(r["name"] == "codegen_async" and r["seconds"] >= 0 and r["queued"] == 0 for r in records)
