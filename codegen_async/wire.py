"""What the dialects share in writing requests and reading answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from codegen_async.errors import clean
from codegen_async.models import RunId
from codegen_async.transport import ForeignAnswerError

T = TypeVar("T")
P = TypeVar("P", bound=msgspec.Struct)

_log = logging.getLogger("codegen_async")

_pieces = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_ODD = (msgspec.ValidationError, UnicodeDecodeError)  # an item of another shape, or with text that is not UTF-8


def json_body(fields: Mapping[str, Any]) -> bytes:
    """Encode the fields that are given; the server has defaults for the others."""
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def query_of(**pairs: object) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a query string that are given."""
    return tuple((name, str(value)) for name, value in pairs.items() if value is not None)


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
    """Decode pages as a whole, and item by item only where one is odd.

    Args:
        dialect: what the log calls it.
        page: the page; its field `unreadable` counts the items left out.
        field: the field that holds the items, as a tuple.
        item: what they are.
        dec_hook: reads types of the dialect's own, as msgspec describes it.
    """

    def __init__(
        self,
        dialect: str,
        page: type[P],
        field: str,
        item: type[Any],
        dec_hook: Callable[[type, Any], Any] | None = None,
    ) -> None:
        self._dialect = dialect
        self._kind = page
        self._field = field
        self._page = msgspec.json.Decoder(page, dec_hook=dec_hook)
        self._item: msgspec.json.Decoder[Any] = msgspec.json.Decoder(item, dec_hook=dec_hook)
        self._reported_odd = False

    def decode(self, body: bytes) -> P:
        """Read a page; may raise what msgspec raises."""
        try:
            return self._page.decode(body)
        except _ODD as exc:
            return self._piecemeal(body, exc)

    def _piecemeal(self, body: bytes, why: Exception) -> P:
        """Read what can be read, so that one odd item does not hide ninety-nine; if that is nothing, raise `why`."""
        pieces = _pieces.decode(body)
        raws = _list.decode(pieces.pop(self._field, b"null"))
        items = [read for raw in raws if (read := _try(self._item, raw)) is not None]
        if raws and not items:
            raise why
        fields: dict[str, Any] = {key: msgspec.json.decode(raw) for key, raw in pieces.items()}
        page = msgspec.convert({**fields, self._field: (), "unreadable": 0}, self._kind)
        if not self._reported_odd:
            self._reported_odd = True
            _log.warning(
                "%s: a page has items of an unknown shape, they are left out: %s", self._dialect, clean(str(why))
            )
        return msgspec.structs.replace(page, **{self._field: tuple(items), "unreadable": len(raws) - len(items)})


def _try(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except _ODD:
        return None
