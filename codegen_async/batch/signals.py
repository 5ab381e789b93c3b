"""Leave a batch in order when the system or the user asks for it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from codegen_async.batch.batch import Batch

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@asynccontextmanager
async def stop_on_signals(batch: Batch) -> AsyncGenerator[None]:
    """Let the first SIGINT or SIGTERM stop the batch (`Batch.stop`), and the second cancel the present task.

    Both lose nothing: running the batch again goes on where it stood. Use it on the main thread.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    handlers = [signal.getsignal(number) for number in _SIGNALS]
    asked = False

    def handle() -> None:
        nonlocal asked
        if asked and task is not None:
            task.cancel()
        asked = True
        batch.stop()

    try:
        for number in _SIGNALS:
            loop.add_signal_handler(number, handle)
        yield
    finally:
        for number, handler in zip(_SIGNALS, handlers, strict=True):
            loop.remove_signal_handler(number)
            if handler is not None:  # None: it was not set from Python, and cannot be set again
                signal.signal(number, handler)
