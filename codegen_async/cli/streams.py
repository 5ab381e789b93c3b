"""Write to streams that may be closed, full or gone, without ever dying noisily. Imports next to nothing."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable
from typing import TextIO

from codegen_async.cleaning import clean
from codegen_async.cli.errors import CommandError, Exit
from codegen_async.cli.signals import Interruption, interrupt
from codegen_async.signals import handling

_LONGEST = 2**31


def printable(text: str) -> str:
    """Return foreign text, whole and on one line, without what could fool a terminal."""
    return clean(text, _LONGEST)


def write(stream: TextIO | None, text: str) -> None:
    """Write at once; to nowhere if the stream was closed by the shell (`>&-`)."""
    if stream is not None:
        stream.write(text)
        stream.flush()


def may_go_unread(stream: TextIO | None) -> bool:
    """Whether what is written there may be lost with its reader: a pipe or a socket, and no file or terminal."""
    if stream is None:
        return False
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def has_reader(stream: TextIO | None) -> bool:
    """Whether somebody can still read what was written there."""
    if stream is None:
        return True
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return not poll.poll(0)  # errors and hang-ups are told unasked


def complain(error: CommandError) -> Exit:
    """Print an error, and what to do about it, to the standard error."""
    write(sys.stderr, f"error: {printable(' '.join(str(error).split()))}\n")
    if error.hint:
        # No blank of it is folded, since it may be a command to be typed.
        write(sys.stderr, f"hint: {printable(error.hint)}\n")
    return error.code


def guarded(command: Callable[[], int]) -> int:
    """Return what a command ends with, also if a signal comes, nobody reads its output, or there is no room for it."""
    try:
        with handling(interrupt):
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
    except Interruption as signal:
        return complain(CommandError("interrupted", code=signal.exit))
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
