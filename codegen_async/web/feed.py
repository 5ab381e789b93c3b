"""Show runs to any number of browsers at the cost of one.

One task watches each run that somebody looks at, and writes each change down once; those who look take what is newest
when they are ready for it. So one who reads slowly skips what was overtaken, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar, cast

import msgspec

from codegen_async.arguments import check_seconds_given
from codegen_async.errors import (
    ClientClosedError,
    CodegenAsyncError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from codegen_async.hosted.client import RunClient
from codegen_async.models import RunId, RunLike
from codegen_async.recent import Recent
from codegen_async.web.frames import BEGIN, END, HEADERS, LAST, PING, problem_frame, run_frame
from codegen_async.web.problems import problem
from codegen_async.web.views import brief

R = TypeVar("R", bound=RunLike)

_log = logging.getLogger("codegen_async")

_FRESH = 5.0  # seconds that a first look may be old: as old as what is watched may be
_MISSING = 30.0  # seconds for which it is believed that there is no such run
_MISSES = 10_000  # ids of which that is remembered


class _Channel(Generic[R]):
    """What is shown of one run, and who looks at it."""

    def __init__(self, run_id: RunId) -> None:
        self.run_id = run_id
        self.run: R | None = None
        self.view = b""
        self.frame = b""
        self.number = 0  # of the change that the frame shows; 0: nothing was shown yet
        self.over = False
        """Whether nothing more comes: the run has ended, or cannot be shown."""
        self.broken = False
        """Whether what watched it has ended, and the run has not: those who look may come back."""
        self.readers: dict[_Reader[R], None] = {}
        self.task: asyncio.Task[None] | None = None

    def show(self, run: R, view: bytes) -> None:
        """Show what the run looks like now."""
        self.run = run
        over = run.phase.is_terminal
        if view != self.view or over:
            self.view = view
            self.number += 1
            self.frame = run_frame(self.run_id, self.number, view)
        self.over = over
        self.wake()

    def fail(self, error: Exception, *, over: bool) -> None:
        """Show that the run cannot be shown: not at all (`over`), or not from here and now."""
        self.number += 1
        self.frame = problem_frame(self.run_id, problem(error))
        self.over, self.broken = over, not over
        self.wake()

    def wake(self) -> None:
        for reader in self.readers:
            reader.wake()


class _Reader(Generic[R]):
    """One who looks at some runs."""

    __slots__ = ("_seen", "_waiter", "channels")

    def __init__(self) -> None:
        self.channels: list[_Channel[R]] = []
        self._seen: dict[RunId, int] = {}
        self._waiter: asyncio.Future[None] | None = None

    def news(self) -> bytes:
        """Return what has changed since the last time; nothing if nothing has."""
        changed = [channel for channel in self.channels if channel.number > self._seen.get(channel.run_id, 0)]
        self._seen.update((channel.run_id, channel.number) for channel in changed)
        return b"".join(channel.frame for channel in changed)

    async def wait(self, seconds: float) -> bool:
        """Wait until something may have changed, so long at most; return whether something may."""
        self._waiter = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait((self._waiter,), timeout=seconds)
        return bool(done)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class RunFeed(Generic[R]):
    """Show runs to any number of browsers: each run is watched once, whoever looks, and not at all when nobody does.

    It belongs to the loop on which it is used. Not thread-safe, but for what `loop.call_soon_threadsafe` does.

    Args:
        client: a client of any dialect, open when the feed is used.
        view: what browsers are shown of a run: JSON. Default: its id, phase, status, summary, result, web_url and pull
            requests, or what a dialect has of these; never its metadata.
        ping: seconds after which something is sent where nothing happens, so that proxies keep the connection and dead
            ones are found. Default 15.

    Raises:
        InvalidArgumentError: `ping` cannot be right.
    """

    headers: ClassVar[Mapping[str, str]] = HEADERS
    """The headers that a stream is to be sent with, whatever sends it."""

    def __init__(
        self, client: RunClient[R, Any], *, view: Callable[[R], Mapping[str, Any]] | None = None, ping: float = 15.0
    ) -> None:
        self.client: RunClient[R, Any] = client
        """The client whose runs are shown."""
        self.view: Callable[[R], Mapping[str, Any]] = view or brief
        """What browsers are shown of a run."""
        self._ping = check_seconds_given("ping", ping)
        if not self._ping:
            raise InvalidArgumentError("ping", ping, "seconds > 0")
        self._channels: dict[RunId, _Channel[R]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._missing: Recent[RunId, float] = Recent(_MISSES)
        self._readers: set[_Reader[R]] = set()
        self._closed = False

    @property
    def watched(self) -> int:
        """How many runs are looked at now."""
        return len(self._channels)

    async def look(self, run_id: RunId, *, max_age: float | None = None) -> R:
        """Return a run, for those who decide by it what to answer; many who ask at once cost one request.

        Args:
            run_id: the run.
            max_age: seconds that it may be old. Default: what is watched is shown as it was last seen, an end of the
                last five minutes is believed, and else 5.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            NotFoundError: there is no such run; that is believed for 30 seconds.
            APIError: it could not be had.
        """
        channel = self._channels.get(run_id)
        known = None
        if max_age is None:
            known = channel.run if channel is not None and channel.run is not None else self.client.recall(run_id)
        if known is not None:
            return known
        if self.is_missing(run_id):
            raise _missing()
        try:
            run = await _get(self.client, run_id, _FRESH if max_age is None else max_age)
        except NotFoundError:
            self._missing[run_id] = _now()
            raise
        self.made(run)
        return run

    async def latest(self, run_id: RunId, *, max_age: float | None = None) -> Mapping[str, Any]:
        """Return the view of a run; see `look`."""
        return self.view(await self.look(run_id, max_age=max_age))

    async def stream(self, runs: Iterable[RunId | R]) -> AsyncGenerator[bytes]:
        """Yield server-sent events for runs, as bytes for a streaming response, until all have ended.

        The first is `retry`, then come events `run`, each with the view of a run that is new or has changed, and where
        nothing happens comments. When all runs have ended, an event `end` is the last: a browser that comes back with
        its id gets a 204, see `is_over`. A run that cannot be shown has an event `problem`, and the others go on. A
        feed that is closed, or whose client is, ends its streams without `end`: browsers come back, to the next
        process.

        Send it with `RunFeed.headers`, and close the generator when the browser has left.

        Args:
            runs: runs or ids. A run that was just looked at (`look`) costs no further look to begin with.
        """
        yield BEGIN
        reader: _Reader[R] = _Reader()
        self._readers.add(reader)
        try:
            for run_id, run in ({} if self._closed else {_id_of(run): run for run in runs}).items():
                self._join(run_id, run, reader)
            while not self._closed:
                if news := reader.news():
                    yield news
                elif all(channel.over for channel in reader.channels):
                    yield LAST
                    return
                elif any(channel.broken for channel in reader.channels):
                    return
                elif not await reader.wait(self._ping):
                    yield PING
        finally:
            self._readers.discard(reader)
            for channel in reader.channels:
                self._leave(channel, reader)

    def is_over(self, ids: Iterable[RunId], last_event_id: str | None) -> bool:
        """Whether a browser has seen all there is, by its header `Last-Event-ID`: answer it with 204, which stops it.

        Not so if one of the runs was taken up again and is being watched.
        """
        return last_event_id == END and not any(run_id in self._channels for run_id in ids)

    def is_missing(self, run_id: RunId) -> bool:
        """Whether it was seen within the last 30 seconds that there is no such run."""
        return _now() - self._missing.get(run_id, -_MISSING) < _MISSING

    def made(self, run: R) -> None:
        """Take note of a run that was just created: that it was missing is of no account."""
        self._missing.pop(run.id, None)

    def close(self) -> None:
        """End all streams, and those that are begun later, without `end`; look at nothing any more."""
        self._closed = True
        for reader in self._readers:
            reader.wake()
        for task in self._tasks:
            task.cancel()

    # -- helpers

    def _join(self, run_id: RunId, run: RunId | R, reader: _Reader[R]) -> None:
        channel = self._channels.get(run_id) or self._open(run_id, run)
        channel.readers[reader] = None
        reader.channels.append(channel)

    def _leave(self, channel: _Channel[R], reader: _Reader[R]) -> None:
        del channel.readers[reader]
        if not channel.readers:
            self._drop(channel)
            if channel.task is not None:
                channel.task.cancel()

    def _drop(self, channel: _Channel[R]) -> None:
        if self._channels.get(channel.run_id) is channel:
            del self._channels[channel.run_id]

    def _open(self, run_id: RunId, run: RunId | R) -> _Channel[R]:
        channel: _Channel[R] = _Channel(run_id)
        self._channels[run_id] = channel
        # Of whoever comes first nothing is kept: what a request has in its context is its own.
        channel.task = asyncio.create_task(self._watch(channel, run), context=contextvars.Context())
        self._tasks.add(channel.task)
        channel.task.add_done_callback(self._tasks.discard)
        return channel

    async def _watch(self, channel: _Channel[R], run: RunId | R) -> None:
        """Show a run in its channel until it ends, or cannot be shown any more."""
        try:
            if channel.run_id == run and self.is_missing(channel.run_id):
                raise _missing()
            async with contextlib.aclosing(self.client.watch([run], changes="any")) as changes:
                async for seen in changes:
                    channel.show(seen, msgspec.json.encode(self.view(seen)))
        except (NotFoundError, PermissionDeniedError, InvalidArgumentError) as error:
            if isinstance(error, NotFoundError) and channel.run is None:
                self._missing[channel.run_id] = _now()
            channel.fail(error, over=True)
        except CodegenAsyncError as error:
            if not isinstance(error, ClientClosedError):
                _log.warning("web: run %s cannot be shown for now: %s", channel.run_id, error)
            channel.fail(error, over=False)
        except Exception as error:  # noqa: BLE001 - of the view, which would do the same again
            _log.exception("web: run %s cannot be shown", channel.run_id)
            channel.fail(error, over=True)
        finally:
            self._drop(channel)


async def _get(client: RunClient[R, Any], run_id: RunId, max_age: float) -> R:
    get = cast("Any", client).get_run  # each dialect's own has further arguments
    return cast("R", await get(run_id, max_age=max_age))


def _id_of(run: RunId | RunLike) -> RunId:
    return run if isinstance(run, int | str) else run.id


def _missing() -> NotFoundError:
    return NotFoundError("there is no such run", method="GET", path="/", status=404)


def _now() -> float:
    return asyncio.get_running_loop().time()
