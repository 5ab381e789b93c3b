"""Files of prompts that are renamed, copied, sorted, converted and edited between two starts."""

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from codegen_async import InvalidArgumentError
from codegen_async.batch.appending import OutcomeFile
from codegen_async.batch.items import State
from codegen_async.batch.readers import read_outcomes
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, opened, run_all

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

MISSING = {"prompt": "x", "agent_type": "no such agent"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "p.jsonl"


async def write(file: Path, *rows: dict[str, object]) -> None:
    await asyncio.to_thread(file.write_text, "".join(json.dumps(row) + "\n" for row in rows))


def prompts(server: CodegenServer) -> list[str]:
    return [run.prompt for run in server.world.runs.values()]


async def drive(server: CodegenServer, path: Path, file: Path, *, whole: bool = False) -> None:
    async with opened(server, path) as batch:
        await batch.add_file(file, whole=whole)
        await run_all(batch)


async def add(server: CodegenServer, path: Path, file: Path) -> None:
    async with opened(server, path) as batch:
        await batch.add_file(file)


async def test_keys_that_a_file_gives_later_or_no_more_run_nothing_again(
    codegen_server: CodegenServer, path: Path, file: Path
) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "x"}, {"prompt": "y"}, {"prompt": "x"})
    await drive(codegen_server, path, file)
    await write(file, {"prompt": "x", "key": "a"}, {"prompt": "x"}, {"prompt": "y", "key": "b"})
    await drive(codegen_server, path, file)
    assert len(prompts(codegen_server)) == 3
    await write(file, {"prompt": "x"}, {"prompt": "x", "key": "a"}, {"prompt": "y"}, {"prompt": "x"})
    await drive(codegen_server, path, file)
    assert sorted(prompts(codegen_server)) == ["x", "x", "x", "y"]
    async with opened(codegen_server, path) as batch:
        assert (await batch.audit()).ok
        await write(file, {"prompt": "other", "key": "a"})
        with pytest.raises(InvalidArgumentError, match="which was sent"):
            await batch.add_file(file)


async def test_a_program_may_give_the_same_prompt_with_and_without_a_key(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    for _ in range(2):
        async with opened(codegen_server, path) as batch:
            batch.add("x")
            await batch.save()
            batch.add("x", key="a")
            await run_all(batch)
    assert prompts(codegen_server) == ["x", "x"]


async def test_lines_that_moved_are_known(codegen_server: CodegenServer, path: Path, file: Path) -> None:
    codegen_server.world.script = SHORT
    rows: list[dict[str, object]] = [{"prompt": f"do {n}", "metadata": {"n": n}} for n in range(4)]
    await write(file, *rows)
    await drive(codegen_server, path, file)
    sorted_file = file.with_name("sorted.jsonl")
    await write(sorted_file, *reversed(rows))
    await drive(codegen_server, path, sorted_file)
    table = file.with_name("table.csv")
    lines = "".join(f'do {n},"{{""n"": {n}}}"\n' for n in range(4))
    await asyncio.to_thread(table.write_text, "prompt,metadata\n" + lines)
    await drive(codegen_server, path, table)
    assert len(prompts(codegen_server)) == 4


async def test_an_inserted_line_is_one_more(codegen_server: CodegenServer, path: Path, file: Path) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "one"}, {"prompt": "two"})
    await drive(codegen_server, path, file)
    await write(file, {"prompt": "zero"}, {"prompt": "one"}, {"prompt": "two"})
    async with opened(codegen_server, path) as batch:
        added = await batch.add_file(file)
        (outcome,) = await run_all(batch)
    assert (added.new, added.known) == (("#p.jsonl:1~2",), 2)  # another was on that line before
    assert outcome.key == "#p.jsonl:1~2"
    assert prompts(codegen_server) == ["one", "two", "zero"]


