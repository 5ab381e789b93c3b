"""The command line `codegen-async`."""

from __future__ import annotations

import sys

from codegen_async.cli.choosing import lift, speaks_another
from codegen_async.cli.errors import PROGRAM, CommandError
from codegen_async.cli.pages import find, is_asked_for
from codegen_async.cli.streams import complain, guarded, write
from codegen_async.version import __version__


def main() -> None:
    """Run the command that `sys.argv` names, and exit with its code; see `errors.Exit`."""
    sys.exit(guarded(lambda: _run(sys.argv[1:])))


def _run(words: list[str]) -> int:
    text = f"{PROGRAM} {__version__}\n" if words == ["--version"] else _page(words)
    if text is not None:
        write(sys.stdout, text)
        return 0
    try:
        from codegen_async.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("cyclopts", "rich"):
            raise
        return complain(
            CommandError(
                "the command line needs more packages",
                "pip install 'codegen-async[cli]', in a clone: pip install '.[cli]'",
            )
        )
    return run(words)


def _page(words: list[str]) -> str | None:
    """Return the page of help that is asked for; None if none is."""
    try:
        rest, dialect = lift(words)
    except CommandError:
        return None  # and whoever reads the words next says why
    asking = rest or ["--help"]
    return find(asking, another=speaks_another(dialect)) if is_asked_for(asking) else None
