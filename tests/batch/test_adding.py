"""What the journal does with thousands of prompts, and with keys of any text."""

import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from codegen_async.batch.items import Added, Task
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
@pytest.mark.parametrize("key", ["\0", "\0 is how it begins", "a\0b", "\u200b", "\N{PILE OF POO}" * 200])
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
