"""The messages that the pages on troubles and on the log quote are those that a user sees."""

import asyncio
import errno
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from codegen_async import (
    AuthenticationError,
    Batch,
    CodegenClient,
    ConfigurationError,
    ConnectionFailedError,
    CreateOutcomeUnknownError,
    JournalError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitedError,
)
from codegen_async.testing import CodegenServer, Fault

PAGES = [Path(__file__).parents[1] / "docs" / "howto" / f"{name}.md" for name in ("troubleshooting", "observability")]
VIRTUAL = pytest.mark.asyncio(loop_factories=["virtual"])


def in_general(message: str) -> str:
    """Return a message without what is another each time: numbers, keys, paths, servers."""
    for pattern, name in (
        (r"'[0-9a-f]{32}'", "KEY"),
        (r"[\w./-]*batch\.db", "JOURNAL"),
        (r"https?://[\w.:-]+", "SERVER"),
    ):
        message = re.sub(pattern, name, message)
    return re.sub(r"\d+(\.\d+)*", "N", message)


QUOTED = {
    in_general(" ".join(block.split()))
    for page in PAGES
    for block in re.findall(r"```text\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
}


def check_quoted(message: object) -> None:
    seen = in_general(str(message))
    assert seen in QUOTED


@asynccontextmanager
async def client_of(
    server: CodegenServer, token: str | None = None, org_id: int | None = None
) -> AsyncIterator[CodegenClient]:
    async with CodegenClient(token or server.token, org_id=org_id or server.org_id, base_url=server.url) as client:
        yield client


@VIRTUAL
async def test_what_is_logged_while_nothing_happens(
    codegen_server: CodegenServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "codegen_async")
    async with client_of(codegen_server) as client:
        for number in range(11):
            await client.create_run(f"issue {number}")
    check_quoted(caplog.messages[0])


@VIRTUAL
async def test_what_is_logged_of_a_request(codegen_server: CodegenServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "codegen_async")
    run = codegen_server.world.create("x")
    async with client_of(codegen_server) as client:
        await client.get_run(run.id)
    check_quoted(caplog.messages[-1])


def test_what_a_missing_token_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CODEGEN_API_TOKEN", "CODEGEN_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError) as missing:
        CodegenClient()
    check_quoted(missing.value)


@VIRTUAL
async def test_what_a_refused_token_and_a_foreign_organization_say(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server, token="of-yesterday") as client:
        with pytest.raises(AuthenticationError) as refused:
            await client.get_run(1)
    check_quoted(refused.value)
    async with client_of(codegen_server, org_id=999) as client:
        with pytest.raises(PermissionDeniedError) as foreign:
            await client.get_run(1)
    check_quoted(foreign.value)


@VIRTUAL
async def test_what_a_wrong_organization_says(codegen_server: CodegenServer) -> None:
    codegen_server.account.organizations[7] = "Second"
    run = codegen_server.world.create("x")
    async with client_of(codegen_server, org_id=7) as client:
        with pytest.raises(NotFoundError) as missing:
            await client.get_run(run.id)
    check_quoted(missing.value)
    with pytest.raises(ConfigurationError) as several:
        await CodegenClient(codegen_server.token, base_url=codegen_server.url).open()
    check_quoted(several.value)


@VIRTUAL
async def test_what_refusals_for_the_limit_and_for_the_plan_say(
    codegen_server: CodegenServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "codegen_async")
    codegen_server.faults.add(Fault.RATE_LIMITED, endpoint="get", times=None)
    codegen_server.plan_limit = 0
    async with client_of(codegen_server) as client:
        with pytest.raises(RateLimitedError) as limited:
            await client.get_run(1)
        with pytest.raises(QuotaExceededError) as spent:
            await client.create_run("x")
    check_quoted(limited.value)
    check_quoted(caplog.messages[0])
    check_quoted(spent.value)


@VIRTUAL
async def test_what_a_create_of_unknown_outcome_says(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.DROP_BEFORE, endpoint="create", times=1)
    async with client_of(codegen_server) as client:
        with pytest.raises(CreateOutcomeUnknownError) as unknown:
            await client.create_run("x")
    check_quoted(unknown.value)


@VIRTUAL
async def test_what_an_unknown_item_says(codegen_server: CodegenServer, tmp_path: Path) -> None:
    codegen_server.faults.add(Fault.DROP_BEFORE, endpoint="create", times=1)
    async with client_of(codegen_server) as client, Batch(client, tmp_path / "batch.db") as batch:
        batch.add("x", key="issue-17")
        outcomes = [outcome async for outcome in batch.run()]
    assert [outcome.state for outcome in outcomes] == ["unknown"]
    check_quoted(outcomes[0].error)


@VIRTUAL
async def test_what_the_journal_of_another_server_says(tmp_path: Path) -> None:
    async with (
        CodegenServer() as rehearsal,
        client_of(rehearsal) as client,
        Batch(client, tmp_path / "batch.db") as batch,
    ):
        batch.add("x")
        assert [outcome.state async for outcome in batch.run()]
    async with CodegenServer() as real, client_of(real) as client:
        with pytest.raises(JournalError) as foreign:
            await Batch(client, tmp_path / "batch.db").open()
    check_quoted(foreign.value)


@VIRTUAL
async def test_what_a_journal_that_is_being_run_says(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with client_of(codegen_server) as client, Batch(client, tmp_path / "batch.db"):
        with pytest.raises(JournalError) as held:
            await Batch(client, tmp_path / "batch.db").open()
    check_quoted(held.value)


@VIRTUAL
async def test_what_is_logged_while_the_store_of_a_fleet_is_away(caplog: pytest.LogCaptureFixture) -> None:
    away = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "store is away" in record.getMessage():
                away.set()

    logging.getLogger("codegen_async").addHandler(listener := Listener())
    try:
        async with (
            CodegenServer() as server,
            CodegenClient(
                server.token, org_id=server.org_id, base_url=server.url, fleet="redis://127.0.0.1:1/0"
            ) as client,
        ):
            create = asyncio.create_task(client.create_run("x"))
            async with asyncio.timeout(60):
                await away.wait()
            create.cancel()
    finally:
        logging.getLogger("codegen_async").removeHandler(listener)
    for message in caplog.messages:
        check_quoted(message)


@VIRTUAL
async def test_what_a_process_without_room_for_files_says(
    codegen_server: CodegenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(socket.socket):
        def __init__(self, *_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    async with client_of(codegen_server) as client:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Full)
            with pytest.raises(ConnectionFailedError) as full:
                await client.get_run(1)
    check_quoted(full.value)


def test_what_a_client_of_another_loop_says(codegen_server: CodegenServer) -> None:
    client = CodegenClient(codegen_server.token, org_id=codegen_server.org_id, base_url=codegen_server.url)

    async def use() -> None:
        await client.me()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(client.open())
        with pytest.raises(RuntimeError, match="another event loop") as foreign:
            second.run(use())
        first.run(client.aclose())
    check_quoted(foreign.value)
    with pytest.raises(RuntimeError) as closed, asyncio.Runner() as third:
        third.run(use())
    check_quoted(closed.value)


def test_what_asyncio_says_of_a_call_that_is_not_awaited(codegen_server: CodegenServer) -> None:
    client = CodegenClient(codegen_server.token, org_id=codegen_server.org_id, base_url=codegen_server.url)
    with pytest.warns(RuntimeWarning) as said:
        client.create_run("x")  # type: ignore[unused-coroutine]
    check_quoted(said[0].message)
