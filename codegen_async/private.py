"""Keep files of ours: where they belong, how they are opened, and how one takes the place of another.

Whoever prepares a folder (a repository to clone, a directory that many may write to) can put something under a name
that we are going to use: a link, a device, a file of somebody else. So every file that we read back or write over is
opened by `open_private`: the lock of a journal, the memory of a client, and the journal itself.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from codegen_async.posix import flags

PRIVATE = 0o600
"""Mode of every file that may hold prompts or results."""

_LINK = (errno.ELOOP, errno.EMLINK)  # what systems call a link that was not followed
# No link is followed, no pipe waits for its other end, no child that runs another program inherits it. Not all systems
# have all of these.
_FLAGS = os.O_RDWR | flags("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")


def state_folder() -> Path:
    """Return the folder in which this package keeps what it remembers for its user; it may have to be made.

    Raises:
        OSError, RuntimeError: there is no home, and one that is not there is not for us to make.
    """
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    if given.is_absolute():  # any other has no meaning, says the standard that names the variable
        return given / "codegen-async"
    home = Path.home()
    if not home.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "there is no such home", str(home))
    return home / ".local" / "state" / "codegen-async"


def sync_folders(path: Path) -> None:
    """Let the name of a file outlive a power cut, and that of its folder; not every file system can promise it."""
    for folder in path.parents[:2]:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | flags("O_CLOEXEC"))
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


@contextmanager
def replacing(path: Path) -> Generator[IO[str]]:
    """Open a file that takes the place of another when the block ends well, and leaves nothing behind if not.

    It is for its owner only, and line ends are written as they are.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class NotOursError(OSError):
    """Say that a file is not one that we have made; `strerror` says why, and what to do."""


def open_private(path: Path, *, create: bool = True) -> int:
    """Return a descriptor to read and write a file of ours.

    Args:
        path: where it is. Links on the way to it are followed, at its end they are not.
        create: make it, for its owner only, if there is none.

    Raises:
        NotOursError: what lies there is no regular file, has a second name, belongs to another user, or others can read
            or write it.
        OSError: it cannot be opened.
    """
    while True:
        try:
            return _checked(_open(path, _FLAGS))
        except FileNotFoundError:
            if not create:
                raise
        try:
            return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, PRIVATE)
        except FileExistsError:
            continue  # somebody was faster


def make_private(path: Path) -> bool:
    """Make a file, for its owner only, unless it is there; return whether it was made. One that is there stays closed.

    For files on which this process may hold locks: to close one lets go of all of them, those of SQLite too.

    Raises:
        NotOursError: as `open_private` does.
        OSError: it cannot be made.
    """
    with suppress(FileNotFoundError):
        check_private(path)
        return False
    try:
        os.close(os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, PRIVATE))
    except FileExistsError:  # somebody was faster
        check_private(path)
        return False
    return True


def check_private(path: Path) -> None:
    """Make sure that a file is one of ours, without opening it: to close it again would let go of locks on it.

    Raises:
        NotOursError: as `open_private` does; a symbolic link is no regular file.
        OSError: there is none, or it cannot be looked at.
    """
    if problem := _problem(path.lstat()):
        raise NotOursError(errno.EPERM, problem)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as exc:
        if exc.errno in _LINK:
            raise NotOursError(exc.errno, "is a symbolic link; remove it, or give another path") from None
        raise


def _checked(file: int) -> int:
    problem = _problem(os.fstat(file))
    if problem is None:
        return file
    os.close(file)
    raise NotOursError(errno.EPERM, problem)


def _problem(found: os.stat_result) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file; give another path"
    if found.st_nlink > 1:
        return "has a second name (a hard link), under which it may belong to something else; remove one"
    if not hasattr(os, "geteuid"):  # Windows: no owners, and modes that say nothing
        return None
    if found.st_uid != os.geteuid():
        return f"belongs to another user (uid {found.st_uid}); give a path of your own"
    if stat.S_IMODE(found.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        return "can be read or written by others; if you trust it: chmod 600, on a file system that keeps modes"
    return None
