"""Read a journal from outside, also while another process drives it. Blocking."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from codegen_async.batch.items import Item, Outcome, State, Task, decode_task, idempotency_key
from codegen_async.batch.places import Account, account_of, are_numbers
from codegen_async.batch.schema import explained, open_to_read
from codegen_async.batch.snapshots import decode_run
from codegen_async.batch.tables import SOURCE_OF_OLD

PAGE = 200
"""Rows held in memory at a time."""

OUTCOME = "seq, name, state, attempt, run_id, run, error, created_at, ended_at, task"
"""The columns that `outcome_of` reads."""

IDENTITY = "coalesce(identity, name)"
"""What the keys of an item's runs are made of."""

KEY = f"parent, {IDENTITY}, attempt"
"""The columns that `key_of` reads."""

ITEM = f"seq, name, {KEY}, floor, likely_done, run_id"
"""The columns that `item_of` reads."""

_NEAR = 50  # runs on either side of one that is looked for, which tell whether it would have been found
_NUMBER = "CAST(run_id AS BIGINT)"
_NUMBERED = f"SELECT {KEY}, run_id FROM items WHERE {_NUMBER}"  # noqa: S608 - a constant

_SENT = "state NOT IN ('planned', 'rejected')"  # has a run, or may have one


class Elsewhere(Protocol):
    """A batch that is in no journal; its text is what a user would write for it."""

    @property
    def path(self) -> Path | None:
        """The file that it is in, if it is in one."""
        ...

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return a context with what answers the queries of this module."""
        ...


Where = Path | Elsewhere
"""Where a batch is: in the file of a journal, or elsewhere."""


def opened(where: Where) -> AbstractContextManager[sqlite3.Connection]:
    """Return what answers queries on a journal, or on what stands for one, for who does more than to read.

    Raises:
        JournalError: there is none.
    """
    return contextlib.closing(open_to_read(where)) if isinstance(where, Path) else where.reading()


@contextlib.contextmanager
def reading(where: Where) -> Generator[sqlite3.Connection]:
    """Read from a journal, or from what stands for one.

    Raises:
        JournalError: there is none, or it cannot be read.
    """
    with opened(where) as connection, explained(where) if isinstance(where, Path) else contextlib.nullcontext():
        yield connection


def read_counts(path: Where) -> dict[State, int]:
    """Return how many items of a journal are in each state. Blocking; works while it is being run.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    with reading(path) as connection:
        return counts_of(connection)


def read_sent(path: Where) -> Counter[bytes]:
    """Return the contents of the tasks of a journal that have a run, or may have one. Blocking.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    with reading(path) as connection:
        return sent_of(connection)


def read_outcomes(path: Where) -> Generator[Outcome]:
    """Yield where every item of a journal stands, in order. Blocking; works while it is being run.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    query = f"SELECT {OUTCOME} FROM items WHERE seq > ? ORDER BY seq LIMIT {PAGE}"  # noqa: S608 - constants
    last = 0
    with reading(path) as connection:
        numbered = are_numbers(dict(connection.execute("SELECT name, value FROM meta")))
        while rows := connection.execute(query, (last,)).fetchall():  # no commit has to wait for who reads slowly
            for row in rows:
                last = row[0]
                yield outcome_of(row, numbered=numbered)


def read_account(path: Where) -> Account | None:
    """Return where the runs of a journal are, None if it does not know yet. Blocking.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    with reading(path) as connection:
        return account_of(dict(connection.execute("SELECT name, value FROM meta")))


def read_sources(path: Where) -> list[Path]:
    """Return the files that the items of a journal come from. Blocking.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    if not isinstance(path, Path):
        return []  # its files may be on other machines
    with reading(path) as connection:
        old = connection.execute("PRAGMA user_version").fetchone()[0] == 1
        source, is_known = (SOURCE_OF_OLD, "name GLOB '#*:*'") if old else ("source", "source IS NOT NULL")
        query = f"SELECT {source} AS file, task FROM items WHERE {is_known} GROUP BY file"  # noqa: S608 - constants
        return [Path(decode_task(task).folder or "", source) for source, task in connection.execute(query)]


