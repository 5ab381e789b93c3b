"""Servers and roads that would make a second run: each must end with one run a prompt, or with "unknown"."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from codegen_async import (
    AgentRun,
    APIError,
    CodegenClient,
    CreateOutcomeUnknownError,
    InvalidArgumentError,
    ServerError,
)
from codegen_async.batch.items import State
from codegen_async.http.answers import Response
from codegen_async.testing import Fault
from codegen_async.testing.life import Run
from tests.support.odd import Odd, Row, client_on, cut, run_batch, states, without

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

# -- the list does not show keys, whatever the answers to creates show


@pytest.mark.parametrize("row", [without, cut])
async def test_a_list_that_shows_no_keys_proves_nothing(tmp_path: Path, row: Callable[[Run, Row], Row]) -> None:
    async with Odd() as server:
        server.row = row
        client, _ = client_on(server, 3, 7)
        outcomes = await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []
        assert states(outcomes) == {State.ENDED: 8, State.UNKNOWN: 2}


@pytest.mark.parametrize("row", [without, cut])
async def test_a_create_that_may_be_repeated_is_not_where_the_list_shows_no_keys(
    row: Callable[[Run, Row], Row],
) -> None:
    async with Odd() as server:
        server.row = row
        client, _ = client_on(server, 2, 3, 4)
        async with client:
            await client.create_run("one that works")
            with pytest.raises(CreateOutcomeUnknownError):
                await client.create_run("lost", on_unknown="retry")
        assert server.doubled() == []


@pytest.mark.parametrize("neighbours", [0, 5])
@pytest.mark.parametrize("prompts", [1, 10])
async def test_a_server_that_begins_to_keep_metadata_between_two_starts_proves_nothing_of_before(
    tmp_path: Path, prompts: int, neighbours: int
) -> None:
    async with Odd() as server:
        server.neighbours(neighbours)
        server.store = lambda _: {"metadata": None}
        client, _ = client_on(server, 1)
        await run_batch(client, tmp_path / "batch.db", prompts)
        server.store = lambda run: run
        for _ in range(2):  # also at a third start
            client, _ = client_on(server)
            await run_batch(client, tmp_path / "batch.db", 5, first=prompts)
        assert server.doubled() == []


# -- looks that could not have seen it


@pytest.mark.parametrize("late", [25.0, 40.0])
async def test_looks_that_failed_are_no_misses(tmp_path: Path, late: float) -> None:
    async with Odd() as server:
        client, road = client_on(server, 4)
        road.late = late

        def fail_later() -> None:
            asyncio.get_running_loop().call_later(
                late - 1, lambda: server.faults.add(Fault.ERROR_BEFORE, endpoint="list", status=503, times=60)
            )

        road.on_loss = fail_later
        await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []
        assert len(server.world.runs) == 10


@pytest.mark.parametrize("late", [25.0, 40.0])
async def test_a_single_create_is_not_repeated_where_the_last_look_failed(late: float) -> None:
    async with Odd() as server:
        client, road = client_on(server, 2)
        road.late = late
        road.on_loss = lambda: asyncio.get_running_loop().call_later(
            late - 1, lambda: server.faults.add(Fault.ERROR_BEFORE, endpoint="list", status=503, times=None)
        )
        async with client:
            await client.create_run("one that works")
            with pytest.raises(CreateOutcomeUnknownError, match="could not be looked for"):
                await client.create_run("lost", on_unknown="retry")
        assert server.doubled() == []


@pytest.mark.parametrize("damage", [{"id": None}, {"organization_id": "x"}, {"id": {}, "metadata": "?"}])
async def test_a_row_that_cannot_be_read_may_be_the_one(tmp_path: Path, damage: Row) -> None:
    async with Odd() as server:
        server.row = lambda run, row: {**row, **damage} if run.prompt == "do 3" else row
        client, _ = client_on(server, 4)
        outcomes = await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []
        assert states(outcomes)[State.UNKNOWN] == 1


async def test_an_answer_with_a_strangers_id_moves_no_floor(tmp_path: Path) -> None:
    async with Odd() as server:
        server.neighbours(150)
        client, road = client_on(server, 5)
        original = server.world.response
        odd = iter([{"id": 2**53, "metadata": None}])
        server.world.response = lambda run: {**original(run), **next(odd, {})}  # type: ignore[method-assign]
        road.on_loss = lambda: server.neighbours(150)
        await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []


async def test_a_row_with_a_strangers_id_moves_no_floor(tmp_path: Path) -> None:
    async with Odd() as server:
        first = server.neighbours(150)[0]
        server.row = lambda run, row: {**row, "id": 2**53} if run is first else row
        server.order = lambda run: 2**53 if run is first else run.id
        client, road = client_on(server, 5)
        road.on_loss = lambda: server.neighbours(150)
        await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []


@pytest.mark.parametrize("touched", [120, 300])
@pytest.mark.parametrize("falling", [True, False])
async def test_a_list_in_another_order_proves_nothing(tmp_path: Path, touched: int, falling: bool) -> None:
    async with Odd() as server:
        old = server.neighbours(touched)
        updated: dict[int, float] = {}
        server.order = lambda run: updated.get(run.id, run.id)

        def touch() -> None:
            for place, run in enumerate(old):
                updated[run.id] = 10**9 + (place if falling else -place)

        client, road = client_on(server, 5)
        road.on_loss = touch
        await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []


@pytest.mark.parametrize("falling", [True, False])
async def test_a_single_create_is_not_repeated_where_the_list_has_another_order(falling: bool) -> None:
    async with Odd() as server:
        old = server.neighbours(120)
        updated: dict[int, float] = {}
        server.order = lambda run: updated.get(run.id, run.id)
        client, road = client_on(server, 2)
        road.on_loss = lambda: updated.update(
            {run.id: 10**9 + (place if falling else -place) for place, run in enumerate(old)}
        )
        result: AgentRun | APIError
        async with client:
            await client.create_run("one that works")
            try:
                result = await client.create_run("lost", on_unknown="retry")
            except APIError as error:
                result = error
        assert isinstance(result, AgentRun | CreateOutcomeUnknownError)
        assert server.doubled() == []


# -- answers that are not the API's own


@pytest.mark.parametrize("status", [404, 409, 499, 400, 405])
async def test_a_refusal_that_is_not_the_apis_own_after_the_work_is_looked_into(tmp_path: Path, status: int) -> None:
    async with Odd() as server:
        client, road = client_on(server, 4)
        road.answer = Response(status=status, body=b"<html>gateway</html>")
        outcomes = await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []
        assert states(outcomes) == {State.ENDED: 10}


# -- what holds


async def test_a_list_that_lags_behind(tmp_path: Path) -> None:
    async with Odd() as server:
        server.row = lambda run, row: None if server.world.now() < run.created + 55.0 else row
        client, _ = client_on(server, 2, 5, 9)
        await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []
        assert len(server.world.runs) == 10


async def test_runs_that_are_deleted_during_the_search(tmp_path: Path) -> None:
    async with Odd() as server:
        neighbours = server.neighbours(500)
        client, _ = client_on(server, 2, 5)

        async def delete() -> None:
            while neighbours:
                server.world.delete(neighbours.pop().id)
                await asyncio.sleep(0.02)

        deleting = asyncio.create_task(delete())
        await run_batch(client, tmp_path / "batch.db")
        await deleting
        assert server.doubled() == []


async def test_a_create_that_surely_did_nothing_is_sent_again_beside_all_kinds_of_neighbours(tmp_path: Path) -> None:
    async with Odd() as server:
        server.neighbours(130)
        server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=3)
        client, _ = client_on(server)
        outcomes = await run_batch(client, tmp_path / "batch.db")
        assert server.doubled() == []
        assert states(outcomes) == {State.ENDED: 10}


# -- keys of the caller's


async def test_the_same_key_at_once_is_one_run() -> None:
    async with Odd() as server:
        client, _ = client_on(server)
        async with client:
            runs = await asyncio.gather(*[client.create_run("do", idempotency_key="mine") for _ in range(5)])
        assert len({run.id for run in runs}) == len(server.world.runs) == 1


async def test_the_same_key_later_is_the_same_run_as_it_is_then() -> None:
    async with Odd() as server:
        client, _ = client_on(server)
        async with client:
            first = await client.create_run("do", idempotency_key="mine")
            await asyncio.sleep(10.0)
            again = await client.create_run("do", idempotency_key="mine")
        assert (first.id, first.status, again.status) == (again.id, "ACTIVE", "COMPLETE")


async def test_the_same_key_in_another_program_is_the_same_run_also_behind_many_others() -> None:
    async with Odd() as server:
        ids = set()
        for _ in range(3):
            client, _ = client_on(server)
            async with client:
                ids.add((await client.create_run("do", idempotency_key="mine")).id)
            server.neighbours(400)
        assert len(ids) == 1


@pytest.mark.parametrize("other", [{"prompt": "else"}, {"metadata": {"a": 1}}, {"repo_id": 7}])
async def test_other_content_under_a_key_is_an_error_here_and_elsewhere(other: dict[str, Any]) -> None:
    async with Odd() as server:
        for _ in range(2):
            client, _ = client_on(server)
            async with client:
                await client.create_run("do", idempotency_key="mine")
                with pytest.raises(InvalidArgumentError, match="of other content"):
                    await client.create_run(**{"prompt": "do", "idempotency_key": "mine", **other})
        assert len(server.world.runs) == 1


async def test_other_content_under_a_key_that_is_being_created_is_an_error() -> None:
    async with Odd() as server:
        client, _ = client_on(server)
        async with client:
            first = asyncio.create_task(client.create_run("do", idempotency_key="mine"))
            await asyncio.sleep(0.05)
            with pytest.raises(InvalidArgumentError, match="is being created"):
                await client.create_run("else", idempotency_key="mine")
            await first


async def test_a_key_whose_create_was_given_up_brings_back_the_run_that_came_of_it() -> None:
    async with Odd() as server:
        client, road = client_on(server, 1)
        road.late = 30.0
        async with client:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5.0):
                    await client.create_run("do", idempotency_key="mine")
            run = await client.create_run("do", idempotency_key="mine")
        assert list(server.world.runs) == [run.id]


async def test_a_key_whose_outcome_is_unknown_is_not_sent_again_without_a_proof() -> None:
    async with Odd() as server:
        client = CodegenClient(server.token, org_id=server.org_id, base_url=server.url)
        server.row = without
        server.faults.add(Fault.RESET_AFTER, endpoint="create", times=1)
        for _ in range(2):
            async with client:  # what is in doubt stays so when it is closed and opened again
                with pytest.raises(CreateOutcomeUnknownError):
                    await client.create_run("do", idempotency_key="mine")
        assert len(server.world.runs) == 1


async def test_who_waits_for_another_caller_of_a_key_takes_over_when_that_one_is_cancelled() -> None:
    async with Odd() as server:
        client, _ = client_on(server)
        async with client:
            first, second = (asyncio.create_task(client.create_run("do", idempotency_key="mine")) for _ in range(2))
            await asyncio.sleep(0.05)
            first.cancel()
            run = await second
        assert list(server.world.runs) == [run.id]


async def test_a_look_that_failed_sends_nothing() -> None:
    async with Odd() as server:
        server.faults.add(Fault.ERROR_BEFORE, endpoint="list", status=503, times=None)
        client, _ = client_on(server)
        async with client:
            with pytest.raises(ServerError):
                await client.create_run("do", idempotency_key="mine")
        assert not server.world.runs


HUGE = msgspec.Raw(b'{"idempotency_key": "mine", "n": %s}' % (b"9" * 5000))


@pytest.mark.parametrize("damage", [{"id": "?"}, {"metadata": '{"idempotency_key": "mine"}'}, {"metadata": HUGE}])
async def test_a_row_that_cannot_be_read_and_bears_the_key_is_not_made_again(damage: Row) -> None:
    async with Odd() as server:
        client, _ = client_on(server)
        async with client:
            await client.create_run("do", idempotency_key="mine")
            await client.create_run("another")
        server.row = lambda run, row: {**row, **damage} if run.prompt == "do" else row
        client, _ = client_on(server)
        async with client:
            with pytest.raises(CreateOutcomeUnknownError, match="cannot be read bears the key"):
                await client.create_run("do", idempotency_key="mine")
            with pytest.raises(CreateOutcomeUnknownError, match="cannot be read bears the key"):
                await client.find_run_by_key("mine")
            await client.create_run("third", idempotency_key="other")
        assert server.doubled() == []


async def test_a_look_costs_ten_pages_at_first_and_one_for_each_further_key() -> None:
    async with Odd() as server:
        server.neighbours(1200)
        client, _ = client_on(server)
        async with client:
            for n in range(5):
                await client.create_run(f"do {n}", idempotency_key=str(n))
        lists = sum(request.endpoint == "list" for request in server.requests)
        assert lists <= 10 + 2 * 4


async def test_without_a_key_of_the_callers_nothing_is_looked_for() -> None:
    async with Odd() as server:
        client, _ = client_on(server)
        async with client:
            await client.create_run("do")
        assert [request.endpoint for request in server.requests] == ["create"]
