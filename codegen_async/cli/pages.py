"""The help of each command, as `write_pages` wrote it down: to render it takes longer than people like to wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

FILE = Path(__file__).with_name("pages.txt")

MARK = "\f"
"""What a page begins with, before the words of its command."""

ANOTHER = "--dialect"
"""The first word of the pages of commands for other dialects."""

_DEEPEST = 3  # words of a command
_FLAGS = ("--help", "-h")


def is_asked_for(words: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    end = words.index("--") if "--" in words else len(words)
    return any(flag in words[:end] for flag in _FLAGS)


def find(words: Sequence[str], *, another: bool = False) -> str | None:
    """Return the page of the command that is named; None for what is not known.

    Args:
        words: the command line.
        another: whether the commands are those for other dialects than Codegen's, which have pages of their own.
    """
    pages = read()
    name = [word for word in words[:_DEEPEST] if not word.startswith("-")]
    chains = [" ".join(name[:end]) for end in range(len(name), 0, -1)] or [""]
    own = [f"{ANOTHER} {chain}".strip() for chain in chains] if another else []
    return next((pages[chain] for chain in (*own, *chains) if chain in pages), None)


def read() -> Mapping[str, str]:
    """Return the pages by the words of their commands."""
    pages: dict[str, str] = {}
    for page in FILE.read_text("utf-8").split(MARK)[1:]:
        name, _, text = page.partition("\n")
        pages[name] = text
    return pages
