"""One row per way in which a create can go wrong: how many runs there are afterwards, and what the caller is told."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from codegen_async import (
    AgentRun,
    APIError,
    AuthenticationError,
    CodegenClient,
    ConnectionFailedError,
    CreateOutcomeUnknownError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RedirectedError,
    StatusError,
)
from codegen_async.codegen.searching import IDEMPOTENCY_KEY, key_of
from codegen_async.hosted.settling import OnUnknown
from codegen_async.testing import CodegenServer, Fault
from tests.support.chaos import Break, ChaosProxy
from tests.support.sender import FakeSender, reply

virtual = pytest.mark.asyncio(loop_factories=["virtual"])


@dataclass(kw_only=True)
class Row:
    """A fault of the first create, and what must come of it."""

    fault: Fault
    runs: int
    sent: int
    """Creates that reached the server."""
    raises: type[APIError] | None = None
    on_unknown: OnUnknown = "raise"
    options: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "429 is no create": Row(fault=Fault.RATE_LIMITED, runs=1, sent=2),
    "429 with Retry-After": Row(fault=Fault.RATE_LIMITED, runs=1, sent=2, options={"retry_after": 5}),
    "421 was not for this server": Row(fault=Fault.ERROR_BEFORE, runs=1, sent=2, options={"status": 421}),
    "425 is too early": Row(fault=Fault.ERROR_BEFORE, runs=1, sent=2, options={"status": 425}),
    "408 though it was done": Row(fault=Fault.ERROR_AFTER, runs=1, sent=1, options={"status": 408}),
    "408 and nothing done": Row(
        fault=Fault.ERROR_BEFORE, runs=0, sent=1, options={"status": 408}, raises=CreateOutcomeUnknownError
    ),
    "503 and nothing done": Row(
        fault=Fault.ERROR_BEFORE, runs=0, sent=1, options={"status": 503}, raises=CreateOutcomeUnknownError
    ),
    "503 though it was done": Row(fault=Fault.ERROR_AFTER, runs=1, sent=1, options={"status": 503}),
    "500 though it was done": Row(fault=Fault.ERROR_AFTER, runs=1, sent=1, options={"status": 500}),
    "502 though it was done": Row(fault=Fault.ERROR_AFTER, runs=1, sent=1, options={"status": 502}),
    "504 though it was done": Row(fault=Fault.ERROR_AFTER, runs=1, sent=1, options={"status": 504}),
    "500, nothing done, retry wanted": Row(
        fault=Fault.ERROR_BEFORE, runs=1, sent=2, options={"status": 500}, on_unknown="retry"
    ),
    "500 though it was done, retry wanted": Row(
        fault=Fault.ERROR_AFTER, runs=1, sent=1, options={"status": 500}, on_unknown="retry"
    ),
    "reset before the work": Row(fault=Fault.RESET_BEFORE, runs=0, sent=1, raises=CreateOutcomeUnknownError),
    "reset before the work, retry wanted": Row(fault=Fault.RESET_BEFORE, runs=1, sent=2, on_unknown="retry"),
    "reset after the work": Row(fault=Fault.RESET_AFTER, runs=1, sent=1),
    "reset after the work, retry wanted": Row(fault=Fault.RESET_AFTER, runs=1, sent=1, on_unknown="retry"),
    "silence before the work": Row(fault=Fault.DROP_BEFORE, runs=0, sent=1, raises=CreateOutcomeUnknownError),
    "silence after the work": Row(fault=Fault.DROP_AFTER, runs=1, sent=1),
    "2xx with a cut body": Row(fault=Fault.TRUNCATED_BODY, runs=1, sent=1),
    "2xx with broken JSON": Row(fault=Fault.BROKEN_JSON, runs=1, sent=1),
    "2xx with broken JSON, retry wanted": Row(fault=Fault.BROKEN_JSON, runs=1, sent=1, on_unknown="retry"),
    "301 is not followed": Row(
        fault=Fault.ERROR_BEFORE, runs=0, sent=1, options={"status": 301}, raises=RedirectedError
    ),
    "400 is final": Row(fault=Fault.REFUSED, runs=0, sent=1, options={"status": 400}, raises=InvalidRequestError),
    "401 is final": Row(fault=Fault.ERROR_BEFORE, runs=0, sent=1, options={"status": 401}, raises=AuthenticationError),
    "402 is final": Row(fault=Fault.REFUSED, runs=0, sent=1, options={"status": 402}, raises=QuotaExceededError),
    "403 is final": Row(fault=Fault.REFUSED, runs=0, sent=1, options={"status": 403}, raises=PermissionDeniedError),
    "404 is final": Row(fault=Fault.REFUSED, runs=0, sent=1, options={"status": 404}, raises=NotFoundError),
    **{
        f"{status} of a gateway": Row(
            fault=Fault.ERROR_BEFORE, runs=0, sent=1, options={"status": status}, raises=CreateOutcomeUnknownError
        )
        for status in (400, 403, 404, 405, 409, 422, 499)
    },
    **{
        f"{status} of a gateway though it was done": Row(
            fault=Fault.ERROR_AFTER, runs=1, sent=1, options={"status": status}
        )
        for status in (400, 403, 404, 405, 409, 422, 499)
    },
    "404 of a gateway, retry wanted": Row(
        fault=Fault.ERROR_BEFORE, runs=1, sent=2, options={"status": 404}, on_unknown="retry"
    ),
    "413 is final": Row(fault=Fault.ERROR_BEFORE, runs=0, sent=1, options={"status": 413}, raises=StatusError),
    "422 is final": Row(fault=Fault.REFUSED, runs=0, sent=1, options={"status": 422}, raises=InvalidRequestError),
}


def client_of(server: CodegenServer, *, url: str | None = None, settle: float = 60.0) -> CodegenClient:
    return CodegenClient(server.token, org_id=server.org_id, base_url=url or server.url, settle=settle)


def creates(server: CodegenServer) -> int:
    return sum(request.endpoint == "create" for request in server.requests)


@virtual
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_create_makes_one_run_or_says_that_it_did_not(row: Row) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        await client.create_run("one that works: the server is seen to give back metadata")
        server.faults.add(row.fault, endpoint="create", times=1, **row.options)
        create = asyncio.ensure_future(
            client.create_run("the one", idempotency_key="the-key", on_unknown=row.on_unknown)
        )
        while creates(server) < 2:  # noqa: ASYNC110 - virtual time, and the server does not tell
            await asyncio.sleep(0.01)
        await client.create_run("one that was sent later")
        result: AgentRun | APIError
        try:
            result = await create
        except APIError as error:
            result = error
        made = [run.id for run in server.world.runs.values() if run.prompt == "the one"]
    assert (len(made), creates(server) - 2) == (row.runs, row.sent)
    if row.raises is None:
        assert isinstance(result, AgentRun)
        assert made == [result.id]
    else:
        assert type(result) is row.raises
    if isinstance(result, CreateOutcomeUnknownError):
        assert result.key == "the-key"
        assert not result.likely_created
        assert "find_run_by_key('the-key')" in str(result)


@virtual
@pytest.mark.parametrize("how", ["close", "reset", "hang", "corrupt"])
@pytest.mark.parametrize(
    ("when", "after"), [("request", 0), ("request", 100), ("answer", 0), ("answer", 9), ("answer", 250)]
)
async def test_a_connection_that_breaks_anywhere_makes_one_run(
    when: Literal["request", "answer"], after: int, how: Literal["close", "reset", "hang", "corrupt"]
) -> None:
    # Each create has a connection of its own; the first works.
    broken = Break(when=when, after=after, how=how)
    async with CodegenServer() as server, ChaosProxy(server.url, None, broken) as proxy:
        async with client_of(server, url=proxy.url, settle=30.0) as client:
            await client.create_run("one that works")
            create = asyncio.ensure_future(client.create_run("the one", on_unknown="retry"))
            await asyncio.sleep(1.0)
            await client.create_run("one that was sent later")
            run: AgentRun | None
            try:
                run = await create
            except InvalidRequestError:  # a byte of the request was turned over: refused
                run = None
        made = len(server.world.runs) - 2
    assert made == (0 if run is None else 1)


@virtual
@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.DROP_BEFORE])
async def test_a_create_after_which_none_of_ours_was_made_is_not_sent_again(fault: Fault) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        await client.create_run("one that works")
        server.faults.add(fault, endpoint="create", times=1)
        with pytest.raises(CreateOutcomeUnknownError):
            await client.create_run("lost", idempotency_key="mine", on_unknown="retry")
        assert creates(server) == 2
        await client.create_run("one that was sent later")
        run = await client.create_run("lost", idempotency_key="mine", on_unknown="retry")
        assert sum(made.prompt == "lost" for made in server.world.runs.values()) == 1
        assert key_of(run) == "mine"


@virtual
async def test_a_create_that_never_left_is_tried_again() -> None:
    async with CodegenServer() as server:
        url = server.url
    async with CodegenClient("token", org_id=1, base_url=url) as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await client.create_run("nobody listens")
        assert caught.value.attempts == 4
        assert client.limits["create"].available == 10  # nothing was sent, so nothing was spent


@virtual
@pytest.mark.parametrize("on_unknown", ["raise", "retry"])
async def test_a_success_that_cannot_be_read_and_is_not_found_is_never_sent_again(on_unknown: OnUnknown) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        await client.create_run("one that works")
        server.faults.add(Fault.BROKEN_JSON, endpoint="create", times=1)
        create = asyncio.ensure_future(client.create_run("gone", on_unknown=on_unknown))
        await asyncio.sleep(1.0)  # the run is there, the first look is to come
        server.world.delete(max(server.world.runs))
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await create
        assert caught.value.likely_created
        assert creates(server) == 2


@virtual
async def test_a_server_that_drops_metadata_gets_each_create_at_most_once(caplog: pytest.LogCaptureFixture) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        _forget_metadata(server)
        await client.create_run("one that works")
        assert client.creating.echoed is False
        await client.create_run("another")
        assert sum("does not give back metadata" in record.message for record in caplog.records) == 1
        lists = len(server.requests)
        server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
        with pytest.raises(CreateOutcomeUnknownError, match="could not be looked for"):
            await client.create_run("lost", on_unknown="retry")
        assert len(server.requests) == lists + 1  # the create itself, no search


def _forget_metadata(server: CodegenServer) -> None:
    answer = server.world.response
    server.world.response = lambda run: {**answer(run), "metadata": None}  # type: ignore[method-assign]


@virtual
async def test_the_first_create_of_all_is_not_sent_again_before_metadata_was_seen_to_come_back() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
        with pytest.raises(CreateOutcomeUnknownError):
            await client.create_run("lost", on_unknown="retry")
        assert creates(server) == 1


@virtual
async def test_a_server_that_is_slow_to_commit_is_waited_for() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        await client.create_run("one that works")
        server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
        create = asyncio.ensure_future(client.create_run("late", idempotency_key="late", on_unknown="retry"))
        await asyncio.sleep(40.0)
        late = server.world.create("late", metadata={IDEMPOTENCY_KEY: "late"})
        assert (await create).id == late.id
        assert len(server.world.runs) == 2


@virtual
async def test_a_search_that_could_not_look_proves_nothing() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        await client.create_run("one that works")
        server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
        server.faults.add(Fault.ERROR_BEFORE, endpoint="list", times=1000, status=503)
        with pytest.raises(CreateOutcomeUnknownError, match="could not be looked for"):
            await client.create_run("lost", on_unknown="retry")
        assert creates(server) == 2


@virtual
async def test_many_lost_creates_share_one_search() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        await client.create_run("one that works")
        server.faults.add(Fault.RESET_AFTER, endpoint="create", times=9)
        runs = await asyncio.gather(*(client.create_run(f"number {i}") for i in range(9)))
        assert len({run.id for run in runs}) == 9
        assert len(server.world.runs) == 10
        assert sum(request.endpoint == "list" for request in server.requests) <= 4


@virtual
async def test_many_lost_creates_share_one_failure_to_look() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        await client.create_run("one that works")
        server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=9)
        server.faults.add(Fault.ERROR_BEFORE, endpoint="list", times=1000, status=503)
        creations = (client.create_run(f"number {i}") for i in range(9))
        errors = await asyncio.gather(*creations, return_exceptions=True)
        assert {type(error) for error in errors} == {CreateOutcomeUnknownError}
        looks = sum(request.endpoint == "list" for request in server.requests)
        assert looks <= 4 * 2 * 4  # looks, of two walks each, as not all ask in the same moment; four attempts at each


@virtual
async def test_a_create_that_is_cancelled_in_the_queue_is_known_not_to_have_happened(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        for _ in range(10):
            await client.create_run("x")
        create = asyncio.ensure_future(client.create_run("given up"))
        await asyncio.sleep(10.0)
        create.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await create
        assert not hasattr(caught.value, "__notes__")
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert creates(server) == 10


@virtual
async def test_of_two_runs_with_one_key_the_older_is_found() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        older = server.world.create("twice", metadata={IDEMPOTENCY_KEY: "twice"})
        server.world.create("twice", metadata={IDEMPOTENCY_KEY: "twice"})
        found = await client.find_run_by_key("twice")
        assert found is not None
        assert found.id == older.id


@virtual
async def test_a_search_ends_at_the_floor_and_after_ten_pages_without_one() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        old = server.world.create("old", metadata={IDEMPOTENCY_KEY: "old"})
        for number in range(1500):
            server.world.create(f"{number}")
        newest = max(server.world.runs)
        assert await client.find_run_by_key("old") is None
        assert len(server.requests) == 10
        assert await client.find_run_by_key("old", newer_than=newest - 1) is None
        assert len(server.requests) == 11
        found = await client.find_run_by_key("old", newer_than=old.id - 1)
        assert found is not None
        assert found.id == old.id


@virtual
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15, 0.25, 0.35, 0.5])
async def test_a_cancelled_create_leaves_a_key_to_find_its_run_by(
    seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    async with CodegenServer(latency=(0.1, 0.1)) as server, client_of(server) as client:
        create = asyncio.ensure_future(client.create_run("given up", idempotency_key="mine"))
        await asyncio.sleep(seconds)
        if not create.cancel():
            assert key_of(await create) == "mine"
            return
        with pytest.raises(asyncio.CancelledError):
            await create
        if creates(server):  # else it was cancelled before it was sent
            assert any(
                "'mine'" in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
            )
        await asyncio.sleep(1.0)
        found = await client.find_run_by_key("mine")
        assert (found is not None) == bool(server.world.runs)


@virtual
async def test_a_search_without_a_floor_shortens_no_other() -> None:
    async with CodegenServer(latency=(0.1, 0.1)) as server, client_of(server) as client:
        old = server.world.create("old", metadata={IDEMPOTENCY_KEY: "old"})
        for _ in range(1_200):
            server.world.create("newer")
        looks = [
            client.find_run_by_key("another"),
            client.find_run_by_key("old", newer_than=old.id - 1),
            client.find_run_by_key("old"),
        ]
        other, found, not_reached = await asyncio.gather(*looks)
        assert found is not None
        assert (other, found.id) == (None, old.id)
        assert not_reached is None or not_reached.id == old.id


@virtual
@pytest.mark.parametrize("fault", [Fault.RESET_AFTER, Fault.DROP_AFTER, Fault.ERROR_AFTER, Fault.SLOW_BODY])
async def test_a_client_that_is_closed_while_an_answer_is_lost_still_tells_the_key(fault: Fault) -> None:
    async with CodegenServer() as server:
        client = client_of(server)
        async with client:
            server.faults.add(fault, endpoint="create", times=1, seconds=20.0)
            create = asyncio.ensure_future(client.create_run("x"))
            await asyncio.sleep(1.0)  # before the first look
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await create
        (run,) = server.world.runs.values()
        assert run.metadata == {IDEMPOTENCY_KEY: caught.value.key}


@virtual
async def test_an_answer_that_is_about_the_run_of_another_create_is_not_believed() -> None:
    ours = {"id": 2, "organization_id": 323, "metadata": {IDEMPOTENCY_KEY: "mine"}}
    other = {"id": 1, "organization_id": 323, "metadata": {IDEMPOTENCY_KEY: "another"}}
    page = {"items": [ours, other], "total": 2}
    nothing = reply(200, {"items": []})
    sender = FakeSender(nothing, reply(200, other), reply(200, page), then=nothing)
    async with CodegenClient(org_id=323, sender=sender) as client:
        assert (await client.create_run("x", idempotency_key="mine")).id == 2


@virtual
async def test_each_create_has_a_key_of_its_own_beside_the_users_metadata() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        first = await client.create_run("one", metadata={"team": "blue"})
        second = await client.create_run("two")
    assert first.metadata is not None
    assert second.metadata is not None
    assert first.metadata["team"] == "blue"
    assert first.metadata[IDEMPOTENCY_KEY] != second.metadata[IDEMPOTENCY_KEY]


@virtual
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.create_run("x", metadata={IDEMPOTENCY_KEY: "mine"}),
        lambda client: client.create_run("x", idempotency_key=""),
        lambda client: client.create_run("x", idempotency_key="has space"),
        lambda client: client.create_run("x", idempotency_key="k" * 129),
        lambda client: client.create_run("x", idempotency_key="schlüssel"),
        lambda client: client.create_run("x", on_unknown="whatever"),
        lambda client: client.find_run_by_key("two words"),
        lambda client: client.find_run_by_key("key", newer_than=0),
    ],
)
async def test_what_cannot_be_right_is_refused_and_nothing_is_sent(call: Callable[[CodegenClient], Any]) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        with pytest.raises(InvalidArgumentError):
            await call(client)
        assert not server.requests
