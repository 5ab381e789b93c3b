"""The file of a journal: how it is made, checked, brought up to date, and what its errors mean. Blocking."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import sys
import uuid
from collections.abc import Generator
from pathlib import Path
from urllib.parse import quote

from codegen_async.batch.places import Place
from codegen_async.batch.tables import MIGRATIONS, check_cells, check_schema, teach
from codegen_async.errors import JournalError
from codegen_async.private import PRIVATE, NotOursError, open_private
from codegen_async.reading import UNREADABLE

SIDES = ("-journal", "-wal", "-shm")
"""What may stand beside a journal while it is used; the last two are of 0.1.0."""

_BRING = "bring all files of the journal together, or give another path"
_GONE = "was moved, replaced or deleted while it was being run; put it back, then run the batch again"
_PATIENCE = 60.0  # seconds for which a commit waits for those who read, and they for one after the other

APPLICATION_ID = 0x43_47_41_4A  # "CGAJ"
_MAGIC = b"SQLite format 3\0"
_LARGEST_CELL = 2**28  # bytes; a task with all its images fits in
_HEAD = 100  # bytes in which a database says what it is

# The second: nothing had the name of the file for a moment, as when it is replaced; something may have it again by now.
_MOVED = (sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_IOERR_FSTAT)
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; make room, then run the batch again",
    sqlite3.SQLITE_IOERR: "the disk refuses to write; look at it, then run the batch again",
    sqlite3.SQLITE_READONLY: "cannot be written; check the permissions of the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that the directory exists and may be written to",
    sqlite3.SQLITE_PERM: "cannot be opened; check the permissions of the file and its directory",
    sqlite3.SQLITE_BUSY: "is locked by another program; close it, then run the batch again",
    sqlite3.SQLITE_CORRUPT: "is damaged; keep it, and go on with a copy from before or a new journal",
    sqlite3.SQLITE_TOOBIG: f"holds, or would have to, more than {_LARGEST_CELL} bytes in one prompt or run",
    sqlite3.SQLITE_NOTADB: "is no journal of this package, or damaged; give another path",
}


class Identity:
    """Know the file that was opened from another that has taken its name.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = Place.of(path)

    def check(self) -> None:
        """Make sure that the name still leads to the file.

        Raises:
            JournalError: it does not.
        """
        try:
            same = Place.of(self._path).is_file_of(self._opened)
        except OSError:
            same = False
        if not same:
            raise JournalError(str(self._path), _GONE)


def check_place(path: Path) -> None:
    """Make sure that a journal of ours is, or can be made, at a path, before anything is written there.

    Raises:
        JournalError: something else is there, or what is there is not for its owner alone.
    """
    with explained(path):
        for side in SIDES:
            _check_file(Path(f"{path}{side}"))
        _check_content(path)
        if not _check_file(path) and (alone := [side for side in SIDES if Path(f"{path}{side}").exists()]):
            if alone == ["-journal"] and path.exists():
                return  # killed at its very beginning
            raise JournalError(str(path), f"is missing or empty, but {path.name}{alone[0]} is beside it; {_BRING}")


def _check_to_read(path: Path) -> None:
    """Make sure that what stands beside a journal to be read is its own: SQLite takes it for a part of the journal."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise JournalError(str(path), "is no file; give another path")
    for side in SIDES:
        beside = Path(f"{path}{side}")
        with contextlib.suppress(FileNotFoundError):
            there = beside.lstat()
            if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1 or there.st_uid != found.st_uid:
                problem = "is a link, no regular file, or of another owner than its journal; remove it"
                raise JournalError(str(beside), problem)
            if stat.S_IMODE(there.st_mode) & ~stat.S_IMODE(found.st_mode):  # SQLite gives it those of the journal
                problem = "has more permissions than its journal; remove it, or if you trust it: chmod 600"
                raise JournalError(str(beside), problem)


def _check_file(path: Path) -> int:
    """Return the size of a file of ours; 0 if there is none."""
    try:
        handle = open_private(path, create=False)
    except FileNotFoundError:
        return 0
    except IsADirectoryError:
        raise JournalError(str(path), "is no file; give another path") from None
    except NotOursError as exc:
        raise JournalError(str(path), str(exc.strerror)) from None
    except PermissionError:
        raise JournalError(str(path), _ADVICE[sqlite3.SQLITE_READONLY]) from None
    with os.fdopen(handle, "rb") as file:
        return os.fstat(file.fileno()).st_size


def _check_content(path: Path) -> None:
    """Make sure that a file is a journal or empty; an empty one of ours becomes private."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # told when it is to be used
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        head = file.read(_HEAD)
        if not head and found.st_uid == os.geteuid():
            os.fchmod(file.fileno(), PRIVATE)
        # What a power cut leaves of a new one may be zeros; SQLite takes them back, or says that they are no database.
        blank = not any(head) and (not head or Path(f"{path}-journal").exists())
        owner, page = int.from_bytes(head[68:72]), int.from_bytes(head[16:18])
        begun = not owner and found.st_size == page  # it does not say yet what it is
        if not (blank or (head.startswith(_MAGIC) and (begun or owner == APPLICATION_ID))):
            raise JournalError(str(path), _ADVICE[sqlite3.SQLITE_NOTADB])


