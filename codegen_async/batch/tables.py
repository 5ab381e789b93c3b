"""The tables of a journal: the statements that make them, and proof that a file has these and nothing else.

A journal may have come with a folder. A trigger, a view or a column of another kind in it would work on our behalf, so
its schema has to be, letter for letter, one that these statements make; and its cells have to hold what we write.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from codegen_async.arguments import LARGEST_ID
from codegen_async.batch.items import State
from codegen_async.batch.places import are_numbers
from codegen_async.batch.steps import digest_of, phase_of
from codegen_async.errors import JournalError
from codegen_async.models import Phase

_STRANGE = "it may have been prepared by somebody else; delete it, or go on with a copy from before or a new journal"

SOURCE_OF_OLD = "rtrim(rtrim(substr(name, 2), '0123456789'), ':')"
"""The file that an item comes from, where only its name tells: before there was a column for it."""

_ATTEMPT_COLUMNS = "seq, attempt, run_id, created_at, ended_at, run, error"
_ITEM_COLUMNS = f"{_ATTEMPT_COLUMNS}, name, task, state, turn, floor, likely_done, finished, digest, source, identity"

MIGRATIONS = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE items (
            seq INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,       -- the caller's key, or what stands for it
            task BLOB NOT NULL,              -- what to create, as JSON
            state TEXT NOT NULL DEFAULT 'planned'
                CHECK (state IN ('planned', 'sending', 'created', 'ended', 'rejected', 'unknown')),
            turn INTEGER NOT NULL DEFAULT 0, -- planned items are sent by turn, then in order
            attempt INTEGER NOT NULL DEFAULT 1,
            floor INTEGER,                   -- a run id that existed before the attempt was first sent
            likely_done INTEGER NOT NULL DEFAULT 0,
            run_id INTEGER,
            created_at REAL,
            ended_at REAL,
            run BLOB,                        -- the last snapshot, as JSON
            error TEXT,
            finished INTEGER                 -- place in the order in which outcomes are handed out
        )
        """,
        "CREATE INDEX items_by_state ON items (state, turn, seq)",
        "CREATE UNIQUE INDEX items_by_finished ON items (finished) WHERE finished IS NOT NULL",
    ),
    (
        """
        CREATE TABLE attempts (              -- those before the present one of an item
            seq INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            run_id INTEGER,
            created_at REAL,
            ended_at REAL,
            run BLOB,
            error TEXT,
            PRIMARY KEY (seq, attempt)
        ) WITHOUT ROWID
        """,
        # What tells prompts without keys apart, wherever their lines are now; and the file they came from.
        "ALTER TABLE items ADD COLUMN digest BLOB",
        "ALTER TABLE items ADD COLUMN source TEXT",
        "UPDATE items SET digest = digest_of(task)",
        f"UPDATE items SET source = {SOURCE_OF_OLD} WHERE name GLOB '#*:*'",  # noqa: S608 - a constant
        "CREATE INDEX items_by_digest ON items (digest)",
        # A run that was not found is looked for again, and has not ended.
        "UPDATE items SET state = 'created' WHERE state = 'ended' AND run IS NULL AND run_id IS NOT NULL",
    ),
    (
        # What the keys of its runs are made of, where that is not the name: see `items.idempotency_key`.
        "ALTER TABLE items ADD COLUMN identity TEXT",
        "CREATE UNIQUE INDEX items_by_identity ON items (coalesce(identity, name))",
    ),
    (
        # Runs are named by text: only at Codegen is that a number.
        "CREATE TABLE former AS SELECT * FROM items",
        "DROP TABLE items",
        """
        CREATE TABLE items (
            seq INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,       -- the caller's key, or what stands for it
            task BLOB NOT NULL,              -- what to create, as JSON
            state TEXT NOT NULL DEFAULT 'planned'
                CHECK (state IN ('planned', 'sending', 'created', 'ended', 'rejected', 'unknown')),
            turn INTEGER NOT NULL DEFAULT 0, -- planned items are sent by turn, then in order
            attempt INTEGER NOT NULL DEFAULT 1,
            floor INTEGER,                   -- a run id that existed before the attempt was first sent
            likely_done INTEGER NOT NULL DEFAULT 0,
            run_id TEXT,
            created_at REAL,
            ended_at REAL,
            run BLOB,                        -- the last snapshot, as JSON
            error TEXT,
            finished INTEGER,                -- place in the order in which outcomes are handed out
            digest BLOB,                     -- tells prompts without keys apart
            source TEXT,                     -- the file that it came from
            identity TEXT                    -- what the keys of its runs are made of, where that is not the name
        )
        """,
        f"INSERT INTO items ({_ITEM_COLUMNS}) SELECT {_ITEM_COLUMNS} FROM former",  # noqa: S608 - constants
        "DROP TABLE former",
        "CREATE INDEX items_by_state ON items (state, turn, seq)",
        "CREATE UNIQUE INDEX items_by_finished ON items (finished) WHERE finished IS NOT NULL",
        "CREATE INDEX items_by_digest ON items (digest)",
        "CREATE UNIQUE INDEX items_by_identity ON items (coalesce(identity, name))",
        "CREATE TABLE former AS SELECT * FROM attempts",
        "DROP TABLE attempts",
        """
        CREATE TABLE attempts (              -- those before the present one of an item
            seq INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            run_id TEXT,
            created_at REAL,
            ended_at REAL,
            run BLOB,
            error TEXT,
            PRIMARY KEY (seq, attempt)
        ) WITHOUT ROWID
        """,
        f"INSERT INTO attempts ({_ATTEMPT_COLUMNS}) SELECT {_ATTEMPT_COLUMNS} FROM former",  # noqa: S608 - constants
        "DROP TABLE former",
    ),
    (
        # What was made for the run of the present attempt to belong to, where an API tells runs by that: it is the key.
        "ALTER TABLE items ADD COLUMN parent TEXT",
        # In which life of the batch, and when, that attempt was sent last: the lives before had come to their ends.
        "ALTER TABLE items ADD COLUMN life INTEGER",
        "ALTER TABLE items ADD COLUMN sent_at REAL",
    ),
    (
        # Where its run stands by the newest look at it, and since when that is known.
        "ALTER TABLE items ADD COLUMN phase TEXT",
        "ALTER TABLE items ADD COLUMN seen_at REAL",
        # The number of the commit that changed it last, so that who reads again reads no more than what is new.
        "ALTER TABLE items ADD COLUMN changed INTEGER NOT NULL DEFAULT 0",
        "UPDATE items SET phase = phase_of(run), seen_at = ended_at WHERE run IS NOT NULL",
        "CREATE INDEX items_by_changed ON items (changed)",
    ),
    # Two prompts are the same however their lines end.
    (r"UPDATE items SET digest = digest_of(task) WHERE instr(task, CAST('\r\n' AS BLOB))",),
)
"""The statements that lead from each version of the schema to the next. Only ever append."""

