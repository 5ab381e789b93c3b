"""Let one process at a time drive a journal: a lock that the system takes back when the process dies.

What decides is what the journal says (`holder`); the lock is what tells a driver that stands still from one that is
gone. The locked file has a memory that the next one finds as it was left, signed by its driver.

The lock belongs to the open file, and a fork shares open files: a child would keep the lock of a parent that is gone.
So children close what is locked as soon as they exist. A child that was not made by Python does not; its lock counts
for nothing once its parent is provably gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
import weakref
from pathlib import Path

from codegen_async.batch.holder import Holder, last_holder
from codegen_async.errors import JournalError
from codegen_async.hosted.sendings import Memory
from codegen_async.posix import HAS_LOCKS, fcntl
from codegen_async.private import open_private

# On Linux the journal itself is locked too, as its lock file may be removed, or have another name where the journal is
# mounted a second time: one byte beyond what SQLite locks, by a lock that belongs to the open file as that of `flock`
# does.
_OWN_LOCK = getattr(fcntl, "F_OFD_SETLK", None)
_OWN_BYTE = struct.pack("hhqqi4x", getattr(fcntl, "F_WRLCK", 0), os.SEEK_SET, 2**62, 1, 0)

_leases: weakref.WeakSet[Lease] = weakref.WeakSet()
_forking = threading.Lock()  # a fork must not see a file that is locked already and is not known yet


def check_system(path: Path) -> None:
    """Make sure that journals can be driven on this system.

    Raises:
        JournalError: they cannot.
    """
    if not HAS_LOCKS:
        problem = "cannot be driven on this system, which lacks the file locks of POSIX; it can be read here"
        raise JournalError(str(path), problem)


class Lease:
    """Hold the lock of a journal until it is released or the process is gone.

    The file `<journal>-lock` stays where it is: removing it could let two processes lock two files of that name.

    Attributes:
        memory: of sendings (`codegen_async.hosted.sendings`); outlives this process.

    Raises:
        JournalError: another process holds it (or another batch of this one), or the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[int] = []
        _leases.add(self)
        try:
            with _forking:
                self._files.append(open_private(self._lock_path))
                taken = self._is_taken()
            self.memory: Memory = Memory(self._lock_path)
            if taken:
                self._check_orphaned()
            self.guard()
        except BaseException as exc:
            self._close()
            if isinstance(exc, OSError):
                raise JournalError(str(path), f"its lock file {_explained(exc)}") from None
            raise

    @property
    def _lock_path(self) -> Path:
        return Path(f"{self._path}-lock")

    def _is_taken(self) -> bool:
        try:
            fcntl.flock(self._files[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno != errno.EWOULDBLOCK:
                raise _NoLocksError(exc.errno, exc.strerror) from None
            return True
        return False

    def _check_orphaned(self) -> None:
        """Make sure that the lock was left by a driver that is gone, to a child that knows nothing of it.

        Raises:
            JournalError: it is another process that drives the journal, or may be one.
        """
        holder = last_holder(self._path)
        if holder is None or not holder.is_gone() or self.memory.signature not in ("", holder.token):
            who = "another process" if holder is None or holder.is_gone() else holder
            raise JournalError(str(self._path), f"is being run by {who}; one at a time")

    def guard(self) -> None:
        """Lock the journal too, where the system can do that and there is one; done once it is made.

        Raises:
            JournalError: another process drives it, though nobody holds the lock file.
        """
        if _OWN_LOCK is None or len(self._files) > 1:
            return
        with _forking:
            try:
                self._files.append(os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
            except OSError:
                return  # none yet, or one that cannot be used: whoever opens it tells
            try:
                fcntl.fcntl(self._files[1], _OWN_LOCK, _OWN_BYTE)
            except OSError as exc:
                if exc.errno not in (errno.EACCES, errno.EAGAIN):
                    return  # not every file system has these; the lock file is the one that has to be
            else:
                return
        self._check_orphaned()

    def sign(self, token: str, before: Holder | None) -> None:
        """Let the memory be that of a new driver.

        Args:
            token: the driver's.
            before: who has driven the journal last. If he has died of it and the memory is not his, it does not tell
                what he has sent just before.
        """
        if before is not None and not before.ended and self.memory.signature != before.token:
            self.memory.suspect()
        self.memory.sign(token)

    def release(self) -> None:
        """Let others have it."""
        self.memory.close()
        self._close()

    def _close(self) -> None:
        while self._files:
            with contextlib.suppress(OSError):  # a fork may have come between this line and the next
                os.close(self._files[-1])
            self._files.pop()

    def forget(self) -> None:
        """Close, in a child, what its parent has locked."""
        self._close()


class _NoLocksError(OSError):
    """Say that the file system does not lock."""


def is_driven(journal: Path) -> bool:
    """Whether a process drives a journal, as far as can be told without getting in its way."""
    holder = last_holder(journal)
    if holder is not None and holder.is_gone():
        return False
    return (holder is not None and holder.is_near()) or _is_locked(journal)


def _is_locked(journal: Path) -> bool:
    if _OWN_LOCK is None:
        return False
    with contextlib.suppress(OSError):
        file = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _OWN_BYTE)
        finally:
            os.close(file)
        return bool(found[:2] != struct.pack("h", fcntl.F_UNLCK))
    return False


def _explained(problem: OSError) -> str:
    if isinstance(problem, _NoLocksError):
        return f"cannot be locked ({problem.strerror}); keep the journal on a local file system"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot be written to ({problem.strerror}); free some space on the disk"
    if problem.errno in (errno.EACCES, errno.ENOENT, errno.EROFS, errno.ENOTDIR):
        return f"cannot be made ({problem.strerror}); give a directory in which files can be written"
    return str(problem.strerror)


def _in_child() -> None:
    _forking.release()
    for lease in list(_leases):
        lease.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_in_child)