async def test_equal_lines_are_prompts_of_their_own_and_it_is_said_how_many(
    codegen_server: CodegenServer, path: Path, file: Path
) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "a"}, {"prompt": "a"}, {"prompt": "b"})
    async with opened(codegen_server, path) as batch:
        added = await batch.add_file(file)
        await run_all(batch)
    assert (len(added.new), added.equal) == (3, 1)
    await write(file, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "a"}, {"prompt": "a"})
    await drive(codegen_server, path, file)
    assert sorted(prompts(codegen_server)) == ["a", "a", "a", "b"]


async def test_of_equal_prompts_those_that_were_sent_are_the_ones_that_stay(
    codegen_server: CodegenServer, path: Path, file: Path
) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        await write(file, {"prompt": "a"}, {"prompt": "a"})
        await batch.add_file(file)
        async with contextlib.aclosing(batch.run(max_active=1)) as outcomes:
            await anext(outcomes)
    await write(file, {"prompt": "a"})
    async with opened(codegen_server, path) as batch:
        added = await batch.add_file(file)
        await run_all(batch)
    assert (added.known, len(added.withdrawn)) == (1, 1)
    assert prompts(codegen_server) == ["a"]


async def test_files_of_one_name_in_two_folders_are_two(
    codegen_server: CodegenServer, path: Path, tmp_path: Path
) -> None:
    codegen_server.world.script = SHORT
    files = [tmp_path / name / "p.jsonl" for name in ("one", "other")]
    for file in files:
        await asyncio.to_thread(file.parent.mkdir)
        await write(file, {"prompt": f"of {file.parent.name}"}, {"prompt": f"more of {file.parent.name}"})
    async with opened(codegen_server, path) as batch:
        for file in (*files, *files):
            assert not (await batch.add_file(file)).withdrawn
    await write(files[0], {"prompt": "of one"})
    async with opened(codegen_server, path) as batch:
        assert (await batch.add_file(files[0])).withdrawn == ("#p.jsonl:2",)
        # Where a folder was moved, its file is the same one.
        await asyncio.to_thread(files[1].parent.rename, tmp_path / "moved")
        moved = tmp_path / "moved" / "p.jsonl"
        await write(moved, {"prompt": "of other"})
        assert (await batch.add_file(moved)).withdrawn == ("#p.jsonl:2~2",)
        await run_all(batch)
    assert sorted(prompts(codegen_server)) == ["of one", "of other"]


@pytest.mark.parametrize("whole", [False, True])
async def test_a_file_of_nothing_takes_nothing_away(
    codegen_server: CodegenServer, path: Path, file: Path, *, whole: bool
) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "a"}, {"prompt": "b", "key": "k"})
    await add(codegen_server, path, file)
    await write(file)  # its writer has failed
    with pytest.raises(
        InvalidArgumentError, match=r"p\.jsonl, prompts: expected at least one, as 2 that were not sent"
    ):
        await drive(codegen_server, path, file, whole=whole)
    await write(file, {"prompt": "a"})
    await drive(codegen_server, path, file, whole=whole)
    await write(file)
    await drive(codegen_server, path, file, whole=whole)  # nothing is left that could be taken away
    assert prompts(codegen_server) == ["a"]


async def test_a_file_of_objects_may_become_a_table(
    codegen_server: CodegenServer, path: Path, file: Path, tmp_path: Path
) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "a", "key": " k "}, {"prompt": "b"})
    await drive(codegen_server, path, file)
    table = tmp_path / "p.csv"
    await asyncio.to_thread(table.write_text, "prompt,key\na, k \nb,\n")
    await drive(codegen_server, path, table, whole=True)
    assert sorted(prompts(codegen_server)) == ["a", "b"]


async def test_a_line_that_was_withdrawn_before_it_was_sent_is_not_sent(
    codegen_server: CodegenServer, path: Path, file: Path
) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "keep"}, {"prompt": "gone"}, {"prompt": "gone too", "key": "k"})
    await add(codegen_server, path, file)
    await write(file, {"prompt": "keep"})
    async with opened(codegen_server, path) as batch:
        batch.add("of a program")
        added = await batch.add_file(file)
        await run_all(batch)
    assert added.withdrawn == ("#p.jsonl:2", "k")
    assert prompts(codegen_server) == ["keep", "of a program"]


