"""A bus in memory that loses, delays and parts, for `fleet_polling.py` and the tests of a fleet."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import TYPE_CHECKING

from codegen_async.fleet.store import StoreAwayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Air:
    """What the buses of all workers share.

    `lost` is the part of messages that are lost, `legs` the seconds that a message takes, `may_pass` tells whether one
    may pass from a worker to another.
    """

    def __init__(self, *, lost: float = 0.0, legs: tuple[float, float] = (0.001, 0.005), seed: int = 1) -> None:
        self.lost = lost
        self.legs = legs
        self.may_pass: Callable[[str, str], bool] = lambda _, __: True
        self.away = False
        self.sent = 0
        self.bytes = 0
        self.largest = 0
        self._rng = random.Random(seed)
        self._ears: defaultdict[str, dict[str, asyncio.Queue[bytes]]] = defaultdict(dict)
        self._last: dict[tuple[str, str], float] = {}

    @property
    def channels(self) -> list[str]:
        return [*self._ears]

    def send(self, sender: str, channel: str, message: bytes) -> None:
        if self.away:
            raise StoreAwayError("the bus is away")
        self.sent += 1
        self.bytes += len(message)
        self.largest = max(self.largest, len(message))
        loop = asyncio.get_running_loop()
        for name, ear in self._ears[channel].items():
            if self._rng.random() >= self.lost and self.may_pass(sender, name):
                at = max(loop.time() + self._rng.uniform(*self.legs), self._last.get((sender, name), 0.0))
                self._last[sender, name] = at
                loop.call_at(at, ear.put_nowait, message)

    def ear(self, name: str, channel: str) -> asyncio.Queue[bytes]:
        return self._ears[channel].setdefault(name, asyncio.Queue())

    def leave(self, name: str) -> None:
        for ears in self._ears.values():
            ears.pop(name, None)


class AirBus:
    """The bus of one worker; while `frozen`, it hears nothing, and all of it afterwards."""

    def __init__(self, air: Air, name: str) -> None:
        self._air = air
        self._name = name
        self.open = asyncio.Event()
        self.open.set()
        self._is_cut = False

    def cut(self) -> None:
        """Let nothing pass any more, as where a process was killed."""
        self._is_cut = True
        self._air.leave(self._name)

    async def publish(self, channel: str, message: bytes) -> None:
        if not self._is_cut:
            self._air.send(self._name, channel, message)

    async def listen(self, channel: str) -> AsyncIterator[bytes]:
        ear = self._air.ear(self._name, channel)
        while True:
            message = await ear.get()
            await self.open.wait()
            yield message

    async def close(self) -> None:
        self._air.leave(self._name)
