"""Leave a batch in order when the system or the user asks for it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from codegen_async.batch.batch import Batch
from codegen_async.signals import handling_on


@asynccontextmanager
async def stop_on_signals(batch: Batch) -> AsyncGenerator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP stop the batch (`Batch.stop`), and the second cancel the present task.

    Both lose nothing: running the batch again goes on where it stood. A signal that this process was started to ignore
    (`nohup`) stays ignored. Use it on the main thread.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    asked = False

    def stop(_: signal.Signals) -> None:
        nonlocal asked
        if asked and task is not None:
            task.cancel()
        asked = True
        batch.stop()

    with handling_on(loop, stop):
        yield