_MOST_ATTEMPTS = 1_000_000
_MOST_COMMITS = 2**53
_LATEST = 253_402_300_799  # seconds since 1970: later years have no name in the form of RFC 3339


def _sized(column: str, most: int = 10_000) -> str:
    """Return the rule for text that is not empty; SQLite's own length of it ends at the first null character."""
    return f"typeof({column}) = 'text' AND length(CAST({column} AS BLOB)) BETWEEN 1 AND {most}"


_STATES = ", ".join(f"'{state}'" for state in State)
_PHASES = ", ".join(f"'{phase}'" for phase in Phase)

# What each cell must be. `integer` and so on are the kinds of values; columns themselves hold any kind.
_ITEMS = {
    "seq": f"seq BETWEEN 1 AND {LARGEST_ID}",
    "name": _sized("name"),
    "task": "typeof(task) = 'blob'",
    "state": f"typeof(state) = 'text' AND state IN ({_STATES}) AND (state <> 'created' OR run_id IS NOT NULL)",
    "turn": f"typeof(turn) = 'integer' AND turn BETWEEN 0 AND {LARGEST_ID}",
    "attempt": f"typeof(attempt) = 'integer' AND attempt BETWEEN 1 AND {_MOST_ATTEMPTS}",
    "floor": f"floor IS NULL OR (typeof(floor) = 'integer' AND floor BETWEEN 0 AND {LARGEST_ID})",
    "likely_done": "typeof(likely_done) = 'integer' AND likely_done IN (0, 1)",
    "finished": f"finished IS NULL OR (typeof(finished) = 'integer' AND finished BETWEEN 1 AND {LARGEST_ID})",
    "digest": "digest IS NULL OR (typeof(digest) = 'blob' AND length(digest) = 16)",
    "source": "typeof(source) IN ('null', 'text')",
    "identity": f"identity IS NULL OR ({_sized('identity')})",
    "parent": f"parent IS NULL OR ({_sized('parent')})",
    "sent_at": f"sent_at IS NULL OR (typeof(sent_at) = 'real' AND sent_at BETWEEN 0 AND {_LATEST})",
    "phase": f"phase IS NULL OR (typeof(phase) = 'text' AND phase IN ({_PHASES}))",
    "seen_at": f"seen_at IS NULL OR (typeof(seen_at) = 'real' AND seen_at BETWEEN 0 AND {_LATEST})",
    "changed": f"typeof(changed) = 'integer' AND changed BETWEEN 0 AND {_MOST_COMMITS}",
    "life": f"life IS NULL OR (typeof(life) = 'integer' AND life BETWEEN 1 AND {LARGEST_ID})",
}
_NUMBER = f"""run_id IS NULL OR (typeof(run_id) IN ('integer', 'text')
    AND CAST(run_id AS INTEGER) BETWEEN 1 AND {LARGEST_ID} AND run_id || '' = CAST(run_id AS INTEGER) || '')"""
