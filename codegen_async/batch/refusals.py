"""What is done about a refusal that may be about one run, or about the token."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from codegen_async.errors import REFUSALS, BatchPausedError, StatusError

T = TypeVar("T")

_log = logging.getLogger("codegen_async")


def paused(refusal: StatusError) -> BatchPausedError:
    """Return what tells that a refusal stops the batch."""
    return BatchPausedError(
        f"the batch is paused and nothing is lost; see to this, then run it again: {refusal.reason}"
    )


class RunQuestions:
    """Ask about single runs; know a run that is refused from a token that is.

    Args:
        prove: asks for something that needs no run; fails if the token is refused.
    """

    def __init__(self, prove: Callable[[], Awaitable[object]]) -> None:
        self._prove = prove
        self._proving = asyncio.Lock()
        self._proven_at = -math.inf

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Return what is asked. A refusal is the run's own if it comes again from a token that is good.

        Raises:
            StatusError: the run is refused.
            BatchPausedError: the token is.
        """
        try:
            return await question()
        except REFUSALS as refusal:
            _log.debug("batch: refused, asking again: %s", refusal)
            await self._prove_once()
        try:
            return await question()
        except REFUSALS:
            await self._prove_once()
            raise

    async def _prove_once(self) -> None:
        """Make sure that the token is good; many who ask at once share the proof."""
        since = _now()
        async with self._proving:
            if self._proven_at >= since:
                return
            began = _now()
            try:
                await self._prove()
            except REFUSALS as refusal:
                raise paused(refusal) from refusal
            self._proven_at = began


def _now() -> float:
    return asyncio.get_running_loop().time()
