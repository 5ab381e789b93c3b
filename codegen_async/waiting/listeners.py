"""What hears of runs: one for each wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Generic, TypeVar

from codegen_async.models import RunId, RunLike

R = TypeVar("R", bound=RunLike)

_log = logging.getLogger("codegen_async")


class Listener(Generic[R]):
    """Hear of one or more runs, and say how often they want to be looked at."""

    __slots__ = ("latency",)

    def __init__(self, latency: float) -> None:
        self.latency: float = latency

    def tell(self, run: R) -> bool:
        """Take in a snapshot; return whether nothing more about this run is wanted."""
        raise NotImplementedError

    def fail(self, run_id: RunId, error: Exception) -> None:
        """Take in that there will be no more snapshots of this run."""
        raise NotImplementedError

    def abort(self, error: Exception) -> None:
        """Take in that there will be no more of anything."""
        raise NotImplementedError


class Ending(Listener[R]):
    """Wait for the end of one run: a future and nothing else, since there may be 100,000."""

    __slots__ = ("future", "last")

    def __init__(self, latency: float, future: asyncio.Future[R]) -> None:
        super().__init__(latency)
        self.future: asyncio.Future[R] = future
        self.last: R | None = None

    def tell(self, run: R) -> bool:
        """Take in a snapshot; see `Listener`."""
        self.last = run
        still = run.phase.is_still
        if still and not self.future.done():
            self.future.set_result(run)
        return still

    def fail(self, run_id: RunId, error: Exception) -> None:  # noqa: ARG002 - there is only one run
        """Take in that there will be no more; see `Listener`."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever waits may be cancelled in the same moment; that is no error to report

    def abort(self, error: Exception) -> None:
        """Take in that there will be no more of anything; see `Listener`."""
        self.fail(0, error)


class Collector(Listener[R]):
    """Collect news of many runs for one consumer."""

    def __init__(self, latency: float) -> None:
        super().__init__(latency)
        self.open: dict[RunId, R | None] = {}  # the runs of which more may come, and what is known of them
        self.news: deque[R] = deque()
        self.failures: dict[RunId, Exception] = {}  # of single runs; the others go on
        self.end: Exception | None = None  # of them all
        self._waiter: asyncio.Future[None] | None = None

    async def arrival(self, until: float | None) -> bool:
        """Wait until something comes, or a time of the loop's clock; return whether something has."""
        self._waiter = asyncio.get_running_loop().create_future()
        if until is None:
            await self._waiter
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._waiter
        return not self._waiter.cancelled()

    def fail(self, run_id: RunId, error: Exception) -> None:
        """Take in that there will be no more of this run; see `Listener`."""
        self.open.pop(run_id, None)
        self.failures[run_id] = error
        if self.open:
            _log.warning("waiting: this run is given up, the others go on: %s", error)
        self._wake()

    def abort(self, error: Exception) -> None:
        """Take in that there will be no more of anything; see `Listener`."""
        self.end = self.end or error
        self._wake()

    def _add(self, news: R) -> None:
        self.news.append(news)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Endings(Collector[R]):
    """Collect each run once, when it does not move by itself any more."""

    def tell(self, run: R) -> bool:
        """Take in a snapshot; see `Listener`."""
        if not run.phase.is_still:
            self.open[run.id] = run
            return False
        self.open.pop(run.id, None)
        self._add(run)
        return True


class Changes(Collector[R]):
    """Collect the first snapshot of each run and every one in which its phase, or anything (`whole`), is another."""

    def __init__(self, latency: float, *, whole: bool = False) -> None:
        super().__init__(latency)
        self._whole = whole

    def tell(self, run: R) -> bool:
        """Take in a snapshot; see `Listener`."""
        before = self.open.get(run.id)
        if before is None or before.phase is not run.phase or (self._whole and before != run):
            self._add(run)
        if run.phase.is_terminal:
            self.open.pop(run.id, None)
            return True
        self.open[run.id] = run
        return False
