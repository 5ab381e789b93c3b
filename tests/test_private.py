"""What we read back or write over is ours, or it is not touched."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen_async.private import NotOursError, open_private

SECRET = b"what the user keeps"


def link(path: Path) -> None:
    path.symlink_to(_victim(path))


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def second_name(path: Path) -> None:
    os.link(_victim(path), path)


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def readable(path: Path) -> None:
    path.touch(mode=0o600)
    path.chmod(0o644)


def writable(path: Path) -> None:
    path.touch(mode=0o600)
    path.chmod(0o620)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _victim(path: Path) -> Path:
    victim = path.with_name("victim")
    victim.touch(mode=0o600)
    victim.write_bytes(SECRET)
    return victim


@pytest.mark.parametrize("plant", [link, dangling, second_name, pipe, readable, writable, device])
def test_what_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    path = tmp_path / "ours"
    plant(path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(NotOursError):
        open_private(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    victim = tmp_path / "victim"
    assert not victim.exists() or victim.read_bytes() == SECRET


@pytest.mark.parametrize("what", ["directory", "socket"])
def test_what_is_no_file_at_all_cannot_be_opened(tmp_path: Path, what: str) -> None:
    path = tmp_path / "ours"
    if what == "directory":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    with pytest.raises(OSError, match="ours"):
        open_private(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    path.touch(mode=0o600)
    os.chown(path, 12345, -1)
    with pytest.raises(NotOursError, match="another user"):
        open_private(path)


def test_a_file_is_made_for_its_owner_only_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    with pytest.raises(FileNotFoundError):
        open_private(path, create=False)
    mask = os.umask(0)
    try:
        file = open_private(path)
    finally:
        os.umask(mask)
    os.write(file, b"x")
    os.close(file)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = open_private(path, create=False)
    assert os.read(again, 2) == b"x"
    assert not os.get_inheritable(again)
    os.close(again)
