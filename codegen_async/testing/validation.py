"""Check requests by hand, and report what is wrong the way FastAPI does ("HTTPValidationError")."""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, cast

__all__ = [
    "Check",
    "Refusal",
    "Validation",
    "boolean",
    "image",
    "integer",
    "json_object",
    "list_of",
    "mapping",
    "one_of",
    "optional",
    "plain_json",
    "text",
    "url",
]

Check = Callable[[Any], Any]
"""Return the value as it is meant, or raise `InvalidValueError`."""

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


_DEEPEST = 500  # levels; more than anybody means, and far from what ends the interpreter

_DATA_URI = re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,", re.IGNORECASE)
_URL = re.compile(r"https?://[^/\s?#]+[^\s]*", re.IGNORECASE)
_IMAGES: Mapping[str, re.Pattern[bytes]] = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "gif": re.compile(rb"GIF8[79]a"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}


class Refusal(Exception):  # noqa: N818 - not an error of the program: the server's answer
    """What the server answers instead of doing what it was asked."""

    def __init__(self, status: int, payload: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, payload)
        self.status = status
        self.payload = payload
        self.headers: dict[str, str] = dict(headers or {})


class InvalidValueError(ValueError):
    """A value that does not pass; `at` is where in it, if it is a list or an object."""

    def __init__(self, kind: str, message: str, at: tuple[int | str, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.at = at


class Validation:
    """Read the fields of one request, and remember all that is wrong with them."""

    def __init__(self) -> None:
        self._detail: list[dict[str, Any]] = []

    def require(self, place: str, source: Mapping[str, Any], name: str, check: Check) -> Any:
        """Return a field that must be there; None if it is wrong."""
        if name in source:
            return self.field(place, source, name, check)
        self._report([place, name], "missing", "Field required")
        return None

    def field(self, place: str, source: Mapping[str, Any], name: str, check: Check, default: Any = None) -> Any:
        """Return a field, `default` if it is absent; None if it is wrong."""
        if name not in source:
            return default
        try:
            return check(source[name])
        except InvalidValueError as invalid:
            self._report([place, name, *invalid.at], invalid.kind, str(invalid))
            return None

    def close(self) -> None:
        """Refuse the request with all that was wrong, if anything was.

        Raises:
            Refusal: with status 422.
        """
        if self._detail:
            raise Refusal(422, {"detail": self._detail})

    def _report(self, loc: list[str | int], kind: str, message: str) -> None:
        self._detail.append({"loc": loc, "msg": message, "type": kind})


def json_object(body: bytes, content_type: str | None) -> dict[str, Any]:
    """Decode a body that has to be a JSON object.

    Raises:
        Refusal: it is something else.
    """
    if not body:
        raise _body_refusal("missing", "Field required")
    if content_type is not None and content_type.partition(";")[0].strip().lower() != "application/json":
        raise _body_refusal("model_attributes_type", _NO_OBJECT)
    try:
        value = plain_json(body)
    except json.JSONDecodeError as error:
        raise _body_refusal("json_invalid", "JSON decode error", error.pos) from error
    except ValueError as error:
        raise Refusal(400, {"detail": "There was an error parsing the body"}) from error
    if not isinstance(value, dict):
        raise _body_refusal("model_attributes_type", _NO_OBJECT)
    return cast("dict[str, Any]", value)


def plain_json(body: bytes) -> Any:
    """Decode JSON that can be stored and shown again.

    Raises:
        ValueError: it is no JSON, or has what no store takes: text with half an emoji, a number that is none or has
            thousands of digits, nesting without end.
    """
    try:
        value = json.loads(body, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    ahead = [(value, 1)]
    while ahead:
        item, depth = ahead.pop()
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(item, str):
            item.encode()
        elif isinstance(item, dict):
            ahead += [(part, depth + 1) for pair in cast("dict[str, Any]", item).items() for part in pair]
        elif _is_list(item):
            ahead += [(part, depth + 1) for part in item]
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits)


_NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"


def _body_refusal(kind: str, message: str, *at: int) -> Refusal:
    return Refusal(422, {"detail": [{"loc": ["body", *at], "msg": message, "type": kind}]})


def optional(check: Check) -> Check:
    """Let None pass."""
    return lambda value: None if value is None else check(value)


def integer(minimum: int | None = None, maximum: int | None = None) -> Check:
    """Let integers pass, also as text, within the bounds."""

    def check(value: Any) -> int:
        number = _integer(value)
        if minimum is not None and number < minimum:
            raise InvalidValueError("greater_than_equal", f"Input should be greater than or equal to {minimum}")
        if maximum is not None and number > maximum:
            raise InvalidValueError("less_than_equal", f"Input should be less than or equal to {maximum}")
        return number

    return check


def _integer(value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise InvalidValueError(
                "int_parsing", "Input should be a valid integer, unable to parse string as an integer"
            ) from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValueError("int_type", "Input should be a valid integer")
    return value


def boolean(value: str) -> bool:
    """Let the words for yes and no pass."""
    word = value.strip().lower()
    if word not in _TRUE | _FALSE:
        raise InvalidValueError("bool_parsing", "Input should be a valid boolean, unable to interpret input")
    return word in _TRUE


def text(value: Any) -> str:
    """Let strings pass."""
    if not isinstance(value, str):
        raise InvalidValueError("string_type", "Input should be a valid string")
    return value


def image(value: Any) -> str:
    """Let base64 data URIs pass that begin as an image of the kind they name."""
    start = _DATA_URI.match(text(value))
    if start is None:
        raise InvalidValueError("value_error", "Value error, not a base64 data URI of an image")
    try:
        content = base64.b64decode(value[start.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValueError("value_error", "Value error, not valid base64") from None
    kind = start[1].lower().replace("jpg", "jpeg")
    if not _IMAGES[kind].match(content):
        raise InvalidValueError("value_error", f"Value error, not an image of type {kind}")
    return cast("str", value)


def url(value: Any) -> str:
    """Let http and https URLs pass."""
    if not _URL.fullmatch(text(value)):
        raise InvalidValueError("url_parsing", "Input should be a valid URL")
    return cast("str", value)


def mapping(value: Any) -> dict[str, Any]:
    """Let objects pass."""
    if not isinstance(value, dict):
        raise InvalidValueError("dict_type", "Input should be a valid dictionary")
    return cast("dict[str, Any]", value)


def one_of(*choices: str, kind: str) -> Check:
    """Let these words pass."""
    names = [f"'{choice}'" for choice in choices]
    expected = f"{', '.join(names[:-1])} or {names[-1]}"

    def check(value: Any) -> str:
        if value not in choices:
            raise InvalidValueError(kind, f"Input should be {expected}")
        return cast("str", value)

    return check


def list_of(check: Check) -> Check:
    """Let lists pass whose items all pass; the first that does not is reported."""

    def check_all(value: Any) -> list[Any]:
        if not _is_list(value):
            raise InvalidValueError("list_type", "Input should be a valid list")
        return [_item(check, index, item) for index, item in enumerate(value)]

    return check_all


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _item(check: Check, index: int, item: Any) -> Any:
    try:
        return check(item)
    except InvalidValueError as invalid:
        raise InvalidValueError(invalid.kind, str(invalid), (index, *invalid.at)) from None
