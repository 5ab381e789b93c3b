"""A batch whose process stood still, and may have been taken over, sends nothing that another may have sent."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from codegen_async.batch.batch import Batch
from codegen_async.batch.holder import Holder
from codegen_async.batch.items import Outcome, State
from codegen_async.batch.places import as_text
from codegen_async.errors import JournalError
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, opened, run_all

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

STILL = 20.0  # seconds, after which a slot has grown too old


def take_over(path: Path) -> None:
    """Write another's name into a journal, as one does that has waited in vain for an answer."""
    other = Holder("0123456789abcdef", 1, "7", "another machine")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'driver'", (as_text(other),))


def stand_still(batch: Batch, monkeypatch: pytest.MonkeyPatch, *, taken_over: bool) -> None:
    """Let the process stop between its first claim and the sending of that."""
    creating = batch._client.creating
    prepare = creating.prepare

    async def stop(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(creating, "prepare", prepare)
        await asyncio.sleep(STILL)
        if taken_over:
            await asyncio.to_thread(take_over, batch.path)
        return await prepare(*args, **options)

    monkeypatch.setattr(creating, "prepare", stop)


def creates(server: CodegenServer) -> int:
    return len(server.world.runs)


async def test_what_was_claimed_before_it_stood_still_is_claimed_again_and_sent_once(
    codegen_server: CodegenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        batch.add("a")
        stand_still(batch, monkeypatch, taken_over=False)
        (outcome,) = await run_all(batch)
        report = await batch.audit()
    assert outcome.state is State.ENDED
    assert creates(codegen_server) == 1
    assert report.ok


async def test_what_was_claimed_before_it_was_taken_over_is_not_sent(
    codegen_server: CodegenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        batch.add("a")
        stand_still(batch, monkeypatch, taken_over=True)
        with pytest.raises(JournalError, match="was taken over by another process; this one sends nothing more"):
            await run_all(batch)
    assert creates(codegen_server) == 0


@pytest.mark.parametrize("after", [1, 3, 10])
async def test_a_batch_that_is_taken_over_ends_with_an_error_that_says_so(
    codegen_server: CodegenServer, tmp_path: Path, after: int
) -> None:
    """Not with whatever the rows of the other look like from here."""
    codegen_server.world.script = SHORT
    outcomes: list[Outcome] = []
    sent = 0

    async def run(batch: Batch) -> None:
        nonlocal sent
        async for outcome in batch.run(max_active=5):
            outcomes.append(outcome)
            if len(outcomes) == after:
                sent = creates(codegen_server)
                await asyncio.to_thread(take_over, batch.path)

    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        for number in range(20):
            batch.add(f"do {number}")
        with pytest.raises(JournalError, match="was taken over"):
            await run(batch)
        await asyncio.sleep(3600.0)
    assert after <= creates(codegen_server) <= sent + 5  # those that were claimed before
