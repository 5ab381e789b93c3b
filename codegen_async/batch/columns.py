"""Tell the fields of a prompt from those that are misspelt, and both from what else a file says. Pure.

Case, blanks, hyphens and underscores do not count: `Repo ID` is `repo_id`. A name that is nearly that of a field is
taken for misspelt and refused, since to overlook it would send something else than was meant. Every other name is
extra: it is kept and comes out with the results. A name that begins with an underscore is always extra, and so is one
that has a field's name as one of its words, where that field is there as well: `prompt_id` beside `prompt`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

FIELDS = ("prompt", "key", "images", "metadata", "repo_id", "model", "agent_type")

_SEPARATORS = re.compile(r"[\s_-]+")
_WORD_STARTS = re.compile("(?<=[a-z0-9])(?=[A-Z])")
_CLOSE = 0.75  # of difflib's ratio: finds two letters exchanged in `model`, and leaves alone `module` and `type`


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name).casefold()


_PLAIN = {_plain(field): field for field in FIELDS}


def known(name: str) -> str | None:
    """Return the field that a name is, however it is written; None if it is none."""
    return _PLAIN.get(_plain(name)) if not name.startswith("_") else None


def meant(name: str, given: Collection[str]) -> str | None:
    """Return the field that a name which is none was most likely meant to be; None if it is clearly extra.

    Args:
        name: the name.
        given: the fields that are there under their own names.
    """
    plain = _plain(name)
    if name.startswith("_") or not plain:
        return None
    words = {word.casefold() for word in _SEPARATORS.split(_WORD_STARTS.sub("_", name))}
    for field in FIELDS:
        if field in words and len(words) > 1:
            return None if field in given else field
    if close := difflib.get_close_matches(plain, _PLAIN, 1, _CLOSE):
        return _PLAIN[close[0]]
    mixed = (field for known, field in _PLAIN.items() if sorted(known) == sorted(plain))
    return next(mixed, None)


def correction(field: str) -> str:
    """Return what would be right instead of a misspelt name."""
    return f"a field of {', '.join(FIELDS)}: did you mean {field!r}? If not, begin the name with _"
