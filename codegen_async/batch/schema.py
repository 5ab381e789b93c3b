"""The file of a journal: how it is made, checked, brought up to date, and what its errors mean. Blocking."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import uuid
from collections.abc import Generator
from pathlib import Path
from urllib.parse import quote

from codegen_async.errors import JournalError
from codegen_async.private import PRIVATE

APPLICATION_ID = 0x43_47_41_4A  # "CGAJ"
_MAGIC = b"SQLite format 3\0"

_MIGRATIONS = (
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
        # A run that was not found is looked for again, and has not ended.
        "UPDATE items SET state = 'created' WHERE state = 'ended' AND run IS NULL AND run_id IS NOT NULL",
    ),
)
"""The statements that lead from each version of the schema to the next. Only ever append."""

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; make room, then run the batch again",
    sqlite3.SQLITE_IOERR: "the disk refuses to write; look at it, then run the batch again",
    sqlite3.SQLITE_READONLY: "cannot be written; check the permissions of the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that the directory exists and may be written to",
    sqlite3.SQLITE_PERM: "cannot be opened; check the permissions of the file and its directory",
    sqlite3.SQLITE_BUSY: "is locked by another program; close it, then run the batch again",
    sqlite3.SQLITE_CORRUPT: "is damaged; keep it, and go on with a copy from before or a new journal",
    sqlite3.SQLITE_NOTADB: "is no journal of this package, or damaged; give another path",
}


class Identity:
    """Know the file that was opened from another that has taken its name.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = _identity(path)

    def check(self) -> None:
        """Make sure that the name still leads to the file.

        Raises:
            JournalError: it does not.
        """
        try:
            same = _identity(self._path) == self._opened
        except OSError:
            same = False
        if not same:
            problem = "was moved, replaced or deleted while it was being run; put it back, then run the batch again"
            raise JournalError(str(self._path), problem)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def check_place(path: Path) -> None:
    """Make sure that a journal is, or can be made, at a path, before anything is written there.

    Raises:
        JournalError: something else is there, or the journal has a second name.
    """
    with explained(path):
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            raise JournalError(str(path), "is no file; give another path")
        if found.st_nlink > 1:
            raise JournalError(
                str(path), "has a second name (a hard link), which would have a lock of its own; remove one"
            )
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) not in (_MAGIC, b""):
                raise JournalError(str(path), _ADVICE[sqlite3.SQLITE_NOTADB])


def open_journal(path: Path) -> sqlite3.Connection:
    """Open a journal to write to, after making it or bringing it up to date if need be.

    Raises:
        JournalError: it cannot be written to, is damaged, or is something else.
    """
    with explained(path):
        with contextlib.suppress(FileExistsError):
            # SQLite gives its side files the mode of this one, so no moment is public.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
        if not os.access(path, os.W_OK, effective_ids=True):  # SQLite would make side files that nobody can write to
            raise JournalError(str(path), _ADVICE[sqlite3.SQLITE_READONLY])
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            _check(connection, path, may_be_new=True)
            connection.execute("PRAGMA journal_mode = WAL")
            # FULL: what is committed survives a power cut too. An intent to send must.
            connection.execute("PRAGMA synchronous = FULL")
            if (verdict := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise JournalError(str(path), f"{_ADVICE[sqlite3.SQLITE_CORRUPT]} ({verdict})")
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal to read from, also while it is being run.

    Raises:
        JournalError: there is none, or it is damaged or something else.
    """
    with explained(path):
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
        try:
            _check(connection, path, may_be_new=False)
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn errors of SQLite and of the system into ones that name the file and say what to do."""
    try:
        yield
    except sqlite3.Error as exc:
        raise explain(path, exc) from None
    except OSError as exc:
        raise JournalError(str(path), f"cannot be opened: {exc.strerror}") from None
    except ValueError as exc:  # a path with a null character in it
        raise JournalError(str(path), f"cannot be opened: {exc}") from None


def explain(path: Path, error: sqlite3.Error) -> JournalError:
    """Return an error that names the file and says what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest is detail
    return JournalError(str(path), f"{_ADVICE.get(code, 'cannot be used')} (SQLite: {error})")


def _check(connection: sqlite3.Connection, path: Path, *, may_be_new: bool) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not tables and may_be_new:
        return
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise JournalError(str(path), _ADVICE[sqlite3.SQLITE_NOTADB])
    version = _pragma(connection, "user_version")
    if version > len(_MIGRATIONS):
        raise JournalError(
            str(path), f"was written by a newer version of this package (schema {version}, known {len(_MIGRATIONS)})"
        )


def _migrate(connection: sqlite3.Connection) -> None:
    version = _pragma(connection, "user_version")
    if version == len(_MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    for step in _MIGRATIONS[version:]:
        for statement in step:
            connection.execute(statement)
    if not version:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("INSERT INTO meta VALUES ('batch', ?), ('finished', 0), ('handed_out', 0)", (_new_id(),))
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
    connection.execute("COMMIT")


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    number: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return number
