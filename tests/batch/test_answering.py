"""Runs of a batch that wait for a person, and are told to go on."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from pathlib import Path

import pytest

from codegen_async import HostedRun, MiddeskClient, NotOfferedError
from codegen_async.batch.batch import Batch
from codegen_async.batch.items import Outcome, State, Task
from codegen_async.errors import InvalidArgumentError, InvalidRequestError, OutcomeUnknownError
from codegen_async.models import Phase
from codegen_async.testing import CodegenServer, Fault, MiddeskServer
from tests.batch.helpers import opened, run_all
from tests.batch.test_any_api import api_of
from tests.batch.test_any_api import opened as any_api
from tests.hosted.api import Api, Keyed

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

PAUSES = [(0.0, "ACTIVE"), (5.0, "PAUSED")]
ENDS = [(0.0, "ACTIVE"), (5.0, "COMPLETE")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def paused(server: CodegenServer, batch: Batch, *keys: str) -> None:
    """Run a batch until all of its runs wait for a person; whatever they are told, they end then."""
    server.world.script = PAUSES
    for key in keys:
        batch.add(f"do {key}", key=key)
    for outcome in await run_all(batch):
        assert outcome.state is State.CREATED
        assert outcome.run is not None
        assert outcome.run.phase is Phase.BLOCKED
    server.world.script = ENDS


async def test_a_run_that_waits_is_told_to_go_on_and_the_next_run_sees_its_end(
    codegen_server: CodegenServer, path: Path
) -> None:
    async with opened(codegen_server, path) as batch:
        await paused(codegen_server, batch, "a")
        await batch.answer("a", "the second way")
        assert (await batch.under_way())[0].run is None
        (outcome,) = await run_all(batch)
    assert outcome.succeeded
    assert len(codegen_server.world.runs) == 1
    assert codegen_server.violations == 0


async def test_the_end_of_a_run_that_was_answered_is_known_as_early_as_any(
    codegen_server: CodegenServer, path: Path
) -> None:
    async with opened(codegen_server, path) as batch:
        await paused(codegen_server, batch, "a")
        await asyncio.sleep(3600)  # as long as a person may take
        begun = asyncio.get_running_loop().time()
        await batch.answer("a", "the second way")
        (outcome,) = await run_all(batch)
        assert outcome.succeeded
        assert asyncio.get_running_loop().time() - begun < 5 + 2  # seconds of its life, and of looks


async def test_a_queue_goes_on_at_once(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = PAUSES
    async with opened(codegen_server, path) as batch:
        batch.add("x", key="a")
        async with aclosing(batch.serve()) as outcomes:
            waiting: Outcome = await anext(outcomes)
            assert waiting.state is State.CREATED
            codegen_server.world.script = ENDS
            next_one = asyncio.ensure_future(anext(outcomes))
            await asyncio.sleep(1)
            await batch.answer("a", "go on")
            assert (await next_one).succeeded
            batch.stop()


async def test_what_does_not_wait_is_told_nothing(codegen_server: CodegenServer, path: Path) -> None:
    async with opened(codegen_server, path) as batch:
        await paused(codegen_server, batch, "a")
        batch.add("later", key="planned")
        await batch.save()
        for key in ("planned", "none"):
            with pytest.raises(InvalidArgumentError, match="waits for a person"):
                await batch.answer(key, "x")
        with pytest.raises(InvalidArgumentError, match="text"):
            await batch.answer("a", " ")
        await batch.answer("a", "x")
        with pytest.raises(InvalidArgumentError, match="waits for a person"):
            await batch.answer("a", "x")  # it goes on already
        assert sum(request.endpoint == "resume" for request in codegen_server.requests) == 1


async def test_of_two_answers_at_once_one_is_sent(codegen_server: CodegenServer, path: Path) -> None:
    async with opened(codegen_server, path) as batch:
        await paused(codegen_server, batch, "a")
        came = await asyncio.gather(*(batch.answer("a", "x") for _ in range(5)), return_exceptions=True)
        assert sum(one is None for one in came) == 1
        assert sum(request.endpoint == "resume" for request in codegen_server.requests) == 1


async def test_where_nobody_knows_whether_it_was_told_the_next_run_finds_out(
    codegen_server: CodegenServer, path: Path
) -> None:
    async with opened(codegen_server, path) as batch:
        await paused(codegen_server, batch, "a")
        codegen_server.faults.add(Fault.RESET_AFTER, endpoint="resume")
        with pytest.raises(OutcomeUnknownError):
            await batch.answer("a", "x")
        await asyncio.sleep(10)
        (outcome,) = await run_all(batch)
        assert outcome.succeeded


# -- other APIs


@contextlib.asynccontextmanager
async def hosted(path: Path, api: Api) -> AsyncGenerator[Batch[HostedRun, str]]:
    async with any_api(api, path, Keyed()) as batch:
        yield batch


async def test_a_run_of_another_api_is_replied_to(path: Path) -> None:
    api = api_of(Keyed)
    answered: list[str] = []
    api.script = lambda _: "done/ok" if answered else "asking"
    async with hosted(path, api) as batch:
        batch.add(key="a", task="x")
        async for outcome in batch.run():
            assert outcome.run is not None
            assert outcome.run.phase is Phase.BLOCKED
        answered.append("now")
        with pytest.raises(InvalidArgumentError, match="waits for a person"):
            await batch.answer("a", "x")  # it has gone on by itself
        answered.clear()
        await batch.answer("a", "x")
        answered.append("now")
        outcomes = [outcome async for outcome in batch.run()]
        assert [outcome.succeeded for outcome in outcomes] == [True]


async def test_where_an_answer_is_more_than_a_text_it_is_refused(middesk_server: MiddeskServer, path: Path) -> None:
    async with (
        MiddeskClient(middesk_server.token, base_url=middesk_server.url) as client,
        Batch(client, path, clock=asyncio.get_running_loop().time) as batch,
    ):
        journal = batch._opened()
        await journal.add([("a", Task(prompt="", fields={"type": "x"}))])
        claimed = await journal.claim(0)
        assert claimed is not None
        await journal.created(claimed[0].seq, "r-1")
        with pytest.raises(NotOfferedError, match="text alone"):
            await batch.answer("a", "x")


# -- while the batch is being run


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_run_that_is_answered_inside_the_loop_is_waited_for(
    codegen_server: CodegenServer, path: Path, *, stopped: bool
) -> None:
    codegen_server.world.script = PAUSES
    said: list[tuple[str, State]] = []
    async with opened(codegen_server, path) as batch:
        batch.add("do a", key="a")
        batch.add("do b", key="b")
        async for outcome in batch.run():
            said.append((outcome.key, outcome.state))
            if len(said) == 2:  # nothing is under way any more
                codegen_server.world.script = ENDS
                if stopped:
                    batch.stop()
                await batch.answer("a", "the first way")
                await batch.answer("b", "the second way")
    assert sorted(said) == [("a", State.CREATED), ("a", State.ENDED), ("b", State.CREATED), ("b", State.ENDED)]
    assert len(codegen_server.world.runs) == 2


async def test_a_run_that_is_answered_while_the_batch_takes_up_what_goes_on_has_one_outcome(
    codegen_server: CodegenServer, path: Path
) -> None:
    async with opened(codegen_server, path) as batch:
        await paused(codegen_server, batch, "a", "b")
    async with opened(codegen_server, path) as batch:
        for _ in range(3):
            codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="list")
        outcomes = asyncio.ensure_future(run_all(batch))
        await asyncio.sleep(0.01)  # it asks for the newest run, and is not answered
        await batch.answer("a", "the first way")
        assert not outcomes.done()
        said = [(outcome.key, outcome.state) for outcome in await outcomes]
    assert sorted(said) == [("a", State.ENDED), ("b", State.CREATED)]


@contextlib.asynccontextmanager
async def unseen(path: Path) -> AsyncGenerator[tuple[CodegenServer, Batch, Awaitable[list[Outcome]]]]:
    """Run a batch whose run waits, which nobody has seen yet; who answers looks first, and so all see it."""
    async with CodegenServer(latency=(0.5, 0.5)) as server, opened(server, path, latency=60.0) as batch:
        server.world.script = PAUSES
        batch.add("do a", key="a")
        outcomes = asyncio.ensure_future(run_all(batch))
        await asyncio.sleep(10)
        yield server, batch, outcomes


async def test_a_run_that_is_answered_before_it_is_seen_to_wait_has_one_outcome(path: Path) -> None:
    async with unseen(path) as (server, batch, outcomes):
        server.world.script = ENDS
        await batch.answer("a", "the first way")
        assert [outcome.state for outcome in await outcomes] == [State.ENDED]


async def test_a_run_that_could_not_be_answered_is_one_that_waits(path: Path) -> None:
    async with unseen(path) as (server, batch, outcomes):
        server.faults.add(Fault.REFUSED, endpoint="resume", status=422)
        with pytest.raises(InvalidRequestError):
            await batch.answer("a", "the first way")
        assert [outcome.state for outcome in await outcomes] == [State.CREATED]
