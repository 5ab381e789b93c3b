"""Let one process at a time drive a journal: a lock that the system takes back when the process dies.

The locked file begins with the number of that process. Behind it is memory that the next one finds as it was left.

The lock belongs to the open file, and a fork shares open files: a child would keep the lock of a parent that is gone.
So children close what is locked as soon as they exist, and the memory, which keeps its file open, is mapped through
another opening.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from codegen_async.errors import JournalError
from codegen_async.hosted.sendings import Memory
from codegen_async.posix import HAS_LOCKS, fcntl
from codegen_async.private import open_private

_NAME = 32  # bytes at the beginning of the file, for the number of the process

# On Linux the journal itself is locked too, so that its lock file may be removed: one byte beyond what SQLite locks, by
# a lock that belongs to the open file as that of `flock` does.
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
                self._lock()
            self.guard()
            self.memory: Memory = Memory(self._lock_path)
            self._check_name()
            self._name_holder(str(os.getpid()))
        except BaseException as exc:
            self._close()
            if isinstance(exc, OSError):
                raise JournalError(str(path), f"its lock file {_explained(exc)}") from None
            raise

    @property
    def _lock_path(self) -> Path:
        return Path(f"{self._path}-lock")

    def _lock(self) -> None:
        self._files.append(open_private(self._lock_path))
        try:
            fcntl.flock(self._files[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno != errno.EWOULDBLOCK:
                raise _NoLocksError(exc.errno, exc.strerror) from None
            raise JournalError(str(self._path), f"is being run by {self._holder()}; one at a time") from None

    def _holder(self) -> str:
        name = os.pread(self._files[0], _NAME, 0).strip(b"\0").decode("ascii", "replace")
        if not name.isdecimal():
            return "another process"
        return f"process {name}, which {_whereabouts(int(name))}"

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
                if exc.errno in (errno.EACCES, errno.EAGAIN):
                    problem = "is being run by another process, though its lock file was removed; one at a time"
                    raise JournalError(str(self._path), problem) from None
                # Not every file system has these; the lock file is the one that has to be.

    def _check_name(self) -> None:
        """Make sure that nobody has removed the lock file between its opening and its locking."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._files[0]), self._lock_path.lstat()):
                return
        raise JournalError(str(self._path), "its lock file was removed just now; try again")

    def release(self) -> None:
        """Let others have it."""
        self.memory.close()
        if self._files:  # else this is a child of the process that holds it
            with contextlib.suppress(OSError):  # the name is for the message only
                self._name_holder("")
        self._close()

    def _close(self) -> None:
        while self._files:
            with contextlib.suppress(OSError):  # a fork may have come between this line and the next
                os.close(self._files[-1])
            self._files.pop()

    def _name_holder(self, name: str) -> None:
        os.pwrite(self._files[0], name.encode().ljust(_NAME, b"\0"), 0)

    def forget(self) -> None:
        """Close, in a child, what its parent has locked."""
        self._close()


class _NoLocksError(OSError):
    """Say that the file system does not lock."""


def is_locked(journal: Path) -> bool:
    """Whether a process of this machine drives a journal, also one whose lock file was removed."""
    return _holds(Path(f"{journal}-lock"), _is_lock_taken) or _holds(journal, _is_byte_taken)


def _holds(path: Path, is_taken: Callable[[int], bool]) -> bool:
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return is_taken(file)
        finally:
            os.close(file)
    return False


def _is_lock_taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_byte_taken(file: int) -> bool:
    if _OWN_LOCK is None:
        return False
    found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _OWN_BYTE)
    return bool(found[:2] != struct.pack("h", fcntl.F_UNLCK))


def is_driven(journal: Path) -> bool:
    """Whether a process of this machine says that it drives a journal. To try its lock could get in the way of one."""
    try:
        with Path(f"{journal.resolve()}-lock").open("rb") as file:
            name = file.read(_NAME).strip(b"\0").decode("ascii", "replace")
        if not name.isdecimal():
            return False
        os.kill(int(name), 0)
    except PermissionError:
        return True  # it belongs to somebody else, and is there
    except (OSError, OverflowError):
        return False
    return True


def _explained(problem: OSError) -> str:
    if isinstance(problem, _NoLocksError):
        return f"cannot be locked ({problem.strerror}); keep the journal on a local file system"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot be written to ({problem.strerror}); free some space on the disk"
    if problem.errno in (errno.EACCES, errno.ENOENT, errno.EROFS, errno.ENOTDIR):
        return f"cannot be made ({problem.strerror}); give a directory in which files can be written"
    return str(problem.strerror)


def _whereabouts(process: int) -> str:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return "is gone: one that it has started holds the lock, or it ran in another container"
    except (OSError, OverflowError):
        pass  # it is there, and somebody else's
    return "is running"


def _in_child() -> None:
    _forking.release()
    for lease in list(_leases):
        lease.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_in_child)
