"""What the client sends, returns and refuses, against the simulated server."""

import asyncio
import base64
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codegen_async import (
    AgentRunLog,
    ClientClosedError,
    CodegenClient,
    ConfigurationError,
    InvalidArgumentError,
    NotFoundError,
    Phase,
    Rate,
)
from codegen_async.testing import CodegenServer, Fault

virtual = pytest.mark.asyncio(loop_factories=["virtual"])

PNG = b"\x89PNG\r\n\x1a\nrest"
FILES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xffrest",
    "image/gif": b"GIF89arest",
    "image/webp": b"RIFF1234WEBPx",
}


def client_of(server: CodegenServer, **options: Any) -> CodegenClient:
    return CodegenClient(server.token, org_id=server.org_id, base_url=server.url, **options)


@virtual
async def test_create_sends_every_field() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
        run = await client.create_run(
            "do it", images=[uri], metadata={"a": 1}, repo_id=9, model="big", agent_type="claude_code"
        )
        made = server.world.runs[run.id]
    assert (made.prompt, list(made.images), made.repo_id, made.model) == ("do it", [uri], 9, "big")
    assert made.agent_type == "claude_code"
    assert {**(made.metadata or {}), "idempotency_key": ""} == {"a": 1, "idempotency_key": ""}


@virtual
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("as_path", [Path, str])
async def test_an_image_file_becomes_a_data_uri(kind: str, as_path: Callable[[Path], Any], tmp_path: Path) -> None:
    file = tmp_path / "image"
    await asyncio.to_thread(file.write_bytes, FILES[kind])
    async with CodegenServer() as server, client_of(server) as client:
        run = await client.create_run("look", images=[as_path(file)])
        (sent,) = server.world.runs[run.id].images
    assert sent == f"data:{kind};base64,{base64.b64encode(FILES[kind]).decode()}"


CYCLE: dict[str, Any] = {}
CYCLE["again"] = CYCLE

REFUSED: dict[str, Callable[[Any], Any]] = {
    "prompt": lambda c: c.create_run("  "),
    "prompt: ": lambda c: c.create_run(5),
    "prompt:": lambda c: c.create_run("a\ud800b"),
    "images": lambda c: c.create_run("x", images="data:image/png;base64,AAAA"),
    "images[0]": lambda c: c.create_run("x", images=["data:image/png;base64,A*A"]),
    "images[1]": lambda c: c.create_run("x", images=["data:image/png;base64,AAAA", "data:nothing"]),
    "images[0]: ": lambda c: c.create_run("x", images=["/no/such/file.png"]),
    "images[0]:": lambda c: c.create_run("x", images=[Path(__file__)]),
    "images[0]: expected": lambda c: c.create_run("x", images=[Path(__file__).parent]),
    "metadata": lambda c: c.create_run("x", metadata=[1]),
    "metadata.a[3]": lambda c: c.create_run("x", metadata={"a": [1, 2, 3, math.nan]}),
    "metadata.a.b": lambda c: c.create_run("x", metadata={"a": {"b": math.inf}}),
    "metadata.raw": lambda c: c.create_run("x", metadata={"raw": b"bytes"}),
    "metadata.again": lambda c: c.create_run("x", metadata=CYCLE),
    "metadata: expected keys": lambda c: c.create_run("x", metadata={1: 2}),
    "metadata.s": lambda c: c.create_run("x", metadata={"s": "\udcff"}),
    "repo_id": lambda c: c.create_run("x", repo_id=0),
    "model": lambda c: c.create_run("x", model=""),
    "run_id": lambda c: c.get_run(0),
    "run_id: ": lambda c: c.get_run(2**63),
    "run_id:": lambda c: c.get_run(True),
    "run_id: expected": lambda c: c.get_run("17"),
    "limit": lambda c: c.list_runs_page(limit=0),
    "limit: ": lambda c: c.list_runs_page(limit=101),
    "skip": lambda c: c.list_runs_page(skip=-1),
    "user_id": lambda c: c.list_runs_page(user_id=-5),
    "source_type": lambda c: c.list_runs_page(source_type=" "),
    "limit:": lambda c: c.run_logs_page(17, limit=101),
    "skip: ": lambda c: c.run_logs_page(17, skip=-1),
    "run_id: expected an": lambda c: c.resume_run(-1, "x"),
    "prompt: expected": lambda c: c.resume_run(1, ""),
    "run": lambda c: c.wait_for_run(0),
    "timeout": lambda c: c.wait_for_run(1, timeout=-1.0),
    "timeout: ": lambda c: c.wait_for_run(1, timeout=math.nan),
    "latency": lambda c: c.wait_for_run(1, latency=-0.1),
}


