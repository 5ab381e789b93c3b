"""Check arguments before anything is sent: a clear error here instead of a 422, or of a run nobody wanted."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from codegen_async.errors import InvalidArgumentError
from codegen_async.numeric import is_number, is_whole

LARGEST_ID = 2**63 - 1
LARGEST_PAGE = 100
_LONGEST_INT = 1024  # bits, as far as the exponents of JSON's usual numbers go
_DEEPEST = 100  # levels of JSON; far below where encoders and servers give up
_LONGEST_KEY = 128


class Wait(TypedDict):
    """The checked arguments that all ways of waiting share."""

    timeout: float | None
    latency: float | None


def check_seconds_given(field: str, value: object) -> float:
    """Return a number of seconds if it is finite and not negative."""
    if not is_number(value) or not 0 <= value <= sys.float_info.max:  # an integer may be larger than any float
        raise InvalidArgumentError(field, value, "seconds >= 0")
    return float(value)


def check_wait(*, timeout: object, latency: object) -> Wait:
    """Return the arguments of a wait if they can be right."""
    return {
        "timeout": None if timeout is None else check_seconds_given("timeout", timeout),
        "latency": None if latency is None else check_seconds_given("latency", latency),
    }


def check_patience(patience: object) -> float | None:
    """Return how long a call may wait for its slot, if that can be right."""
    return None if patience is None else check_seconds_given("patience", patience)


def check_int(field: str, value: object, low: int, high: int) -> int:
    """Return the value if it is an integer in low..high.

    Raises:
        InvalidArgumentError: otherwise, also for booleans.
    """
    if not is_whole(value) or not low <= value <= high:
        bounds = f"an integer >= {low}" if high == LARGEST_ID and low < 1 else f"an integer in {low}..{_shown(high)}"
        raise InvalidArgumentError(field, value, bounds)
    return int(value)


def check_id(field: str, value: object) -> int:
    """Return the value if it can be an id."""
    return check_int(field, value, 1, LARGEST_ID)


def check_text(field: str, value: object) -> str:
    """Return the value as plain text if it has something in it and can be sent as UTF-8."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(field, value, "a text that is not blank")
    return _plain_text(field, value)


def check_segment(field: str, value: object) -> str:
    """Return the value if it can stand as one segment of a path: the id of something, not a way elsewhere."""
    text = check_text(field, value)
    if "/" in text or text in (".", ".."):
        raise InvalidArgumentError(field, value, "an id without slashes")
    return text


def check_key(key: object) -> str:
    """Return an idempotency key if it can be one."""
    if not isinstance(key, str) or not 1 <= len(key) <= _LONGEST_KEY or not all("!" <= c <= "~" for c in key):
        raise InvalidArgumentError("idempotency_key", key, f"1..{_LONGEST_KEY} visible ASCII characters without spaces")
    return key


def check_json(field: str, value: object) -> Any:
    """Return the value as plain JSON, a copy; raises as `check_json_object`."""
    return _plain(field, value, _DEEPEST)


def check_json_object(field: str, value: object) -> dict[str, Any]:
    """Return a mapping as plain JSON, a copy.

    Raises:
        InvalidArgumentError: for NaN and infinities (encoders turn them into null), keys that are no text, other types,
            and nesting beyond 100 levels, which is how a cycle looks.
    """
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(field, value, "a mapping")
    return _plain_object(field, cast("Mapping[object, object]", value), _DEEPEST)


def _plain(field: str, value: object, levels_left: int) -> Any:
    """Return JSON in the exact types of the language: the encoder takes no subclasses, a caller may have some."""
    if not levels_left:
        raise InvalidArgumentError(field[:40], "more", f"at most {_DEEPEST} levels of nesting")
    if isinstance(value, Mapping):
        return _plain_object(field, cast("Mapping[object, object]", value), levels_left)
    if isinstance(value, list | tuple):
        items = enumerate(cast("Sequence[object]", value))
        return [_plain(f"{field}[{index}]", item, levels_left - 1) for index, item in items]
    return _plain_scalar(field, value)


def _plain_object(field: str, value: Mapping[object, object], levels_left: int) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidArgumentError(field, key, "keys that are text")
        name = _plain_text(field, key)
        content[name] = _plain(f"{field}.{name}", item, levels_left - 1)
    return content


def _plain_scalar(field: str, value: object) -> str | float | bool | None:
    if isinstance(value, str):
        return _plain_text(field, value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > _LONGEST_INT:
            raise InvalidArgumentError(field, value, f"a number below 2^{_LONGEST_INT}")
        return int(value)
    if not isinstance(value, float):
        raise InvalidArgumentError(field, value, "what JSON knows: text, numbers, booleans, None, lists and mappings")
    if not math.isfinite(value):
        raise InvalidArgumentError(field, value, "a finite number, since JSON has no other")
    return float(value)


def _plain_text(field: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(field, value, "text without lone surrogates") from None
    return str.__str__(value)  # of a subclass the text itself, whatever its own __str__ makes of it


def _shown(number: int) -> str:
    return "2^63-1" if number == LARGEST_ID else str(number)
