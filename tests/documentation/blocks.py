"""The blocks of a page, in the order in which it shows them, and what is said of them in comments.

A comment of HTML before a block, with nothing but blank lines between, says what cannot be seen from the block:

    <!-- not run: why -->                  is left out; `test_documentation.NOT_RUN` counts these
    <!-- run by: tests/... -->             another test runs it
    <!-- needs the network -->             runs only where CODEGEN_ASYNC_WHEELS names a folder that has the package
    <!-- goes on: TEXT -->                 runs in a terminal of its own from when TEXT shows until the page ends

and these are blocks that readers do not see, as they have files, runs and names of their own:

    <!-- sh
    printf '%s\n' 'Fix the flaky test' > prompts.txt
    -->
    <!-- python
    task_id = "17"
    -->
    <!-- files of: docs/howto/your-own-api.md -->
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]

LANGUAGES = {"sh", "console", "output", "python", "toml", "yaml", "json", "js", "html", "ini", "makefile", "text", ""}
"""What a block may say that it is; `output` is what the block before it prints, `text` or nothing is to be read."""

_PIECE = re.compile(
    r"<!--\s*(?P<comment>.*?)\s*-->"
    r"|^(?P<indent> *)```(?P<language>[\w-]*)(?P<more>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_MARKERS = ("not run", "run by", "needs the network", "goes on")
_HIDDEN = re.compile(r"(?P<language>sh|python)\n(?P<text>.*)", re.DOTALL)
_FILES = "files of: "
_NAME = re.compile(r"(?:#|//) (?P<name>[\w./-]*\w\.\w+|Makefile)\n")


@dataclass(frozen=True)
class Block:
    """A block of a page, or one that readers do not see; `line` is where its text begins."""

    page: Path
    line: int
    language: str
    text: str
    marker: str = ""
    value: str = ""

    @property
    def place(self) -> str:
        """Return where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """Return the name of the file that it shows: what its first line says in a comment."""
        name = _NAME.match(self.text) if self.language not in {"sh", "console", "output"} else None
        return name and name["name"]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    return list(_blocks(page, page.read_text("utf-8")))


def _blocks(page: Path, text: str) -> Iterator[Block]:
    marker, end = ("", ""), 0
    for piece in _PIECE.finditer(text):
        if text[end : piece.start()].strip():
            marker = ("", "")
        end = piece.end()
        line = text.count("\n", 0, piece.start()) + 2
        if (comment := piece["comment"]) is None:
            yield Block(page, line, piece["language"], textwrap.dedent(piece["text"]), *marker)
            marker = ("", "")
        elif hidden := _HIDDEN.match(comment):
            yield Block(page, line, hidden["language"], hidden["text"] + "\n", *marker)
            marker = ("", "")
        elif comment.startswith(_FILES):
            others = blocks(ROOT / comment.removeprefix(_FILES))
            yield from (replace(block, marker="saved") for block in others if block.file)
        else:
            name, _, value = comment.partition(":")
            marker = (name, value.strip()) if name in _MARKERS else ("", "")