@virtual
@pytest.mark.parametrize(("field", "call"), REFUSED.items(), ids=REFUSED)
async def test_an_argument_that_cannot_be_right_is_named_and_nothing_is_sent(
    field: str, call: Callable[[Any], Any]
) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await call(client)
        assert not server.requests
    assert str(caught.value).startswith(field)
    assert "expected" in str(caught.value)


@virtual
async def test_a_run_can_be_read_and_a_missing_one_is_not_found() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        created = await client.create_run("x")
        assert (await client.get_run(created.id)).id == created.id
        with pytest.raises(NotFoundError, match="Agent run not found"):
            await client.get_run(1)


@virtual
async def test_runs_are_listed_newest_first_each_once_while_new_ones_come() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        known = [server.world.create(f"{i}").id for i in range(25)]
        seen: list[int] = []
        async for run in client.list_runs(page_size=10):
            if len(seen) in (3, 12):
                server.world.create("a new one, that pushes another onto the next page")
            seen.append(run.id)
    assert seen == known[::-1]


@virtual
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20])
async def test_all_pages_are_listed_whatever_their_number(count: int) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        ids = [server.world.create(f"{i}").id for i in range(count)]
        assert [run.id async for run in client.list_runs(page_size=10)] == ids[::-1]


@virtual
async def test_lists_are_filtered_by_user_and_source() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        mine = server.world.create("mine", user_id=77)
        slack = server.world.create("slack", source_type="SLACK")
        assert [run.id async for run in client.list_runs(user_id=77)] == [mine.id]
        assert [run.id async for run in client.list_runs(source_type="SLACK")] == [slack.id]
        page = await client.list_runs_page(skip=1, limit=1)
        assert ([run.id for run in page.items], page.total, page.pages) == ([mine.id], 2, 2)


async def logged(server: CodegenServer, client: CodegenClient) -> tuple[int, int]:
    """Let a run live to its end, and return it with the number of its log rows."""
    run = server.world.create("x", script=[(0.0, "ACTIVE"), (3000.0, "COMPLETE")])
    await client.wait_for_run(run.id)
    return run.id, len(server.world.logs(run))


@virtual
async def test_logs_come_page_by_page_in_both_directions() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        run_id, count = await logged(server, client)
        rows = [row async for row in client.run_logs(run_id, page_size=7)]
        back = [row async for row in client.run_logs(run_id, page_size=7, reverse=True)]
        page = await client.run_logs_page(run_id, skip=2, limit=3)
    assert len(rows) == count > 20
    assert back == rows[::-1]
    assert list(page.logs) == rows[2:5]
    assert (page.total_logs, page.phase) == (count, Phase.SUCCEEDED)


@virtual
async def test_followed_logs_bring_each_row_once_until_the_run_ends_through_an_outage() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        run = server.world.create("x", script=[(0.0, "ACTIVE"), (3000.0, "COMPLETE")])
        rows: list[AgentRunLog] = []
        async for row in client.follow_logs(run.id):
            rows.append(row)
            if len(rows) == 5:
                server.faults.add(Fault.ERROR_BEFORE, endpoint="logs", times=20, status=503)
        everything = [row async for row in client.run_logs(run.id)]
        assert server.now() >= (run.finished_at or math.inf)
    assert rows == everything
    assert server.violations == 0


@virtual
async def test_a_resumed_run_is_waited_for_until_its_new_end() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        run = await client.create_run("x")
        server.world.end(run.id, "ERROR")
        assert (await client.wait_for_run(run)).phase is Phase.FAILED
        assert (await client.resume_run(run.id, "again")).phase is Phase.RUNNING
        waiting = asyncio.ensure_future(client.wait_for_run(run.id))
        await asyncio.sleep(20.0)
        assert not waiting.done()
        server.world.end(run.id, "COMPLETE")
        assert (await waiting).phase is Phase.SUCCEEDED


@virtual
@pytest.mark.parametrize("word", ["HIBERNATING", None, "pending", "Evaluation"])
async def test_an_unknown_or_unfinished_word_keeps_waiting(word: str | None) -> None:
    async with CodegenServer() as server, client_of(server) as client:
        run = server.world.create("x", script=[(0.0, word), (600.0, "COMPLETE")])
        final = await client.wait_for_run(run.id)
        assert (final.status, server.now() >= run.created + 600.0) == ("COMPLETE", True)


