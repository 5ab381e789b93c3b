"""Read server-sent events as the HTML standard describes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """An event: its type (empty where the stream names none) and its data."""

    type: str
    data: str


class EventTooLargeError(ValueError):
    """Say that an event is larger than the reader puts up with."""


class EventParser:
    """Cut a stream of bytes into events.

    Args:
        largest: bytes an event may have, its comments included.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._line = bytearray()
        self._after_return = False
        self._begun = False
        self._type = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that a further piece completes.

        Raises:
            EventTooLargeError: an event is.
        """
        if not piece:
            return
        if self._after_return and piece.startswith(b"\n"):  # the other half of CR LF
            piece = piece[1:]
        self._after_return = piece.endswith(b"\r")
        first, *rest = _LINE_END.split(piece)
        self._grow(first)
        for part in rest:
            if event := self._end_line(bytes(self._line)):
                yield event
            self._line.clear()
            self._grow(part)

    def _grow(self, part: bytes) -> None:
        self._line += part
        self._size += len(part)
        if self._size > self._largest:
            raise EventTooLargeError(f"an event of the stream is larger than {self._largest} bytes")

    def _end_line(self, line: bytes) -> ServerSentEvent | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._end_event()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._type = value
        return None

    def _end_event(self) -> ServerSentEvent | None:
        kind, data = self._type, self._data
        self._type, self._data, self._size = b"", [], 0
        if not data:
            return None
        return ServerSentEvent(kind.decode("utf-8", "replace"), b"\n".join(data).decode("utf-8", "replace"))
