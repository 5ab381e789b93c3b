"""Waiting through the client, against the simulated server: what it costs, and what it survives."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from codegen_async import (
    AgentRun,
    AuthenticationError,
    ClientClosedError,
    CodegenClient,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    Phase,
    Rate,
    RunBlockedError,
    RunFailedError,
    StatusError,
    WaitTimeoutError,
)
from codegen_async.testing import CodegenServer, Fault, Life
from tests.support.canary import CANARY
from tests.support.sender import FakeSender, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

FOREVER = [(0.0, "ACTIVE")]


def client_of(server: CodegenServer, **options: Any) -> CodegenClient:
    return CodegenClient(CANARY, org_id=server.org_id, base_url=server.url, **options)


def polls(server: CodegenServer) -> int:
    return sum(request.endpoint in {"get", "list"} for request in server.requests)


# -- answers of the user's own


async def test_what_the_user_gets_ends_waits_for_free(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with client_of(codegen_server, latency=3600.0) as client:
        wait = asyncio.ensure_future(client.wait_for_run(run.id))
        await asyncio.sleep(60)
        codegen_server.world.end(run.id)
        asked = polls(codegen_server)
        assert (await client.get_run(run.id)).phase is Phase.SUCCEEDED
        assert (await wait).phase is Phase.SUCCEEDED
        assert polls(codegen_server) == asked + 1


@pytest.mark.parametrize("filters", [{}, {"source_type": "API"}, {"user_id": 1}])
async def test_a_page_the_user_lists_ends_all_waits_it_shows_for_free(
    filters: dict[str, Any], codegen_server: CodegenServer
) -> None:
    runs = [codegen_server.world.create("x", script=FOREVER) for _ in range(30)]
    async with client_of(codegen_server, latency=3600.0) as client:
        waits = [asyncio.ensure_future(client.wait_for_run(run.id)) for run in runs]
        await asyncio.sleep(120)
        for run in runs:
            codegen_server.world.end(run.id)
        asked = polls(codegen_server)
        assert len((await client.list_runs_page(**filters)).items) == 30
        await asyncio.gather(*waits)
        assert polls(codegen_server) == asked + 1


async def test_a_log_that_shows_the_end_makes_the_wait_look_once(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with client_of(codegen_server, latency=3600.0) as client:
        wait = asyncio.ensure_future(client.wait_for_run(run.id))
        await asyncio.sleep(60)
        codegen_server.world.end(run.id)
        asked, began = polls(codegen_server), codegen_server.now()
        await client.run_logs_page(run.id)
        final = await wait
        assert codegen_server.now() - began < 1.0
        assert polls(codegen_server) == asked + 1
        assert final.summary  # which the log does not show


async def test_a_created_run_is_not_asked_for_before_the_latency(codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (4.0, "COMPLETE")]
    async with client_of(codegen_server, latency=60.0) as client:
        run = await client.create_run("x")
        await client.wait_for_run(run)
        assert polls(codegen_server) == 1
        assert codegen_server.now() - codegen_server.world.runs[run.id].created == pytest.approx(60, abs=2)


async def test_a_notice_makes_the_wait_look_at_once(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with client_of(codegen_server, latency=3600.0) as client:
        wait = asyncio.ensure_future(client.wait_for_run(run.id))
        await asyncio.sleep(60)
        codegen_server.world.end(run.id)
        client.notify(run.id)
        began = codegen_server.now()
        await wait
        assert codegen_server.now() - began < 1.0


# -- ends


async def test_a_bad_end_raises_with_the_final_snapshot_if_asked(codegen_server: CodegenServer) -> None:
    for word in ("ERROR", "TIMEOUT", "CANCELLED"):
        run = codegen_server.world.create("x", script=[(0.0, word)])
        async with client_of(codegen_server) as client:
            final = await client.wait_for_run(run.id)
            with pytest.raises(RunFailedError, match=word) as caught:
                await client.wait_for_run(final, raise_on_failure=True)
            assert (caught.value.run_id, caught.value.run) == (run.id, final)


async def test_bad_ends_are_results_of_waits_for_many(codegen_server: CodegenServer) -> None:
    words = ["COMPLETE", "ERROR", "PAUSED", "CANCELLED"]
    ids = [codegen_server.world.create("x", script=[(0.0, word)]).id for word in words]
    async with client_of(codegen_server) as client:
        assert [run.status for run in await client.wait_for_runs(ids)] == words
        assert {run.status async for run in client.as_completed(ids)} == set(words)


async def test_a_timeout_has_the_last_snapshot(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (30.0, "EVALUATION")])
    async with client_of(codegen_server) as client:
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait_for_run(run.id, timeout=60.0)
        assert isinstance(caught.value.run, AgentRun)
        assert caught.value.run.status == "EVALUATION"


# -- paused runs


async def test_a_paused_run_raises_without_a_handler(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (60.0, "PAUSED")])
    async with client_of(codegen_server) as client:
        with pytest.raises(RunBlockedError) as caught:
            await client.wait_for_run(run.id)
        assert isinstance(caught.value.run, AgentRun)
        assert caught.value.run.status == "PAUSED"


async def test_a_paused_run_is_answered_by_resuming_it_as_often_as_it_asks(codegen_server: CodegenServer) -> None:
    world = codegen_server.world
    run = world.create("x", script=[(0.0, "ACTIVE"), (60.0, "PAUSED")])
    # Until two seconds after a resume the server still shows the pause.
    lives = iter(
        [
            [(0.0, "PAUSED"), (2.0, "ACTIVE"), (100.0, "PAUSED")],
            [(0.0, "PAUSED"), (2.0, "ACTIVE"), (100.0, "COMPLETE")],
        ]
    )
    asked: list[str | None] = []
    async with client_of(codegen_server) as client:

        async def answer(paused: AgentRun) -> None:
            asked.append(paused.status)
            await asyncio.sleep(500)
            world.script = next(lives)
            await client.resume_run(paused.id, "yes")

        final = await client.wait_for_run(run.id, timeout=400.0, on_blocked=answer)
    assert (final.status, asked) == ("COMPLETE", ["PAUSED", "PAUSED"])


async def test_a_resume_is_news_for_those_who_watch(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "PAUSED")])
    codegen_server.world.script = FOREVER
    async with client_of(codegen_server, latency=600.0) as client:
        watching = client.watch([run.id])
        assert (await anext(watching)).status == "PAUSED"
        asked = polls(codegen_server)
        await client.resume_run(run.id, "yes")
        assert (await anext(watching)).status == "ACTIVE"
        assert polls(codegen_server) == asked


async def test_a_refused_resume_leaves_the_old_end_the_end(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ERROR")])
    codegen_server.faults.add(Fault.REFUSED, endpoint="resume", status=400)
    async with client_of(codegen_server) as client:
        with pytest.raises(InvalidRequestError):
            await client.resume_run(run.id, "again")
        began = codegen_server.now()
        assert (await client.wait_for_run(run.id)).status == "ERROR"
        assert codegen_server.now() - began < 2.0


async def test_after_a_resume_without_answer_the_old_end_is_not_believed_at_once(
    codegen_server: CodegenServer,
) -> None:
    world = codegen_server.world
    run = world.create("x", script=[(0.0, "ERROR")])
    world.script = [(0.0, "ERROR"), (5.0, "ACTIVE"), (100.0, "COMPLETE")]
    codegen_server.faults.add(Fault.RESET_AFTER, endpoint="resume")
    async with client_of(codegen_server) as client:
        with pytest.raises(Exception, match="unknown"):
            await client.resume_run(run.id, "again")
        assert (await client.wait_for_run(run.id)).status == "COMPLETE"


# -- trouble


async def test_an_outage_of_minutes_delays_everything_and_ends_nothing(codegen_server: CodegenServer) -> None:
    runs = [codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (400.0, "COMPLETE")]) for _ in range(20)]
    async with client_of(codegen_server) as client:
        waits = [asyncio.ensure_future(client.wait_for_run(run.id)) for run in runs]
        await asyncio.sleep(100)
        codegen_server.faults.add(Fault.RESET_BEFORE, times=None, probability=0.5)
        codegen_server.faults.add(Fault.ERROR_BEFORE, times=None, status=503)
        asked = polls(codegen_server)
        await asyncio.sleep(600)
        # A server in trouble is spared: one request each 30 s and endpoint, some of which the connection repeats.
        assert polls(codegen_server) - asked <= 100
        assert not any(wait.done() for wait in waits)
        codegen_server.faults.clear()
        back = codegen_server.now()
        assert {run.status for run in await asyncio.gather(*waits)} == {"COMPLETE"}
        assert codegen_server.now() - back <= 45
    assert codegen_server.violations == 0


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.TRUNCATED_BODY, Fault.BROKEN_JSON, Fault.WRONG_ID])
async def test_answers_that_fail_now_and_then_end_no_wait(fault: Fault, codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(fault, times=None, probability=0.3)
    runs = [codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (400.0, "COMPLETE")]) for _ in range(12)]
    async with client_of(codegen_server) as client:
        ended = await client.wait_for_runs([run.id for run in runs])
    assert [(run.id, run.status) for run in ended] == [(run.id, "COMPLETE") for run in runs]
    assert codegen_server.faults.injected[fault] >= 3


async def test_limits_that_somebody_else_uses_up_delay_only(codegen_server: CodegenServer) -> None:
    runs = [codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (400.0, "COMPLETE")]) for _ in range(12)]
    codegen_server.faults.add(Fault.RATE_LIMITED, times=30, probability=0.8)
    async with client_of(codegen_server) as client:
        ended = await client.wait_for_runs([run.id for run in runs])
        assert {run.status for run in ended} == {"COMPLETE"}
        assert sum(state.rejections for state in client.limits.values()) >= 5


async def test_a_token_that_is_refused_ends_all_waits_each_with_an_error_of_its_own(
    codegen_server: CodegenServer,
) -> None:
    runs = [codegen_server.world.create("x", script=FOREVER) for _ in range(5)]
    async with client_of(codegen_server) as client:
        waits = [asyncio.ensure_future(client.wait_for_run(run.id)) for run in runs]
        await asyncio.sleep(60)
        codegen_server.token = "another one"
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in errors] == [AuthenticationError] * 5
        assert len({id(error) for error in errors}) == 5
        assert not any(CANARY in str(error) for error in errors)


class Choosy(CodegenServer):
    """A server that refuses some runs, or the list."""

    refuses: Callable[[str], bool] = staticmethod(lambda _: False)
    answers = 403

    def _get(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        self._choose(request.match_info["agent_run_id"])
        return super()._get(request, body)

    def _list(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        self._choose("list")
        page = super()._list(request, body)
        return {**page, "items": [item for item in page["items"] if not self.refuses(str(item["id"]))]}

    def _choose(self, what: str) -> None:
        if self.refuses(what):
            raise self.refusal(self.answers)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("lists", [True, False])
async def test_runs_that_are_refused_end_their_own_waits_only(status: int, lists: bool) -> None:
    async with Choosy(token=CANARY) as server:
        runs = [server.world.create("x", script=[(0.0, "ACTIVE"), (60.0 + n, "COMPLETE")]) for n in range(50)]
        refused = {str(run.id) for run in runs[10:13]} | (set() if lists else {"list"})
        server.refuses = refused.__contains__
        server.answers = status
        async with client_of(server) as client:
            results = await client.wait_for_runs([run.id for run in runs], return_exceptions=True)
        errors = {n: result.status for n, result in enumerate(results) if isinstance(result, StatusError)}
        assert errors == dict.fromkeys((10, 11, 12), status)
        assert sum(isinstance(result, AgentRun) for result in results) == 47


@pytest.mark.parametrize(("what", "count"), [("get", 1), ("list", 50)])
async def test_one_refused_poll_ends_no_wait(codegen_server: CodegenServer, what: str, count: int) -> None:
    runs = [codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (300.0, "COMPLETE")]) for _ in range(count)]
    for after in (0, 3, 9):
        codegen_server.faults.add(Fault.REFUSED, endpoint=what, after=after, status=401)
    async with client_of(codegen_server) as client:
        ended = await client.wait_for_runs([run.id for run in runs])
        assert {run.phase for run in ended} == {Phase.SUCCEEDED}
        assert codegen_server.faults.injected[Fault.REFUSED] == 3


async def test_rows_of_a_log_outlast_a_refusal_that_passes(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (100.0, "COMPLETE")])
    codegen_server.faults.add(Fault.REFUSED, endpoint="logs", after=2, status=401)
    async with client_of(codegen_server) as client:
        rows = [row async for row in client.follow_logs(run.id)]
        assert len(rows) == len(codegen_server.world.logs(run))
        codegen_server.token = "another one"
        with pytest.raises(AuthenticationError):
            async for _ in client.follow_logs(run.id):
                pass


async def test_a_task_group_of_waits_sees_plain_errors(codegen_server: CodegenServer) -> None:
    codegen_server.token = "another one"

    async def wait_in_a_group() -> None:
        async with client_of(codegen_server) as client, asyncio.TaskGroup() as group:
            for run_id in (1, 2):
                group.create_task(client.wait_for_run(run_id))

    with pytest.raises(ExceptionGroup) as caught:
        await wait_in_a_group()
    assert [type(error) for error in caught.value.exceptions] == [AuthenticationError] * 2


async def test_a_run_that_does_not_exist_ends_its_own_wait_only(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (60.0, "COMPLETE")])
    async with client_of(codegen_server) as client:
        other = asyncio.ensure_future(client.wait_for_run(run.id))
        began = codegen_server.now()
        with pytest.raises(NotFoundError):
            await client.wait_for_run(1)
        assert 5.0 <= codegen_server.now() - began <= 8.0
        assert (await other).status == "COMPLETE"


async def test_leaving_the_block_ends_waits_and_leaves_no_task(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    before = asyncio.all_tasks()
    async with client_of(codegen_server) as client:
        wait = asyncio.ensure_future(client.wait_for_run(run.id))
        await asyncio.sleep(30)
    with pytest.raises(ClientClosedError):
        await wait
    await asyncio.sleep(1)  # the server's own tasks of closed connections
    assert asyncio.all_tasks() <= before


async def test_a_program_that_is_cancelled_closes_its_client(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    sender = FakeSender(then=reply(200, {"id": run.id, "organization_id": 5}))

    async def program() -> None:
        async with CodegenClient(org_id=5, sender=sender) as client:
            await client.wait_for_run(run.id)

    running = asyncio.ensure_future(program())
    await asyncio.sleep(30)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert sender.closed
    await asyncio.sleep(0)
    asked = len(sender.requests)
    await asyncio.sleep(600)
    assert len(sender.requests) == asked


# -- budgets


async def test_waiting_leaves_the_users_calls_their_share(codegen_server: CodegenServer) -> None:
    runs = [codegen_server.world.create("x", script=FOREVER) for _ in range(100)]
    async with client_of(codegen_server, latency=0.0, share=0.5) as client:
        waits = [asyncio.ensure_future(client.wait_for_run(run.id)) for run in runs]
        await asyncio.sleep(60)
        for _ in range(25):
            began = codegen_server.now()
            await client.get_run(runs[0].id)
            assert codegen_server.now() - began < 1.0
        for wait in waits:
            wait.cancel()
    assert codegen_server.violations == 0


async def test_all_limits_hold_together_under_a_ceiling(codegen_server: CodegenServer) -> None:
    async with CodegenServer(token=CANARY, rates={"ceiling": (60, 60.0)}, latency=(0.01, 0.2)) as server:
        runs = [server.world.create("x", script=[(0.0, "ACTIVE"), (200.0, "COMPLETE")]) for _ in range(50)]
        async with client_of(server, latency=0.0, ceiling=Rate(60, 60.0)) as client:
            ended = await client.wait_for_runs([run.id for run in runs])
        assert {run.status for run in ended} == {"COMPLETE"}
        assert server.violations == 0
    assert codegen_server.violations == 0


@pytest.mark.parametrize("window", ["fixed", "sliding", "bucket", "first-hit"])
async def test_runs_by_the_seed_end_right_within_the_limits_of_any_exact_server(window: Any) -> None:
    life = Life(median=60.0, sigma=0.8)
    async with (
        CodegenServer(token=CANARY, window=window, count_rejected=True, latency=(0.02, 0.5), life=life) as server,
        client_of(server) as client,
    ):
        ids = [server.world.create(f"number {number}").id for number in range(40)]
        ids += [(await client.create_run(f"number {number}")).id for number in range(20)]
        ended = [run async for run in client.as_completed(ids)]
        assert sorted(run.id for run in ended) == sorted(ids)
        for run in ended:
            truth = server.world.runs[run.id]
            assert run.status == truth.status_at(float("inf"))
            assert truth.finished_at is not None
            assert truth.finished_at <= server.now()
        assert server.violations == 0
        # A list page or a get each five seconds, and not one for each run.
        last = max(run.finished_at or 0.0 for run in server.world.runs.values())
        assert polls(server) <= 3 * (last - 1000.0) / 5 + 20


async def test_who_watches_any_change_sees_words_within_a_phase_and_who_watches_phases_does_not(
    codegen_server: CodegenServer,
) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (20.0, "EVALUATION"), (40.0, "COMPLETE")])
    async with client_of(codegen_server) as client:
        any_change = [seen.status async for seen in client.watch([run.id], changes="any")]
        assert any_change == ["ACTIVE", "EVALUATION", "COMPLETE"]
        other = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (20.0, "EVALUATION"), (40.0, "COMPLETE")])
        assert [seen.status async for seen in client.watch([other.id])] == ["ACTIVE", "COMPLETE"]
        with pytest.raises(InvalidArgumentError, match="changes"):
            client.watch([run.id], changes="all")  # type: ignore[arg-type]


async def test_an_end_that_was_seen_is_recalled_until_the_run_is_taken_up_again(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "COMPLETE")])
    async with client_of(codegen_server) as client:
        assert client.recall(client.read_id(str(run.id))) is None
        final = await client.wait_for_run(run.id)
        assert client.recall(run.id) == final
        await client.resume_run(run.id, "go on")
        assert client.recall(run.id) is None


@pytest.mark.parametrize("text", ["", "0", "-1", "1.0", "٣", "1/2", "9" * 20, "abc", "1\n"])
async def test_what_is_no_number_is_no_id(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        CodegenClient(CANARY, org_id=1).read_id(text)