@virtual
async def test_two_hundred_runs_are_created_and_waited_for_within_the_limits() -> None:
    async with CodegenServer(latency=(0.02, 0.3), seed=5) as server, client_of(server) as client:

        async def live(number: int) -> tuple[int, str | None, float]:
            run = await client.create_run(f"number {number}")
            final = await client.wait_for_run(run)
            return run.id, final.status, server.now() - (server.world.runs[run.id].finished_at or 0.0)

        ended = await asyncio.gather(*(live(number) for number in range(200)))
        for run_id, status, _ in ended:
            truth = server.world.runs[run_id]
            assert status == truth.status_at(math.inf)
        latencies = sorted(latency for _, _, latency in ended)
        assert latencies[0] >= 0
        assert latencies[190] <= 6.0  # asked for: a look every 5 s; a round trip takes up to 0.6 s
        assert server.violations == 0
        assert len(server.world.runs) == 200
        polls = sum(request.endpoint in ("get", "list") for request in server.requests)
        assert polls <= 16 * 200  # a get every five seconds would take a hundred and twenty a run


# -- set-up


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEGEN_ORG_ID", "323")
    monkeypatch.setenv("CODEGEN_API_BASE_URL", "https://example.test/")
    client = CodegenClient()
    assert (client.org_id, client.base_url) == (323, "https://example.test")
    assert repr(client) == "CodegenClient(org_id=323, base_url='https://example.test')"
    assert CodegenClient(org_id=5, base_url="https://other.test").org_id == 5


WRONG: dict[str, dict[str, Any]] = {
    "token": {"token": ""},
    "token: ": {"token": "two\nlines"},
    "token:": {"token": "schlüssel"},
    "org_id": {"org_id": 0},
    "org_id: ": {"org_id": "five"},
    "base_url": {"base_url": "http://example.test"},
    "base_url: ": {"base_url": "https://user:pass@example.test"},
    "base_url: expected a URL such as https://api.example.com, got 'example.test'": {"base_url": "example.test"},
    "base_url:": {"base_url": "user:pass@example.test"},
    "base_url: expected": {"base_url": "https://example.test/?a=b"},
    "base_url: expected a URL": {"base_url": "https://example.test:port"},
    "latency": {"latency": -1.0},
    "share": {"share": 0.0},
    "share: ": {"share": 1.5},
    "rates": {"rates": {"gets": Rate(1, 1.0)}},
    "max_body": {"max_body": 0},
    "settle": {"settle": math.inf},
}


@pytest.mark.parametrize(("field", "options"), WRONG.items(), ids=WRONG)
def test_a_setting_that_cannot_be_right_is_named(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CodegenClient(**{"token": "t0ken", "org_id": 5, "base_url": "https://example.test", **options})
    assert str(caught.value).startswith(field)
    for secret in ("lines", "schl", "pass"):
        assert secret not in str(caught.value)


def test_a_missing_setting_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODEGEN_API_TOKEN")
    with pytest.raises(ConfigurationError, match="CODEGEN_API_TOKEN"):
        CodegenClient(org_id=5)


@virtual
async def test_a_client_works_inside_its_block_only_and_can_be_opened_again() -> None:
    async with CodegenServer() as server:
        client = client_of(server)
        with pytest.raises(ClientClosedError, match="async with CodegenClient"):
            await client.get_run(1)
        for _ in range(2):
            async with client:
                await client.list_runs_page()
        with pytest.raises(ClientClosedError):
            await client.list_runs_page()
        with pytest.raises(ClientClosedError):
            client.notify(1)
        assert len(server.requests) == 2


@virtual
async def test_another_loop_is_told_so_and_breaks_nothing() -> None:
    async with CodegenServer() as server, client_of(server) as client:
        run = await client.create_run("x")

        def elsewhere(call: Callable[[], Any]) -> None:
            with pytest.raises(RuntimeError, match="belongs to another event loop"):
                asyncio.run(call())

        await asyncio.to_thread(elsewhere, lambda: client.get_run(run.id))
        await asyncio.to_thread(elsewhere, lambda: client.wait_for_run(run.id))
        server.world.end(run.id)
        assert (await client.get_run(run.id)).phase is Phase.SUCCEEDED
        assert (await client.wait_for_run(run.id)).phase is Phase.SUCCEEDED
