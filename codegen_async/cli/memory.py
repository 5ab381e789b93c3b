"""Where commands remember when they sent what, so that commands in a row spend one budget and not one each."""

from __future__ import annotations

import os
from pathlib import Path

from codegen_async.cli.config import Settings
from codegen_async.sendings import map_memory


def memory_file(settings: Settings) -> Path | None:
    """Return the file that the settings name, else the user's own; None where there can be none."""
    given = settings["memory"].value
    return _users_own() if given is None else Path(str(given)).expanduser()


def _users_own() -> Path | None:
    try:
        state = _state_home()
        if state is None:
            return None
        folder = state / "codegen-async"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        map_memory(folder / "sendings").release()
    except (OSError, RuntimeError, ValueError):
        return None  # nobody has asked for it, so it stops no command
    return folder / "sendings"


def _state_home() -> Path | None:
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    if given.is_absolute():  # any other has no meaning, says the standard that names the variable
        return given
    home = Path.home()
    return home / ".local" / "state" if home.is_dir() else None  # a home that is not there is not for us to make
