"""Show the log of scripts that have set up no logging: `CODEGEN_ASYNC_LOG=debug`."""

from __future__ import annotations

import logging
import os

from codegen_async.errors import ConfigurationError, shown

VARIABLE = "CODEGEN_ASYNC_LOG"

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_log = logging.getLogger("codegen_async")


def level_asked_for() -> int | None:
    """Return the level that `CODEGEN_ASYNC_LOG` asks for, None if it is not set.

    Raises:
        ConfigurationError: it names no level.
    """
    word = os.environ.get(VARIABLE, "").strip()
    if not word:
        return None
    level = _LEVELS.get(word.lower())
    if level is None:
        raise ConfigurationError(f"{VARIABLE}: expected {', '.join(_LEVELS)}, got {shown(word)}")
    return level


def show_log_if_asked() -> None:
    """Let the package's log speak at the level asked for: to whoever handles it already, else to the standard error.

    Raises:
        ConfigurationError: `CODEGEN_ASYNC_LOG` names no level.
    """
    level = level_asked_for()
    if level is None:
        return
    _log.setLevel(level)
    if not _log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        _log.addHandler(handler)
