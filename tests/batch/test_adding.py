"""What the journal does with thousands of prompts, and with keys of any text."""

import asyncio
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codegen_async.batch.items import Added, Task
from codegen_async.batch.readers import read_outcomes
from codegen_async.batch.steps import Adding
from codegen_async.batch.tables import MIGRATIONS, teach
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, opened, run_all

MANY = 2000
KEYS = [f"k{n}" for n in range(MANY)]
NO_KEYS = [f"#p.jsonl:{n}" for n in range(MANY)]


@pytest.fixture
def journal() -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        teach(connection)
        for step in MIGRATIONS:
            for statement in step:
                connection.execute(statement)
        yield connection


def add(journal: sqlite3.Connection, names: list[str]) -> Added:
    """Add equal prompts under these names, from a file."""
    adding = Adding(journal, "p.jsonl", whole=True, keys=set(names))
    for name in names:
        adding.add(name, Task(prompt="the same"))
    return adding.end()


def rename(path: Path, key: str) -> None:
    """Give the item of a journal another key, as none can be given by now."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE items SET name = ?", (key,))


@pytest.mark.parametrize("first", [NO_KEYS, KEYS])
@pytest.mark.parametrize("second", [NO_KEYS, KEYS])
def test_many_equal_prompts_take_a_few_statements_each(
    journal: sqlite3.Connection, first: list[str], second: list[str]
) -> None:
    statements: list[str] = []
    journal.set_trace_callback(statements.append)
    assert len(add(journal, first).new) == MANY
    again = add(journal, second)
    assert (again.known, again.new, again.withdrawn) == (MANY, (), ())
    assert len(statements) < 20 * MANY


@pytest.mark.asyncio(loop_factories=["virtual"])
@pytest.mark.parametrize("key", ["\u200b", "\N{PILE OF POO}" * 200])
async def test_any_text_may_be_a_key_and_its_journal_is_opened_again(
    codegen_server: CodegenServer, tmp_path: Path, key: str
) -> None:
    codegen_server.world.script = SHORT
    path = tmp_path / "batch.db"
    for keys in ([key], []):
        async with opened(codegen_server, path) as batch:
            batch.add("x", key=key)
            assert [outcome.key for outcome in await run_all(batch)] == keys
    assert len(codegen_server.world.runs) == 1


@pytest.mark.asyncio(loop_factories=["virtual"])
@pytest.mark.parametrize("key", ["\0", "\0 is how it begins", "a\0b"])
async def test_a_journal_of_before_is_opened_again_whose_keys_have_null_characters(
    codegen_server: CodegenServer, tmp_path: Path, key: str
) -> None:
    codegen_server.world.script = SHORT
    path = tmp_path / "batch.db"
    async with opened(codegen_server, path) as batch:
        batch.add("x", key="a")
        await run_all(batch)
    await asyncio.to_thread(rename, path, key)
    for _ in range(2):
        async with opened(codegen_server, path) as batch:
            assert await run_all(batch) == []
    assert await asyncio.to_thread(lambda: [outcome.key for outcome in read_outcomes(path)]) == [key]


@pytest.mark.asyncio(loop_factories=["virtual"])
@pytest.mark.parametrize(("fields", "said"), [({"promt": "x"}, "'promt'"), ({"key": "a"}, "'prompt'")])
async def test_what_add_does_not_take_is_told_by_its_name(
    codegen_server: CodegenServer, tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    async with opened(codegen_server, tmp_path / "b.db") as batch:
        adding: Any = batch.add
        with pytest.raises(TypeError, match=rf"add\(\).*{said}"):
            adding(**fields)
