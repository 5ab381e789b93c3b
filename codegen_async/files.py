"""Read files whose names or contents come from elsewhere: what has an end, and no more than there is room for.

A repository to clone can have a link to `/dev/zero`, a pipe or a file of a terabyte of nothing under any name that is
looked for in it. All of this blocks, but not for long.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from pathlib import Path

from codegen_async.posix import flags

_PIECE = 65536  # bytes
_MIB = 2**20
_PATIENCE = 200  # milliseconds; nobody who presses Ctrl-C notices them
_FLAGS = os.O_RDONLY | flags("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")


def read_regular(path: str | os.PathLike[str], at_most: int) -> bytes:
    """Return what a regular file holds.

    Raises:
        OSError: it is no regular file, as a device or a pipe may never come to its end; it is larger than `at_most`
            bytes, or grows beyond that meanwhile; or it cannot be read.
    """
    file = _open_regular(path)
    try:
        return _read(file, at_most)
    finally:
        os.close(file)


def look_into(path: str | os.PathLike[str], count: int, at_most: int) -> tuple[bytes, int]:
    """Return the first bytes of a regular file, and how many it has.

    Raises:
        OSError: as `read_regular` does.
    """
    file = _open_regular(path)
    try:
        return os.read(file, count), _check_size(file, at_most)
    finally:
        os.close(file)


def read_source(file: int, at_most: int) -> bytes:
    """Return what a file holds that somebody has named as the place of his data: also a pipe, a socket, a terminal.

    Raises:
        OSError: it is a device of another kind, which has no end; or it is larger than `at_most` bytes.
    """
    found = os.fstat(file)
    endless = stat.S_ISCHR(found.st_mode) and not os.isatty(file) and not _is_null(found)
    if endless or stat.S_ISBLK(found.st_mode):
        raise OSError(errno.EINVAL, "it is a device, which has no end")
    return _read(file, at_most)


def _open_regular(path: str | os.PathLike[str]) -> int:
    _check_regular(Path(path).stat())  # first of all: to open some devices does something
    file = os.open(path, _FLAGS)
    try:
        _check_regular(os.fstat(file))
    except BaseException:
        os.close(file)
        raise
    return file


def _read(file: int, at_most: int) -> bytes:
    pieces: list[bytes] = []
    left = at_most
    _check_size(file, at_most)
    # Piece by piece: to read all at once goes on from a signal to the next piece, which may never come.
    while piece := _next_piece(file):
        left -= len(piece)
        if left < 0:
            raise _too_large(at_most)
        pieces.append(piece)
    return b"".join(pieces)


def _next_piece(file: int) -> bytes:
    """Read once there is something, and give signals a chance until then.

    One that comes just before a read that waits, or that the system hands to another thread, would not be heard of
    before somebody writes.
    """
    if hasattr(select, "poll"):  # not on Windows, where signals wake no read at all
        ready = select.poll()
        ready.register(file, select.POLLIN)
        while not ready.poll(_PATIENCE):
            pass
    return os.read(file, _PIECE)


def _check_size(file: int, at_most: int) -> int:
    size = os.fstat(file).st_size
    if size > at_most:
        raise _too_large(at_most)
    return size


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def _is_null(found: os.stat_result) -> bool:
    try:
        return found.st_rdev == Path(os.devnull).stat().st_rdev
    except OSError:  # a container without one
        return False


def _too_large(at_most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {at_most // _MIB} MiB")
