"""Hear of the signals that end a program, on any event loop and any system.

Whoever ignores a signal for us (`nohup`, a background job of a script) is obeyed: it is never handled here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

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

    Use it on the main thread.
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


@contextmanager
def handling_on(
    loop: AbstractEventLoop, handle: Handler, numbers: Iterable[signal.Signals] = ENDING
) -> Generator[None]:
    """Let a loop call `handle` for these signals inside the block. Use it on the main thread, where the loop runs.

    Not by `add_signal_handler`, which Windows lacks.
    """
    with _woken(loop), handling(lambda number: loop.call_soon_threadsafe(handle, number), numbers):
        yield


@contextmanager
def _woken(loop: AbstractEventLoop) -> Generator[None]:
    """Let signals wake a loop, also one that comes just before it waits: else it is heard of when something happens.

    A loop that lets them do so by itself is left alone: uvloop's, and asyncio's on Windows.
    """
    from socket import socketpair  # noqa: PLC0415 - commands that need no loop begin sooner without

    reading, writing = socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
            yield
            return
        loop.add_reader(reading, reading.recv, 4096)
        try:
            yield
        finally:
            loop.remove_reader(reading)
            now = signal.set_wakeup_fd(-1)
            if now != writing.fileno():  # somebody else's, since `add_signal_handler` was called inside
                signal.set_wakeup_fd(now)