async def test_what_came_from_another_file_is_left_out_only_if_this_one_is_all(
    codegen_server: CodegenServer, path: Path, file: Path
) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "one"})
    await add(codegen_server, path, file)
    other = file.with_name("other.jsonl")
    await write(other, {"prompt": "two"})
    await add(codegen_server, path, other)
    third = file.with_name("third.jsonl")
    await write(third, {"prompt": "one"})
    await drive(codegen_server, path, third, whole=True)
    assert prompts(codegen_server) == ["one"]


@pytest.mark.parametrize("key", [{}, {"key": "k"}])
async def test_a_line_that_was_rejected_is_sent_in_its_new_form(
    codegen_server: CodegenServer, path: Path, file: Path, key: dict[str, object]
) -> None:
    codegen_server.world.script = SHORT
    await write(file, MISSING | key)
    await drive(codegen_server, path, file)
    assert not prompts(codegen_server)
    await write(file, {"prompt": "y"} | key)
    await drive(codegen_server, path, file)
    assert prompts(codegen_server) == ["y"]
    async with opened(codegen_server, path) as batch:
        assert (await batch.status())[State.REJECTED] == 0


async def test_a_key_whose_prompt_was_sent_keeps_its_content_and_the_line_is_named(
    codegen_server: CodegenServer, path: Path, file: Path
) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "a", "key": "k"})
    await drive(codegen_server, path, file)
    await write(file, {"prompt": "new"}, {"prompt": "b", "key": "k"})
    with pytest.raises(InvalidArgumentError, match=r"p\.jsonl, line 2, key: expected another key, .* which was sent"):
        await add(codegen_server, path, file)
    async with opened(codegen_server, path) as batch:
        assert sum((await batch.status()).values()) == 1


async def test_a_program_tells_prompts_by_their_content_too(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    for order in (["a", "b", "b"], ["b", "c", "a", "b"]):
        async with opened(codegen_server, path) as batch:
            for prompt in order:
                batch.add(prompt)
            await run_all(batch)
    assert sorted(prompts(codegen_server)) == ["a", "b", "b", "c"]


async def test_a_file_whose_line_ends_were_exchanged_runs_nothing_again(
    codegen_server: CodegenServer, path: Path, tmp_path: Path
) -> None:
    codegen_server.world.script = SHORT
    table, objects = tmp_path / "p.csv", tmp_path / "p.jsonl"
    plain = b'prompt,key\n"a\nb",\n"c\nd",k\n'
    out = tmp_path / "out"
    for content in (plain, plain.replace(b"\n", b"\r\n"), plain):
        await asyncio.to_thread(table.write_bytes, content)
        await drive(codegen_server, path, table, whole=True)
        await asyncio.to_thread(_append_all, path, out)
    assert len((await asyncio.to_thread(out.read_text)).splitlines()) == 2
    for end in ("\n", "\r\n"):  # as programs write them
        await write(objects, {"prompt": f"a{end}b"}, {"prompt": f"c{end}d", "key": "k"})
        await drive(codegen_server, path, objects, whole=True)
    assert prompts(codegen_server) == ["a\nb", "c\nd"]


async def test_a_journal_of_before_knows_its_prompts_however_their_lines_end_now(
    codegen_server: CodegenServer, path: Path, file: Path
) -> None:
    codegen_server.world.script = SHORT
    await write(file, {"prompt": "a\r\nb"})
    await drive(codegen_server, path, file)
    await asyncio.to_thread(_as_of_schema_6, path)
    await write(file, {"prompt": "a\nb"})
    await drive(codegen_server, path, file, whole=True)
    assert len(prompts(codegen_server)) == 1


def _append_all(path: Path, out: Path) -> None:
    with contextlib.closing(OutcomeFile(out)) as file:
        for outcome in read_outcomes(path):
            file.add(outcome)


def _as_of_schema_6(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE items SET digest = zeroblob(16)")  # line ends were a part of it
        connection.execute("PRAGMA user_version = 6")
