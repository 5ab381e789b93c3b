"""Do beside the loop what may wait for ever."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T]) -> T:
    """Return what `work` returns. Neither a caller that is cancelled nor the end of the process waits for it.

    An executor would: its threads are joined at the end, also one that waits for somebody to write to a pipe.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is for the caller
            settle = functools.partial(_settle, done.set_exception, error)
        else:
            settle = functools.partial(_settle, done.set_result, result)
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=call, daemon=True, name="codegen-prompts").start()
    return await done


def _settle(settle: Callable[[T], None], value: T) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):  # the caller was cancelled
        settle(value)
