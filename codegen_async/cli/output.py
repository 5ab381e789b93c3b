"""Print: data to stdout, everything else to stderr, nothing that could fool a terminal.

Text from a server is never parsed as markup, and loses control and bidirectional characters; in JSON those are escaped.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, TextIO

import msgspec

from codegen_async.cleaning import clean, clean_lines
from codegen_async.cli.errors import UsageError
from codegen_async.cli.options import Display
from codegen_async.cli.selecting import selection
from codegen_async.cli.streams import printable, write

if TYPE_CHECKING:
    from rich.style import Style
    from rich.table import Table

# What `cleaning.clean` takes out and JSON does not escape by itself.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb]")
WHOLE = 2**31
"""More characters than any text has."""

_LINK = re.compile(r"https?://[!-~]+")
_LINKLESS = ("dumb", "unknown", "linux")  # terminals that would print the address between the words

_SPACES = re.compile(r"\s+")


def one_line(text: object, limit: int = 200) -> str:
    """Return foreign text on one line."""
    return clean(_SPACES.sub(" ", str(text)).strip(), limit)


def encode(value: object) -> str:
    """Return JSON that is safe to look at in a terminal."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", msgspec.json.encode(value).decode())


class Output:
    """Print what a command has to say.

    Args:
        display: how the user wants it.

    Raises:
        UsageError: the wishes contradict one another.
    """

    def __init__(self, display: Display) -> None:
        if display.json and display.jsonl:
            raise UsageError("--json and --jsonl exclude one another")
        self._quiet = display.quiet
        self._widths: dict[str, int] = {}
        self._progress = not (display.quiet or display.no_progress)
        self._select = selection(display)
        self.json: bool = display.json or (display.jq is not None and not display.jsonl)
        self.jsonl: bool = display.jsonl

    @property
    def live(self) -> bool:
        """Whether progress is shown as a picture that changes; it would break up lines of JSON above it."""
        return self._progress and is_terminal(sys.stderr) and not (self.structured and _is_tty(sys.stdout))

    @property
    def lines(self) -> bool:
        """Whether progress is shown as lines."""
        return self._progress and not self.live

    @property
    def pictured(self) -> bool:
        """Whether whoever reads the data sees the picture as well."""
        return self.live and is_terminal(sys.stdout)

    @property
    def structured(self) -> bool:
        """Whether the data is wanted as JSON."""
        return self.json or self.jsonl

    def line(self, text: str) -> None:
        """Print a line of data."""
        write(sys.stdout, f"{text}\n")

    def document(self, value: object) -> None:
        """Print a value as JSON on a line of its own, or what is wanted of it; jq's text without quotes, as jq -r."""
        for one in self._select(value):
            self.line(clean_lines(one) if isinstance(one, str) else encode(one))

    def records(self, values: Sequence[object]) -> None:
        """Print values as one JSON document, or as one a line."""
        if self.json:
            self.document(values)
            return
        for value in values:
            self.document(value)

    def row(self, columns: Sequence[str], fields: Sequence[str]) -> None:
        """Print fields as a line: below one another on a terminal, elsewhere with tabs between."""
        if _is_tty(sys.stdout):
            write(sys.stdout, self._aligned(columns, fields))
        else:
            self.line("\t".join(one_line(field, WHOLE) for field in fields))

    def _aligned(self, columns: Sequence[str], fields: Sequence[str]) -> str:
        from rich.console import Console
        from rich.text import Text

        line = Text(no_wrap=True, overflow="ellipsis")
        for column, field in zip(columns, fields, strict=True):
            text = one_line(field)
            width = self._widths[column] = max(len(column), len(text), self._widths.get(column, 0))
            line.append(text.ljust(width) if column != columns[-1] else text, style=_style(column, text, field))
            line.append("  ")
        console = Console()
        with console.capture() as printed:  # not printed by it, as it would print into the picture
            console.print(line)
        return printed.get()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole: bool = False) -> None:
        """Print rows: a table on a terminal, elsewhere fields with tabs between and no heading.

        Args:
            columns: the headings.
            rows: the fields below them.
            whole: whether what does not fit into the last column goes on below, instead of being cut off.
        """
        if not _is_tty(sys.stdout):
            for row in rows:
                self.row(columns, row)
            return
        from rich.console import Console

        Console(file=sys.stdout).print(make_table(columns, rows, stretched=True, whole=whole))

    def note(self, text: str) -> None:
        """Tell the user something that is not data."""
        if not self._quiet:
            write(sys.stderr, f"{printable(text)}\n")

    def change(self, text: str) -> None:
        """Tell of progress on a line of its own, with the time of day, where there is no live picture of it."""
        if self.lines:
            write(sys.stderr, f"{time.strftime('%H:%M:%S')} {printable(text)}\n")


class Linked(str):
    """Text that leads to a page, on terminals that can do that."""

    __slots__ = ("url",)
    url: str

    def __new__(cls, text: object, url: str | None) -> Self:
        """Return the text of a thing with its address, if that is one."""
        linked = super().__new__(cls, text)
        linked.url = url if url is not None and _LINK.fullmatch(url) and _can_link() else ""
        return linked


def make_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    stretched: bool = False,
    whole: bool = False,
    widths: dict[str, int] | None = None,
) -> Table:
    """Return rows as a table for a terminal.

    Args:
        columns: the headings.
        rows: the fields below them.
        stretched: whether the last column gets what the others leave of the width.
        whole: whether what does not fit into it goes on below, instead of being cut off.
        widths: how wide each column was so far; none gets narrower, so that a picture does not jump.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    given = list(rows)
    limit = WHOLE if whole else 200
    cells = [[one_line(field, limit) for field in row] for row in given]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=stretched)
    for place, column in enumerate(columns):
        last = stretched and column == columns[-1]
        if last and whole:
            table.add_column(column, overflow="fold", ratio=1)
            continue
        width = None
        if widths is not None and not last:
            width = widths[column] = max((widths.get(column, 0), *(cell_len(row[place]) for row in cells)))
        table.add_column(column, no_wrap=True, overflow="ellipsis", ratio=1 if last else None, min_width=width)
    for row, texts in zip(given, cells, strict=True):
        styles = (_style(column, text, field) for column, text, field in zip(columns, texts, row, strict=True))
        table.add_row(*map(Text, texts, styles))
    return table


def _style(column: str, text: str, field: str) -> Style:
    from rich.style import Style

    known = Style.parse(_STATUS_STYLES.get(text.partition(" ")[0], "") if column == "STATUS" else "")
    return known + Style(link=field.url) if isinstance(field, Linked) and field.url else known


_STATUS_STYLES = {
    "pending": "dim",
    "running": "cyan",
    "blocked": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "paused": "yellow",
    "rejected": "red",
    "unknown": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "skip": "dim",
}


def prepare_streams(*, json: bool) -> None:
    """Let no character stop the output: JSON is UTF-8 whatever the locale, other text is escaped where it must be."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if json and reconfigure is not None:
        reconfigure(encoding="utf-8")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a picture that changes can be shown there."""
    return _is_tty(stream) and os.environ.get("TERM") not in ("dumb", "unknown")


def _can_link() -> bool:
    return os.environ.get("TERM", "dumb") not in _LINKLESS and os.environ.get("TERM_PROGRAM") != "Apple_Terminal"


def _is_tty(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
