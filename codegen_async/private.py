"""Open files of ours, and nothing else that may lie where one belongs: no link, no device, no file of somebody else.

Whoever prepares a folder (a repository to clone, a directory that many may write to) can put something under a name
that we are going to use. So this is how every file is opened that we read back or write over: the lock of a journal,
the memory of a client, and the journal itself.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from codegen_async.posix import flags

PRIVATE = 0o600
"""Mode of every file that may hold prompts or results."""

_LINK = (errno.ELOOP, errno.EMLINK)  # what systems call a link that was not followed
# No link is followed, no pipe waits for its other end, no child that runs another program inherits it. Not all systems
# have all of these.
_FLAGS = os.O_RDWR | flags("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")


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
