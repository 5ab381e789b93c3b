"""Keep a connection to a server that may go away at any moment: nothing hangs, and nothing that comes late is read.

No exception of a driver leaves, nor a frame of it: these hold passwords, as they must.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from codegen_async.cleaning import clean
from codegen_async.fleet.store import StoreAwayError

T = TypeVar("T")

_CONNECTING = 3.0  # seconds; seven times to a server 150 ms away and back take one
_ANSWERING = 1.0  # seconds; an answer takes less than a millisecond, and 0.2 s from the other end of the world
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.0)  # seconds between tries to listen


class Connection(Protocol):
    """Be what a driver has connected."""

    async def drop(self) -> None:
        """Let go of it, whatever is under way on it. Waits for nothing, as it must be done after a cancellation too."""
        ...


class Ear(Connection, Protocol):
    """Be a connection on which messages come."""

    async def hear(self) -> list[bytes]:
        """Return the next messages; or none, after a while in which none came and the server was found to be there.

        Raises:
            OSError, or what the driver raises: none will come any more.
        """
        ...


C = TypeVar("C", bound=Connection)
E = TypeVar("E", bound=Ear)


class Link(Generic[C]):
    """Use one connection, one call at a time. It is made when it is needed, and dropped after whatever went wrong.

    Args:
        place: what errors call it.
        connect: make a connection, or leave nothing behind.
        failures: what the driver raises.
    """

    def __init__(self, place: str, connect: Callable[[], Awaitable[C]], failures: tuple[type[Exception], ...]) -> None:
        self._place = place
        self._connect = connect
        self._failures = (*failures, OSError)
        self._connection: C | None = None
        self._turn = asyncio.Lock()
        self._problem = _Problem()
        self._process = os.getpid()

    async def use(self, work: Callable[[C], Awaitable[T]]) -> T:
        """Return what `work` returns.

        Raises:
            StoreAwayError: no connection could be made in 3 s, there was no answer in 1 s, or it was none that was
                hoped for; or the process was forked since, and the connection is its parent's.
        """
        if os.getpid() != self._process:  # two that ask would read one another's answers
            raise StoreAwayError(f"{self._place}: belongs to the process that this one was forked from")
        known = self._problem
        async with self._turn:
            if known is not self._problem:  # who came before has just found out that it is of no use
                raise self._failure()
            try:
                done = await self._tried(work)
            except BaseException:
                await self.close()
                raise
            if not isinstance(done, _Problem):
                return done
            await self.close()
            self._problem = done
        raise self._failure()

    async def close(self) -> None:
        """Drop the connection, if there is one, and it is not that of a parent."""
        if os.getpid() != self._process:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.drop()

    async def _tried(self, work: Callable[[C], Awaitable[T]]) -> T | _Problem:
        if self._connection is None:
            connected = await _attempt(self._connect(), _CONNECTING, self._failures)
            if isinstance(connected, _Problem):
                return connected
            self._connection = connected
        return await _attempt(work(self._connection), _ANSWERING, self._failures)

    def _failure(self) -> StoreAwayError:
        return StoreAwayError(f"{self._place}: {self._problem.text}")


async def listening(
    connect: Callable[[], Awaitable[E]], failures: tuple[type[Exception], ...]
) -> AsyncGenerator[bytes]:
    """Yield what is heard, on one connection after the other; never ends."""
    failures = (*failures, OSError)
    tried = 0
    while True:
        ear = await _attempt(connect(), _CONNECTING, failures)
        if not isinstance(ear, _Problem):
            tried = 0
            try:
                while not isinstance(heard := await _attempt(ear.hear(), None, failures), _Problem):
                    for message in heard:
                        yield message
            finally:
                await ear.drop()
        await asyncio.sleep(_PAUSES[min(tried, len(_PAUSES) - 1)])
        tried += 1


class _Problem:
    """Say why a connection is of no use any more."""

    def __init__(self, text: str = "") -> None:
        self.text = text


async def _attempt(call: Awaitable[T], seconds: float | None, failures: tuple[type[Exception], ...]) -> T | _Problem:
    """Return what comes of a call, without the frames in which it failed."""
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError:
        return _Problem("no answer in time")
    except failures as exc:
        return _Problem(clean(str(exc)) or type(exc).__name__)
    except BaseException as exc:  # noqa: BLE001 - raised again
        exc.__context__ = None
        raise exc.with_traceback(None) from None
