"""Make a dialect's create of the fields that a caller gave, or say which of them is wrong. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from codegen_async.cleaning import clean
from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.dialect import Call, Dialect

ANY_KEY = "0" * 32
"""What a create may be made with that is only looked at."""


def call_of(dialect: Dialect[Any], fields: Mapping[str, Any], key: str = ANY_KEY) -> Call[Any]:
    """Return the create that a dialect makes of fields.

    Args:
        dialect: how the API is spoken to.
        fields: what its `create` is given.
        key: the key, where a caller chose one.

    Raises:
        InvalidArgumentError: it makes none; names the field where that is known, and shows no values of the fields:
            they may be secrets.
    """
    asked = Asked(fields)
    try:
        call, parent = dialect.create(key, asked), dialect.parent(asked)
        if not isinstance(call, Call):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
            raise TypeError(f"it makes {type(call).__name__}, and no Call")
        for each in (call, parent):
            if each is not None:
                each.request({})
    except InvalidArgumentError:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever a dialect raises, it makes no call of them
        raise _refusal(dialect, asked, key, problem) from None
    return call


class Asked(dict[str, Any]):
    """Note which fields are asked for by their names."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> Any:
        self.names[name] = None
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or the default where it is not given."""
        self.names[name] = None
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.names[str(name)] = None
        return super().__contains__(name)


def _refusal(dialect: Dialect[Any], asked: Asked, key: str, problem: Exception) -> InvalidArgumentError:
    maker, fields = f"{type(dialect).__name__}.create", asked.keys()
    name = problem.args[0] if isinstance(problem, KeyError) and problem.args else None
    if isinstance(name, str) and name in asked.names and name not in fields:
        near = {other.casefold(): other for other in fields}
        meant = "".join(f": is it {near[one]!r}?" for one in difflib.get_close_matches(name.casefold(), near, 1))
        return InvalidArgumentError(name, None, f"a value, as {maker} makes no run without it{meant}")
    what = f"what {maker} takes ({type(problem).__name__}: {clean(str(problem))})"
    if key != ANY_KEY and _takes(dialect, ANY_KEY, asked):
        return InvalidArgumentError("idempotency_key", key, what)
    return InvalidArgumentError("fields", sorted(fields), what)


def _takes(dialect: Dialect[Any], key: str, fields: Mapping[str, Any]) -> bool:
    try:
        call_of(dialect, fields, key)
    except InvalidArgumentError:
        return False
    return True
