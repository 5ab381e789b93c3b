"""What there is of a client only while it is open, and on which loop. Knows no API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from codegen_async.hosted.calls import Calls
from codegen_async.http.transport import Transport
from codegen_async.models import RunLike
from codegen_async.waiting import Waiting

if TYPE_CHECKING:  # only a fleet needs it
    from codegen_async.fleet.looks import Looks

R = TypeVar("R", bound=RunLike)


class Link(Generic[R]):
    """What there is only while a client is open."""

    def __init__(
        self,
        transport: Transport,
        calls: Calls[R],
        waiting: Waiting[R],
        forget: Callable[[], None],
        looks: Looks[R] | None = None,
    ) -> None:
        self.transport = transport
        self.calls = calls
        self.waiting = waiting
        self.looks: Looks[R] | None = looks
        """Shares looks with other processes."""
        self.forget: Callable[[], None] = forget
        """Ends the use of the client's memory."""
        self._loop = asyncio.get_running_loop()

    def is_foreign(self) -> bool:
        """Whether another event loop is running than that of the client: what belongs to one loop breaks in others."""
        try:
            return asyncio.get_running_loop() is not self._loop
        except RuntimeError:  # none is running here
            return False

    def is_over(self) -> bool:
        """Whether the event loop of the client was closed, and with it all that the client had opened."""
        return self._loop.is_closed()
