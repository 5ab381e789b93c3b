"""Batches against a simulated server, in virtual time."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from codegen_async import ClientClosedError, InvalidArgumentError, Phase, Timeouts
from codegen_async.batch.batch import Batch
from codegen_async.batch.items import Outcome, State
from codegen_async.codegen.searching import IDEMPOTENCY_KEY
from codegen_async.errors import BatchPausedError, JournalError
from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.http.transport import Sender
from codegen_async.limits import Slot
from codegen_async.testing import CodegenServer, Fault
from tests.batch.helpers import ENDLESS, SHORT, Forgetful, client_of, loop_time, opened, run_all
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def runs_per_prompt(server: CodegenServer) -> Counter[str]:
    return Counter(run.prompt for run in server.world.runs.values())


def creates(server: CodegenServer) -> list[float]:
    return [request.time for request in server.requests if request.endpoint == "create"]


def once_each(count: int) -> dict[str, int]:
    return {f"do {n}": 1 for n in range(count)}


async def until(server: CodegenServer, runs: int) -> None:
    """Wait until the server has so many runs."""
    while len(server.world.runs) < runs:  # noqa: ASYNC110 - virtual time, and the server does not tell
        await asyncio.sleep(0.5)


# -- all is well


async def test_each_prompt_becomes_one_run_and_one_outcome(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        for n in range(25):
            batch.add(f"do {n}")
        outcomes = await run_all(batch)
        assert (await batch.status())[State.ENDED] == 25
        assert (await batch.audit()).ok
    assert runs_per_prompt(codegen_server) == once_each(25)
    assert sorted(outcome.index for outcome in outcomes) == list(range(25))
    for outcome in outcomes:
        assert outcome.succeeded
        assert outcome.run_id is not None
        assert codegen_server.world.runs[outcome.run_id].prompt == f"do {outcome.index}"
    assert codegen_server.violations == 0


async def test_the_create_window_is_kept_full(path: Path) -> None:
    async with CodegenServer(token=CANARY, latency=(0.05, 0.3)) as server:
        server.world.script = SHORT
        async with opened(server, path) as batch:
            for n in range(100):
                batch.add(f"do {n}")
            await run_all(batch)
        sent = creates(server)
        ideal = (100 - 10) / 10 * 60.0
        assert sent[-1] - sent[0] <= ideal * 1.02
        assert server.violations == 0


async def test_all_fields_reach_the_server(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    image = "data:image/png;base64,iVBORw0KGgo="
    async with opened(codegen_server, path) as batch:
        batch.add("do", images=[image], metadata={"team": "a"}, repo_id=7, model="m", agent_type="claude_code", key="k")
        (outcome,) = await run_all(batch)
    (run,) = codegen_server.world.runs.values()
    assert (run.prompt, run.images, run.repo_id, run.model, run.agent_type) == ("do", [image], 7, "m", "claude_code")
    assert run.metadata is not None
    assert run.metadata["team"] == "a"
    assert len(run.metadata[IDEMPOTENCY_KEY]) <= 64
    assert outcome.key == "k"


async def test_no_more_items_are_under_way_than_asked_for(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (100.0, "COMPLETE")]
    async with opened(codegen_server, path) as batch:
        for n in range(8):
            batch.add(f"do {n}")
        await run_all(batch, max_active=3)
    runs = list(codegen_server.world.runs.values())
    most = max(sum(other.created <= run.created < other.created + 100.0 for other in runs) for run in runs)
    assert most == 3
    assert len(runs) == 8


async def test_an_item_may_be_added_while_the_batch_runs(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    prompts = []
    async with opened(codegen_server, path) as batch:
        batch.add("first")
        async for outcome in batch.run():
            assert outcome.run_id is not None
            prompts.append(codegen_server.world.runs[outcome.run_id].prompt)
            if len(prompts) < 3:
                batch.add(f"after {prompts[-1]}")
    assert prompts == ["first", "after first", "after after first"]


async def test_a_failed_run_is_a_result_unless_more_attempts_are_asked_for(
    codegen_server: CodegenServer, path: Path, tmp_path: Path
) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (1.0, "ERROR")]
    async with opened(codegen_server, path) as batch:
        batch.add("do")
        (outcome,) = await run_all(batch)
    assert (outcome.state, outcome.succeeded, outcome.attempts) == (State.ENDED, False, 1)
    async with opened(codegen_server, tmp_path / "other.db") as batch:
        batch.add("do")
        (outcome,) = await run_all(batch, max_attempts=3)
        assert (await batch.audit()).ok
    assert (outcome.state, outcome.succeeded, outcome.attempts) == (State.ENDED, False, 3)
    keys = [(run.metadata or {})[IDEMPOTENCY_KEY] for run in codegen_server.world.runs.values()]
    assert len(set(keys)) == len(keys) == 4


# -- starting anew


async def test_a_script_that_is_started_again_creates_nothing_again(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    for _ in range(2):
        async with opened(codegen_server, path) as batch:
            for n in range(5):
                batch.add(f"do {n}")
            batch.add("keyed", key="own")
            outcomes = await run_all(batch)
    assert outcomes == []
    assert len(codegen_server.world.runs) == 6


async def test_other_content_under_a_known_key_is_an_error_and_sends_nothing(
    codegen_server: CodegenServer, path: Path
) -> None:
    async with opened(codegen_server, path) as batch:
        batch.add("one", key="a")
        with pytest.raises(InvalidArgumentError, match="'a'"):
            batch.add("two", key="a")
    async with opened(codegen_server, path) as batch:
        batch.add("other")
        batch.add("two", key="a")
        with pytest.raises(InvalidArgumentError, match="'a'"):
            await run_all(batch)
        assert (await batch.status())[State.PLANNED] == 2  # "one" under that key, and "other"
    assert creates(codegen_server) == []


async def test_a_batch_needs_an_open_client_and_makes_no_file_without(
    codegen_server: CodegenServer, path: Path
) -> None:
    client = client_of(codegen_server)
    with pytest.raises(ClientClosedError, match="use the client inside its block"):
        async with Batch(client, path):
            pass
    assert await asyncio.to_thread(lambda: list(path.parent.iterdir())) == []


async def test_two_batches_of_one_client_both_remember_what_was_sent(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    other = path.with_name("other.db")
    async with client_of(codegen_server) as client, Batch(client, path, clock=loop_time) as first:
        async with Batch(client, other, clock=loop_time) as second:
            second.add("a")
            await run_all(second)
        first.add("b")
        await run_all(first)
    async with client_of(codegen_server) as client, Batch(client, path, clock=loop_time):
        assert client.limits["create"].cooling == 2
    async with client_of(codegen_server) as client, Batch(client, other, clock=loop_time):
        assert client.limits["create"].cooling == 1


async def test_what_was_created_is_waited_for_again(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (500.0, "COMPLETE")]
    async with opened(codegen_server, path) as batch:
        for n in range(5):
            batch.add(f"do {n}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(100):
                await run_all(batch)
        assert (await batch.status())[State.CREATED] == 5
    async with opened(codegen_server, path) as batch:
        outcomes = await run_all(batch)
    assert [outcome.succeeded for outcome in outcomes] == [True] * 5
    assert len(creates(codegen_server)) == 5


async def test_an_outcome_is_handed_out_again_until_the_next_is_asked_for(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    handed: list[Outcome] = []
    async with opened(codegen_server, path) as batch:
        for n in range(3):
            batch.add(f"do {n}")
        async with contextlib.aclosing(batch.run()) as outcomes:
            async for outcome in outcomes:
                handed.append(outcome)
                if len(handed) == 2:
                    break
    async with opened(codegen_server, path) as batch:
        rest = await run_all(batch)
    assert [outcome.key for outcome in rest] == [handed[1].key, ({"#0", "#1", "#2"} - {o.key for o in handed}).pop()]


async def test_a_restart_spends_no_second_burst(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = ENDLESS
    for lives in range(1, 4):
        async with opened(codegen_server, path) as batch:
            for n in range(40):
                batch.add(f"do {n}")
            running = asyncio.create_task(run_all(batch))
            await until(codegen_server, lives * 10)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
    assert codegen_server.worst("create").seen == 10
    assert codegen_server.violations == 0


async def test_restarts_spend_no_more_of_the_budget_for_polls_than_one_life_would(path: Path) -> None:
    async with CodegenServer(token=CANARY, latency=(0.05, 0.1)) as server:
        server.world.script = ENDLESS
        for _ in range(200):
            async with opened(server, path, latency=0.0) as batch:
                batch.add("a")
                batch.add("b")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await run_all(batch)
        assert sum(request.endpoint == "list" for request in server.requests) > 60
        assert server.violations == 0


async def test_a_batch_that_is_opened_again_by_the_same_client_need_not_wait(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    async with client_of(codegen_server) as client:
        for n in range(4):
            async with Batch(client, path, clock=loop_time) as batch:
                batch.add(f"do {n}", key=str(n))
                before = loop_time()
                await run_all(batch)
                assert loop_time() - before < 10.0


async def test_leaving_while_creates_are_under_way_loses_and_doubles_nothing(path: Path) -> None:
    async with CodegenServer(token=CANARY, latency=(1.0, 1.0)) as server:
        server.world.script = SHORT
        for patience in (0.5, 1.5, 2.5, 70.0):
            async with opened(server, path) as batch:
                for n in range(30):
                    batch.add(f"do {n}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await run_all(batch)
        async with opened(server, path) as batch:
            await run_all(batch)
            assert (await batch.audit()).ok
        assert runs_per_prompt(server) == once_each(30)
        assert server.violations == 0


# -- creates that go wrong

LOSSES: dict[str, tuple[Fault, dict[str, Any]]] = {
    "reset before": (Fault.RESET_BEFORE, {}),
    "reset after": (Fault.RESET_AFTER, {}),
    "silence before": (Fault.DROP_BEFORE, {}),
    "silence after": (Fault.DROP_AFTER, {}),
    "503 before": (Fault.ERROR_BEFORE, {"status": 503}),
    "504 after": (Fault.ERROR_AFTER, {"status": 504}),
    "late answer": (Fault.SLOW_HEADERS, {"seconds": 45.0}),
    "cut answer": (Fault.TRUNCATED_BODY, {}),
    "broken answer": (Fault.BROKEN_JSON, {}),
    "429": (Fault.RATE_LIMITED, {"retry_after": 3}),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_whatever_happens_to_creates_each_prompt_becomes_one_run(
    codegen_server: CodegenServer, path: Path, loss: str
) -> None:
    codegen_server.world.script = SHORT
    fault, options = LOSSES[loss]
    codegen_server.faults.add(fault, endpoint="create", times=None, probability=0.5, **options)
    async with opened(codegen_server, path) as batch:
        for n in range(30):
            batch.add(f"do {n}")
        outcomes = await run_all(batch)
        assert (await batch.audit()).ok
    assert codegen_server.faults.injected[fault] > 5
    assert runs_per_prompt(codegen_server) == once_each(30)
    assert all(outcome.succeeded for outcome in outcomes)
    assert len(outcomes) == 30
    assert codegen_server.violations == 0


async def test_a_create_that_surely_happened_is_never_sent_again_by_itself(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.BROKEN_JSON, endpoint="create")
    async with opened(codegen_server, path) as batch:
        for n in range(3):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_all(batch))
        await until(codegen_server, 1)
        (hidden,) = [run for run in codegen_server.world.runs.values() if run.prompt == "do 0"]
        codegen_server.world.delete(hidden.id)
        outcomes = {outcome.index: outcome for outcome in await running}
        assert outcomes[0].state is State.UNKNOWN
        assert "reported success" in (outcomes[0].error or "")
        assert outcomes[1].succeeded
        assert outcomes[2].succeeded
        (again,) = await run_all(batch)  # looked for once more, as the batch is run again
        assert again.state is State.UNKNOWN
        assert len(creates(codegen_server)) == 3
        await batch.resend("#0")
        (decided,) = await run_all(batch)
    assert decided.succeeded
    assert len(creates(codegen_server)) == 4


async def test_without_metadata_in_answers_nothing_is_ever_sent_twice(path: Path) -> None:
    async with Forgetful(token=CANARY) as server:
        server.world.script = SHORT
        server.faults.add(Fault.RESET_AFTER, endpoint="create", times=None, probability=0.3)
        server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=None, probability=0.3)
        async with opened(server, path) as batch:
            for n in range(20):
                batch.add(f"do {n}")
            outcomes = await run_all(batch)
        lost = server.faults.injected.total()
        assert lost > 3
        assert Counter(outcome.state for outcome in outcomes) == {State.UNKNOWN: lost, State.ENDED: 20 - lost}
        assert len(creates(server)) == 20


async def test_a_single_create_that_is_lost_is_not_sent_again_before_it_is_known_that_runs_can_be_found(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create")
    async with opened(codegen_server, path) as batch:
        batch.add("do 0")
        (outcome,) = await run_all(batch)
        assert outcome.state is State.UNKNOWN
        assert codegen_server.world.runs == {}
        batch.add("do 1")  # its answer shows it
        outcomes = await run_all(batch)
    assert {outcome.key: outcome.state for outcome in outcomes} == {"#0": State.ENDED, "#1": State.ENDED}
    assert runs_per_prompt(codegen_server) == once_each(2)


async def test_a_lost_create_waits_for_others_to_show_that_runs_can_be_found(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=10)
    async with opened(codegen_server, path) as batch:
        for n in range(11):
            batch.add(f"do {n}")
        outcomes = await run_all(batch)
    assert all(outcome.succeeded for outcome in outcomes)
    assert runs_per_prompt(codegen_server) == once_each(11)


async def test_a_refused_item_is_an_outcome_and_the_others_go_on(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("do 0", agent_type="no such agent")
        batch.add("do 1")
        batch.add("do 2", images=["/nowhere/image.png"])
        outcomes = {outcome.index: outcome for outcome in await run_all(batch)}
    assert [outcomes[n].state for n in range(3)] == [State.REJECTED, State.ENDED, State.REJECTED]
    assert "agent_type" in (outcomes[0].error or "")
    assert "image.png" in (outcomes[2].error or "")
    assert len(codegen_server.world.runs) == 1


async def test_the_list_may_be_down_for_long(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.RESET_AFTER, endpoint="create", times=None, probability=0.5)
    codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="list", status=503, times=60)
    async with opened(codegen_server, path) as batch:
        for n in range(20):
            batch.add(f"do {n}")
        outcomes = await run_all(batch)
    assert codegen_server.faults.injected[Fault.ERROR_BEFORE] == 60
    assert all(outcome.succeeded for outcome in outcomes)
    assert runs_per_prompt(codegen_server) == once_each(20)


async def test_a_server_that_answers_nothing_makes_only_a_window_of_items_ambiguous(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=None)
    codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="list", status=503, times=None, after=1)
    async with opened(codegen_server, path) as batch:
        for n in range(100):
            batch.add(f"do {n}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(600):
                await run_all(batch)
        status = await batch.status()
    assert status[State.SENDING] <= 20
    assert status[State.SENDING] + status[State.PLANNED] == 100


# -- pauses


async def test_402_lets_what_runs_end_and_then_raises_and_can_be_gone_on_from(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (300.0, "COMPLETE")]
    codegen_server.plan_limit = 7
    outcomes: list[Outcome] = []
    async with opened(codegen_server, path) as batch:
        for n in range(20):
            batch.add(f"do {n}")
        with pytest.raises(BatchPausedError, match="billing plan") as caught:
            await run_all(batch, into=outcomes)
        assert "run it again" in str(caught.value)
        assert [outcome.succeeded for outcome in outcomes] == [True] * 7
        assert (await batch.status())[State.PLANNED] == 13
        codegen_server.plan_limit = None
        outcomes += await run_all(batch)
    assert len(outcomes) == 20
    assert runs_per_prompt(codegen_server) == once_each(20)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_stops_everything_at_once_and_can_be_gone_on_from(
    codegen_server: CodegenServer, path: Path, status: int
) -> None:
    codegen_server.world.script = ENDLESS
    async with opened(codegen_server, path) as batch:
        for n in range(20):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_all(batch))
        await until(codegen_server, 10)
        if status == 401:
            codegen_server.token = "another"
        else:
            codegen_server.faults.add(Fault.REFUSED, times=None, status=403)
        began = loop_time()
        with pytest.raises(BatchPausedError):
            await running
        assert loop_time() - began < 10.0
    codegen_server.token = CANARY
    codegen_server.faults.clear()
    codegen_server.world.script = SHORT
    for run_id in codegen_server.world.runs:
        codegen_server.world.end(run_id)
    async with opened(codegen_server, path) as batch:
        outcomes = await run_all(batch)
    assert [outcome.succeeded for outcome in outcomes] == [True] * 20
    assert runs_per_prompt(codegen_server) == once_each(20)


async def test_a_token_that_is_refused_from_the_start_pauses_the_batch(
    codegen_server: CodegenServer, path: Path
) -> None:
    async with opened(codegen_server, path, token="wrong") as batch:
        batch.add("do")
        with pytest.raises(BatchPausedError, match="token"):
            await run_all(batch)
        assert (await batch.status())[State.PLANNED] == 1


async def test_a_redirect_on_create_pauses_the_batch(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="create", status=307)
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("do 0")
        with pytest.raises(BatchPausedError, match="307"):
            await run_all(batch)
        (outcome,) = await run_all(batch)
    assert outcome.succeeded


async def test_stop_creates_no_more_and_waits_for_what_runs(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (20.0, "COMPLETE")]
    async with opened(codegen_server, path) as batch:
        for n in range(30):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_all(batch))
        await until(codegen_server, 10)
        began = loop_time()
        batch.stop()
        outcomes = await running
        assert [outcome.succeeded for outcome in outcomes] == [True] * 10
        assert loop_time() - began < 30.0  # not until the next slot is free
        assert (await batch.status())[State.PLANNED] == 20
        assert await run_all(batch) == []
    assert len(codegen_server.world.runs) == 10


async def test_stop_does_not_wait_for_a_proof_that_cannot_come_any_more(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=10)
    async with opened(codegen_server, path) as batch:
        for n in range(11):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_all(batch))
        while len(creates(codegen_server)) < 10:  # noqa: ASYNC110 - virtual time, and the server does not tell
            await asyncio.sleep(0.5)
        batch.stop()
        outcomes = await running
        assert Counter(outcome.state for outcome in outcomes) == {State.UNKNOWN: 10}
        assert (await batch.status())[State.PLANNED] == 1


# -- runs that do not end


async def test_a_paused_run_is_an_outcome_and_is_taken_up_by_the_next_run(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (5.0, "PAUSED")]
    async with opened(codegen_server, path) as batch:
        batch.add("do")
        (outcome,) = await run_all(batch)
        assert outcome.state is State.CREATED
        assert outcome.run is not None
        assert outcome.run.phase is Phase.BLOCKED
        assert outcome.run_id is not None
        codegen_server.world.resume(outcome.run_id, "go on", script=SHORT)
    async with opened(codegen_server, path) as batch:
        (outcome,) = await run_all(batch)
    assert outcome.succeeded
    assert len(creates(codegen_server)) == 1


async def test_a_run_that_is_not_found_has_not_ended_and_can_be_made_anew(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = ENDLESS
    async with opened(codegen_server, path) as batch:
        batch.add("do")
        running = asyncio.create_task(run_all(batch))
        await until(codegen_server, 1)
        (run_id,) = codegen_server.world.runs
        await asyncio.sleep(10.0)
        codegen_server.world.delete(run_id)
        (outcome,) = await running
        assert (outcome.state, outcome.run_id, outcome.run) == (State.CREATED, run_id, None)
        assert "is not found" in (outcome.error or "")
        assert (await batch.audit()).missing == ("#0",)
        codegen_server.world.script = SHORT
        assert await batch.retry("#0") == ("#0",)
        (outcome,) = await run_all(batch)
        assert (outcome.succeeded, outcome.attempts) == (True, 2)


# -- a server that cannot be reached


async def test_an_outage_delays_and_ends_nothing(path: Path) -> None:
    async with CodegenServer(token=CANARY) as server:
        server.world.script = SHORT
        gone = client_of(server, base_url="http://127.0.0.1:9", timeouts=Timeouts(connect=5.0))
        loop = asyncio.get_running_loop()
        async with gone as client, Batch(client, path, clock=loop.time) as batch:
            batch.add("do 0")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3600):
                    await run_all(batch)
            assert (await batch.status())[State.PLANNED] == 1
        async with opened(server, path) as batch:
            (outcome,) = await run_all(batch)
        assert outcome.succeeded


class Cut:
    """A sender whose creates do not reach the server for a while."""

    def __init__(self, sender: Sender, until: float) -> None:
        self._sender = sender
        self._until = until
        self.refused = 0

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        if request.method == "GET" or loop_time() >= self._until:
            return await self._sender.send(request, take_slot)
        async with take_slot():
            self.refused += 1
            raise NoAnswerError("cannot be reached", sent=False)

    def renew(self) -> None:
        self._sender.renew()

    async def aclose(self) -> None:
        await self._sender.aclose()


async def test_creates_that_do_not_reach_the_server_are_repeated_with_pauses(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    client = client_of(codegen_server)
    client._sender = cut = Cut(client._make_sender(), loop_time() + 600.0)
    loop = asyncio.get_running_loop()
    async with client, Batch(client, path, clock=loop.time) as batch:
        for n in range(15):
            batch.add(f"do {n}")
        outcomes = await run_all(batch)
    assert [outcome.succeeded for outcome in outcomes] == [True] * 15
    assert runs_per_prompt(codegen_server) == once_each(15)
    assert 20 < cut.refused < 500
    assert codegen_server.violations == 0


# -- disk and misuse


async def test_a_full_disk_stops_before_anything_is_sent_that_is_not_written_down(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        for n in range(60):
            batch.add(f"do {n} {'x' * 5000}")
        assert (await batch.status())[State.PLANNED] == 60
        journal = batch._opened()
        (pages,) = (await journal._rows("PRAGMA page_count"))[0]
        await journal._rows(f"PRAGMA max_page_count = {pages + 1}")  # for the first of them
        with pytest.raises(JournalError, match="disk is full") as caught:
            await run_all(batch)
        assert str(path) in str(caught.value)
        status = await batch.status()
        assert 0 < len(codegen_server.world.runs) <= 60 - status[State.PLANNED]
    async with opened(codegen_server, path) as batch:
        await run_all(batch)
        assert (await batch.audit()).ok
    assert sorted(runs_per_prompt(codegen_server).values()) == [1] * 60


async def test_the_token_is_in_no_file(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.RESET_AFTER, endpoint="create", times=2)
    async with opened(codegen_server, path) as batch:
        batch.add("do 0", agent_type="no such agent")
        for n in range(1, 5):
            batch.add(f"do {n}")
        await run_all(batch)
        await batch.export(path.with_suffix(".csv"))
        contents = await asyncio.to_thread(lambda: {file.name: file.read_bytes() for file in path.parent.iterdir()})
    assert set(contents) == {"batch.db", "batch.db-journal", "batch.db-lock", "batch.csv"}
    assert any(b"do 4" in content for content in contents.values())
    assert not any(CANARY.encode() in content for content in contents.values())


async def test_a_batch_is_run_by_one_loop_at_a_time(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("do")
        async with contextlib.aclosing(batch.run()) as outcomes:
            await anext(outcomes)
            with pytest.raises(RuntimeError, match="already"):
                await run_all(batch)


async def test_a_batch_is_used_inside_its_block(codegen_server: CodegenServer, path: Path) -> None:
    async with opened(codegen_server, path) as batch:
        pass
    with pytest.raises(ClientClosedError):
        batch.add("do")
    with pytest.raises(ClientClosedError):
        await run_all(batch)


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": " "},
        {"prompt": "do", "repo_id": 0},
        {"prompt": "do", "metadata": {IDEMPOTENCY_KEY: "x"}},
        {"prompt": "do", "metadata": {"x": float("nan")}},
        {"prompt": "do", "images": "a.png"},
        {"prompt": "do", "images": [b"png"]},
        {"prompt": "do", "key": "#3"},
        {"prompt": "do", "model": 5},
    ],
)
async def test_an_argument_that_cannot_be_right_is_refused_at_once(
    codegen_server: CodegenServer, path: Path, arguments: dict[str, Any]
) -> None:
    async with opened(codegen_server, path) as batch:
        with pytest.raises(InvalidArgumentError):
            batch.add(**arguments)
        assert sum((await batch.status()).values()) == 0


@pytest.mark.parametrize("options", [{"max_active": 0}, {"max_attempts": 0}, {"max_active": 1.5}])
async def test_options_that_cannot_be_right_are_refused(
    codegen_server: CodegenServer, path: Path, options: dict[str, Any]
) -> None:
    async with opened(codegen_server, path) as batch:
        with pytest.raises(InvalidArgumentError):
            await run_all(batch, **options)


# -- what attacks have found


async def test_an_item_that_is_looked_for_cannot_be_sent_again_meanwhile(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
    async with opened(codegen_server, path) as batch:
        batch.add("a", key="a")
        await run_all(batch)  # nothing proves that it could be found
        assert (await batch.status())[State.UNKNOWN] == 1
    async with opened(codegen_server, path) as batch:
        batch.add("b", key="b")
        running = asyncio.create_task(run_all(batch))
        await asyncio.sleep(20.0)
        assert (await batch.status())[State.SENDING] == 1
        with pytest.raises(InvalidArgumentError, match="rejected or unknown"):
            await batch.resend("a")
        await running
        assert (await batch.audit()).ok
    assert runs_per_prompt(codegen_server) == {"a": 1, "b": 1}


async def test_a_run_that_thousands_have_followed_is_found(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.RESET_AFTER, endpoint="create", times=1)
    async with opened(codegen_server, path) as batch:
        batch.add("a")
        running = asyncio.create_task(run_all(batch))
        await until(codegen_server, 1)
        running.cancel()
        await asyncio.wait([running])
    for _ in range(10_050):
        codegen_server.world.create("a stranger's", script=SHORT)
    async with opened(codegen_server, path) as batch:
        (outcome,) = await run_all(batch)
        assert outcome.succeeded
        report = await batch.audit()
        assert (report.ok, report.runs) == (True, 1)
    assert runs_per_prompt(codegen_server)["a"] == 1


async def test_a_run_that_is_left_with_writes_in_the_queue_can_be_gone_on_with(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        for n in range(30):
            batch.add(f"do {n}")
        for _ in range(20):
            async with contextlib.aclosing(batch.run()) as outcomes:
                async for _ in outcomes:
                    break
        await run_all(batch)
        assert (await batch.audit()).ok
    assert runs_per_prompt(codegen_server) == once_each(30)


async def test_a_journal_has_one_driver_whatever_it_is_called(codegen_server: CodegenServer, path: Path) -> None:
    async with opened(codegen_server, path):
        folder = path.with_name("other")
        await asyncio.to_thread(folder.symlink_to, path.parent, target_is_directory=True)
        other = folder / path.name
        with pytest.raises(JournalError, match="is being run by process"):
            async with opened(codegen_server, other):
                pass


@pytest.mark.parametrize("replace", [False, True])
async def test_a_journal_that_goes_away_stops_the_batch_before_more_is_sent(
    codegen_server: CodegenServer, path: Path, replace: bool
) -> None:
    def take_away() -> None:
        path.rename(path.with_name("elsewhere.db"))
        if replace:
            path.write_bytes(b"")

    async with opened(codegen_server, path) as batch:
        for n in range(25):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_all(batch))
        await until(codegen_server, 10)
        await asyncio.to_thread(take_away)
        with pytest.raises(JournalError, match="was moved, replaced or deleted"):
            await running
    assert len(creates(codegen_server)) == 10


async def test_what_waits_for_a_proof_leaves_room_for_others(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=1)
    async with opened(codegen_server, path) as batch:
        for n in range(4):
            batch.add(f"do {n}")
        outcomes = await run_all(batch, max_active=1)
    assert [outcome.succeeded for outcome in outcomes] == [True] * 4
    assert runs_per_prompt(codegen_server) == once_each(4)


async def test_of_what_was_added_only_the_clash_is_lost(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("one", key="a")
    async with opened(codegen_server, path) as batch:
        for n in range(5):
            batch.add(f"do {n}")
        batch.add("two", key="a")
        with pytest.raises(InvalidArgumentError, match="'a'"):
            await run_all(batch)
        assert len(await run_all(batch)) == 6


# -- runs that are refused


class Choosy(CodegenServer):
    """A server that refuses some runs by their places in order, whatever the list shows, and for a while all."""

    refused: frozenset[int] = frozenset()
    answers = 403

    def _get(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        if self.is_refused(int(request.match_info["agent_run_id"])):
            raise self.refusal(self.answers)
        return super()._get(request, body)

    def _list(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        page = super()._list(request, body)
        return {**page, "items": [item for item in page["items"] if not self.is_refused(item["id"])]}

    def is_refused(self, run_id: int) -> bool:
        return list(self.world.runs).index(run_id) in self.refused


@pytest.mark.parametrize("max_active", [1, None])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_run_that_is_refused_is_set_aside_and_the_rest_goes_on(
    path: Path, status: int, max_active: int | None
) -> None:
    async with Choosy(token=CANARY) as server:
        server.world.script = [(0.0, "ACTIVE"), (40.0, "COMPLETE")]
        server.refused, server.answers = frozenset({2, 5}), status
        async with opened(server, path) as batch:
            for n in range(8):
                batch.add(f"do {n}")
            outcomes = await run_all(batch, max_active=max_active)
        assert sum(outcome.succeeded for outcome in outcomes) == 6
        refused = [outcome for outcome in outcomes if not outcome.succeeded]
        assert [outcome.state for outcome in refused] == [State.CREATED] * 2
        assert all(str(status) in (outcome.error or "") or "access" in (outcome.error or "") for outcome in refused)
        server.refused = frozenset()
        async with opened(server, path) as batch:  # which looks for it again
            assert [outcome.succeeded for outcome in await run_all(batch)] == [True] * 2
        assert runs_per_prompt(server) == once_each(8)


async def test_a_hiccup_of_who_looks_at_tokens_sets_nothing_aside(path: Path) -> None:
    async with Choosy(token=CANARY) as server:
        server.world.script = [(0.0, "ACTIVE"), (100.0, "COMPLETE")]
        async with opened(server, path) as batch:
            for n in range(8):
                batch.add(f"do {n}")
            running = asyncio.create_task(run_all(batch))
            await until(server, 8)
            server.token = "another"
            await asyncio.sleep(4)
            server.token = CANARY
            assert [outcome.succeeded for outcome in await running] == [True] * 8


# -- what was lost in lives that were too short to decide it


async def test_runs_of_later_lives_show_that_what_was_lost_in_an_earlier_one_would_be_found(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("first")
        await run_all(batch)
    for life in range(5):
        codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(40.0), opened(codegen_server, path) as batch:
                for n in range(3):
                    batch.add(f"life {life}, {n}")
                await batch.save()
                await run_all(batch)
        await asyncio.sleep(30.0)  # for all of them to be sent at once in the next one
    async with opened(codegen_server, path) as batch:
        await run_all(batch)
        status = await batch.status()
    assert status[State.ENDED] + status[State.UNKNOWN] == 16
    assert len(codegen_server.world.runs) == status[State.ENDED]
    assert status[State.UNKNOWN] <= 4  # of the last minute
