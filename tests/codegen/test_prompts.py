"""From prompts to the ends of their runs: `run` and `map`."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from codegen_async import (
    AgentRun,
    CodegenClient,
    InvalidArgumentError,
    NotFoundError,
    Phase,
    PromptResult,
    QuotaExceededError,
    RunBlockedError,
    RunFailedError,
    ServerError,
    WaitTimeoutError,
)
from codegen_async.testing import CodegenServer, Fault

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def client_of(server: CodegenServer, **options: Any) -> CodegenClient:
    return CodegenClient(server.token, org_id=server.org_id, base_url=server.url, **options)


def others() -> set[asyncio.Task[Any]]:
    """Return the tasks that work for a map."""
    return {task for task in asyncio.all_tasks() if "PromptMap" in repr(task)}


# run


async def test_run_returns_the_final_snapshot(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (100.0, "COMPLETE")]
    async with client_of(codegen_server) as client:
        run = await client.run("do it", repo_id=9, metadata={"a": 1}, idempotency_key="k-1")
    made = codegen_server.world.runs[run.id]
    assert (run.phase, made.prompt, made.repo_id) == (Phase.SUCCEEDED, "do it", 9)
    assert {"a": 1, "idempotency_key": "k-1"}.items() <= (made.metadata or {}).items()


async def test_run_may_raise_where_the_run_fails_and_gives_up_in_time(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(10.0, "ERROR")]
    async with client_of(codegen_server) as client:
        assert (await client.run("fails")).phase is Phase.FAILED
        with pytest.raises(RunFailedError):
            await client.run("fails", raise_on_failure=True)
        with pytest.raises(WaitTimeoutError) as caught:
            await client.run("too slow", timeout=5.0)
    assert caught.value.run_id == max(codegen_server.world.runs)


async def test_run_has_a_pause_answered(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (10.0, "PAUSED")]
    async with client_of(codegen_server) as client:

        async def answer(paused: AgentRun) -> None:
            codegen_server.world.script = [(0.0, "ACTIVE"), (10.0, "COMPLETE")]
            await client.resume_run(paused.id, "yes", model="other")

        with pytest.raises(RunBlockedError):
            await client.run("asks")
        assert (await client.run("asks", on_blocked=answer)).phase is Phase.SUCCEEDED
    assert codegen_server.world.runs[max(codegen_server.world.runs)].model == "other"


async def test_run_checks_how_it_is_to_wait_before_it_creates(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        with pytest.raises(InvalidArgumentError, match="timeout"):
            await client.run("x", timeout=-1.0)
    assert not codegen_server.requests


# map


async def test_each_result_comes_with_its_prompt_as_its_run_ends(codegen_server: CodegenServer) -> None:
    ends = {"slow": 300.0, "quick": 20.0, "middling": 100.0}

    def prompts() -> Iterator[str]:
        for prompt, seconds in ends.items():
            codegen_server.world.script = [(0.0, "ACTIVE"), (seconds, "COMPLETE")]
            yield prompt

    async with client_of(codegen_server) as client:
        results = [result async for result in client.map(prompts(), max_active=1)]
        assert [result.prompt for result in results] == list(ends)  # one at a time
        codegen_server.world.script = None
    for index, result in enumerate(results):
        made = codegen_server.world.runs[result.unwrap().id]
        assert (result.index, result.ok, made.prompt) == (index, True, result.prompt)


async def test_quicker_runs_come_first(codegen_server: CodegenServer) -> None:
    create, ends = codegen_server.world.create, {"slow": 300.0, "quick": 20.0, "middling": 100.0}
    codegen_server.world.create = lambda prompt, **more: create(  # type: ignore[method-assign]
        prompt, **{**more, "script": [(0.0, "ACTIVE"), (ends[prompt], "COMPLETE")]}
    )
    async with client_of(codegen_server) as client:
        results = [result async for result in client.map(ends)]
    assert [(result.index, result.prompt) for result in results] == [(1, "quick"), (2, "middling"), (0, "slow")]


async def test_creates_keep_their_limit_and_the_cap_of_runs_is_kept(codegen_server: CodegenServer) -> None:
    world, active = codegen_server.world, list[int]()
    create = world.create

    def counting(prompt: str, **more: Any) -> Any:
        run = create(prompt, **{**more, "script": [(0.0, "ACTIVE"), (100.0 + 7.0 * len(world.runs), "COMPLETE")]})
        active.append(sum(one.status_at(codegen_server.now()) == "ACTIVE" for one in world.runs.values()))
        return run

    world.create = counting  # type: ignore[method-assign]
    async with client_of(codegen_server) as client:
        results = [result async for result in client.map((f"number {n}" for n in range(40)), max_active=7)]
    assert all(result.ok for result in results)
    assert (len(active), max(active), codegen_server.violations) == (40, 7, 0)


async def test_creates_go_on_while_a_result_is_looked_at(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "COMPLETE")]
    async with client_of(codegen_server) as client, aclosing(client.map(map(str, range(30)))) as results:
        await anext(results)
        await asyncio.sleep(600.0)
        assert len(codegen_server.world.runs) == 30
        assert len([result async for result in results]) == 29


async def test_failures_of_single_prompts_are_results(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(5.0, "ERROR")]
    prompts = ["fails", " ", "is paused", "is too slow", "goes well"]
    lives = iter([[(5.0, "ERROR")], [(5.0, "PAUSED")], [(5000.0, "COMPLETE")], [(5.0, "COMPLETE")]])
    create = codegen_server.world.create
    codegen_server.world.create = lambda prompt, **more: create(  # type: ignore[method-assign]
        prompt, **{**more, "script": next(lives)}
    )
    async with client_of(codegen_server) as client:
        results = {result.prompt: result async for result in client.map(prompts, timeout=60.0)}
    assert {prompt: result.ok for prompt, result in results.items()} == {p: p == "goes well" for p in prompts}
    assert isinstance(results[" "].error, InvalidArgumentError)
    assert results[" "].run is None
    assert results["fails"].unwrap().phase is Phase.FAILED
    assert results["is paused"].unwrap().phase is Phase.BLOCKED
    slow = results["is too slow"]
    assert isinstance(slow.error, WaitTimeoutError)
    assert slow.run is not None
    assert slow.run.id == slow.error.run_id
    with pytest.raises(WaitTimeoutError):
        slow.unwrap()


async def test_a_create_that_fails_leaves_the_others_alone(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "COMPLETE")]
    codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="create", status=500, after=1)
    async with client_of(codegen_server, settle=1.0) as client:
        results = [result async for result in client.map(["a", "b", "c"])]
    assert sorted(result.prompt for result in results if result.ok) == ["a", "c"]
    (failed,) = [result for result in results if not result.ok]
    assert (failed.prompt, failed.run, failed.error is not None) == ("b", None, True)


async def test_after_the_end_of_the_plan_nothing_more_is_sent() -> None:
    async with CodegenServer(plan_limit=2) as server, client_of(server) as client:
        server.world.script = [(500.0, "COMPLETE")]
        results = [result async for result in client.map([f"number {n}" for n in range(500)], max_active=5)]
    ended = [result for result in results if result.ok]
    assert len(ended) == 2
    assert sorted(result.index for result in results) == list(range(500))
    assert all(isinstance(result.error, QuotaExceededError) for result in results if not result.ok)
    assert [request.endpoint for request in server.requests].count("create") <= 7


async def test_an_organization_without_repositories_is_told_once(codegen_server: CodegenServer) -> None:
    codegen_server.account.repos.clear()
    async with client_of(codegen_server) as client:
        results = [result async for result in client.map(["a", "b", "c"], max_active=1)]
    assert [type(result.error) for result in results] == [NotFoundError] * 3
    assert len(codegen_server.requests) == 1


async def test_who_leaves_early_leaves_nothing_behind(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (30.0, "COMPLETE")]
    async with client_of(codegen_server) as client:
        async with aclosing(client.map(map(str, range(1000)))) as results:
            async for _ in results:
                assert others()
                break
        assert not others()
        created = len(codegen_server.world.runs)
        await asyncio.sleep(600.0)
        assert len(codegen_server.world.runs) == created
        assert client.limits["create"].queue_length == 0


@pytest.mark.parametrize("after", [0.0, 0.5, 1.0, 30.0, 61.0, 200.0])
async def test_a_cancellation_at_any_time_leaves_nothing_behind(after: float) -> None:
    async with CodegenServer(latency=(0.2, 0.4)) as server, client_of(server) as client:
        server.world.script = [(0.0, "ACTIVE"), (90.0, "COMPLETE")]
        seen: list[PromptResult] = []

        async def consume() -> None:
            async for result in client.map(map(str, range(50)), max_active=15):
                seen.append(result)  # noqa: PERF401 - what came before the end is wanted

        task = asyncio.create_task(consume())
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not others()
        await asyncio.sleep(1.0)  # what was on its way has arrived
        created = len(server.world.runs)
        await asyncio.sleep(600.0)
        assert len(server.world.runs) == created
        assert not server.violations


async def test_an_error_of_the_prompts_is_raised_when_what_is_under_way_has_ended(
    codegen_server: CodegenServer,
) -> None:
    codegen_server.world.script = [(30.0, "COMPLETE")]

    def prompts() -> Iterator[str]:
        yield "a"
        yield "b"
        raise OSError("the file is gone")

    async with client_of(codegen_server) as client:
        results = client.map(prompts())
        assert {(await anext(results)).prompt, (await anext(results)).prompt} == {"a", "b"}
        with pytest.raises(OSError, match="the file is gone"):
            await anext(results)


async def test_prompts_are_taken_when_their_creates_may_begin(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "COMPLETE")]
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"number {taken}"

    async with client_of(codegen_server) as client, aclosing(client.map(endless())) as results:
        for _ in range(25):
            assert (await anext(results)).ok
        assert taken <= 25 + 10 + 20


async def test_tasks_that_begin_at_once_are_no_trouble(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        results = [result async for result in client.map([" "] * 3000)]
    assert [result.index for result in results] == list(range(3000))
    assert not codegen_server.requests


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("max_active", {"max_active": 0}),
        ("timeout", {"timeout": -1}),
        ("repo_id", {"repo_id": "nine"}),
        ("images", {"images": "a.png"}),
        ("webhooks", {"webhooks": [{"url": "nowhere"}]}),
    ],
)
async def test_what_holds_for_all_prompts_is_checked_at_once(
    field: str, options: dict[str, Any], codegen_server: CodegenServer
) -> None:
    async with client_of(codegen_server) as client:
        with pytest.raises(InvalidArgumentError, match=field):
            client.map(["x"], **options)
        with pytest.raises(InvalidArgumentError, match="prompts"):
            client.map("x")
        assert [result async for result in client.map([])] == []


async def test_what_can_be_read_once_serves_all_prompts(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "COMPLETE")]
    hooks = ({"url": f"https://example.com/{name}"} for name in "ab")
    async with client_of(codegen_server) as client:
        async for _ in client.map(["x", "y"], webhooks=hooks):  # type: ignore[arg-type]
            pass
    assert [len(run.webhooks) for run in codegen_server.world.runs.values()] == [2, 2]


async def test_an_outage_of_the_server_is_waited_out(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(30.0, "COMPLETE")]
    async with client_of(codegen_server) as client:
        codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="list", status=503, times=10)
        codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="get", status=503, times=10)
        results = [result async for result in client.map(["a", "b"])]
    assert not any(isinstance(result.error, ServerError) for result in results)
    assert all(result.ok for result in results)
