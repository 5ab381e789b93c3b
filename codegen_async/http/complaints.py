"""What an error body says, in the forms that APIs, frameworks and gateways use. Pure.

Known are `message`, `detail` (text, or a list as FastAPI writes it), `errors` (a list, or an object by field), `error`
as text or as an object, `error_description` (OAuth), `title` and `detail` (RFC 9457), `msg`, `reason` and their like,
in any case of letters. Anything else is shown as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from codegen_async.reading import UNREADABLE, read_json

_SHOWN = 200  # characters of a body in no known form
_READ = 65536  # bytes that are looked at for them, as what `hide` takes away may be written at length
_DEEPEST = 4

_WORDS = (
    "message", "error_message", "errormessage", "detail", "error_description", "description", "msg", "reason",
    "faultstring", "title", "error", "errors", "fault", "details",
)  # fmt: skip
_CODES = ("code", "error_code", "errorcode", "errcode")
_PLACES = ("loc", "parameter", "field", "param")


class Complaint(msgspec.Struct, frozen=True):
    """Say what a server said.

    Attributes:
        text: in words.
        code: its own word or number for it.
        fields: one text per complaint about a field.
    """

    text: str
    code: str | None = None
    fields: tuple[str, ...] = ()


def read_complaint(body: bytes, hide: Callable[[str], str] = str) -> Complaint:
    """Read an error body, whatever it is.

    Args:
        body: what was sent.
        hide: takes out of a body in no known form what nobody is to see, before it is cut.
    """
    try:
        said = read_json(body)
    except UNREADABLE:
        said = None
    if not isinstance(said, dict):
        return Complaint(_raw(body, hide))
    known: dict[str, Any] = _folded(cast("dict[str, object]", said))
    listed: Any = known.get("detail") if isinstance(known.get("detail"), list) else known.get("errors")
    fields = tuple(_each(listed)) if isinstance(listed, list | dict) else ()
    return Complaint(_words(known) or _raw(body, hide), _code(known), fields)


def _raw(body: bytes, hide: Callable[[str], str]) -> str:
    return hide(body[:_READ].decode("utf-8", "replace"))[:_SHOWN]


def _folded(said: Mapping[str, object]) -> dict[str, object]:
    return {name.casefold(): value for name, value in said.items()}


def _words(value: Any, depth: int = 0) -> str:
    if isinstance(value, str):
        return value.strip()
    if depth > _DEEPEST or not isinstance(value, dict):
        return "; ".join(_each(value, depth)) if isinstance(value, list) and depth <= _DEEPEST else ""
    known = _folded(cast("dict[str, object]", value))
    title, detail = known.get("title"), known.get("detail")
    if isinstance(title, str) and isinstance(detail, str) and not known.get("message"):
        return f"{title}: {detail}"
    return next((words for name in _WORDS if (words := _words_at(known, name, depth))), "")


def _words_at(known: Mapping[str, Any], name: str, depth: int) -> str:
    value: Any = known.get(name)
    if name == "errors" and isinstance(value, dict):
        return "; ".join(_each(cast("dict[str, object]", value), depth))
    return _words(value, depth + 1)


def _each(values: Any, depth: int = 0) -> list[str]:
    """Return each complaint of a list, or of an object by field, in words."""
    if isinstance(values, dict):
        named = cast("dict[str, object]", values)
        found = [(name, _words(value, depth + 1)) for name, value in named.items()]
    else:
        found = [(_place(one), _words(one, depth + 1)) for one in cast("list[object]", values)]
    return [f"{where}: {what}" if where else what for where, what in found if what]


def _place(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    known = _folded(cast("dict[str, object]", value))
    place = next((known[name] for name in _PLACES if known.get(name)), "")
    parts = cast("list[object]", place) if isinstance(place, list) else [place]
    return ".".join(str(part) for part in parts if isinstance(part, str | int))  # what else there is may be too deep


def _code(known: Mapping[str, Any], depth: int = 0) -> str | None:
    for name in _CODES:
        if _is_code(known.get(name)):
            return str(known[name])
    for value in _inner(known) if depth < _DEEPEST else ():
        if (code := _code(_folded(value), depth + 1)) is not None:
            return code
    error = known.get("error")
    if isinstance(error, str) and error.strip() and _words({**known, "error": None}):
        return error  # it is the short form of what is said at length elsewhere
    kind = known.get("type")
    return kind if isinstance(kind, str) and known.get("title") and kind != "about:blank" else None


def _inner(known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects in which a code may stand."""
    errors = known.get("errors")
    first = cast("list[object]", errors)[:1] if isinstance(errors, list) else []
    inner = [known.get("error"), known.get("fault"), known.get("detail"), *first]
    return [cast("dict[str, Any]", value) for value in inner if isinstance(value, dict)]


def _is_code(value: object) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or (isinstance(value, int) and not isinstance(value, bool))
