"""Hear that the process is asked to end, before the server waits for its connections."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType

_ASKING = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def heard_first(close: Callable[[], None]) -> Generator[None]:
    """Let `close` be called on the running loop at SIGTERM and SIGINT, and then what heard them before.

    Servers wait for open connections, and tell an application only afterwards that they end; a stream that nobody ends
    keeps them waiting for ever. Signals that are ignored stay ignored, and what others put in our place meanwhile stays
    there. Outside the main thread, where there are no signals, nothing is heard.
    """
    loop = asyncio.get_running_loop()
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _ASKING} if main else {}
    ours = [number for number, handler in before.items() if handler not in (None, signal.SIG_IGN)]

    def hear(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(close)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:  # the system's own: it ends the process
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in ours:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is hear:
                signal.signal(number, before[number])
