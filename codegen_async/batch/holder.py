"""Who drives a journal, as the journal itself says: what keeps two drivers apart where no lock does.

A lock may be missing: its file was removed, the journal is mounted under two names, the file system has none. So who
drives a journal writes his name into it, and makes sure in every transaction that it still stands there. Who was taken
over writes nothing more, and sends nothing more, as what is to be sent is written first.

A name that is left over tells little by itself. It counts for nothing if its process is provably gone. Else the next
one knocks: it leaves a note in the journal that a living driver takes away within a second. Nobody's clock is compared
with anybody else's, and a copy, from which nobody takes anything away, holds nobody up for longer than that.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from codegen_async.batch.overwritten import Commits
from codegen_async.batch.places import Place, as_text, from_text
from codegen_async.batch.schema import open_to_read
from codegen_async.errors import JournalError
from codegen_async.hosted.sendings import Memory
from codegen_async.posix import HAS_LOCKS, boot_id, namespaces

_ANSWER_EVERY = 1.0  # seconds
# How often one that has knocked looks for the answer. It counts looks and not time: a pause of both proves nothing.
_LOOKS = 50
_LOOK_EVERY = 0.1  # seconds; five in all, as a driver may have little time

_TAKEN_OVER = "was taken over by another process; this one sends nothing more; let one process at a time run it"
_CHANGED = "had its schema changed by another program while it was being run; go on with a copy from before"
_HAS_ENDED = "ZX"  # the states in which a process is still listed, but over

# The journals that this process drives, by the tokens of their drivers. A child that Python does not know of has its
# parent's too: so the process is named.
_ours: dict[str, tuple[int, Place]] = {}


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """Tell a driver of a journal from all others.

    Attributes:
        token: drawn when it opened the journal.
        process: its number.
        began: when that process did; empty where the system does not tell.
        system: within which numbers of processes mean the same.
        ended: whether it has left the journal itself.
    """

    token: str
    process: int
    began: str
    system: str
    ended: bool = False

    @classmethod
    def here(cls) -> Holder:
        """Return a new one, of this process."""
        process = os.getpid()
        return cls(secrets.token_hex(8), process, _began(process), _system())

    def is_gone(self) -> bool:
        """Whether it is proven that it drives the journal no more."""
        if self.ended:
            return True
        if not self.is_near() or not HAS_LOCKS:  # Windows, which ends a process that is asked whether it is there
            return False
        if self.process == os.getpid():
            return self.token not in _ours
        return not _is_running(self.process, self.began)

    def is_near(self) -> bool:
        """Whether it is of this machine and container, so that `is_gone` tells whether its process has ended."""
        return self.system == _system()

    def __str__(self) -> str:
        if not self.is_near():
            return f"process {self.process} of another machine or container"
        if self.process == os.getpid():
            return f"process {self.process}, which is this one"
        return f"process {self.process}, which is running"


def _system() -> str:
    try:
        return " ".join([boot_id(), *namespaces("pid", "time")])
    except OSError:
        return platform.node()


def _is_running(process: int, began: str) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it is there, and somebody else's
    return began in ("", _began(process) or began)


def _began(process: int) -> str:
    """Return when a process began, in a form that only means something on its system; `over` if it has ended."""
    try:
        if str(Path("/proc/self").readlink()) != str(os.getpid()):
            return ""  # what is mounted there tells of the processes of another container
        fields = Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        state, threads, began = fields[0], int(fields[17]), fields[19]
    except (OSError, IndexError, ValueError):
        return ""
    return "over" if state in _HAS_ENDED and threads <= 1 else began


def holder_of(connection: sqlite3.Connection) -> Holder | None:
    """Return who drives a journal, or has driven it last, as it says itself."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'driver'").fetchone()
    return from_text(row and row[0], Holder)


def last_holder(journal: Path) -> Holder | None:
    """Do as `holder_of` does; None also if the journal cannot be read."""
    with contextlib.suppress(JournalError, sqlite3.Error), contextlib.closing(open_to_read(journal)) as connection:
        return holder_of(connection)
    return None


def check_not_ours(journal: Path) -> None:
    """Make sure that this very process does not drive a journal, without opening it.

    To close a file that SQLite uses in this process would undo its locks.

    Raises:
        JournalError: it does.
    """
    with contextlib.suppress(OSError, ValueError):
        here = Place.of(journal)
        if any(process == os.getpid() and here.is_file_of(place) for process, place in list(_ours.values())):
            raise JournalError(str(journal), f"is being run by {Holder.here()}; one at a time")


