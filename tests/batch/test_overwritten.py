"""A journal that is overwritten with an older copy of itself sends nothing twice: it is the same file to the system."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path

import pytest

from codegen_async.errors import JournalError
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, Forgetful, opened, query, run_all

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

PROMPTS = [f"do {number}" for number in range(20)]


async def run_for_a_while(server: CodegenServer, path: Path, *, over: bool) -> None:
    """Run a batch, copy its journal after three outcomes, and write the copy over it after ten: then, or at the end."""
    server.world.script = SHORT
    copy = path.with_name("copy")
    async with opened(server, path) as batch:
        for prompt in PROMPTS:
            batch.add(prompt)
        outcomes = 0
        async for _ in batch.run(max_active=4):
            outcomes += 1
            if outcomes == 3:
                await asyncio.to_thread(shutil.copyfile, path, copy)
            elif outcomes == 10 and over:
                await asyncio.to_thread(shutil.copyfile, copy, path)
            elif outcomes == 10:
                break
    await asyncio.to_thread(shutil.copyfile, copy, path)


async def check_that_nothing_is_doubled(server: CodegenServer, path: Path) -> None:
    async with opened(server, path) as batch:
        await run_all(batch)
        assert (await batch.audit()).ok
    assert Counter(run.prompt for run in server.world.runs.values()) == Counter(PROMPTS)


async def test_one_that_is_overwritten_while_it_is_driven_ends_the_batch(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    path = tmp_path / "batch.db"
    with pytest.raises(JournalError, match="was overwritten with an older copy of itself while it was being run"):
        await run_for_a_while(codegen_server, path, over=True)
    await check_that_nothing_is_doubled(codegen_server, path)


async def test_what_was_sent_since_a_copy_was_taken_is_found_when_it_was_put_back(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    path = tmp_path / "batch.db"
    await run_for_a_while(codegen_server, path, over=False)
    await check_that_nothing_is_doubled(codegen_server, path)


async def test_a_copy_that_was_put_back_is_refused_where_nothing_proves_that_runs_can_be_found(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    async with Forgetful() as server:
        await run_for_a_while(server, path, over=False)
        sent = len(server.world.runs)
        for _ in range(2):
            async with opened(server, path) as batch:
                with pytest.raises(JournalError, match="nothing proves that the list would show what was sent since"):
                    await run_all(batch)
        assert len(server.world.runs) == sent


async def test_a_commit_that_is_on_the_disk_before_it_is_counted_beside_the_journal_looks_like_no_copy(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    path = tmp_path / "batch.db"
    lock = path.with_name("batch.db-lock")
    async with opened(codegen_server, path) as batch:
        batch.add("a")
        await batch.save()
        before = await asyncio.to_thread(lock.read_bytes)
        batch.add("b")
        await batch.save()
    await asyncio.to_thread(lock.write_bytes, before)  # as after a kill between the two, or a power cut
    async with opened(codegen_server, path) as batch:
        await batch.status()
    assert await asyncio.to_thread(query, path, "SELECT 1 FROM meta WHERE name = 'moved'") == []


@pytest.mark.parametrize("content", [b"", None])
async def test_one_that_another_file_takes_the_place_of_is_told(
    codegen_server: CodegenServer, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "batch.db"
    other = tmp_path / "other"
    async with opened(codegen_server, path) as batch:
        batch.add("a")
        await batch.save()
        await asyncio.to_thread(shutil.copyfile, path, other)
        if content is not None:
            await asyncio.to_thread(other.write_bytes, content)
        await asyncio.to_thread(other.replace, path)
        with pytest.raises(JournalError, match="was moved, replaced or deleted while it was being run"):
            await run_all(batch)
    assert codegen_server.world.runs == {}