"""Where the runs are those of Codegen; also before they were text."""
_RUNS = {
    "run_id": f"run_id IS NULL OR ({_sized('run_id')})",
    "created_at": f"created_at IS NULL OR (typeof(created_at) = 'real' AND created_at BETWEEN 0 AND {_LATEST})",
    "ended_at": f"ended_at IS NULL OR (typeof(ended_at) = 'real' AND ended_at BETWEEN 0 AND {_LATEST})",
    "run": "typeof(run) IN ('null', 'blob')",
    "error": "typeof(error) IN ('null', 'text')",
}
_CELLS: Mapping[str, Mapping[str, str]] = {
    "items": _ITEMS | _RUNS,
    "attempts": {name: _ITEMS[name] for name in ("seq", "attempt")} | _RUNS,
    "meta": {
        "name": "typeof(name) = 'text'",
        "value": f"""CASE
            WHEN name = 'batch' THEN {_sized("value", 64)}
            WHEN name IN ('finished', 'handed_out', 'floor', 'lives') OR name LIKE 'life %'
                THEN typeof(value) = 'integer' AND value BETWEEN 0 AND {LARGEST_ID}
            WHEN name = 'commits' THEN typeof(value) = 'integer' AND value BETWEEN 0 AND {_MOST_COMMITS}
            WHEN name IN ('made', 'moved', 'echoed') THEN typeof(value) = 'integer' AND value BETWEEN 0 AND 9
            ELSE typeof(value) <> 'blob' AND length(value) <= 10000 END""",
    },
}
_NEEDED = ("batch", "finished", "handed_out")  # notes that each journal has


def teach(connection: sqlite3.Connection) -> None:
    """Let a connection know the functions that `MIGRATIONS` call."""
    connection.create_function("digest_of", 1, digest_of, deterministic=True)
    connection.create_function("phase_of", 1, phase_of, deterministic=True)


def check_schema(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Make sure that a journal has the tables and indexes of this version of the schema, and nothing else.

    Raises:
        JournalError: it has not.
    """
    found = _schema_of(connection)
    expected = _schemas()[version]
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        raise JournalError(str(path), f"is not as this package makes journals: its text is in {encoding}; {_STRANGE}")
    if found == expected:
        return
    other = next((row for row in found if row not in expected), None)
    what = (
        f"its schema lacks {expected[0][1]}" if other is None else f"its schema has a {other[0]} {str(other[1])[:60]!r}"
    )
    raise JournalError(str(path), f"is not as this package makes journals: {what}, which is not ours; {_STRANGE}")


def check_cells(connection: sqlite3.Connection, path: Path) -> None:
    """Make sure that all cells hold what this package writes.

    Raises:
        JournalError: one does not; says where.
    """
    numbered = are_numbers(dict(connection.execute("SELECT name, value FROM meta")))
    for table, cells in _CELLS.items():
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        rules = {name: rule for name, rule in cells.items() if name in columns}
        if numbered and "run_id" in rules:
            rules["run_id"] = _NUMBER
        if _breaks(connection, table, *rules.values()):
            wrong = next(name for name, rule in rules.items() if _breaks(connection, table, rule))
            _refuse_cell(path, f"a {wrong} in {table} that cannot be one")
    names = {name for (name,) in connection.execute("SELECT name FROM meta")}
    if missing := [name for name in _NEEDED if name not in names]:
        _refuse_cell(path, f"no {missing[0]} in meta")


def _breaks(connection: sqlite3.Connection, table: str, *rules: str) -> bool:
    if not rules:  # a table that this version does not have
        return False
    broken = " OR ".join(f"({rule}) IS NOT TRUE" for rule in rules)
    return connection.execute(f"SELECT 1 FROM {table} WHERE {broken} LIMIT 1").fetchone() is not None  # noqa: S608 - constants


def _refuse_cell(path: Path, what: str) -> None:
    raise JournalError(str(path), f"is not as this package writes journals: it has {what}; {_STRANGE}")


@functools.cache
def _schemas() -> list[list[tuple[object, ...]]]:
    """Return the schema of each version."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        teach(connection)
        schemas = [_schema_of(connection)]
        for step in MIGRATIONS:
            for statement in step:
                connection.execute(statement)
            schemas.append(_schema_of(connection))
        return schemas


def _schema_of(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2, 3, 4").fetchall()
