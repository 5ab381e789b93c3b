"""The help of each command, as `write_pages` wrote it down: to render it takes longer than people like to wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

FILE = Path(__file__).with_name("pages.txt")

MARK = "\f"
"""What a page begins with, before the words of its command."""

_FLAGS = ("--help", "-h")


def find(words: Sequence[str]) -> str | None:
    """Return the page that a command line asks for; None if it asks for none, or for what is not known."""
    end = words.index("--") if "--" in words else len(words)
    if not any(flag in words[:end] for flag in _FLAGS):
        return None
    pages = read()
    name = [word for word in words[:2] if not word.startswith("-")]
    return pages.get(" ".join(name)) or pages.get(" ".join(name[:1]))


def read() -> Mapping[str, str]:
    """Return the pages by the words of their commands."""
    pages: dict[str, str] = {}
    for page in FILE.read_text("utf-8").split(MARK)[1:]:
        name, _, text = page.partition("\n")
        pages[name] = text
    return pages