def open_journal(path: Path) -> sqlite3.Connection:
    """Open a journal to write to, after making it or bringing it up to date if need be.

    All that is acknowledged is in this one file: a rollback journal beside it counts only while a commit is under way.
    So a file that is carried away alone, after a kill, is whole. That costs two writes to the disk more than a
    write-ahead log, if the file of the rollback journal persists, as a benchmark of the repository shows.

    Raises:
        JournalError: it cannot be written to, is damaged or not whole, or is something else.
    """
    with explained(path):
        os.close(open_private(path))  # SQLite gives its side files the mode of this one, so no moment is public
        connection = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE)
        try:
            _trust_nothing(connection)
            _check(connection, path)
            connection.execute("PRAGMA journal_mode = PERSIST")
            # FULL: what is committed survives a power cut too. An intent to send must.
            connection.execute("PRAGMA synchronous = FULL")
            # Not the quick one: a copy that was taken during a commit may have rows of before and an index of after.
            if (verdict := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise JournalError(str(path), f"{_ADVICE[sqlite3.SQLITE_CORRUPT]} ({verdict})")
            _migrate(connection)
            check_cells(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def close_journal(connection: sqlite3.Connection) -> None:
    """Close a journal and leave nothing beside it."""
    with contextlib.suppress(sqlite3.Error):  # somebody reads it; then a file that means nothing stays
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal to read from, also while it is being run.

    Raises:
        JournalError: there is none, or it is damaged or something else.
    """
    with explained(path):
        _check_to_read(path)
        # What a kill left half written can only be undone by who may write.
        mode = "rw" if os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids) else "ro"
        place = f"file:{quote(str(path))}?mode={mode}"
        connection = sqlite3.connect(place, uri=True, isolation_level=None, timeout=_PATIENCE)
        try:
            _trust_nothing(connection)
            connection.execute("PRAGMA query_only = ON")
            _check(connection, path)
            _check_tables(connection, path)
            check_cells(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def copy_of(path: Path) -> sqlite3.Connection:
    """Return a copy of a journal in memory, brought up to date, to try something with.

    Raises:
        JournalError: there is none, or it is damaged or something else.
    """
    with explained(path), contextlib.closing(open_to_read(path)) as journal:
        copy = sqlite3.connect(":memory:", isolation_level=None)
        try:
            journal.backup(copy)
            _migrate(copy)
        except BaseException:
            copy.close()
            raise
        return copy


@contextlib.contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn errors of SQLite and of the system into ones that name the file and say what to do."""
    try:
        yield
    except sqlite3.Error as exc:
        raise explain(path, exc) from None
    except OSError as exc:
        raise JournalError(str(path), f"cannot be opened: {exc.strerror}") from None
    except UNREADABLE as exc:
        raise JournalError(str(path), f"{_ADVICE[sqlite3.SQLITE_CORRUPT]} ({exc})") from None
    except ValueError as exc:  # a path with a null character in it
        raise JournalError(str(path), f"cannot be opened: {exc}") from None


def explain(path: Path, error: sqlite3.Error) -> JournalError:
    """Return an error that names the file and says what to do."""
    detailed = getattr(error, "sqlite_errorcode", 0)
    code = detailed & 0xFF
    if detailed in _MOVED or (code == sqlite3.SQLITE_IOERR and not path.exists()):
        return JournalError(str(path), _GONE)
    return JournalError(str(path), f"{_ADVICE.get(code, 'cannot be used')} (SQLite: {error})")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if not _pragma(connection, "page_count"):  # asked first, as another may be making it
        return
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:  # they are in a log that is not here
        raise JournalError(str(path), f"is not whole: it is empty, and {path.name}-wal is missing; {_BRING}")
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise JournalError(str(path), _ADVICE[sqlite3.SQLITE_NOTADB])
    version = _pragma(connection, "user_version")
    if version < 0:
        raise JournalError(str(path), _ADVICE[sqlite3.SQLITE_NOTADB])
    if version > len(MIGRATIONS):
        raise JournalError(
            str(path), f"was written by a newer version of this package (schema {version}, known {len(MIGRATIONS)})"
        )
    check_schema(connection, path, version)


def _trust_nothing(connection: sqlite3.Connection) -> None:
    """Let what a file says of itself do nothing on our behalf."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_CELL)
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    if not _pragma(connection, "user_version"):
        raise JournalError(str(path), _ADVICE[sqlite3.SQLITE_NOTADB])


def _migrate(connection: sqlite3.Connection) -> None:
    teach(connection)
    if _pragma(connection, "user_version") == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    version = _pragma(connection, "user_version")  # who opens it at the same moment may have been faster
    for step in MIGRATIONS[version:]:
        for statement in step:
            connection.execute(statement)
    if not version:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(
            "INSERT INTO meta VALUES ('batch', ?), ('finished', 0), ('handed_out', 0), ('made', 1)", (_new_id(),)
        )
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    number: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return number
