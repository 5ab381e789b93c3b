"""Remember when requests were sent, in memory that outlives the process: a restart spends no second burst.

A write to a mapped file costs no call to the system, and `kill -9` does not undo it. A power cut may; then the server
says 429 where the last requests were less than a window ago.
"""

from __future__ import annotations

from collections.abc import Callable

from codegen_async.batch.lease import MEMORY

ENDPOINTS = ("create", "get", "list")
"""Whose requests a batch remembers. The order is that of their places in the memory."""

_ROOM = MEMORY // len(ENDPOINTS) // 16  # requests each: a time and a sender, 8 bytes both


class Sendings:
    """Note when requests to one endpoint were over, the newest in place of the oldest.

    Args:
        memory: of the journal.
        endpoint: one of `ENDPOINTS`.
        clock: returns wall-clock seconds.
        sender: a number that tells the client from all others, of this process and of those before; not 0.
    """

    def __init__(self, memory: memoryview, endpoint: str, clock: Callable[[], float], sender: int) -> None:
        start = ENDPOINTS.index(endpoint) * 16 * _ROOM
        self._times = memory[start:][: 8 * _ROOM].cast("d")
        self._senders = memory[start:][8 * _ROOM : 16 * _ROOM].cast("q")
        self._clock = clock
        self._sender = sender
        self._next = min(range(_ROOM), key=self._times.__getitem__)

    def note(self) -> Callable[[], None]:
        """Note that a request is about to be sent; return what notes that it is over."""
        place = self._next
        self._next = (place + 1) % _ROOM
        self._senders[place] = -self._sender  # negative: under way
        self._times[place] = self._clock()

        def over() -> None:
            self._times[place] = self._clock()
            self._senders[place] = self._sender

        return over

    def ages(self) -> list[float]:
        """Return how many seconds ago the requests of others were over; the limiter of this client knows its own.

        A request that was under way when its process died may have reached the server any time since: it is over now.
        """
        now = self._clock()
        others = [place for place, sender in enumerate(self._senders) if sender and abs(sender) != self._sender]
        for place in others:
            if self._senders[place] < 0:
                self._senders[place] *= -1
                self._times[place] = now
        return [max(0.0, now - self._times[place]) for place in others]  # a wall clock may have been set back
