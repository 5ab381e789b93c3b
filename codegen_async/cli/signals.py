"""What a command ends with when a signal comes. Imports next to nothing."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import NoReturn

from codegen_async.cli.errors import Exit
from codegen_async.signals import ENDING

_EXITS: Mapping[str, Exit] = {"SIGINT": Exit.INTERRUPTED, "SIGTERM": Exit.TERMINATED, "SIGHUP": Exit.HUNG_UP}


def exit_of(number: signal.Signals) -> Exit:
    """Return what a command ends with after a signal."""
    return _EXITS[number.name]


class Interruption(KeyboardInterrupt):
    """Say that a signal came while no event loop was there to take it.

    Attributes:
        exit: what the command ends with.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.exit: Exit = exit_of(number)


def interrupt(number: signal.Signals) -> NoReturn:
    """Raise at a signal, so that what is open is left in order, also out of input that blocks; the next one kills."""
    for each in ENDING:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    raise Interruption(number)
