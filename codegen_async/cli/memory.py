"""Where commands remember when they sent what, so that commands in a row spend one budget and not one each."""

from __future__ import annotations

from pathlib import Path

from codegen_async.cli.config import Settings
from codegen_async.hosted.sendings import Memory
from codegen_async.private import state_folder


def memory_file(settings: Settings) -> Path | None:
    """Return the file that the settings name, else the user's own; None where there can be none."""
    given = settings["memory"].value
    return _users_own() if given is None else Path(str(given)).expanduser()


def _users_own() -> Path | None:
    try:
        folder = state_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        Memory(folder / "sendings").close()
    except (OSError, RuntimeError, ValueError):
        return None  # nobody has asked for it, so it stops no command
    return folder / "sendings"
