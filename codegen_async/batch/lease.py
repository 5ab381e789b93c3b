"""Let one process at a time drive a journal: a lock that the system takes back when the process dies.

The locked file begins with the number of that process. Behind it is memory that the next one finds as it was left.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from pathlib import Path

from codegen_async.errors import JournalError

PRIVATE = 0o600
"""Mode of every file that may hold prompts or results."""

MEMORY = 3 * 2**15
"""Bytes of memory behind a journal."""

_HEAD = 64


class Lease:
    """Hold the lock of a journal until it is released or the process is gone.

    The file `<journal>-lock` stays where it is: removing it could let two processes lock two files of that name.

    Attributes:
        memory: `MEMORY` bytes that outlive this process; zero where none has written yet.

    Raises:
        JournalError: another process holds it (or another batch of this one), or the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        except OSError as exc:
            problem = f"its lock file cannot be made ({exc.strerror}); give a directory in which files can be written"
            raise JournalError(str(path), problem) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, _HEAD, 0).strip(b"\0").decode("ascii", "replace") or "unknown"
            os.close(self._file)
            raise JournalError(str(path), f"is being run by process {holder}; one at a time") from None
        try:
            self._name_holder(str(os.getpid()))
            self.memory: memoryview = self._map()
        except OSError as exc:
            os.close(self._file)
            problem = f"its lock file cannot be written to ({exc.strerror}); free some space on the disk"
            raise JournalError(str(path), problem) from None

    def _map(self) -> memoryview:
        size = os.fstat(self._file).st_size
        if size < _HEAD + MEMORY:
            # Written, not just made longer: a mapped page that has no room on the disk would kill the process.
            os.pwrite(self._file, bytes(_HEAD + MEMORY - size), size)
        return memoryview(mmap.mmap(self._file, _HEAD + MEMORY))[_HEAD:]

    def release(self) -> None:
        """Let others have it."""
        with contextlib.suppress(OSError):  # the name is for the message only
            self._name_holder("")
        fcntl.flock(self._file, fcntl.LOCK_UN)  # the memory keeps the file open for as long as somebody holds it
        os.close(self._file)

    def _name_holder(self, name: str) -> None:
        os.pwrite(self._file, name.encode().ljust(_HEAD, b"\0"), 0)
