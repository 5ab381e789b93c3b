"""Tell the fields of a prompt from those that are misspelt, and both from what else a file says. Pure.

At Codegen case, blanks, hyphens and underscores do not count: `Repo ID` is `repo_id`. A name that is nearly that of a
field is taken for misspelt and refused, since to overlook it would send something else than was meant. Every other name
is extra: it is kept and comes out with the results. A name that begins with an underscore is always extra, and so is
one that has a field's name as one of its words, where that field is there as well: `prompt_id` beside `prompt`.
"""

from __future__ import annotations

import difflib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from codegen_async.batch.items import Task
from codegen_async.batch.places import CODEGEN_API
from codegen_async.codegen.dialect import RATES
from codegen_async.errors import InvalidArgumentError
from codegen_async.limits import Rate

FIELDS: Sequence[str] = ("prompt", "key", "images", "metadata", "repo_id", "model", "agent_type")

_SEPARATORS = re.compile(r"[\s_-]+")
_WORD_STARTS = re.compile("(?<=[a-z0-9])(?=[A-Z])")
_CLOSE = 0.75  # of difflib's ratio: finds two letters exchanged in `model`, and leaves alone `module` and `type`
_DIGITS = re.compile("([0-9]{1,100})(?:[.,]0+)?")  # Python reads no thousands of them; some programs add .0


def plain(name: str) -> str:
    """Return a name without what does not count."""
    return _SEPARATORS.sub("", name).casefold()


_PLAIN = {plain(field): field for field in FIELDS}


class Columns(ABC):
    """Know what the lines of a file of prompts may say.

    Attributes:
        api: what journals call the API.
        line: the field that a line of plain text is; None if there is none.
        telling: names by any of which a table is known.
        rates: the stated rates that bound the creates of what was read.
    """

    api: str
    line: str | None
    telling: Collection[str]
    rates: Sequence[Rate]

    @abstractmethod
    def known(self, name: str) -> str | None:
        """Return the field that a name is, however it is written; None if it is none."""

    @abstractmethod
    def refused(self, names: Collection[str]) -> Mapping[str, str]:
        """Return the names of a heading that cannot be right, each with what would be."""

    @abstractmethod
    def cell(self, name: str, text: str) -> tuple[str, Any]:
        """Return the field that a cell which is not blank stands for, and its value.

        Raises:
            ValueError, RecursionError: it is to be JSON, and is not.
        """

    @abstractmethod
    def task(self, given: Mapping[str, Any], folder: str) -> Task:
        """Return what a line asks for; its key does not count.

        Raises:
            InvalidArgumentError: a field cannot be right.
        """


class CodegenColumns(Columns):
    """Know the arguments of `CodegenClient.create_run`."""

    api: str = CODEGEN_API
    line: str | None = "prompt"
    telling: Collection[str] = ("prompt",)
    rates: Sequence[Rate] = (RATES["create"],)

    def known(self, name: str) -> str | None:
        """Return the field that a name is."""
        return _PLAIN.get(plain(name)) if not name.startswith("_") else None

    def refused(self, names: Collection[str]) -> Mapping[str, str]:
        """Return the names that are misspelt; one for all if no column holds prompts."""
        wrong = {name: _correction(field) for name in names if (field := _meant(name, names)) is not None}
        return wrong if wrong or "prompt" in names else {", ".join(names): "a column prompt"}

    def cell(self, name: str, text: str) -> tuple[str, Any]:
        """Return the field of a cell and its value."""
        return name, _value(name, text)

    def task(self, given: Mapping[str, Any], folder: str) -> Task:
        """Return what a line asks for; what is no field is kept for the results."""
        for name, value in given.items():
            if (field := _meant(name, given)) is not None:
                raise InvalidArgumentError(name, value, _correction(field))
        extra = {name: value for name, value in given.items() if name not in FIELDS}
        asked = {name: given[name] for name in FIELDS if given.get(name) is not None}
        asked.pop("key", None)
        return Task.checked(asked.pop("prompt", None), **asked, folder=folder, extra=extra or None)


CODEGEN: CodegenColumns = CodegenColumns()


def _value(name: str, text: str) -> Any:
    stripped = text.strip()
    if name == "repo_id":
        digits = _DIGITS.fullmatch(stripped)
        return int(digits[1]) if digits else text
    if name == "metadata" or (name == "images" and stripped.startswith("[")):
        return from_json(stripped)
    if name == "images":
        return [stripped]
    return stripped if name in FIELDS and name != "prompt" else text


def from_json(text: str) -> Any:
    """Read JSON, the whole of a text.

    Raises:
        ValueError, RecursionError: it is none.
    """
    return json.loads(text, parse_constant=refuse)


def refuse(name: str) -> Any:
    """Refuse what Python's reader takes for JSON."""
    raise ValueError(f"{name} is no JSON")


def _meant(name: str, given: Collection[str]) -> str | None:
    """Return the field that a name which is none was most likely meant to be; None if it is one, or clearly extra.

    Args:
        name: the name.
        given: the fields that are there under their own names.
    """
    own = plain(name)
    if name in FIELDS or name.startswith("_") or not own:
        return None
    words = {word.casefold() for word in _SEPARATORS.split(_WORD_STARTS.sub("_", name))}
    for field in FIELDS:
        if field in words and len(words) > 1:
            return None if field in given else field
    if close := difflib.get_close_matches(own, _PLAIN, 1, _CLOSE):
        return _PLAIN[close[0]]
    mixed = (field for known, field in _PLAIN.items() if sorted(known) == sorted(own))
    return next(mixed, None)


def _correction(field: str) -> str:
    """Return what would be right instead of a misspelt name."""
    return f"a field of {', '.join(FIELDS)}: did you mean {field!r}? If not, begin the name with _"
