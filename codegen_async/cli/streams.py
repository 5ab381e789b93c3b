"""Write to streams that may be closed, full or gone, without ever dying noisily. Imports next to nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TextIO

from codegen_async.cli.errors import CommandError, Exit
from codegen_async.errors import clean

_LONGEST = 2**31


def printable(text: str) -> str:
    """Return foreign text, whole, without what could fool a terminal."""
    return clean(text, _LONGEST)


def write(stream: TextIO | None, text: str) -> None:
    """Write at once; to nowhere if the stream was closed by the shell (`>&-`)."""
    if stream is not None:
        stream.write(text)
        stream.flush()


def complain(error: CommandError) -> Exit:
    """Print an error, and what to do about it, to the standard error."""
    for name, text in (("error", str(error)), ("hint", error.hint)):
        if text:
            write(sys.stderr, f"{name}: {printable(' '.join(text.split()))}\n")
    return error.code


def guarded(command: Callable[[], int]) -> int:
    """Return what a command ends with, also if nobody reads its output, or there is no room for it."""
    try:
        code = _complaining(command)
        write(sys.stdout, "")
    except BrokenPipeError:
        code = Exit.BROKEN_PIPE
    except OSError:
        code = Exit.ERROR
    _drop_unwritten()
    return code


def _complaining(command: Callable[[], int]) -> int:
    try:
        return command()
    except KeyboardInterrupt:
        return complain(CommandError("interrupted", code=Exit.INTERRUPTED))
    except BrokenPipeError:
        raise
    except OSError as error:
        return complain(CommandError(f"the output cannot be written: {error.strerror}"))


def _drop_unwritten() -> None:
    """Let the interpreter not fail once more, over what could not be written."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
