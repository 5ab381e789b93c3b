"""Keep the log of the package fit to be read, whatever a server says; show it where `CODEGEN_ASYNC_LOG` asks for it."""

from __future__ import annotations

import logging
import os
import traceback

from codegen_async.cleaning import clean, shown
from codegen_async.errors import ConfigurationError
from codegen_async.hiding import hide

VARIABLE = "CODEGEN_ASYNC_LOG"

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_LONGEST = 2**31
_log = logging.getLogger("codegen_async")


def _tidy(record: logging.LogRecord) -> bool:
    """Let a record be one line without a token, also where text from a server is in it."""
    if isinstance(record.args, tuple):
        # Before a format cuts them.
        record.args = tuple(hide(arg) if isinstance(arg, str) else arg for arg in record.args)
    message = record.getMessage()
    told = clean(message, _LONGEST)
    if told != message:
        record.msg, record.args = told, None
    failure = record.exc_info and record.exc_info[1]
    if failure:
        text = "".join(traceback.format_exception(failure)).rstrip()
        if hide(text) != text:  # then what handlers could find in its frames is no better
            record.exc_info, record.exc_text = None, hide(text)
    return True


_log.addFilter(_tidy)


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
