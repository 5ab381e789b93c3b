"""A disk with room for so many bytes: what is told, and that nothing is lost or kept locked."""

import asyncio
import contextlib
import resource
from collections.abc import Generator
from pathlib import Path

import pytest

from codegen_async.errors import JournalError
from tests.batch.helpers import journal_at, plan, states


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@contextlib.contextmanager
def room_for(size: int) -> Generator[None]:
    """Let no file grow beyond a size: a write comes to a short end there, and the next one fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def fill(path: Path, saved: list[str]) -> None:
    async with journal_at(path) as journal:
        for number in range(60):
            name = f"{len(saved)} {number} {'x' * 5000}"
            await plan(journal, name)
            saved.append(name)


async def standing(path: Path) -> list[str]:
    async with journal_at(path) as journal:
        return list(await states(journal))


@pytest.mark.parametrize("size", [0, 1, 40, 100, 4096, 10_000, 30_000, 100_000, 300_000, 520_000, 530_000, 600_000])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_nearly_full_disk_is_told_and_nothing_is_lost_or_kept_locked(path: Path, size: int, *, is_new: bool) -> None:
    saved: list[str] = []
    told: list[JournalError] = []
    if not is_new:
        asyncio.run(fill(path, saved))
    with room_for(size):
        for _ in range(2):
            try:
                asyncio.run(fill(path, saved))
            except JournalError as error:
                told.append(error)
    assert all(error.path.startswith(str(path)) for error in told)
    assert told or size > 500_000  # which is what the lock file takes
    assert set(asyncio.run(standing(path))) >= set(saved)
