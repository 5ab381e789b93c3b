"""What is shown of a batch, and what can be done with it: one that this process drives, or the journal of another's."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from codegen_async.batch.batch import Batch
from codegen_async.batch.readers import Elsewhere, Where
from codegen_async.cleaning import clean
from codegen_async.codegen.client import CodegenClient
from codegen_async.errors import InvalidArgumentError
from codegen_async.limits import LimiterState
from codegen_async.web.dashboard.rows import Reader, Row
from codegen_async.web.dashboard.tails import Tails

RETRYABLE = frozenset({"failed", "cancelled", "rejected", "unknown"})
"""Labels of items of which another attempt can be made."""

_log = logging.getLogger("codegen_async")


class Shown:
    """Show the journal of a batch that some other process drives, if any does.

    Args:
        where: the journal, or what stands for one.
        clock: returns wall-clock seconds, as the times in the journal are.
    """

    def __init__(self, where: Where, clock: Callable[[], float]) -> None:
        self.where: Where = where
        self.clock: Callable[[], float] = clock
        self.driver: str | None = None
        """What drives it."""
        self.api: str = ""
        """What the API of its runs is called."""

    @property
    def actions(self) -> Sequence[str]:
        """What can be done with it."""
        return ()

    def learn(self, reader: Reader) -> None:
        """Learn from the journal what drives it, and of what API it is. Blocking.

        Raises:
            JournalError: it cannot be read.
        """
        self.driver = reader.driver()
        self.api = reader.account()  # another journal may have taken its place

    def head(self) -> Mapping[str, Any]:
        """Return what is true of it as a whole, the same as long as nothing changes."""
        name = clean(self.where.name) if isinstance(self.where, Path) else "database"
        return {"name": name, "api": self.api, "driver": self.driver, "actions": self.actions, "limits": ()}

    async def log(self, row: Row) -> Sequence[str] | None:  # noqa: ARG002 - an interface
        """Return the newest rows of the log of an item's run, each on a line; None if there is no such thing."""
        return None

    async def act(self, action: str, rows: Mapping[str, Row], wish: Mapping[str, Any]) -> int:  # noqa: ARG002 - an interface
        """Do something; return with how many items.

        Args:
            action: one of `actions`.
            rows: the items that it is to be done with, as they stand now, by their keys: those in rows are made clean.
            wish: what else was said.

        Raises:
            InvalidArgumentError: that cannot be done.
        """
        raise InvalidArgumentError("action", action, "a batch that this process drives")


class Driven(Shown):
    """Show a batch that this process drives.

    Args:
        batch: the batch, open.
        clock: returns wall-clock seconds, as those of the batch are.
        speed: how many times faster than life the loop's clock runs.
    """

    def __init__(self, batch: Batch[Any, Any], clock: Callable[[], float], *, speed: float) -> None:
        super().__init__(batch.place, clock)
        self._batch = batch
        client = batch.client
        self._tails = Tails(client, speed=speed) if isinstance(client, CodegenClient) else None
        self._used: set[str] = set()  # limits that something has been sent within
        self.driver: str | None = f"process {os.getpid()}"

    def learn(self, reader: Reader) -> None:
        """Learn of what API it is; what drives it is known. Blocking."""
        self.api: str = self.api or reader.account()

    @property
    def actions(self) -> Sequence[str]:
        """What can be done with it."""
        return ("retry", "pause", "resume", "active", "answer")

    def head(self) -> Mapping[str, Any]:
        """Return what is true of it as a whole; the limits of its client with it."""
        batch = self._batch
        limits = [_limit(name, state, self.clock()) for name, state in batch.client.limits.items()]
        self._used |= {limit["name"] for limit in limits if limit["used"] or limit["line"] or limit["rejections"]}
        return {
            **super().head(),
            "paused": batch.is_paused,
            "active": batch.max_active,
            "create": batch.limit,
            "logs": self._tails is not None,
            "limits": [limit for limit in limits if limit["name"] in self._used],
        }

    async def act(self, action: str, rows: Mapping[str, Row], wish: Mapping[str, Any]) -> int:
        """Do something; done twice it is done once."""
        if action == "retry":
            return await self._retry(rows)
        if action == "answer":
            return await self._answer(rows, str(wish.get("text", "")))
        if action == "pause":
            self._batch.pause()
        elif action == "resume":
            self._batch.resume()
        elif action == "active":
            self._batch.max_active = wish.get("most")
        else:
            raise InvalidArgumentError("action", action, f"one of {', '.join(self.actions)}")
        _log.info("dashboard: %s", action)
        return 0

    async def _answer(self, rows: Mapping[str, Row], text: str) -> int:
        done = 0
        for key in [key for key, row in rows.items() if row.label == "paused"]:
            try:
                await self._batch.answer(key, text)
            except InvalidArgumentError as error:
                if error.field != "key":
                    raise
                continue  # it waits no more: somebody else was faster
            done += 1
        _log.info("dashboard: answer to %d items", done)
        return done

    async def log(self, row: Row) -> Sequence[str] | None:
        """Return the newest rows of the log of an item's run, where the API has logs."""
        return None if self._tails is None or not row.run else await self._tails.tail(int(row.run))

    async def _retry(self, rows: Mapping[str, Row]) -> int:
        keys = [key for key, row in rows.items() if row.label in RETRYABLE]
        if keys:
            await self._batch.retry(*keys)
            _log.info("dashboard: retry of %d items", len(keys))
        return len(keys)


def _limit(name: str, state: LimiterState, now: float) -> Mapping[str, Any]:
    """Return what a limiter is doing, in whole seconds of the clock of who looks: so it stays the same for a while."""
    next_free = None if state.available or not math.isfinite(state.wait) else round(now + state.wait)
    return {
        "name": name,
        "limit": state.rate.limit,
        "period": state.rate.period,
        "used": state.rate.limit - state.available,
        "free": next_free,
        "line": state.queue_length,
        "held": round(now + state.held_for) if state.held_for else None,
        "pace": None if state.pace is None else round(state.pace, 2),
        "rejections": state.rejections,
    }


Source = str | os.PathLike[str] | Elsewhere | Batch[Any, Any]
"""A batch that is open; or the path of a journal, or what stands for one."""


def shown(source: Source, clock: Callable[[], float], *, speed: float) -> Shown:
    """Return what shows a batch, given it or where its journal is."""
    if isinstance(source, Batch):
        return Driven(source, clock, speed=speed)
    return Shown(Path(source) if isinstance(source, str | os.PathLike) else source, clock)
