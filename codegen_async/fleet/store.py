"""What a fleet needs of the place where its members meet: a register that is replaced whole, and a lossy broadcast.

The modules that speak to a server or a file stand above this one, and `opening` above them chooses one by its URL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class StoreAwayError(OSError):
    """Say that a store did not answer, or that it is not known whether it did what it was asked; the only failure.

    Its text names no password. Whoever raises it has dropped the connection: what comes late on it is read by nobody.
    """


class Reply(msgspec.Struct, frozen=True):
    """Be what a store answers; read in one step with what was done.

    Attributes:
        swapped: whether the value was replaced.
        version: of the value that is there now, drawn at random when it was written, so that no other value ever has
            it; empty where there is none.
        value: what is there, if it was not replaced; None: nothing.
        now: the store's clock, seconds.
        epoch: names the time since the store last may have lost what was written; another one is another name.
        uptime: seconds since that time began, as far as is known; `inf` where nothing is ever lost. Below 0: it begins
            only so much later, as another server may still write that does not know of this one.
    """

    swapped: bool
    version: bytes
    value: bytes | None
    now: float
    epoch: str
    uptime: float


class Store(Protocol):
    """Keep values by key."""

    async def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
        """Replace a value if it is still the one that is expected, and tell what is there; one step for all others.

        Args:
            key: whose value.
            expected: its version; empty: there is none yet.
            value: the new one. None: only read.
            epoch: replace only while the store's is this one. None: whatever it is.

        Raises:
            StoreAwayError: it did not happen, or may not have happened.
        """
        ...

    async def close(self) -> None:
        """Close what is open; another `swap` opens it again."""
        ...


class Bus(Protocol):
    """Carry messages to all that listen, or to some of them: messages may be lost, and one's own may come back."""

    async def publish(self, channel: str, message: bytes) -> None:
        """Send a message.

        Raises:
            StoreAwayError: it was not sent, or may not have been.
        """
        ...

    def listen(self, channel: str) -> AsyncIterator[bytes]:
        """Yield the messages as they come; goes on by itself after a break, and never ends."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...
