"""Tell what a dialect's `create` makes of fields: a call, a complaint, or nothing at all of one of them. Pure.

A dialect does not say which fields it takes; its calls do. A field that changes nothing of what would be sent, neither
by its absence nor by another value, is none of them: most likely it is misspelt, so it is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from codegen_async.arguments import check_json_object
from codegen_async.batch.columns import Columns, from_json, plain
from codegen_async.batch.items import Task
from codegen_async.cleaning import clean
from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.asking import ANY_KEY, Asked, call_of
from codegen_async.hosted.dialect import Dialect
from codegen_async.hosted.setup import rates_of
from codegen_async.http.answers import Request
from codegen_async.limits import Rate

_OTHER = "another value"
_JSON = ":"  # ends the name of a column whose cells are JSON, as in `--field name:=JSON`


class DialectColumns(Columns):
    """Know the fields that a dialect's `create` takes, by what it makes of them.

    Args:
        dialect: how the API is spoken to.
    """

    def __init__(self, dialect: Dialect[Any]) -> None:
        self._dialect = dialect
        self._sent: set[str] = set()  # fields that were seen to be sent
        self.api: str = dialect.name
        self.line: str | None = dialect.prompt_field
        self.telling: Collection[str] = ("key",) if self.line is None else ("key", self.line)
        self.rates: Sequence[Rate] = ()

    def known(self, name: str) -> str | None:
        """Return the field that a name is: which there are, only the calls tell."""
        return None if name.startswith("_") else "key" if plain(name) == "key" else name.strip()

    def refused(self, names: Collection[str]) -> Mapping[str, str]:
        """Return the columns whose field another one is as well."""
        twice = (name for name in names if name.endswith(_JSON) and name.removesuffix(_JSON) in names)
        return dict.fromkeys(twice, "each field once")

    def cell(self, name: str, text: str) -> tuple[str, Any]:
        """Return the field of a cell and its value: text as it stands, JSON below a name that ends with a colon."""
        if name.endswith(_JSON):
            return name.removesuffix(_JSON), from_json(text.strip())
        return name, text.strip() if name == "key" else text

    def task(self, given: Mapping[str, Any], folder: str) -> Task:
        """Return what a line asks for; what begins with an underscore is kept for the results."""
        extra = {name: value for name, value in given.items() if name.startswith("_")}
        fields = {name: value for name, value in given.items() if name not in extra and name != "key"}
        self.check(fields, otherwise=" To keep it for the results only, begin the name with _")
        kept = check_json_object("extra", extra) if extra else None
        return Task(prompt="", fields=check_json_object("fields", fields), folder=folder, extra=kept)

    def check(self, fields: Mapping[str, Any], *, otherwise: str = "") -> None:
        """Make sure that a create can be made of fields, and that all of them are sent.

        Args:
            fields: what `create` is to be given.
            otherwise: what else may be done with a field that is not sent.

        Raises:
            InvalidArgumentError: one of them is missing, cannot be right, or is not sent.
        """
        self.rates = rates_of(self._dialect.rates.get(call_of(self._dialect, fields).limit, ()))
        whole = _requests(self._dialect, fields)
        for name in fields.keys() - self._sent:
            others = {other: value for other, value in fields.items() if other != name}
            if whole == _requests(self._dialect, others) == _requests(self._dialect, {**others, name: _OTHER}):
                raise InvalidArgumentError(name, fields[name], _right(self._dialect, name, others) + otherwise)
            self._sent.add(name)


def _requests(dialect: Dialect[Any], fields: Mapping[str, Any]) -> tuple[Request, Request | None] | None:
    """Return what would be sent to make a run of fields; None if nothing can be."""
    try:
        parent = dialect.parent(fields)
        return dialect.create(ANY_KEY, fields).request({}), None if parent is None else parent.request({})
    except Exception:  # noqa: BLE001 - the same
        return None


def _right(dialect: Dialect[Any], name: str, fields: Mapping[str, Any]) -> str:
    """Return what would be right instead of a field that is not sent."""
    asked = Asked(fields)
    dialect.create(ANY_KEY, asked)
    near = difflib.get_close_matches(name, asked.names, 1)
    meant = f": did you mean {clean(near[0])!r}?" if near else f", such as {', '.join(map(clean, asked.names))}."
    return f"a field that {type(dialect).__name__}.create sends{meant if asked.names else '.'}"
