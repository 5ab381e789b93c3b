"""Another attempt at what failed, batches that wait for more, and bounds that end creating."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from codegen_async import InvalidArgumentError, Phase
from codegen_async.batch.batch import Batch
from codegen_async.batch.items import Added, Outcome, State
from codegen_async.batch.journal import Journal
from codegen_async.codegen.searching import IDEMPOTENCY_KEY
from codegen_async.errors import BatchPausedError
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, opened, query, run_all

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

FAILING = [(0.0, "ACTIVE"), (1.0, "ERROR")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def prompts(server: CodegenServer) -> list[str]:
    return [run.prompt for run in server.world.runs.values()]


# -- once more


async def test_what_failed_is_tried_again_with_a_key_of_its_own_and_the_old_run_is_kept(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = FAILING
    async with opened(codegen_server, path) as batch:
        batch.add("do", key="a")
        (first,) = await run_all(batch)
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("well", key="b")
        await run_all(batch)
        assert await batch.retry(failed=True) == ("a",)
        (second,) = await run_all(batch)
        assert (await batch.audit()).ok
        assert await batch.retry(failed=True) == ()
    assert (second.key, second.succeeded, second.attempts) == ("a", True, 2)
    keys = [(run.metadata or {})[IDEMPOTENCY_KEY] for run in codegen_server.world.runs.values()]
    assert len(set(keys)) == 3
    kept = await asyncio.to_thread(query, path, "SELECT attempt, run_id, run IS NOT NULL FROM attempts")
    assert kept == [(1, str(first.run_id), 1)]


async def test_what_is_tried_again_survives_the_process(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = FAILING
    async with opened(codegen_server, path) as batch:
        batch.add("do", key="a")
        await run_all(batch)
        await batch.retry("a")
    async with opened(codegen_server, path) as batch:
        (outcome,) = await run_all(batch)
    assert outcome.attempts == 2


@pytest.mark.parametrize("key", ["well", "planned", "nobody"])
async def test_only_what_came_to_nothing_is_tried_again(codegen_server: CodegenServer, path: Path, key: str) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("do", key="well")
        await run_all(batch)
        batch.add("do", key="planned")
        with pytest.raises(InvalidArgumentError, match=f"'{key}'"):
            await batch.retry(key)
        assert await batch.status() == {**dict.fromkeys(State, 0), State.ENDED: 1, State.PLANNED: 1}


async def test_a_prompt_that_was_rejected_is_sent_again_as_the_same_attempt(
    codegen_server: CodegenServer, path: Path, tmp_path: Path
) -> None:
    codegen_server.world.script = SHORT
    image = tmp_path / "a.png"
    async with opened(codegen_server, path) as batch:
        batch.add("do", images=[image], key="a")
        (outcome,) = await run_all(batch)
        assert outcome.state is State.REJECTED
        await asyncio.to_thread(image.write_bytes, b"\x89PNG\r\n\x1a\n")
        await batch.retry("a")
        (outcome,) = await run_all(batch)
    assert (outcome.succeeded, outcome.attempts) == (True, 1)


# -- waiting for more


async def _collect(batch: Batch, into: list[Outcome], **options: Any) -> None:
    async for outcome in batch.serve(**options):
        into += [outcome]


async def test_a_queue_waits_for_more_until_it_is_stopped(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    outcomes: list[Outcome] = []
    async with opened(codegen_server, path) as batch:
        serving = asyncio.create_task(_collect(batch, outcomes))
        for n in range(3):
            batch.add(f"do {n}")
            await batch.save()
            await asyncio.sleep(100.0)
            assert len(outcomes) == n + 1
        assert not serving.done()
        batch.add("last")
        await asyncio.sleep(0.5)
        batch.stop()
        await serving
    assert prompts(codegen_server) == ["do 0", "do 1", "do 2", "last"]
    assert len(outcomes) == 4


async def test_what_was_saved_is_run_by_the_next_process(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    outcomes: list[Outcome] = []
    async with opened(codegen_server, path) as batch:
        batch.add("do")
        await batch.save()
    async with opened(codegen_server, path) as batch:
        serving = asyncio.create_task(_collect(batch, outcomes))
        await asyncio.sleep(100.0)
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    assert [outcome.succeeded for outcome in outcomes] == [True]


async def test_what_the_queue_itself_is_writing_is_not_saved_before_it_is_written(
    codegen_server: CodegenServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Journal.add
    written = asyncio.Event()

    async def add_slowly(self: Journal, *args: Any, **options: Any) -> Added:
        await asyncio.sleep(1)
        added = await add(self, *args, **options)
        written.set()
        return added

    async with opened(codegen_server, path) as batch:
        serving = asyncio.create_task(_collect(batch, []))
        await asyncio.sleep(1)
        monkeypatch.setattr(Journal, "add", add_slowly)
        batch.add("late")
        await asyncio.sleep(0.1)  # the queue has taken it
        await batch.save()
        assert written.is_set()
        batch.stop()
        await serving


async def test_a_prompt_under_a_known_key_is_refused_to_who_saves_it_and_the_queue_goes_on(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    outcomes: list[Outcome] = []
    async with opened(codegen_server, path) as batch:
        serving = asyncio.create_task(_collect(batch, outcomes))
        batch.add("one", key="a")
        await batch.save()
        await asyncio.sleep(100.0)
        batch.add("two", key="a")
        with pytest.raises(InvalidArgumentError, match="'a'"):
            await batch.save()
        batch.add("three", key="b")
        await asyncio.sleep(100.0)
        batch.stop()
        await serving
    assert [outcome.key for outcome in outcomes] == ["a", "b"]


async def test_nothing_is_created_while_it_is_paused(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (200.0, "COMPLETE")]
    async with opened(codegen_server, path) as batch:
        batch.add("before")
        running = asyncio.create_task(run_all(batch))
        await asyncio.sleep(10.0)
        batch.pause()
        batch.add("after")
        await asyncio.sleep(1000.0)
        assert prompts(codegen_server) == ["before"]
        assert not running.done()
        batch.resume()
        outcomes = await running
    assert len(outcomes) == 2


async def test_a_pause_holds_back_what_waits_for_its_slot(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        for n in range(20):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_all(batch))
        await asyncio.sleep(30.0)
        batch.pause()
        await asyncio.sleep(1000.0)
        assert len(prompts(codegen_server)) == 10
        batch.resume()
        assert len(await running) == 20


async def test_how_many_may_be_under_way_can_be_changed_meanwhile(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (1000.0, "COMPLETE")]
    async with opened(codegen_server, path) as batch:
        for n in range(5):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_all(batch, max_active=1))
        await asyncio.sleep(10.0)
        assert len(prompts(codegen_server)) == 1
        assert batch.max_active == 1
        batch.max_active = 3
        await asyncio.sleep(10.0)
        assert len(prompts(codegen_server)) == 3
        with pytest.raises(InvalidArgumentError, match="max_active"):
            batch.max_active = 0
        batch.max_active = None
        await running
    assert len(prompts(codegen_server)) == 5


# -- bounds


async def test_no_more_runs_are_made_than_allowed_over_all_lives(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    for life in range(2):
        outcomes: list[Outcome] = []
        async with opened(codegen_server, path) as batch:
            for n in range(5):
                batch.add(f"do {n}")
            with pytest.raises(BatchPausedError, match="max_runs"):
                await run_all(batch, into=outcomes, max_runs=2)
        assert len(outcomes) == (0 if life else 2)
        assert prompts(codegen_server) == ["do 0", "do 1"]
    async with opened(codegen_server, path) as batch:
        assert len(await run_all(batch, max_runs=5)) == 3
        assert (await batch.audit()).ok


async def test_attempts_count_as_runs(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = FAILING
    async with opened(codegen_server, path) as batch:
        batch.add("do")
        with pytest.raises(BatchPausedError, match="max_runs"):
            await run_all(batch, max_attempts=5, max_runs=3)
    assert prompts(codegen_server) == ["do"] * 3


async def test_failures_in_a_row_end_creating_and_all_can_be_gone_on_with(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = FAILING
    outcomes: list[Outcome] = []
    async with opened(codegen_server, path) as batch:
        for n in range(10):
            batch.add(f"do {n}")
        with pytest.raises(BatchPausedError, match="3 in a row failed"):
            await run_all(batch, into=outcomes, max_active=1, max_failures=3)
        assert [outcome.run and outcome.run.phase for outcome in outcomes] == [Phase.FAILED] * 3
        codegen_server.world.script = SHORT
        await run_all(batch, into=outcomes, max_failures=3)
    assert len(outcomes) == 10


async def test_a_success_begins_the_count_of_failures_anew(codegen_server: CodegenServer, path: Path) -> None:
    async with opened(codegen_server, path) as batch:
        for n in range(6):
            batch.add(f"do {n}")
        codegen_server.world.script = SHORT
        count = 0
        async for outcome in batch.run(max_active=1, max_failures=2):
            count += 1
            codegen_server.world.script = SHORT if count % 2 else FAILING
            assert outcome.state is State.ENDED
    assert count == 6


async def test_a_bound_that_nothing_is_left_for_is_no_error(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = FAILING
    async with opened(codegen_server, path) as batch:
        batch.add("a")
        batch.add("b")
        assert len(await run_all(batch, max_runs=2, max_failures=2)) == 2


@pytest.mark.parametrize("name", ["max_active", "max_attempts", "max_runs", "max_failures"])
async def test_a_bound_is_a_number_from_1(codegen_server: CodegenServer, path: Path, name: str) -> None:
    async with opened(codegen_server, path) as batch:
        bounds: dict[str, Any] = {name: 0}
        with pytest.raises(InvalidArgumentError, match=name):
            batch.run(**bounds)
