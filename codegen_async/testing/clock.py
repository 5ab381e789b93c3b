"""Event loops whose clock belongs to the test.

`VirtualLoop` makes an hour of polling take milliseconds: when nothing is ready, its clock jumps to the
next timer. Real sockets, pipes and threads work on it, so a client and a server can talk over loopback
in virtual time. `FastLoop` runs in real time, but its clock runs faster.

The virtual clock stands still while callbacks run, while a socket has something to say, while bytes are on
their way into one, and while a `run_in_executor` or `asyncio.to_thread` call is under way. It does not see
threads started in any other way (by anyio, by a subprocess watcher): wait for those while no timer is
pending.
"""

import asyncio
import selectors
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

from codegen_async.posix import fcntl

__all__ = ["FastLoop", "VirtualLoop", "run_virtual"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_Events = list[tuple[selectors.SelectorKey, int]]

# Added to each jump: code that waits for "later than" a moment never wakes on a clock that stops exactly on it.
_TICK = 1e-6

# How long, in real seconds, a peer may take to make room for what a socket has yet to send. Over loopback
# that is a matter of the kernel's own timers, 0.04 to 0.4 s. A peer that never reads stops nobody for good.
_PATIENCE = 0.5


_SIOCOUTQNSD = 0x894B  # linux/sockios.h: the size of what is written but not yet sent


def _has_unsent(fd: int) -> bool:
    if sys.platform != "linux" or not hasattr(fcntl, "ioctl"):
        return False
    try:
        return any(fcntl.ioctl(fd, _SIOCOUTQNSD, bytes(4)))
    except OSError:  # no TCP connection
        return False


class _VirtualSelector(selectors.DefaultSelector):
    """Advance the clock instead of waiting, unless the wait is for something real."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.now = start
        self.threads = 0

    def select(self, timeout: float | None = None) -> _Events:
        if timeout is None or (self.threads and timeout > 0):
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0 and self._is_sending():
            ready = super().select(_PATIENCE)
        if not ready and timeout > 0:
            self.now += timeout + _TICK
        return ready

    def _is_sending(self) -> bool:
        """Return whether a socket waits for its peer to connect or to make room."""
        keys = self.get_map().values()
        return any(key.events & selectors.EVENT_WRITE or _has_unsent(key.fd) for key in keys)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Run callbacks in virtual time.

    `time()` starts at `start` (seconds) and moves only when nothing is ready: then it jumps to the next
    timer, and a microsecond beyond.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._virtual = _VirtualSelector(start)
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Run `func` in a thread; the clock stands still until it is done or given up."""
        future = super().run_in_executor(executor, func, *args)
        self._virtual.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._virtual.threads -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - the signature of the base from Python 3.12 on
        """Join the executor's threads, which live in real time: no virtual `timeout` is applied to them."""
        await super().shutdown_default_executor()


class _FastSelector(selectors.DefaultSelector):
    """Wait in real time for a timeout given in fast time."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> _Events:
        return super().select(None if timeout is None else timeout / self._speed)


class FastLoop(asyncio.SelectorEventLoop):
    """Run in real time with a clock that runs `speed` times faster.

    `time()` starts at `start` (seconds). Every timer of the loop is that much faster, a client's timeouts
    included: keep `speed` small enough for the machine to answer in time.
    """

    def __init__(self, speed: float, start: float = 1000.0) -> None:
        self._speed = speed
        self._start = start
        self._began = time.monotonic()
        super().__init__(_FastSelector(speed))

    def time(self) -> float:
        """Return the fast time in seconds."""
        return self._start + (time.monotonic() - self._began) * self._speed


def run_virtual(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on a new `VirtualLoop` and return its result: `asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
