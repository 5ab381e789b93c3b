"""Read JSON into models: as promised in the normal case, and whatever can be read in all others.

A server of other people adds, changes and breaks fields that nobody asked about. Only what a model cannot be without is
required; an optional field of another shape reads as if it were not there, and `Model.odd` keeps what was sent. Text
that is no Unicode (half an emoji, cut in the middle) is read as the standard `json` module reads it, with U+FFFD in its
place, since it could be neither stored nor printed.
"""

from __future__ import annotations

import functools
import json
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin

import msgspec

from codegen_async.record import Model

T = TypeVar("T")

Hook = Callable[[type, Any], Any]
"""Reads types of a dialect's own, as msgspec describes `dec_hook`."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading may raise: `msgspec.ValidationError` for another shape, anything else for what is no JSON."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class Reader(Generic[T]):
    """Read bodies of one kind.

    Args:
        kind: a model, or a struct that holds models.
        dec_hook: see `Hook`.
    """

    def __init__(self, kind: type[T], dec_hook: Hook | None = None) -> None:
        self._kind = kind
        self._hook = dec_hook
        self._decode = msgspec.json.Decoder(kind, dec_hook=dec_hook).decode

    def decode(self, body: bytes) -> T:
        """Read a body; see `UNREADABLE` for what it raises."""
        try:
            return self._decode(body)
        except UNREADABLE as exc:
            return self.read(_loads_by_fields(body, exc))

    def read(self, value: object) -> T:
        """Read what JSON was decoded to.

        Raises:
            msgspec.ValidationError: something is missing or wrong that the model cannot be without.
        """
        return cast("T", _value(self._kind, value, self._hook))


def read_json(body: bytes) -> Any:
    """Read JSON that is of no kind in particular; see `UNREADABLE` for what it raises."""
    try:
        return msgspec.json.decode(body)
    except UNREADABLE as exc:
        return loads(body, exc)


def loads(body: bytes, why: Exception) -> Any:
    """Decode JSON as the standard library does, with U+FFFD for what is no Unicode.

    Args:
        body: the JSON.
        why: what was wrong with it for a stricter reader; raised if it is that for this one too.
    """
    try:
        return _mended(_loads(body))
    except (ValueError, RecursionError) as exc:
        if isinstance(exc, json.JSONDecodeError) and isinstance(why, msgspec.ValidationError):
            raise msgspec.DecodeError(str(exc)) from None  # it is of another shape because it was cut short, say
    raise why


def _loads_by_fields(body: bytes, why: Exception) -> Any:
    """Decode JSON as `loads` does; of an object of which a field cannot be decoded, that one to `msgspec.Raw`."""
    try:
        return loads(body, why)
    except UNREADABLE:
        pass
    try:
        return {name: _field(raw) for name, raw in _pieces.decode(body).items()}
    except UNREADABLE:
        raise why from None


def _field(raw: msgspec.Raw) -> Any:
    try:
        return read_json(bytes(raw))
    except UNREADABLE:  # a number of thousands of digits
        return raw.copy()  # not a view of the whole body


_pieces = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _loads(body: bytes) -> Any:
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        return json.loads(body.decode("utf-8", "replace"))


def _mended(value: Any) -> Any:
    """Return the value with readable text; containers are changed in place, without recursion."""
    whole: list[Any] = [value]
    ahead: list[Any] = [whole]
    while ahead:
        box: Any = ahead.pop()
        for place in _places(box):
            one: Any = box[place]
            if isinstance(one, str):
                box[place] = _text(one)
            elif isinstance(one, dict | list):
                ahead.append(one)
    return whole[0]


def _places(box: Any) -> list[Any]:
    """Return the indexes of a list, or the keys of an object after they were made readable."""
    if not isinstance(box, dict):
        return list(range(len(box)))
    fields = cast("dict[str, Any]", box)
    for key in [key for key in fields if _SURROGATE.search(key)]:
        fields[_text(key)] = fields.pop(key)
    return list(fields)


def _text(text: str) -> str:
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _value(kind: Any, value: object, hook: Hook | None) -> Any:
    """Read a value as a kind: strictly, else as its parts can be read.

    Raises:
        msgspec.ValidationError: it cannot be.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=hook)
    except msgspec.ValidationError:
        for option in _options(kind):
            read = _by_parts(option, value, hook)
            if read is not None:
                return read
        raise


def _by_parts(kind: Any, value: object, hook: Hook | None) -> Any:
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind, cast("dict[str, Any]", value), hook)
    if isinstance(value, list) and get_origin(kind) is tuple:
        items = cast("list[object]", value)
        return tuple(readable(items, get_args(kind)[0], hook)) or None
    return None


def readable(items: Iterable[object], kind: Any, hook: Hook | None) -> list[Any]:
    """Return those items that can be read."""
    found: list[Any] = []
    for item in items:
        try:
            found.append(_value(kind, item, hook))
        except (msgspec.ValidationError, RecursionError):
            continue
    return found


def _struct(kind: type[msgspec.Struct], sent: Mapping[str, Any], hook: Hook | None) -> msgspec.Struct:
    fields: dict[str, Any] = {}
    odd: dict[str, Any] = {}
    for field in _fields(kind):
        if field.encode_name not in sent:
            if field.required:
                raise msgspec.ValidationError(f"Object missing required field `{field.encode_name}`")
            continue
        value = sent[field.encode_name]
        try:
            fields[field.name] = _value(field.type, value, hook)
        except (msgspec.ValidationError, RecursionError) as exc:  # of another shape, or in steps within steps
            if field.required:
                raise msgspec.ValidationError(f"{exc} - at `$.{field.encode_name}`") from None
            odd[field.name] = value
            if type(None) in get_args(field.type):
                fields[field.name] = None
    made = kind(**fields)
    if odd and isinstance(made, Model):
        vars(made)["odd"] = odd  # beside the fields: what is ours is never read from the wire
    return made


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _options(kind: Any) -> tuple[Any, ...]:
    """Return what a union may be; a kind that is none is all it may be."""
    return get_args(kind) if get_origin(kind) in (types.UnionType, Union) else (kind,)
