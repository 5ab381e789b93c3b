"""Make foreign text fit for a message: no token in it, and nothing that a terminal obeys."""

from __future__ import annotations

import re

from codegen_async.hiding import hide

# C0 but for newline and tab, DEL, C1, marks that turn the direction of text or hide in it: all can fake what a terminal
# shows.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# What some terminal, log or program ends a line at, beside what all do.
_LINE_END = re.compile("[\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]")
_BESIDE = 4096  # characters that are looked at beyond what is shown, as an encoded token is longer than what hides it


def clean(text: str, limit: int = 200) -> str:
    """Return foreign text fit for a message: on one line, without control characters, at most `limit` characters.

    No token in use is in it; see `hiding`.
    """
    line = hide(text[: limit + _BESIDE]).replace("\r\n", " ").replace("\n", " ")
    if not line.isprintable():  # as nearly all is: a page shows tens of thousands of them
        line = _UNSAFE.sub("?", _LINE_END.sub(" ", line))
    return line if len(line) <= limit else line[: limit - 3] + "..."


def clean_lines(text: str) -> str:
    """Return foreign text fit for a terminal, whole and on its lines; else as `clean` does."""
    return _UNSAFE.sub("?", hide(text))


def shown(value: object) -> str:
    """Return a value fit for a message."""
    try:
        return clean(repr(value), 100)
    except Exception:  # noqa: BLE001 - a number of thousands of digits, or whatever a foreign repr raises
        return f"a value of type {type(value).__name__}"


def reason_of(error: OSError | ValueError) -> str:
    """Return what is wrong with a file: in the system's words, or that its path has a null character in it."""
    return str((isinstance(error, OSError) and error.strerror) or error)
