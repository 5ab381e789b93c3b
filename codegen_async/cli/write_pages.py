"""Write the help of each command down, for `pages` to find: `python -m codegen_async.cli.write_pages`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from io import StringIO

from cyclopts import App
from rich.console import Console

from codegen_async.cli.app import make_app, make_app_for_dialects
from codegen_async.cli.pages import ANOTHER, FILE, MARK

_WIDTH = 80
_UNBROKEN = 10_000  # columns: lines are broken here, as the formatter loses the indent


def render() -> str:
    """Return all pages as the file has them."""
    return "".join(f"{MARK}{name}\n{text}" for name, text in pages(_WIDTH).items())


def pages(width: int) -> dict[str, str]:
    """Return the pages by the words of their commands; those that are the same for all dialects once.

    Args:
        width: columns that a page has.
    """
    own, others = _pages(make_app(), width), _pages(make_app_for_dialects(), width)
    return own | {f"{ANOTHER} {name}".strip(): text for name, text in others.items() if text != own.get(name)}


def _pages(app: App, width: int) -> dict[str, str]:
    return {" ".join(chain): _page(app, chain, width) for chain in _chains(app, ())}


def _chains(app: App, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield above
    for name in sorted(app):
        if not name.startswith("-"):
            yield from _chains(app[name], (*above, name))


def _page(app: App, chain: Sequence[str], width: int) -> str:
    text = StringIO()
    app.help_print(list(chain), console=Console(file=text, width=_UNBROKEN, color_system=None))
    lines = [part for line in text.getvalue().splitlines() for part in _broken(line.rstrip(), width)]
    return "\n".join(line for number, line in enumerate(lines) if line or (number and lines[number - 1])) + "\n"


def _broken(line: str, width: int) -> Sequence[str]:
    """Return a line in parts, those behind the first of an option farther right than its name."""
    if len(line) <= width:
        return (line,)
    below = " " * 3 * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    FILE.write_text(render(), "utf-8")
    sys.stdout.write(f"written: {FILE}\n")
