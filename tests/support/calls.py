"""Stop a process at its calls to the system: to end it there, to let a call fail, or to see what it writes.

Linux hands each of the chosen calls to whoever holds the listener of a filter (`seccomp`), and the call waits until it
is answered. That takes no tool, no compiler and no rights, only a kernel of 2020 (5.9).
"""

import ctypes
import os
import platform
import select
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_NUMBERS: Mapping[str, Mapping[str, int]] = {
    "x86_64": {
        "write": 1,
        "open": 2,
        "pwrite64": 18,
        "writev": 20,
        "connect": 42,
        "sendto": 44,
        "sendmsg": 46,
        "fsync": 74,
        "fdatasync": 75,
        "truncate": 76,
        "ftruncate": 77,
        "rename": 82,
        "link": 86,
        "unlink": 87,
        "openat": 257,
        "unlinkat": 263,
        "renameat": 264,
        "linkat": 265,
        "fallocate": 285,
        "pwritev": 296,
        "renameat2": 316,
        "seccomp": 317,
    },
    "aarch64": {
        "unlinkat": 35,
        "linkat": 37,
        "renameat": 38,
        "truncate": 45,
        "ftruncate": 46,
        "fallocate": 47,
        "openat": 56,
        "write": 64,
        "writev": 66,
        "pwrite64": 68,
        "pwritev": 70,
        "fsync": 82,
        "fdatasync": 83,
        "connect": 203,
        "sendto": 206,
        "sendmsg": 211,
        "renameat2": 276,
        "seccomp": 277,
    },
}
_PIDFD_GETFD = 438  # on every machine

HERE: bool = sys.platform == "linux" and platform.machine() in _NUMBERS
"""Whether calls can be stopped on this machine."""

DISK = (
    "open",
    "openat",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "fsync",
    "fdatasync",
    "truncate",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
)
"""All that changes files, as far as it is known to be called."""
NET = ("connect", "sendto", "sendmsg")

_BY_PATH = {"open": 0, "openat": 1, "truncate": 0, "rename": 0, "renameat": 1, "renameat2": 1, "link": 0, "linkat": 1}
_BY_PATH |= {"unlink": 0, "unlinkat": 1}

# linux/seccomp.h, linux/filter.h
_NO_NEW_PRIVILEGES = 38
_SET_FILTER, _NEW_LISTENER = 1, 8
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_NOTICE = struct.Struct("=QII iIQ 6Q")
_REPLY = struct.Struct("=QqiI")
_GO_ON = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _numbers(names: Sequence[str]) -> Mapping[int, str]:
    known = _NUMBERS[platform.machine()]
    return {known[name]: name for name in names if name in known}


def _called(name: str, result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def _listen(numbers: Sequence[int]) -> int:
    """Let these calls of this thread, and of those it starts, wait for an answer; return where they are told."""
    jumps = [struct.pack("=HBBI", _IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    ends = [struct.pack("=HBBI", _RETURN, 0, 0, what) for what in (_ALLOW, _NOTIFY)]
    code = b"".join([struct.pack("=HBBI", _LOAD, 0, 0, 0), *jumps, *ends])
    program = _Program(len(code) // 8, code)
    _called("prctl", _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    number = _NUMBERS[platform.machine()]["seccomp"]
    return _called("seccomp", _libc.syscall(number, _SET_FILTER, _NEW_LISTENER, ctypes.byref(program)))


def _stopping(told: Connection, names: Sequence[str], target: Callable[..., None], *arguments: Any) -> None:
    free = os.dup(told.fileno())
    os.close(free)
    told.send(free)  # before a call is stopped for which nobody listens yet
    if _listen([*_numbers(names)]) != free:
        raise AssertionError("the listener is not where it was said to be")
    told.close()  # which says that it is there
    target(*arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that waits for its answer.

    Attributes:
        identity: what the kernel knows it by.
        thread: which thread of the process calls.
        name: of the call.
        arguments: as the kernel sees them, numbers and addresses.
    """

    identity: int
    thread: int
    name: str
    arguments: tuple[int, ...]

    def path(self, place: int = 0) -> Path | None:
        """Return the file that is meant, by its name or its descriptor; None for what has no name.

        Args:
            place: which of two names, for calls with two.
        """
        if self.name not in _BY_PATH:
            return self._of_file(self.arguments[0])
        by_folder = _BY_PATH[self.name]
        step = place * (1 + by_folder)
        name = self.memory(self.arguments[step + by_folder], 4096).partition(b"\0")[0].decode()
        folder = ctypes.c_int(self.arguments[step]).value if by_folder else -1
        above = self._of_file(folder) if folder >= 0 else Path(f"/proc/{self.thread}/cwd").readlink()
        return None if above is None else above / name

    def _of_file(self, number: int) -> Path | None:
        with suppress(OSError):
            found = Path(f"/proc/{self.thread}/fd/{number}").readlink()
            return found if found.is_absolute() else None
        return None

    def memory(self, address: int, size: int) -> bytes:
        """Return bytes of the process, as many as are there."""
        with Path(f"/proc/{self.thread}/mem").open("rb", 0) as file:
            return os.pread(file.fileno(), size, address)

    def flags(self) -> int:
        """Return how a file is opened."""
        return self.arguments[1 + _BY_PATH[self.name]]

    def place(self) -> int:
        """Return where in its file a `write` would write."""
        lines = Path(f"/proc/{self.thread}/fdinfo/{self.arguments[0]}").read_text("ascii").split()
        return int(lines[lines.index("pos:") + 1])


class Stopped:
    """Run `target` in a process of its own and iterate over its calls, each of which waits for an answer.

    Give one, or kill the process, before you ask for the next call. The iteration ends with the process.

    Args:
        start: starts a process.
        target, arguments: what it is to do.
        names: the calls to stop.
    """

    def __init__(
        self, start: Callable[..., BaseProcess], target: Callable[..., None], *arguments: Any, names: Sequence[str]
    ) -> None:
        ours, theirs = Pipe(duplex=False)
        self.process: BaseProcess = start(_stopping, theirs, names, target, *arguments)
        self._names = _numbers(names)
        theirs.close()
        process = os.pidfd_open(self.process.pid or 0)
        try:
            number = ours.recv()
            with suppress(EOFError):
                ours.recv()
            self._listener = _called("pidfd_getfd", _libc.syscall(_PIDFD_GETFD, process, number, 0))
        finally:
            ours.close()
            os.close(process)

    def __iter__(self) -> Iterator[Call]:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        try:
            while poll.poll()[0][1] & select.POLLIN:
                if (call := self._next()) is not None:
                    yield call
        finally:
            self.kill()
            os.close(self._listener)

    def _next(self) -> Call | None:
        notice = bytearray(_NOTICE.size)
        try:
            ioctl(self._listener, _RECEIVE, notice)
        except FileNotFoundError:
            return None  # died meanwhile
        identity, thread, _, number, _, _, *arguments = _NOTICE.unpack(notice)
        return Call(identity=identity, thread=thread, name=self._names[number], arguments=tuple(arguments))

    def go_on(self, call: Call) -> None:
        """Let a call be carried out."""
        self._answer(call, 0, _GO_ON)

    def fail(self, call: Call, error: int) -> None:
        """Let a call fail, with nothing done."""
        self._answer(call, -error, 0)

    def _answer(self, call: Call, error: int, flags: int) -> None:
        with suppress(FileNotFoundError):  # died meanwhile
            ioctl(self._listener, _ANSWER, bytearray(_REPLY.pack(call.identity, 0, error, flags)))

    def kill(self) -> int:
        """End the process if it has not ended; return what it ended with."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode or 0
