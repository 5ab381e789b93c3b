"""The three files that the dashboard is made of, read once: no path of a request leads to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from codegen_async.web.asgi import Reply

_FOLDER = Path(__file__).with_name("static")


def _read(name: str, kind: str) -> Reply:
    return Reply(200, (_FOLDER / name).read_bytes(), {"content-type": f"{kind}; charset=utf-8"})


FILES: Mapping[str, Reply] = {
    "": _read("index.html", "text/html"),
    "app.css": _read("app.css", "text/css"),
    "app.js": _read("app.js", "text/javascript"),
}
"""What is answered to which path."""
