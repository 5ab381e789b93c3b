"""Look at a batch from outside, without a client."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from codegen_async.batch import results
from codegen_async.batch.items import State
from codegen_async.batch.readers import read_counts, read_outcomes


async def export_journal(
    journal: str | os.PathLike[str], path: str | os.PathLike[str], *, kind: str | None = None
) -> int:
    """Write the items of a journal to a file as `Batch.export` does, also while another process drives it.

    Raises:
        InvalidArgumentError: it is no format that is known, or cannot be written.
        JournalError: there is no such journal, or it cannot be read.
    """
    return await asyncio.to_thread(lambda: results.export(read_outcomes(Path(journal)), Path(path), kind=kind))


async def journal_status(journal: str | os.PathLike[str]) -> dict[State, int]:
    """Return how many items of a journal are in each state, also while another process drives it.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    return await asyncio.to_thread(read_counts, Path(journal))
