"""One look at the batch for all who watch it: each change is read once, encoded once, and sent to every browser."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import re
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from codegen_async.errors import ClientClosedError, CodegenAsyncError
from codegen_async.web.dashboard.rows import Changes, Reader, Row
from codegen_async.web.frames import BEGIN, PING

T = TypeVar("T")

MOST_VIEWERS = 100
"""Browsers that may watch at once."""
_BEHIND = 20  # changes by which one may be behind; then it loads all anew
_MANY = 1000  # changes in one look with which that is cheaper than to tell them
_PING = 15.0  # seconds; proxies close what is silent, and so it is noticed that a browser has left

_VERSION = re.compile("([0-9a-f]{8})[.]([0-9]{1,18})")
_RELOAD = b"event: reload\ndata: {}\n\n"

_log = logging.getLogger("codegen_async")


class Following:
    """Follow a batch as long as anybody watches.

    Args:
        reader: reads it, on a thread of this object's.
        learn: called on that thread with every look, to read what `head` tells.
        head: returns what is true of the batch as a whole.
        speed: how many times faster than life the loop's clock runs.
    """

    def __init__(
        self,
        reader: Reader,
        learn: Callable[[Reader], object],
        head: Callable[[], Mapping[str, Any]],
        *,
        speed: float,
    ) -> None:
        self._reader = reader
        self._learn = learn
        self._head_of = head
        self._speed = speed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="codegen-dashboard")
        self._looking = asyncio.Lock()
        self._looks: set[asyncio.Task[None]] = set()
        self._rows: dict[int, Row] = {}
        self._head: Mapping[str, Any] = {}
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._frames: deque[tuple[int, bytes]] = deque(maxlen=_BEHIND)
        self._whole: tuple[int, bytes] = (-1, b"")  # the answer to who loads all, as of some change
        self._news = asyncio.Event()
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._encoding = asyncio.Lock()
        self._begun: asyncio.Task[None] | None = None
        self._closed = False
        self._released = False

    def begin(self) -> None:
        """Begin to read all there is, once: who was given the page asks for that next."""
        if self._begun is None and not self._closed:
            self._begun = asyncio.create_task(self._begin())

    def join(self) -> bool:
        """Let one more browser watch, until `leave`; return whether there was room for it."""
        if self._viewers >= MOST_VIEWERS:
            return False
        self._viewers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        return True

    def leave(self) -> None:
        """Note that a browser has left."""
        self._viewers -= 1

    async def aside(self, work: Callable[[Reader], T]) -> T:
        """Return what is read on the reader's thread.

        Raises:
            ClientClosedError: nothing is shown any more.
            JournalError: the journal cannot be read.
        """
        if self._closed:
            raise ClientClosedError("the dashboard is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._reader)

    async def rows(self) -> Mapping[int, Row]:
        """Return where all items stand now.

        Raises:
            JournalError, ClientClosedError: as `aside`.
        """
        await self._look()
        return self._rows

    async def snapshot(self) -> bytes:
        """Return all there is, by columns, as JSON in gzip.

        Raises:
            JournalError, ClientClosedError: as `aside`.
        """
        await self._look()
        async with self._encoding:  # once for all who wait for it
            number, content = self._whole
            if number != self._number:
                number = self._number
                rows = self._rows.values()
                columns = {name: [row[place] for row in rows] for place, name in enumerate(Row._fields)}
                whole = {"version": self._version(number), "head": self._head, "columns": columns}
                content = await self.aside(lambda _: gzip.compress(msgspec.json.encode(whole), 5))
                self._whole = (number, content)
        return content

    async def news(self, version: str) -> bytes:
        """Return what has changed since a version, as `stream` yields it.

        Raises:
            JournalError, ClientClosedError: as `aside`.
        """
        await self._look()
        return self._since(*self._parsed(version))

    async def stream(self, version: str) -> AsyncGenerator[bytes]:
        """Yield what changes from a version on, as server-sent events; an order to load all anew where that is gone."""
        epoch, seen = self._parsed(version)
        yield BEGIN
        while not self._closed:
            news = self._news
            if frames := self._since(epoch, seen):
                seen = self._number
                yield frames
                if frames is _RELOAD:
                    return
                continue
            try:
                async with asyncio.timeout(_PING * self._speed):
                    await news.wait()
            except TimeoutError:
                yield PING

    def close(self) -> None:
        """End all streams; read nothing any more."""
        self._closed = True
        self._wake()
        for task in self._tasks():
            task.cancel()

    async def aclose(self) -> None:
        """End all streams, and let go of the journal."""
        self.close()
        await asyncio.gather(*self._tasks(), *self._looks, return_exceptions=True)
        if self._released:
            return
        self._released = True
        closed = asyncio.get_running_loop().run_in_executor(self._thread, self._reader.close)
        self._thread.shutdown(wait=False)
        await closed

    # -- helpers

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._task, self._begun) if task is not None]

    def _version(self, number: int) -> str:
        return f"{self._epoch}.{number}"

    @staticmethod
    def _parsed(version: str) -> tuple[str, int]:
        found = _VERSION.fullmatch(version)
        return ("", -1) if found is None else (found[1], int(found[2]))

    def _since(self, epoch: str, seen: int) -> bytes:
        """Return what came after a change; an order to load all anew if that is not known any more."""
        frames = [frame for number, frame in self._frames if number > seen]
        are_all = epoch == self._epoch and seen >= 0 and len(frames) == self._number - seen
        return b"".join(frames) if are_all else _RELOAD

    async def _begin(self) -> None:
        with contextlib.suppress(CodegenAsyncError):  # who asks for it is told
            await self.snapshot()

    async def _follow(self) -> None:
        try:
            while self._viewers and not self._closed:
                await asyncio.sleep(self._speed)  # a second of whoever watches
                await self._look_again()
        finally:
            self._task = None

    async def _look_again(self) -> None:
        try:
            await self._look()
        except Exception as error:  # noqa: BLE001 - those who watch are told, whatever it is; it may pass
            if "trouble" not in self._head:
                _log.warning("dashboard: %s", error, exc_info=not isinstance(error, CodegenAsyncError))
                self._take_in(Changes((), whole=False), {**self._head, "trouble": "The journal cannot be read."})

    async def _look(self) -> None:
        """Take in what has changed; to its end, whoever leaves meanwhile, as the reader tells each change once."""
        look = asyncio.create_task(self._look_once())
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
        await asyncio.shield(look)

    async def _look_once(self) -> None:
        async with self._looking:
            changes = await self.aside(self._read)
            head = self._head_of()
            if changes is not None or head != self._head:
                self._take_in(changes or Changes((), whole=False), head)

    def _read(self, reader: Reader) -> Changes | None:
        changes = reader.changes()
        self._learn(reader)
        return changes

    def _take_in(self, changes: Changes, head: Mapping[str, Any]) -> None:
        self._head = head
        news = [row for row in changes.rows if self._rows.get(row.seq) != row]
        anew = len(news) > _MANY or (changes.whole and not self._rows.keys() <= {row.seq for row in changes.rows})
        if changes.whole:
            self._rows = {row.seq: row for row in changes.rows}
        else:
            self._rows.update((row.seq, row) for row in news)
        self._number += 1
        if anew:
            self._epoch = secrets.token_hex(4)
            self._frames.clear()
        else:
            told = {"version": self._version(self._number), "head": head, "rows": news}
            self._frames.append((self._number, b"event: delta\ndata: %b\n\n" % msgspec.json.encode(told)))
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
