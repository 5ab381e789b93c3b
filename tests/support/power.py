"""What a power cut leaves of files. Pure: told of calls, and asked what could be on the disk afterwards.

A write is on the disk for certain once its file was synced since, and a name once its folder was. Of all else any part
may be there, in any order, in sectors that are as they were at some time since.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

SECTOR = 512


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes that were written, all to one sector; None: nothing is behind their place."""

    place: int
    data: bytes | None

    @property
    def sector(self) -> int:
        return -1 if self.data is None else self.place // SECTOR


@dataclass(slots=True, eq=False)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[_Piece] = field(default_factory=list)


class Disk:
    """Files, as they are after calls that are told in their order."""

    def __init__(self) -> None:
        self._files: dict[Path, _File] = {}
        self._synced: dict[Path, _File] = {}
        self._pending: list[tuple[Path, _File | None]] = []

    def opened(self, path: Path, *, make: bool, empty: bool) -> None:
        """Open a file, and make or empty it if need be."""
        if make and path not in self._files:
            self._files[path] = _File()
            self._pending.append((path, self._files[path]))
        if empty:
            self.cut_off(path, 0)

    def written(self, path: Path, place: int, data: bytes) -> None:
        """Write bytes."""
        end = place + len(data)
        edges = [place, *range((place // SECTOR + 1) * SECTOR, end, SECTOR), end]
        self._files[path].pending += [
            _Piece(begin, data[begin - place : stop - place]) for begin, stop in pairwise(edges)
        ]

    def cut_off(self, path: Path, size: int) -> None:
        """Leave nothing of a file behind its first bytes."""
        self._files[path].pending.append(_Piece(size, None))

    def removed(self, path: Path) -> None:
        """Remove a file."""
        if self._files.pop(path, None) is not None:
            self._pending.append((path, None))

    def synced(self, path: Path) -> None:
        """Sync a file, or the names in a folder."""
        file = self._files.get(path)
        if file is not None:
            file.synced, file.pending = _content(file, lambda: True), []
            return
        _rename(self._synced, [name for name in self._pending if name[0].parent == path], lambda: True)
        self._pending = [name for name in self._pending if name[0].parent != path]

    def after_a_cut(self, survives: Callable[[], bool]) -> dict[Path, bytes]:
        """Return the files that are left if the power goes now.

        Args:
            survives: whether the next of the sectors and names that are not synced is on the disk.
        """
        files = dict(self._synced)
        _rename(files, self._pending, survives)
        return {path: bytes(_content(file, survives)) for path, file in files.items()}


def _rename(files: dict[Path, _File], names: list[tuple[Path, _File | None]], survives: Callable[[], bool]) -> None:
    for path, file in names:
        if not survives():
            continue
        if file is None:
            files.pop(path, None)
        else:
            files[path] = file


def _content(file: _File, survives: Callable[[], bool]) -> bytearray:
    content = bytearray(file.synced)
    survived = [survives() for _ in file.pending]
    # A sector goes to the disk as it is in memory then, with all that was written to it before.
    last = {piece.sector: number for number, piece in enumerate(file.pending) if survived[number]}
    for number, piece in enumerate(file.pending):
        if piece.data is None and survived[number]:
            del content[piece.place :]
        elif piece.data is not None and number <= last.get(piece.sector, -1):
            content.extend(bytes(max(0, piece.place - len(content))))
            content[piece.place : piece.place + len(piece.data)] = piece.data
    return content
