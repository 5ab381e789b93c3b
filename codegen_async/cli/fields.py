"""Read `--field`: `name=text`, or `name:=JSON` for whatever is no text; `-` reads either from standard input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from codegen_async.cleaning import clean
from codegen_async.cli.errors import UsageError
from codegen_async.cli.inputs import STDIN, read_json, read_prompt

_HINT = "a text: --field 'task=Fix it'; any other value as JSON: --field n:=3"
_TAKEN = ("self", "idempotency_key", "on_unknown", "patience")  # by arguments of `create_run`


def read_fields(given: Iterable[str]) -> Mapping[str, Any]:
    """Return the fields of a run by name.

    Raises:
        UsageError: one is not written in that way, or is there twice.
    """
    fields: dict[str, Any] = {}
    read = ""  # the one that standard input was for
    for text in given:
        name, equals, value = text.partition("=")
        name, is_json = name.removesuffix(":"), name.endswith(":")
        if not name or not equals:
            raise UsageError(f"--field: expected name=text or name:=JSON, got {clean(text, 60)!r}", _HINT)
        if name in fields:
            raise UsageError(f"--field: {clean(name, 60)} is there twice", "a list is JSON: --field 'tags:=[1, 2]'")
        if name in _TAKEN:
            raise UsageError(f"--field: {name} cannot be the name of a field", "--key is for the key")
        if value == STDIN and read:
            raise UsageError(f"--field: {clean(name, 60)} cannot be read from standard input, {clean(read, 60)} is")
        read = name if value == STDIN else read
        fields[name] = _value(name, value, is_json=is_json)
    return fields


def _value(name: str, given: str, *, is_json: bool) -> Any:
    if is_json:
        return read_json(f"--field {clean(name, 60)}", given)
    return read_prompt(given, None) if given == STDIN else given
