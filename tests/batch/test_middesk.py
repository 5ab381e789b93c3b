"""Batches of Middesk runs: each in a thread of its own, made before it and noted."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from codegen_async import HostedRun, InvalidArgumentError, Rate
from codegen_async.batch.batch import Batch, export_journal
from codegen_async.batch.items import Outcome, State
from codegen_async.errors import JournalError
from codegen_async.middesk.client import MiddeskClient
from codegen_async.testing import Fault, MiddeskServer
from tests.batch.helpers import loop_time, query
from tests.batch.middesk_processes import businesses
from tests.middesk.helpers import AGENT, BUSINESS, ask
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

FAULTS = [
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.DROP_BEFORE,
    Fault.DROP_AFTER,
    Fault.ERROR_BEFORE,
    Fault.ERROR_AFTER,
]


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[MiddeskServer]:
    async with MiddeskServer(token=CANARY, list_lag=3.0) as server:
        server.world.script = [(5.0, "COMPLETED")]
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@contextlib.asynccontextmanager
async def opened(server: MiddeskServer, path: Path, **options: Any) -> AsyncGenerator[Batch[HostedRun, str]]:
    client = MiddeskClient(CANARY, base_url=server.url, **options)
    async with client, Batch(client, path, clock=loop_time) as batch:
        yield batch


async def run_all(batch: Batch[HostedRun, str]) -> list[Outcome[HostedRun, str]]:
    return [outcome async for outcome in batch.run()]


def business(number: int) -> str:
    return f"0a1b2c3d-0000-4000-8000-{number:012}"


def add(batch: Batch[HostedRun, str], count: int) -> None:
    for number in range(count):
        batch.add(key=str(number), type=AGENT, business_id=business(number))


async def test_each_item_becomes_a_run_in_a_thread_of_its_own(server: MiddeskServer, path: Path) -> None:
    async with opened(server, path) as batch:
        add(batch, 60)
        outcomes = await run_all(batch)
        assert (await batch.audit()).ok
    assert [outcome.succeeded for outcome in outcomes] == [True] * 60
    assert businesses(server) == {business(number): 1 for number in range(60)}
    assert len(server.world.threads) == 60
    assert server.violations == 0
    assert await export_journal(path, path.with_name("out.csv")) == 60


async def test_a_limit_of_one_request_at_a_time_is_enough(server: MiddeskServer, path: Path) -> None:
    async with opened(server, path, rate=Rate(1, 1.0)) as batch:
        add(batch, 5)
        outcomes = await run_all(batch)
    assert [outcome.succeeded for outcome in outcomes] == [True] * 5


@pytest.mark.parametrize("endpoint", ["create", "create_thread"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_lost_answers_make_nothing_missing_and_nothing_twice(
    server: MiddeskServer, path: Path, fault: Fault, endpoint: str
) -> None:
    async with opened(server, path) as batch:
        batch.add(key="first", type=AGENT, business_id=business(999))
        await run_all(batch)
        server.faults.add(fault, endpoint=endpoint, times=4, status=503)
        add(batch, 12)
        outcomes = await run_all(batch)
    assert [outcome.succeeded for outcome in outcomes] == [True] * 12
    assert set(businesses(server).values()) == {1}


async def test_threads_that_are_made_do_not_show_that_runs_are(server: MiddeskServer, path: Path) -> None:
    async with opened(server, path) as batch:
        batch.add(key="first", type=AGENT, business_id=business(999))
        await run_all(batch)
        server.faults.add(Fault.ERROR_BEFORE, endpoint="create", times=None, status=404)
        add(batch, 50)
        running = asyncio.create_task(run_all(batch))
        await asyncio.sleep(300.0)
        server.faults.clear()
        outcomes = await running
    assert [outcome.succeeded for outcome in outcomes] == [True] * 50
    assert set(businesses(server).values()) == {1}


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.4, 1.0, 3.0, 20.0, 70.0])
async def test_a_batch_that_is_left_at_any_moment_goes_on_where_it_stood(
    server: MiddeskServer, path: Path, seconds: float
) -> None:
    async with opened(server, path) as batch:
        batch.add(key="first", type=AGENT, business_id=business(999))
        await run_all(batch)
        add(batch, 15)
    for fault in (Fault.RESET_BEFORE, Fault.RESET_AFTER):
        server.faults.add(fault, endpoint="create", times=None, probability=0.3)
    for wait in (seconds, seconds / 2):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait), opened(server, path) as batch:
                await run_all(batch)
    async with opened(server, path) as batch:
        while unknown := [outcome.key for outcome in await run_all(batch) if outcome.state is State.UNKNOWN]:
            await batch.resend(unknown[0])
        assert (await batch.status())[State.ENDED] == 16
    assert Counter(businesses(server).values()) == {1: 16}


async def test_a_run_that_asks_is_told_and_gone_on_with_once_it_was_answered(server: MiddeskServer, path: Path) -> None:
    server.world.script = [(1.0, ask("approve?")), (5.0, "COMPLETED")]
    async with opened(server, path) as batch:
        add(batch, 1)
        (outcome,) = await run_all(batch)
        assert outcome.state is State.CREATED
        assert outcome.run_id is not None
    async with MiddeskClient(CANARY, base_url=server.url) as client:
        run = await client.get_run(outcome.run_id)
        await client.resume_run(run.id, run.interrupts[0].id, "yes")
    async with opened(server, path) as batch:
        (outcome,) = await run_all(batch)
        assert outcome.succeeded


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"type": AGENT}, "business_id: expected a value, as MiddeskDialect.create makes no run without it"),
        ({"business_id": BUSINESS}, "type: expected"),
        (
            {"type": AGENT, "business_id": BUSINESS, "thread_id": "t"},
            "thread_id: expected a field that MiddeskDialect.create sends",
        ),
        ({"type": AGENT, "context_type": "order"}, "context_id: expected context_type and context_id"),
    ],
)
async def test_fields_that_cannot_be_right_are_refused_when_they_are_added(
    server: MiddeskServer, path: Path, fields: dict[str, Any], complaint: str
) -> None:
    async with opened(server, path) as batch:
        with pytest.raises(InvalidArgumentError, match=complaint):
            batch.add(key="a", **fields)
        assert sum((await batch.status()).values()) == 0


async def test_the_journal_names_its_api_and_is_refused_elsewhere(server: MiddeskServer, path: Path) -> None:
    async with opened(server, path) as batch:
        add(batch, 1)
    async with MiddeskServer(token=CANARY) as other:
        async with opened(server, path) as batch:
            await run_all(batch)
        with pytest.raises(JournalError, match=r"belongs to middesk at .*, and this is middesk at"):
            async with opened(other, path):
                pass
    ((parent,),) = await asyncio.to_thread(query, path, "SELECT parent FROM items")
    assert parent in server.world.threads


async def test_what_is_no_client_is_refused(path: Path) -> None:
    wrong: Any = object()
    with pytest.raises(InvalidArgumentError, match="client: expected a CodegenClient, a MiddeskClient or a HostedRuns"):
        Batch(wrong, path)
