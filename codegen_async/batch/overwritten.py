"""Know a journal from an older copy of itself that was written over it, while it is driven or between two drivers.

What was sent since is planned in such a copy. It is the same file, and may even name the same driver. So every commit
is counted, in the journal and then in the memory behind its lock: a journal whose count is behind is a copy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from struct import Struct

from codegen_async.errors import JournalError
from codegen_async.hosted.sendings import Memory

_NOTE = Struct("8sq")  # of which batch, and how many commits
_OVERWRITTEN = (
    "was overwritten with an older copy of itself while it was being run; run the batch again: what was sent since is "
    "looked for"
)


class Commits:
    """Count the commits of a journal.

    Args:
        path: the journal, for messages.
        memory: outlives the process; one that knows nothing of this batch tells nothing.
    """

    def __init__(self, path: Path, memory: Memory) -> None:
        self._path = path
        self._memory = memory
        self._batch = b""
        self._known = 0

    def begin(self, connection: sqlite3.Connection) -> bool:
        """Count from now on, within the first transaction; return whether the journal is an older copy."""
        (batch,) = connection.execute("SELECT value FROM meta WHERE name = 'batch'").fetchone()
        self._batch = blake2b(str(batch).encode(), digest_size=8).digest()
        noted, count = _NOTE.unpack(self._memory.note.ljust(_NOTE.size, b"\0")[: _NOTE.size])
        found = _count_of(connection)
        self._known = max(found, count if noted == self._batch else 0)  # the lock is its owner's alone: it is believed
        _write(connection, self._known)
        return found < self._known

    def check(self, connection: sqlite3.Connection) -> Callable[[], None]:
        """Count a transaction, within it; return what is to be called when it is committed.

        Raises:
            JournalError: an earlier one is missing.
        """
        if (found := _count_of(connection)) < self._known:
            raise JournalError(str(self._path), _OVERWRITTEN)
        _write(connection, found + 1)

        def committed() -> None:
            self._known = found + 1
            self._memory.note = _NOTE.pack(self._batch, self._known)

        return committed


def _count_of(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM meta WHERE name = 'commits'").fetchone()
    return int(row[0]) if row else 0


def _write(connection: sqlite3.Connection, count: int) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('commits', ?)", (count,))
