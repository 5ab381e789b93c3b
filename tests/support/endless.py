"""Names under which there is no file that could be read to its end."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

PNG = b"\x89PNG\r\n\x1a\n rest"


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:  # its name stays
        folder = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(PNG)
        file.truncate(2**40)


ENDLESS = {
    "zeros": link("/dev/zero"),
    "noise": link("/dev/urandom"),
    "a full disk": link("/dev/full"),
    "the memory": link("/proc/self/mem"),
    "a pipe": os.mkfifo,
    "a socket": listen,
    "a folder": Path.mkdir,
    "a terabyte": sparse,
}
ends = pytest.mark.parametrize("make", ENDLESS.values(), ids=ENDLESS.keys())
