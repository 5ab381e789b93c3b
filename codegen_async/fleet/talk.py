"""Speak and listen on a bus: hellos go out each second and when there is news, and those of others come in."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Iterable

import anyio
import msgspec

from codegen_async.fleet.hello import Hello, read_hello, write_hello
from codegen_async.fleet.store import Bus

_log = logging.getLogger("codegen_async")

BEAT = 1.0
"""Seconds between hellos."""

_GATHER = 0.01  # seconds for which news wait for each other
_LEAVING = 1.0  # seconds that a last word may take


class Talk:
    """Carry the hellos of one member.

    Args:
        bus: carries them; closed with this.
        channel: what tells those who may hear one another from all others.
        say: returns what there is to say, and is told whether a second has passed.
        hear: takes in what others say.
    """

    def __init__(
        self, bus: Bus, channel: str, *, say: Callable[[bool], Iterable[Hello]], hear: Callable[[Hello], None]
    ) -> None:
        self._bus = bus
        self._channel = channel
        self._say = say
        self._hear = hear
        self._news = asyncio.Event()
        self._next = _now()
        self._tasks: list[asyncio.Task[None]] = []
        self._away = False
        self._wondered = False

    def start(self) -> None:
        """Begin to speak and to listen."""
        self._tasks = [_start(self._speak()), _start(self._listen())]

    def wake(self, *, now: bool = False) -> None:
        """Say soon what there is to say; `now`: as if a second had passed."""
        if now:
            self._next = _now()
        self._news.set()

    async def aclose(self, farewell: Callable[[], Hello]) -> None:
        """Say a last word, and leave no task behind."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with anyio.CancelScope(shield=True):
            try:
                async with asyncio.timeout(_LEAVING):
                    await self._publish(farewell())
            except TimeoutError:
                pass
            finally:
                await self._bus.close()

    async def _speak(self) -> None:
        while True:
            self._news.clear()
            beats = _now() >= self._next
            if beats:
                self._next = _now() + BEAT
            try:
                for hello in self._say(beats):
                    await self._publish(hello)
            except Exception as error:  # noqa: BLE001 - what we stumble over must not make us mute
                _log.error("fleet: nothing could be said; please report this", exc_info=error)
            await self._pause()

    async def _pause(self) -> None:
        """Wait until there is news, or a second has passed."""
        try:
            async with asyncio.timeout_at(self._next):
                await self._news.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_GATHER)

    async def _publish(self, hello: Hello) -> None:
        try:
            await self._bus.publish(self._channel, write_hello(hello))
        except OSError as error:
            if not self._away:
                self._away = True
                _log.warning("fleet: looks at runs are not shared with other processes for now: %s", error)
            return
        if self._away:
            self._away = False
            _log.info("fleet: looks at runs are shared with other processes again")

    async def _listen(self) -> None:
        while True:
            try:
                async for message in self._bus.listen(self._channel):
                    self._take(message)
            except OSError as error:
                _log.debug("fleet: %s", error)
            except Exception as error:  # noqa: BLE001 - what we stumble over must not make us deaf
                _log.error("fleet: a message could not be taken in; please report this", exc_info=error)
            await asyncio.sleep(BEAT)

    def _take(self, message: bytes) -> None:
        try:
            hello = read_hello(message)
        except msgspec.MsgspecError as error:
            self.wonder(f"messages that are none: {error}")
            return
        if hello is None:
            self.wonder("members of another version: each version looks for itself")
        else:
            self._hear(hello)

    def wonder(self, at: str) -> None:
        """Tell of what is odd, once."""
        if not self._wondered:
            self._wondered = True
            _log.warning("fleet: there are %s", at)


def _start(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work, context=contextvars.Context())  # of nobody's spans and log fields


def _now() -> float:
    return asyncio.get_running_loop().time()
