"""Wait for what has to come to its end before anything else may go on."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio


async def until_done(work: asyncio.Future[Any]) -> None:
    """Wait until `work` is done, however it ends, and raise a cancellation only then, however many come."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not work.done():
            try:
                await asyncio.wait((work,))
            except asyncio.CancelledError as exc:
                cancelled = exc
    if cancelled is not None:
        raise cancelled
