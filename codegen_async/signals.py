"""Hear of the signals that end a program, on any event loop and any system.

Whoever ignores a signal for us (`nohup`, a background job of a script) is obeyed: it is never handled here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[signal.Signals], object]

ENDING: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Windows has no SIGHUP
)
"""What a user, a service manager and a terminal that is closed send."""


@contextmanager
def handling(handle: Handler, numbers: Iterable[signal.Signals] = ENDING) -> Generator[None]:
    """Let `handle` be called for these signals inside the block, between any two instructions of the main thread.

    On a loop it hands over by `call_soon_threadsafe`; not by `add_signal_handler`, which Windows lacks. Use it on the
    main thread.
    """

    def call(number: int, _: FrameType | None) -> None:
        handle(signal.Signals(number))

    before = {number: signal.getsignal(number) for number in numbers}
    heeded = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    try:
        for number in heeded:
            signal.signal(number, call)
        yield
    finally:
        for number, handler in heeded.items():
            # None: it was not set from Python, and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
