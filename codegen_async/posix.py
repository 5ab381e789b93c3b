"""What POSIX has and Windows has not. Light: imports nothing of the package."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["HAS_LOCKS", "boot_id", "fcntl", "flags", "namespaces", "pread", "pwrite"]

fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None
HAS_LOCKS: bool = hasattr(fcntl, "flock")
"""Whether files can be locked; without it `fcntl` is None."""


def flags(*names: str) -> int:
    """Return flags for `os.open`, as far as the system has them."""
    return sum(getattr(os, name, 0) for name in names)


def boot_id() -> str:
    """Return what Linux calls the time since the host was started.

    Raises:
        OSError: it is another system.
    """
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def namespaces(*kinds: str) -> list[str]:
    """Return the names of the namespaces of these kinds that Linux has this process in, of those that it knows."""
    names: list[str] = []
    for kind in kinds:
        with contextlib.suppress(OSError):
            names.append(str(Path(f"/proc/self/ns/{kind}").readlink()))
    return names


def _pread(file: int, size: int, place: int) -> bytes:
    os.lseek(file, place, os.SEEK_SET)
    return os.read(file, size)


def _pwrite(file: int, data: bytes, place: int) -> int:
    os.lseek(file, place, os.SEEK_SET)
    return os.write(file, data)


pread: Callable[[int, int, int], bytes] = getattr(os, "pread", _pread)
"""Read so many bytes of a file at a place; one thread at a time where the system has two calls for it."""
pwrite: Callable[[int, bytes, int], int] = getattr(os, "pwrite", _pwrite)
"""Write bytes to a file at a place; the same."""
