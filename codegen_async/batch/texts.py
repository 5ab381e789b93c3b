"""Read the bytes of a file, and turn them into text, or say what they are instead."""

from __future__ import annotations

import re
from typing import BinaryIO

from codegen_async.files import read_source

_LARGEST = 2**28  # bytes; a hundred thousand prompts of a page each
_UTF_8_MARK = b"\xef\xbb\xbf"
# Longer ones first: that of UTF-32 begins with that of UTF-16.
_FOREIGN_STARTS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a workbook or another zip archive",
    b"\xd0\xcf\x11\xe0": "a workbook of an old kind",
    b"\x1f\x8b": "gzip",
    b"SQLite format 3\0": "a database",
}
_LINE_END = re.compile(b"\r\n|\r|\n")


def read_whole(file: BinaryIO) -> bytes:
    """Return what a file or a pipe of prompts holds. Blocking.

    Raises:
        OSError: it is a device without an end, is larger than 256 MiB, or cannot be read.
    """
    return read_source(file.fileno(), _LARGEST)


class NoTextError(ValueError):
    """Say that bytes are no UTF-8 text.

    Attributes:
        line: where that shows.
        found: what they are or have instead.
    """

    def __init__(self, line: int, found: str) -> None:
        super().__init__(found)
        self.line = line
        self.found = found


def read_text(content: bytes) -> str:
    """Return UTF-8 text without the byte order mark that some editors and spreadsheets begin it with.

    Raises:
        NoTextError: it is something else.
    """
    for start, name in _FOREIGN_STARTS.items():
        if content.startswith(start):
            raise NoTextError(1, name)
    if (zero := content.find(b"\0")) >= 0:
        # In UTF-16 every second byte of plain text is zero, and its mark may be missing.
        raise NoTextError(_line(content, zero), "UTF-16" if zero in (0, 1) else "a null character")
    try:
        return content.removeprefix(_UTF_8_MARK).decode()
    except UnicodeDecodeError as error:
        at = content.find(_UTF_8_MARK) + len(_UTF_8_MARK) if content.startswith(_UTF_8_MARK) else 0
        found = f"the byte 0x{error.object[error.start]:02x}, as in Latin-1 or Windows-1252"
        raise NoTextError(_line(content, at + error.start), found) from None


def _line(content: bytes, position: int) -> int:
    return len(_LINE_END.findall(content[:position])) + 1
