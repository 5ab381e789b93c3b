"""Let one process at a time drive a journal: a lock that the system takes back when the process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from codegen_async.errors import JournalError

PRIVATE = 0o600
"""Mode of every file that may hold prompts or results."""


class Lease:
    """Hold the lock of a journal until it is released or the process is gone.

    The file `<journal>-lock` stays where it is: removing it could let two processes lock two files of that name.

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
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace") or "unknown"
            os.close(self._file)
            raise JournalError(str(path), f"is being run by process {holder}; one at a time") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others have it."""
        os.ftruncate(self._file, 0)
        os.close(self._file)
