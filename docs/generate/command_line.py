"""The page of the command line: every command and option, from the help that the commands print."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from codegen_async.cli.errors import MEANINGS, PROGRAM
from codegen_async.cli.pages import ANOTHER
from codegen_async.cli.write_pages import pages
from docs.generate.docstrings import table

_UNBROKEN = 10_000  # columns: the pages are read, so no line of theirs may be broken
_OWN = ("Arguments", "Parameters", "Commands")  # panels that are of one command
_EPILOGUES = re.compile(r"Examples?|Exit codes")

_HEAD = f"""\
# Command line

Every command and every option, as `{PROGRAM} COMMAND --help` prints them. How they are used, and what goes in and comes
out: [Use the command line](../howto/command-line.md). Where the settings come from: [Settings](settings.md).

## Exit codes
"""

_SHARED = """\
## Options of many commands

Each command names those that it has.
"""

_DIALECTS = f"""\
## With a dialect

With `{ANOTHER} module:Name` the commands speak to [an API of your own](../howto/your-own-api.md). These differ from
those above then; `middesk`, `fake`, `demo`, `config`, `completion` and what reads a journal alone are the same.
"""


class Row(NamedTuple):
    """Be a line of a panel: an argument, an option or a command, and what it is."""

    name: str
    text: str


@dataclass(frozen=True)
class Help:
    """Hold the help of a command in parts."""

    usage: str
    about: str
    panels: Mapping[str, Sequence[Row]]
    epilogue: str


def page() -> str:
    """Return the page."""
    shared = _shared(helps().values())
    lines = [_HEAD, *table(("code", "meaning"), ((str(code.value), what) for code, what in MEANINGS.items()))]
    lines += ["## Commands", "", *_options(helps()[""].panels["Commands"]), _SHARED]
    for title, rows in shared.items():
        lines += [f"### {title}", "", *_options(rows)]
    for name, help_ in helps().items():
        if name == ANOTHER:
            lines.append(_DIALECTS)
        elif name:
            lines += _section(name, help_, shared)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


@functools.cache
def helps() -> Mapping[str, Help]:
    """Return the help of each command, by its words."""
    return {name: read(text) for name, text in pages(_UNBROKEN).items()}


def read(text: str) -> Help:
    """Return the parts of a help page, none of whose lines is broken."""
    usage, about, *blocks = text.strip("\n").split("\n\n")
    panels: dict[str, Sequence[Row]] = {}
    while blocks and (title := _title(blocks[0])):
        panels[title] = [Row(*line.strip().split(": ", 1)) for line in blocks.pop(0).splitlines()[1:]]
    return Help(usage.removeprefix("Usage: "), about, panels, "\n\n".join(blocks))


def _title(block: str) -> str | None:
    """Return the title of a panel; None for what is none."""
    first, *lines = block.splitlines()
    is_panel = first.endswith(":") and lines and all(re.match(r"  \S.*?: ", line) for line in lines)
    return None if not is_panel or _EPILOGUES.fullmatch(first[:-1]) else first[:-1]


def _shared(helps: Iterable[Help]) -> dict[str, Sequence[Row]]:
    """Return the panels that many commands have, each as the command with the most of it has it."""
    largest: dict[str, Sequence[Row]] = {}
    for help_ in helps:
        for title, rows in help_.panels.items():
            if title not in _OWN and len(rows) > len(largest.get(title, ())):
                largest[title] = rows
    return largest


def _section(name: str, help_: Help, shared: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    deep = "##" if " " not in name else "###"
    title = f"{PROGRAM} {name}".replace(f" {ANOTHER} ", f" {ANOTHER} NAME ")
    yield from (f"{deep} {title}", "", help_.about, "")
    if "Commands" in help_.panels:
        yield from ("", *_epilogue(_without_examples(help_.epilogue)))
        return
    yield from ("```text", help_.usage, "```", "")
    own = [row for panel in ("Arguments", "Parameters") for row in help_.panels.get(panel, ())]
    others = {title: rows for title, rows in help_.panels.items() if title not in _OWN}
    own += [row for title, rows in others.items() for row in rows if row not in shared[title]]
    if own:
        yield from _options(own)
    also = {title: [row for row in rows if row in shared[title]] for title, rows in others.items()}
    links = [f"[{title}](#{_slug(title)}): {_flags(rows)}" for title, rows in also.items() if rows]
    if links:
        yield from (". ".join(links) + ".", "")
    yield from _epilogue(help_.epilogue)


def _options(rows: Iterable[Row]) -> Iterator[str]:
    return table(("", "what it is"), ((f"`{row.name}`", _escaped(row.text)) for row in rows))


def _flags(rows: Iterable[Row]) -> str:
    return ", ".join(f"`{row.name.split()[0].rstrip(',')}`" for row in rows)


def _without_examples(text: str) -> str:
    return re.split(r"(?:^|\n)Examples?:\n", text)[0]


def _epilogue(text: str) -> Iterator[str]:
    """Yield the text below the panels: what is indented as code."""
    for is_code, lines in _runs(text.splitlines()):
        if is_code:
            yield from ("", "```text", *(line.removeprefix("  ") for line in lines), "```", "")
        else:
            yield from map(_escaped, lines)


def _runs(lines: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
    """Yield lines that belong together, and whether they are indented."""
    together: list[str] = []
    for line in lines:
        if together and line.startswith("  ") != together[0].startswith("  "):
            yield together[0].startswith("  "), together
            together = []
        together.append(line)
    if together:
        yield together[0].startswith("  "), together


def _escaped(text: str) -> str:
    return re.sub(r"[<*\[\]]", r"\\\g<0>", text)


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
