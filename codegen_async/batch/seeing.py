"""Note in the journal where the runs of a batch stand while they go on, for who looks at it from outside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager

from codegen_async.batch.journal import Journal
from codegen_async.errors import CodegenAsyncError
from codegen_async.models import Phase, RunId, RunLike

_EVERY = 1.0  # seconds between two commits, however much is heard: what follows from a phase is written without it

_log = logging.getLogger("codegen_async")


class Seeing:
    """Hear of the phases of runs that are followed, and write them down together."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._followed: dict[RunId, int] = {}
        self._noted: dict[int, Phase] = {}
        self._news = asyncio.Event()

    @contextlib.contextmanager
    def following(self, run_id: RunId, seq: int) -> Generator[None]:
        """Take in what is heard of a run, which is that of this item, while the block lasts."""
        self._followed[run_id] = seq
        try:
            yield
        finally:
            self._followed.pop(run_id, None)
            self._noted.pop(seq, None)  # its end says more

    def hear(self, run: RunLike) -> None:
        """Take in a snapshot. One that has ended is written down as the end of its item."""
        seq = self._followed.get(run.id)
        if seq is not None and not run.phase.is_terminal:
            self._noted[seq] = run.phase
            self._news.set()

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[None]:
        """Write down what is heard while the block lasts."""
        writer = asyncio.create_task(self._write())
        try:
            yield
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            noted, self._noted = self._noted, {}
            try:
                await self._journal.seen(noted)
            except CodegenAsyncError as error:  # who takes the next step of an item is told as well, and ends
                _log.debug("batch: phases cannot be written down: %s", error)
            await asyncio.sleep(_EVERY)