class Turn:
    """Drive a journal, from `take` to `end`.

    Args:
        path: the journal.
        memory: what is behind its lock.
    """

    def __init__(self, path: Path, memory: Memory) -> None:
        self._path = path
        self._commits = Commits(path, memory)
        self._holder = Holder.here()
        self._text = as_text(self._holder)
        self._schema = 0
        self._over = threading.Event()
        self._answering = threading.Thread(target=self._answer, name="codegen-journal-answers", daemon=True)

    @property
    def token(self) -> str:
        """What tells this turn from all others."""
        return self._holder.token

    def take(self, connection: sqlite3.Connection, note: Callable[[bool], None]) -> Holder | None:
        """Note that this process drives the journal, in one transaction with what `note` writes.

        `note` is told whether the journal is an older copy of itself.

        Where it is not known whether somebody drives it, that is found out before; it takes a few seconds at most.

        Returns:
            Who has driven it last.

        Raises:
            JournalError: somebody drives it.
        """
        silent = self._knock(connection)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            holder = holder_of(connection)
            gone = holder is None or holder.is_gone() or (holder == silent and self._stands(connection))
            if not gone:
                raise JournalError(str(self._path), f"is being run by {holder}; one at a time")
            connection.execute("DELETE FROM meta WHERE name = 'knock'")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('driver', ?)", (self._text,))
            note(self._commits.begin(connection))
            self._schema = _schema_of(connection)
        return holder

    def _knock(self, connection: sqlite3.Connection) -> Holder | None:
        """Return who may drive the journal and gives no answer."""
        holder = holder_of(connection)
        if holder is None or holder.is_gone() or holder.token in _ours:
            return None
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('knock', ?)", (self.token,))
        for _ in range(_LOOKS):
            if not self._stands(connection):
                return None
            time.sleep(_LOOK_EVERY)
        return holder

    def _stands(self, connection: sqlite3.Connection) -> bool:
        """Whether nobody has taken away the knock."""
        row = connection.execute("SELECT value FROM meta WHERE name = 'knock'").fetchone()
        return bool(row == (self.token,))

    def begin(self) -> None:
        """Answer from now on whoever knocks; once it is taken."""
        _ours[self.token] = os.getpid(), Place.of(self._path)
        self._answering.start()

    def check(self, connection: sqlite3.Connection) -> Callable[[], None]:
        """Make sure within a transaction that this process still drives the journal; return what its commit calls.

        Raises:
            JournalError: it was taken over or overwritten, or has another schema now, as with a trigger.
        """
        if _schema_of(connection) != self._schema:
            raise JournalError(str(self._path), _CHANGED)
        row = connection.execute("SELECT value FROM meta WHERE name = 'driver'").fetchone()
        if row != (self._text,):
            raise JournalError(str(self._path), _TAKEN_OVER)
        return self._commits.check(connection)

    def end(self, connection: sqlite3.Connection) -> None:
        """Leave the journal to the next one, unless it was taken over."""
        if self._holder.process != os.getpid():
            return  # this is a child of the process that drives it
        self._over.set()
        self._answering.join()
        with contextlib.suppress(sqlite3.Error):  # then the next one has to knock
            ended = as_text(msgspec.structs.replace(self._holder, ended=True))
            connection.execute("UPDATE meta SET value = ? WHERE name = 'driver' AND value = ?", (ended, self._text))
        _ours.pop(self.token, None)

    def _answer(self) -> None:
        with (
            contextlib.suppress(JournalError),  # then whoever knocks takes it over, which is safe
            contextlib.closing(open_to_read(self._path)) as connection,
        ):
            connection.execute("PRAGMA query_only = OFF")
            while not self._over.wait(_ANSWER_EVERY):
                with contextlib.suppress(sqlite3.Error):  # next time
                    if connection.execute("SELECT 1 FROM meta WHERE name = 'knock'").fetchone():
                        connection.execute(
                            "DELETE FROM meta WHERE name = 'knock'"
                            " AND (SELECT value FROM meta WHERE name = 'driver') = ?",
                            (self._text,),
                        )


def _schema_of(connection: sqlite3.Connection) -> int:
    """Return a number that changes whenever the schema does."""
    return int(connection.execute("PRAGMA schema_version").fetchone()[0])


def _in_child() -> None:
    _ours.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
