"""Look at a batch from outside, without a client."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from codegen_async.batch import results
from codegen_async.batch.inputs import Prompts
from codegen_async.batch.items import State
from codegen_async.batch.readers import Where, read_counts, read_outcomes, read_sources
from codegen_async.batch.schema import SIDES, copy_of, explained
from codegen_async.batch.steps import Adding
from codegen_async.errors import InvalidArgumentError


async def export_journal(
    journal: str | os.PathLike[str], path: str | os.PathLike[str], *, kind: str | None = None
) -> int:
    """Write where each item of a journal stands to a file, also while it is driven, and return how many they are.

    It has the key, state, run, attempts, times, duration, pull requests, summary, result, error, prompt and metadata of
    each, and what else its line said. In tables, text that a spreadsheet would take for a formula begins with an
    apostrophe.

    Args:
        journal: the journal of a batch.
        path: the file; it takes the place of another when it is complete.
        kind: `csv`, `tsv`, `jsonl` or `json`. Default: as the file's suffix says.

    Raises:
        InvalidArgumentError: it is none of these, cannot be written, or holds the prompts or the journal.
        JournalError: there is no such journal, or it cannot be read.
    """
    return await asyncio.to_thread(write_outcomes, Path(journal), Path(path), kind=kind)


def write_outcomes(journal: Where, path: Path, *, kind: str | None) -> int:
    """Do as `export_journal` does. Blocking.

    Raises:
        InvalidArgumentError: the file is one of the batch's own, of no format that is known, or cannot be written.
        JournalError: there is no such journal, or it cannot be read.
    """
    check_apart("path", path, (), journal)
    return results.export(read_outcomes(journal), path, kind=kind)


def check_apart(field: str, path: Path, prompts: Iterable[Path], journal: Where | None) -> None:
    """Make sure that a file that is to be written is none that a batch needs. Blocking.

    Args:
        field: what to call the file.
        path: the file.
        prompts: files that hold prompts, besides those of which the journal knows.
        journal: where the batch is; its journal need not be there yet.

    Raises:
        InvalidArgumentError: it is; says what it is.
        JournalError: there is a journal that cannot be read.
    """
    needed = dict.fromkeys(prompts, "holds the prompts")
    own = journal if journal is None or isinstance(journal, Path) else journal.path
    needed |= {Path(f"{own}{side}"): "belongs to the journal" for side in ("", "-lock", *SIDES) if own is not None}
    if journal is not None and (own is None or own.is_file()):
        needed |= dict.fromkeys(read_sources(journal), "holds the prompts")
    for file, why in needed.items():
        if _is_same(path, file):
            raise InvalidArgumentError(field, str(path), f"another name, as this file {why}")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:  # one of them is not there yet
        return one.resolve() == other.resolve()
    except (OSError, ValueError):  # or cannot be
        return False


def foresee(journal: Path, prompts: Prompts) -> int:
    """Return how many runs would still be created if these prompts were all that is to be done. Blocking.

    What the journal would object to becomes a problem of the prompts.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    named = prompts.named()
    with explained(journal), contextlib.closing(copy_of(journal)) as copy:
        adding = Adding(copy, prompts.name, whole=True, keys={name for name, _ in named})
        for name, task in named:
            with prompts.noting():
                adding.add(name, task)
        with prompts.noting():
            adding.end()
        return int(copy.execute("SELECT count(*) FROM items WHERE state = 'planned'").fetchone()[0])


async def journal_status(journal: str | os.PathLike[str]) -> dict[State, int]:
    """Return how many items of a journal are in each state, also while another process drives it.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    return await asyncio.to_thread(read_counts, Path(journal))
