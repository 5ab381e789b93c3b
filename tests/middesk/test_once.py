"""Each run is created once: it has a thread of its own, by which it is found again."""

import asyncio
from typing import Any

import pytest

from codegen_async import (
    CreateOutcomeUnknownError,
    HostedRuns,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    Phase,
    ServerError,
)
from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.dialect import MiddeskDialect
from codegen_async.testing import Fault, MiddeskServer, check_dialect
from tests.middesk.helpers import AGENT, BUSINESS, begin, client_of, client_with, endpoints, now
from tests.support.canary import CANARY
from tests.support.sender import LOST, FakeSender, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

LOST_AFTER = [
    (Fault.RESET_AFTER, 500),
    (Fault.DROP_AFTER, 500),
    (Fault.ERROR_AFTER, 502),
    (Fault.ERROR_AFTER, 404),
    (Fault.BROKEN_JSON, 500),
    (Fault.TRUNCATED_BODY, 500),
]
NEVER_DONE = [(Fault.RESET_BEFORE, 500), (Fault.DROP_BEFORE, 500), (Fault.ERROR_BEFORE, 503)]


async def create(client: MiddeskClient, **options: Any) -> Any:
    return await client.create_run(AGENT, business_id=BUSINESS, **options)


async def test_a_run_without_a_thread_is_given_one_of_its_own(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        runs = [await create(client) for _ in range(3)]
    assert endpoints(middesk_server) == ["create_thread", "create"] * 3
    assert len({run.thread_id for run in runs}) == 3
    assert list(middesk_server.world.threads) == [run.thread_id for run in runs]


async def test_the_thread_and_the_run_are_told_the_same() -> None:
    sender = FakeSender(reply(201, {"id": "t-1"}), reply(201, {"id": "r-1", "thread_id": "t-1"}))
    async with client_with(sender) as client:
        assert (await client.create_run("kyb", context_type="order", context_id="o-1")).id == "r-1"
    about = b'"type":"kyb","context_type":"order","context_id":"o-1"'
    assert [request.body for request in sender.requests] == [
        b"{" + about + b"}",
        b"{" + about + b',"thread_id":"t-1"}',
    ]


@pytest.mark.parametrize(("fault", "status"), LOST_AFTER)
@pytest.mark.parametrize("lag", [0.0, 1.0, 20.0, 55.0])
async def test_a_run_whose_create_was_answered_by_nothing_good_is_found(fault: Fault, status: int, lag: float) -> None:
    async with MiddeskServer(token=CANARY, list_lag=lag) as server, client_of(server) as client:
        server.faults.add(fault, endpoint="create", status=status)
        run = await create(client)
    assert list(server.world.runs) == [run.id]


@pytest.mark.parametrize(("fault", "status"), NEVER_DONE)
async def test_a_create_that_came_to_nothing_is_unknown_and_not_sent_again(fault: Fault, status: int) -> None:
    async with MiddeskServer(token=CANARY) as server, client_of(server) as client:
        server.faults.add(fault, endpoint="create", status=status)
        with pytest.raises(CreateOutcomeUnknownError) as caught:
            await create(client)
        assert [caught.value.key] == list(server.world.threads)
        assert await client.find_run_by_key(caught.value.key) is None
    assert server.world.runs == {}
    assert endpoints(server).count("create") == 1


@pytest.mark.parametrize(("fault", "status"), [*LOST_AFTER, *NEVER_DONE])
async def test_a_thread_that_was_lost_is_made_again_and_costs_no_run(fault: Fault, status: int) -> None:
    async with MiddeskServer(token=CANARY) as server, client_of(server) as client:
        server.faults.add(fault, endpoint="create_thread", status=status)
        run = await create(client)
    assert list(server.world.runs) == [run.id]
    assert endpoints(server) == ["create_thread", "create_thread", "create"]


async def test_where_no_thread_can_be_made_there_is_no_run(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.ERROR_BEFORE, endpoint="create_thread", times=None, status=503)
    async with client_of(middesk_server) as client:
        with pytest.raises(ServerError) as caught:
            await create(client)
        assert not isinstance(caught.value, OutcomeUnknownError)
        middesk_server.faults.clear()
        with pytest.raises(NotFoundError, match="Agent type not found"):
            await client.create_run("nobody", business_id=BUSINESS)
        with pytest.raises(InvalidRequestError):
            await client.create_run(AGENT, context_type="order", context_id="no UUID")
    assert middesk_server.world.runs == {}


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("first_page", [0, 1])
async def test_it_is_found_among_many_at_either_end_of_the_list(order: Any, first_page: int) -> None:
    async with (
        MiddeskServer(token=CANARY, list_order=order, first_page=first_page, largest_page=30) as server,
        client_of(server) as client,
    ):
        for _ in range(500):
            server.world.create(script=[])
        server.faults.add(Fault.RESET_AFTER, endpoint="create")
        creating = begin(create(client))
        await asyncio.sleep(0.5)
        for _ in range(50):
            server.world.create(script=[])
        run = await creating
    assert run.id == list(server.world.runs)[500]


async def test_creates_that_are_lost_together_are_each_found() -> None:
    async with MiddeskServer(token=CANARY, list_lag=3.0, latency=(0.01, 0.3), seed=3) as server:
        server.faults.add(Fault.RESET_AFTER, endpoint="create", times=None, probability=0.3)
        server.faults.add(Fault.ERROR_AFTER, endpoint="create", times=None, probability=0.3, status=504)
        server.faults.add(Fault.DROP_AFTER, endpoint="create_thread", times=None, probability=0.2)
        async with client_of(server) as client:
            runs = await asyncio.gather(*(create(client) for _ in range(100)))
    assert sorted(run.id for run in runs) == sorted(server.world.runs)
    assert server.violations == 0


async def test_a_thread_that_was_made_for_it_tells_as_well(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        thread = await client.create_thread(AGENT, business_id=BUSINESS)
        middesk_server.faults.add(Fault.RESET_AFTER, endpoint="create")
        first = await client.create_run(AGENT, thread_id=thread.id)
        assert list(middesk_server.world.runs) == [first.id]
        middesk_server.faults.add(Fault.RESET_AFTER, endpoint="create")
        with pytest.raises(OutcomeUnknownError) as caught:  # now the thread has a run, which is another one
            await client.create_run(AGENT, thread_id=thread.id)
    assert type(caught.value) is OutcomeUnknownError
    assert len(middesk_server.world.runs) == 2


async def test_two_creates_in_one_thread_at_once_are_never_taken_for_each_other(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        thread = await client.create_thread(AGENT, business_id=BUSINESS)
        middesk_server.faults.add(Fault.RESET_BEFORE, endpoint="create")
        both = [client.create_run(AGENT, thread_id=thread.id) for _ in range(2)]
        lost, made = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(lost, CreateOutcomeUnknownError)
    assert [made.id] == list(middesk_server.world.runs)  # type: ignore[union-attr]


async def test_a_create_that_is_cancelled_tells_its_thread(
    middesk_server: MiddeskServer, caplog: pytest.LogCaptureFixture
) -> None:
    middesk_server.faults.add(Fault.DROP_AFTER, endpoint="create")
    async with client_of(middesk_server) as client:
        creating = begin(create(client))
        await asyncio.sleep(1.0)
        creating.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await creating
        (thread_id,) = middesk_server.world.threads
        assert thread_id in caught.value.__notes__[0]
        found = await client.find_run_by_key(thread_id)
    assert found is not None
    assert [found.id] == list(middesk_server.world.runs)
    assert thread_id in caplog.text


async def test_an_answer_about_another_run_is_not_believed() -> None:
    other = {"id": "r-2", "thread_id": "t-2"}
    page = {"data": [other, {"id": "r-1", "thread_id": "t-1"}], "has_more": False}
    nothing = {"data": [], "has_more": False}  # under a thread that there is not
    sender = FakeSender(reply(201, {"id": "t-1"}), reply(201, other), reply(200, page), reply(200, nothing))
    async with client_with(sender) as client:
        assert (await client.create_run("kyb", business_id="b")).id == "r-1"


async def test_it_is_looked_for_as_long_as_is_said() -> None:
    sender = FakeSender(reply(201, {"id": "t-1"}), LOST, then=reply(body={"data": [], "has_more": False}))
    async with client_with(sender, settle=10.0) as client:
        started = now()
        with pytest.raises(CreateOutcomeUnknownError):
            await client.create_run("kyb", business_id="b")
        assert now() - started == pytest.approx(10.0, abs=0.2)


async def test_it_is_a_dialect_as_any_other(middesk_server: MiddeskServer) -> None:
    check_dialect(
        MiddeskDialect(),
        {"get": [{"id": "plain"}], "create": [{"id": "r"}]},
        fields={"type": AGENT, "business_id": "b"},
    )
    middesk_server.world.script = [(60.0, "completed")]
    middesk_server.faults.add(Fault.RESET_AFTER, endpoint="create")
    async with HostedRuns(MiddeskDialect(), base_url=middesk_server.url) as client:
        run = await client.create_run(type=AGENT, business_id=BUSINESS)
        assert (await client.wait_for_run(run)).phase is Phase.SUCCEEDED
        again = await client.create_run(type=AGENT, business_id=BUSINESS, idempotency_key=str(run.thread_id))
        assert again.id == run.id
    assert list(middesk_server.world.runs) == [run.id]
