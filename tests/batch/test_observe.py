"""What an observer is told of the items of a batch."""

from pathlib import Path

import pytest

from codegen_async import Batch, InvalidArgumentError
from codegen_async.events import Event, ItemChanged
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, client_of, journal_at, opened, plan, run_all

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def items(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.key, event.state) for event in events if isinstance(event, ItemChanged)]


async def test_every_change_of_an_item_is_told_in_order(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    events: list[Event] = []
    async with opened(codegen_server, path, observe=events.append) as batch:
        batch.add("do it", key="a")
        await run_all(batch)
    assert items(events) == [("a", "planned"), ("a", "sending"), ("a", "created"), ("a", "ended")]
    assert {event.batch for event in events if isinstance(event, ItemChanged)} == {str(path)}


async def test_what_an_opened_journal_holds_is_told_first(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("one", key="a")
        await run_all(batch)
        batch.add("two", key="b")
    events: list[Event] = []
    async with opened(codegen_server, path, observe=events.append):
        assert items(events) == [("a", "ended"), ("b", "planned")]


async def test_a_run_that_failed_is_told_as_planned_again(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (1.0, "ERROR")]
    events: list[Event] = []
    async with opened(codegen_server, path, observe=events.append) as batch:
        batch.add("do it", key="a")
        await run_all(batch, max_attempts=2)
    way = ["sending", "created"]
    assert [state for _, state in items(events)] == ["planned", *way, "planned", *way, "ended"]


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"key": "b", "prompt": "two"}\n{"key": "a", "prompt": "other"}\n')
    return path


async def test_what_is_not_committed_is_not_told(codegen_server: CodegenServer, path: Path, bad_file: Path) -> None:
    events: list[Event] = []
    async with client_of(codegen_server, observe=events.append) as client, Batch(client, path) as batch:
        batch.add("one", key="a")
        await batch.status()
        with pytest.raises(InvalidArgumentError):
            await batch.add_file(bad_file)
        batch.add("three", key="c")
    assert items(events) == [("a", "planned"), ("c", "planned")]


async def test_notes_of_a_failed_write_do_not_come_with_the_next(path: Path) -> None:
    told: list[tuple[str, str]] = []
    async with journal_at(path) as journal:
        await journal.watch(lambda name, state: told.append((name, state)))
        await plan(journal, "a")
        with pytest.raises(InvalidArgumentError):
            await journal.release(["a"])
        await plan(journal, "b")
    assert told == [("a", "planned"), ("b", "planned")]
