"""Which pages there are, and what each says now."""

from pathlib import Path

from docs.generate import command_line, errors, layers, settings

ROOT = Path(__file__).parents[2]
"""Where the pages are, below which `docs` is."""

_ORIGIN = "\n<!-- Written by `python -m docs.generate`, from the code. -->\n"


def pages() -> dict[Path, str]:
    """Return the text of every page that is generated, by its file."""
    docs = ROOT / "docs"
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    return {
        docs / "reference" / "errors.md": errors.page() + _ORIGIN,
        docs / "reference" / "command-line.md": command_line.page() + _ORIGIN,
        docs / "reference" / "settings.md": settings.page() + _ORIGIN,
        docs / "images" / "layers.svg": layers.house(project),
        docs / "images" / "rooms.svg": layers.rooms(project),
    }
