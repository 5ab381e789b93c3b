"""What browsers are shown, and what it costs."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from codegen_async import AgentRun, CodegenClient, InvalidArgumentError, NotFoundError
from codegen_async.testing import CodegenServer, Fault
from codegen_async.web import RunFeed
from tests.support.canary import CANARY
from tests.web.calling import Event, events_of

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

FOREVER = [(0.0, "ACTIVE")]
LIFE = [(0.0, "PENDING"), (20.0, "ACTIVE"), (60.0, "COMPLETE")]


@asynccontextmanager
async def feeding(server: CodegenServer, **options: Any) -> AsyncGenerator[RunFeed[AgentRun]]:
    async with CodegenClient(CANARY, org_id=server.org_id, base_url=server.url) as client:
        yield RunFeed(client, **options)


def asked(server: CodegenServer) -> int:
    return len(server.requests)


async def read(feed: RunFeed[AgentRun], *runs: int | AgentRun) -> list[bytes]:
    return [chunk async for chunk in feed.stream(runs)]


def shown(chunks: list[bytes]) -> list[Event]:
    return events_of(b"".join(chunks))


async def test_a_stream_shows_every_change_and_ends(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=LIFE, metadata={"user": "somebody", "codegen_async_key": "secret"})
    async with feeding(codegen_server) as feed:
        chunks = await read(feed, run.id)
        assert chunks[0] == b"retry: 3000\n\n"
        events = shown(chunks)
        assert [event.data.get("phase") for event in events] == ["pending", "running", "succeeded", None]
        assert [event.name for event in events] == ["run", "run", "run", "end"]
        assert [event.id for event in events] == [f"{run.id}:1", f"{run.id}:2", f"{run.id}:3", "end"]
        final = events[2].data
        assert sorted(final) == ["id", "phase", "pull_requests", "result", "status", "summary", "web_url"]
        assert final["result"]
        assert feed.watched == 0
        assert feed.client.waits == 0
    assert b"secret" not in b"".join(chunks)
    assert b"somebody" not in b"".join(chunks)


@pytest.mark.parametrize("browsers", [1, 100, 1000])
async def test_any_number_of_browsers_costs_as_much_as_one(codegen_server: CodegenServer, browsers: int) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (21.0, "COMPLETE")])
    async with feeding(codegen_server) as feed:
        streams = [asyncio.ensure_future(read(feed, run.id)) for _ in range(browsers)]
        assert all(shown(chunks)[-1].name == "end" for chunks in await asyncio.gather(*streams))
        assert asked(codegen_server) <= 6


async def test_looks_at_once_share_a_request_and_an_end_costs_none(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (10.0, "COMPLETE")])
    async with feeding(codegen_server) as feed:
        await asyncio.gather(*(feed.latest(run.id) for _ in range(20)))
        assert asked(codegen_server) == 1
        await asyncio.sleep(20)
        assert (await feed.latest(run.id))["phase"] == "succeeded"
        assert asked(codegen_server) == 2
        for _ in range(20):
            await feed.latest(run.id)
            assert shown(await read(feed, run.id))[-1].name == "end"
        assert asked(codegen_server) == 2


async def test_a_run_that_was_just_looked_at_needs_no_further_look_to_begin_with(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with feeding(codegen_server) as feed, aclosing(feed.stream([await feed.look(run.id)])) as chunks:
        await anext(chunks)
        assert events_of(await anext(chunks))[0].data["phase"] == "running"
        assert asked(codegen_server) == 1


async def test_what_is_watched_is_shown_without_a_look(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with feeding(codegen_server) as feed:
        stream = asyncio.ensure_future(read(feed, run.id))
        await asyncio.sleep(4)
        before = asked(codegen_server)
        assert (await feed.latest(run.id))["phase"] == "running"
        assert asked(codegen_server) == before
        stream.cancel()


async def test_nothing_goes_on_when_the_last_has_left(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with feeding(codegen_server) as feed:
        streams = [asyncio.ensure_future(read(feed, run.id)) for _ in range(3)]
        await asyncio.sleep(30)
        for stream in streams[:2]:
            stream.cancel()
        await asyncio.sleep(30)
        assert (feed.watched, feed.client.waits) == (1, 1)
        streams[2].cancel()
        await asyncio.sleep(1)
        assert (feed.watched, feed.client.waits) == (0, 0)
        before = asked(codegen_server)
        await asyncio.sleep(600)
        assert asked(codegen_server) == before
        assert asyncio.all_tasks() - {asyncio.current_task()} <= _of_the_server()


def _of_the_server() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if "RequestHandler" in repr(task.get_coro())}


async def test_something_is_sent_where_nothing_happens(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (52.0, "COMPLETE")])
    async with feeding(codegen_server, ping=15.0) as feed:
        chunks = await read(feed, run.id)
        assert chunks.count(b": ping\n\n") == 3


async def test_a_paused_run_has_not_ended(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (10.0, "PAUSED"), (900.0, "COMPLETE")])
    async with feeding(codegen_server) as feed:
        phases = [event.data.get("phase") for event in shown(await read(feed, run.id))]
        assert phases == ["running", "blocked", "succeeded", None]


async def test_who_has_seen_the_end_has_seen_all_unless_the_run_goes_on_again(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "COMPLETE")])
    async with feeding(codegen_server) as feed:
        assert not feed.is_over([run.id], None)
        assert not feed.is_over([run.id], f"{run.id}:1")
        assert feed.is_over([run.id], "end")
        await read(feed, run.id)
        await feed.client.resume_run(run.id, "go on")  # type: ignore[attr-defined]
        codegen_server.world.resume(run.id, "go on", script=LIFE)
        stream = asyncio.ensure_future(read(feed, run.id))
        await asyncio.sleep(30)
        assert not feed.is_over([run.id], "end")
        assert [event.data.get("phase") for event in shown(await stream)][-3:] == ["running", "succeeded", None]


async def test_an_unknown_run_is_asked_for_once_in_half_a_minute(codegen_server: CodegenServer) -> None:
    async with feeding(codegen_server) as feed:
        for _ in range(10):
            with pytest.raises(NotFoundError):
                await feed.latest(4711)
            (problem, end) = shown(await read(feed, 4711))
            assert (problem.name, problem.data["status"], problem.data["run"]) == ("problem", 404, 4711)
            assert end.name == "end"
        assert asked(codegen_server) == 1
        await asyncio.sleep(31)
        with pytest.raises(NotFoundError):
            await feed.latest(4711)
        assert asked(codegen_server) == 2


async def test_one_that_cannot_be_shown_does_not_keep_the_others(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=LIFE)
    async with feeding(codegen_server) as feed:
        stream = asyncio.ensure_future(read(feed, 4711, run.id))
        await asyncio.sleep(20)
        assert feed.is_missing(4711)
        assert not feed.is_missing(run.id)
        assert sorted(event.name for event in shown(await stream)) == ["end", "problem", "run", "run", "run"]


async def test_a_feed_that_closes_ends_streams_without_an_end(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with feeding(codegen_server) as feed:
        streams = [asyncio.ensure_future(read(feed, run.id)) for _ in range(3)]
        await asyncio.sleep(10)
        feed.close()
        for chunks in await asyncio.gather(*streams):
            assert [event.name for event in shown(chunks)] == ["run"]
        assert await read(feed, run.id) == [b"retry: 3000\n\n"]
        assert feed.client.waits == 0


async def test_a_client_that_closes_ends_streams_without_an_end(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with feeding(codegen_server) as feed:
        stream = asyncio.ensure_future(read(feed, run.id))
        await asyncio.sleep(10)
    assert [event.name for event in shown(await stream)] == ["run", "problem"]


async def test_a_token_that_is_refused_ends_streams_so_that_browsers_come_back(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with feeding(codegen_server) as feed:
        stream = asyncio.ensure_future(read(feed, run.id))
        await asyncio.sleep(10)
        codegen_server.token = "another"
        events = shown(await stream)
        assert [event.name for event in events] == ["run", "problem"]
        assert events[-1].data["status"] == 502


async def test_an_outage_delays_a_stream_and_does_not_end_it(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=LIFE)
    async with feeding(codegen_server) as feed:
        stream = asyncio.ensure_future(read(feed, run.id))
        await asyncio.sleep(25)
        codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="get", times=3)
        assert shown(await stream)[-1].name == "end"


async def test_each_change_is_written_once_whoever_looks(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=LIFE)
    made: list[str] = []

    def view(seen: AgentRun) -> Mapping[str, Any]:
        made.append(seen.phase.value)
        return {"phase": seen.phase.value}

    async with feeding(codegen_server, view=view) as feed:
        await asyncio.gather(*(read(feed, run.id) for _ in range(50)))
    assert made == ["pending", "running", "succeeded"]


async def test_a_view_that_fails_is_told_and_ends_the_stream(
    codegen_server: CodegenServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with feeding(codegen_server, view=lambda seen: {"no": seen.nothing_of_the_kind}) as feed:
        problem, end = shown(await read(feed, run.id))
        assert (problem.data["status"], end.name) == (500, "end")
    assert "cannot be shown" in caplog.text


async def test_who_reads_slowly_holds_up_nobody_and_skips_what_was_overtaken(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=LIFE)
    async with feeding(codegen_server) as feed, aclosing(feed.stream([run.id])) as slow:
        await anext(slow)
        first = await anext(slow)
        assert shown(await read(feed, run.id))[-1].name == "end"
        rest = [first, *[chunk async for chunk in slow]]
        assert [event.data.get("phase") for event in shown(rest)] == ["pending", "succeeded", None]


async def test_what_a_request_has_in_its_context_is_not_kept(codegen_server: CodegenServer) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody")
    seen: list[str] = []
    run = codegen_server.world.create("x", script=LIFE)

    def view(_: AgentRun) -> Mapping[str, Any]:
        seen.append(variable.get())
        return {"n": len(seen)}

    async with feeding(codegen_server, view=view) as feed:
        variable.set("the first")
        await read(feed, run.id)
    assert set(seen) == {"nobody"}


async def test_many_who_leave_at_once_leave_nothing_behind(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=FOREVER)
    async with feeding(codegen_server) as feed:
        streams = [feed.stream([run.id]) for _ in range(2000)]
        for stream in streams:
            await anext(stream)
            await anext(stream)
        for stream in streams:
            await stream.aclose()
        await asyncio.sleep(0)
        assert (feed.watched, feed.client.waits) == (0, 0)


@pytest.mark.parametrize("ping", [0, -1, float("inf"), "15"])
async def test_a_ping_that_cannot_be_is_refused(codegen_server: CodegenServer, ping: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="ping"):
        async with feeding(codegen_server, ping=ping):
            pass


async def test_many_runs_of_one_page_are_looked_at_by_pages(codegen_server: CodegenServer) -> None:
    runs = [codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (30.0, "COMPLETE")]).id for _ in range(50)]
    async with feeding(codegen_server) as feed:
        events = shown(await read(feed, *runs))
        assert events[-1].name == "end"
        assert sum(event.data.get("phase") == "succeeded" for event in events) == 50
    assert codegen_server.violations == 0
    assert sum(request.endpoint == "get" for request in codegen_server.requests) < 2 * len(runs)
