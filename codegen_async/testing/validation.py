"""Check requests by hand, and report what is wrong the way FastAPI does ("HTTPValidationError")."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, cast

__all__ = [
    "Check",
    "Refusal",
    "Validation",
    "boolean",
    "integer",
    "json_object",
    "list_of",
    "mapping",
    "one_of",
    "optional",
    "text",
]

Check = Callable[[Any], Any]
"""Return the value as it is meant, or raise `InvalidValueError`."""

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


class Refusal(Exception):  # noqa: N818 - not an error of the program: the server's answer
    """What the server answers instead of doing what it was asked."""

    def __init__(self, status: int, payload: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, payload)
        self.status = status
        self.payload = payload
        self.headers: dict[str, str] = dict(headers or {})


class InvalidValueError(ValueError):
    """A value that does not pass; `at` is where in it, if it is a list."""

    def __init__(self, kind: str, message: str, at: tuple[int, ...] = ()) -> None:
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
        value = json.loads(body)
    except json.JSONDecodeError as error:
        raise _body_refusal("json_invalid", "JSON decode error", error.pos) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, {"detail": "There was an error parsing the body"}) from error
    if not isinstance(value, dict):
        raise _body_refusal("model_attributes_type", _NO_OBJECT)
    return cast("dict[str, Any]", value)


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
