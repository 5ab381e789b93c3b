"""What the dialects share in writing requests and reading answers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import msgspec

from codegen_async.cleaning import clean
from codegen_async.http.transport import ForeignAnswerError
from codegen_async.models import RunId
from codegen_async.reading import UNREADABLE, Hook, Reader, loads, readable
from codegen_async.record import Model

T = TypeVar("T")
P = TypeVar("P", bound=Model)

_log = logging.getLogger("codegen_async")

_pieces = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are given."""
    return {name: value for name, value in fields.items() if value is not None}


def segment(value: str) -> str:
    """Return a checked text as one segment of a path (`arguments.check_segment`)."""
    return quote(value, safe="")


def check_about(shown: RunId, asked: RunId, what: str = "run") -> None:
    """Make sure that an answer is about the run (or other thing) that was asked for.

    Raises:
        ForeignAnswerError: it is about another.
    """
    if shown != asked:
        raise ForeignAnswerError(f"the answer is about {what} {shown}, not {asked}")


class PageDecoder(Generic[P]):
    """Read pages as a whole, and item by item only where one is odd.

    Args:
        dialect: what the log calls it.
        page: the page; its field `unreadable` counts the items left out, and is never read from the wire.
        field: the field that holds the items, as a tuple.
        item: what they are.
        dec_hook: reads types of the dialect's own.
        tells: fields of which one must be there where the items are not: they tell an empty page from anything else.
            Default: the items must be there.
    """

    def __init__(
        self,
        dialect: str,
        page: type[P],
        field: str,
        item: type[Any],
        dec_hook: Hook | None = None,
        *,
        tells: Collection[str] = (),
    ) -> None:
        self._dialect = dialect
        self._field = field
        self._item_kind = item
        self._hook = dec_hook
        self._tells = tells
        self._decode = msgspec.json.Decoder(page, dec_hook=dec_hook).decode
        self._page = Reader(page, dec_hook)
        self._item: Reader[Any] = Reader(item, dec_hook)
        self._reported_odd = False

    def decode(self, body: bytes) -> P:
        """Read a page; may raise what is in `UNREADABLE`."""
        try:
            page = self._decode(body)
        except UNREADABLE as exc:
            return self._piecemeal(body, exc)
        return _noting(page, unreadable=0) if getattr(page, "unreadable", 0) else page

    def _piecemeal(self, body: bytes, why: Exception) -> P:
        """Read what can be read, so that one odd item does not hide ninety-nine; if that is nothing, raise `why`."""
        fields, items, sent = self._taken_apart(body, why)
        if sent and not items:
            raise msgspec.ValidationError(str(why))
        if len(items) < sent and not self._reported_odd:
            self._reported_odd = True
            _log.warning(
                "%s: a page has items of an unknown shape, they are left out: %s", self._dialect, clean(str(why))
            )
        page = self._page.read({**fields, self._field: ()})
        return _noting(page, **{self._field: tuple(items), "unreadable": sent - len(items)})

    def _taken_apart(self, body: bytes, why: Exception) -> tuple[dict[str, Any], list[Any], int]:
        """Return the fields of a page, those of its items that can be read, and how many were sent."""
        try:
            fields = loads(body, why)
        except UNREADABLE:
            return self._raw(body)
        sent = self._items_of(fields)
        return fields, readable(sent, self._item_kind, self._hook), len(sent)

    def _items_of(self, fields: object) -> list[object]:
        if not isinstance(fields, dict):
            raise msgspec.ValidationError(f"Expected `object`, got `{type(fields).__name__}`")
        items: object = cast("dict[str, object]", fields).get(self._field)
        if isinstance(items, list):
            return cast("list[object]", items)
        if items is None and any(name in fields for name in self._tells):
            return []
        raise msgspec.ValidationError(f"Object missing required field `{self._field}`")

    def _raw(self, body: bytes) -> tuple[dict[str, Any], list[Any], int]:
        """Take apart a page of which an item is at fault: too deep, or with a number of thousands of digits."""
        pieces = _pieces.decode(body)
        sent = _list.decode(pieces.pop(self._field, b"null"))
        items = [read for raw in sent if (read := _try(self._item, raw)) is not None]
        return {name: msgspec.json.decode(raw) for name, raw in pieces.items()}, items, len(sent)


def _noting(page: P, **fields: object) -> P:
    noted = msgspec.structs.replace(page, **fields)
    vars(noted).update(vars(page))
    return noted


def _try(reader: Reader[T], raw: msgspec.Raw) -> T | None:
    try:
        return reader.decode(bytes(raw))
    except UNREADABLE:
        return None