def counts_of(connection: sqlite3.Connection) -> dict[State, int]:
    """Return how many items are in each state."""
    rows = connection.execute("SELECT state, count(*) FROM items GROUP BY state").fetchall()
    return dict.fromkeys(State, 0) | {State(state): count for state, count in rows}


def sent_of(connection: sqlite3.Connection) -> Counter[bytes]:
    """Return the contents of the tasks that have a run, or may have one."""
    rows = connection.execute(f"SELECT task FROM items WHERE {_SENT}")  # noqa: S608 - a constant
    return Counter(decode_task(task).content() for (task,) in rows)


def key_of(batch_id: str, parent: str | None, identity: str, attempt: int) -> str:
    """Return the key of an item's present attempt, from the columns of `KEY`."""
    return parent or idempotency_key(batch_id, identity, attempt)


def near(connection: sqlite3.Connection, floor: int) -> list[tuple[str | None, str, int, str]]:
    """Return the columns of `KEY` and runs of items whose runs have numbers near this one."""
    older = connection.execute(f"{_NUMBERED} <= ? ORDER BY {_NUMBER} DESC LIMIT {_NEAR}", (floor,)).fetchall()
    return older + connection.execute(f"{_NUMBERED} > ? ORDER BY {_NUMBER} LIMIT {_NEAR}", (floor,)).fetchall()


def earlier(connection: sqlite3.Connection, seq: int) -> tuple[str | None, str, int] | None:
    """Return the columns of `KEY` of the last item with a run that was sent before this one."""
    query = (
        f"SELECT {KEY} FROM items"  # noqa: S608 - a constant
        " WHERE seq < ? AND run_id IS NOT NULL AND turn = 0 AND attempt = 1 ORDER BY seq DESC LIMIT 1"
    )
    row: tuple[str | None, str, int] | None = connection.execute(query, (seq,)).fetchone()
    return row


def later(connection: sqlite3.Connection, seq: int, seconds: float) -> tuple[str | None, str, int, str] | None:
    """Return the columns of `KEY` and the run of the newest item that was sent in a later life, so much after this."""
    query = (
        f"SELECT {KEY}, run_id FROM items, (SELECT life AS before, sent_at AS moment FROM items WHERE seq = ?) AS this"  # noqa: S608 - a constant
        " WHERE run_id IS NOT NULL AND life > before AND sent_at >= moment + ? ORDER BY life DESC, sent_at DESC LIMIT 1"
    )
    row: tuple[str | None, str, int, str] | None = connection.execute(query, (seq, seconds)).fetchone()
    return row


def task_of(connection: sqlite3.Connection, seq: int | None) -> Task | None:
    """Return the task of an item, or of the first; None if there is none."""
    row = connection.execute(
        "SELECT task FROM items WHERE seq = coalesce(?, seq) ORDER BY seq LIMIT 1", (seq,)
    ).fetchone()
    return None if row is None else decode_task(row[0])


def item_of(row: tuple[Any, ...], batch_id: str, *, numbered: bool) -> Item:
    """Return what the columns of `ITEM` say; `numbered`: whether the ids of runs are numbers."""
    seq, name, parent, identity, attempt, floor, likely_done, run_id = row
    return Item(
        seq=seq,
        name=name,
        identity=identity,
        key=key_of(batch_id, parent, identity, attempt),
        parent=parent,
        attempt=attempt,
        floor=floor,
        likely_done=bool(likely_done),
        run_id=int(run_id) if numbered and run_id is not None else run_id,
    )


def outcome_of(row: tuple[Any, ...], *, numbered: bool) -> Outcome:
    """Return what the columns of `OUTCOME` say; `numbered`: whether the ids of runs are numbers."""
    seq, name, state, attempt, run_id, run, error, created_at, ended_at, content = row
    task = decode_task(content)
    return Outcome(
        key=name,
        index=seq - 1,
        state=State(state),
        run=None if run is None else decode_run(run),
        run_id=int(run_id) if numbered and run_id is not None else run_id,
        error=error,
        attempts=attempt,
        seconds=None if created_at is None or ended_at is None else max(0.0, ended_at - created_at),
        created_at=created_at,
        ended_at=ended_at,
        prompt=task.prompt,
        metadata=task.metadata,
        extra=task.extra,
        fields=task.fields,
    )
