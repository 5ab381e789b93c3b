"""Read docstrings in Google's form, as far as the pages need it, and write tables."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")
_ENTRY = re.compile(r"^    (\w[\w, ]*): (.*)$")


@dataclass(frozen=True)
class Docstring:
    """Hold a docstring in parts.

    Attributes:
        paragraphs: its text before any section, each paragraph on one line.
        sections: the entries of each section, by its title and their names.
    """

    paragraphs: Sequence[str]
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])


def read(item: Any) -> Docstring:
    """Return the docstring of a class or a function."""
    head: list[str] = []
    sections: dict[str, dict[str, str]] = {}
    entries: dict[str, str] | None = None
    name = ""
    for line in (inspect.getdoc(item) or "").splitlines():
        if title := _SECTION.match(line):
            entries = sections.setdefault(title[1], {})
        elif entries is None:
            head.append(line)
        elif entry := _ENTRY.match(line):
            name = entry[1]
            entries[name] = entry[2]
        elif line.strip():
            entries[name] += f" {line.strip()}"
    return Docstring([" ".join(text.split("\n")) for text in "\n".join(head).strip().split("\n\n")], sections)


def capital(text: str) -> str:
    """Return a sentence that begins with a capital letter, unless it begins with a name."""
    return text[:1].upper() + text[1:]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, and an empty one."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        cells = [cell.replace("|", r"\|") for cell in row]
        yield f"| {' | '.join(cells)} |"
    yield ""
