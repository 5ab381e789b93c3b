"""What is known here of the store's clock: bounds of the present, from replies that carried it. Pure.

A store reads its clock after the question was sent and before its answer was received, so each reply bounds by how much
it is ahead of one's own clock. What is stamped is stamped with the upper bound of the present; what protects the limit
is over when the lower bound says so.

The lower bound comes from the smallest difference of the last while of talking: where the store's clock jumps ahead,
what was stamped before the jump is still judged by the old reckoning, until nothing is left of it. Silence does not age
that memory, since the jump may have come meanwhile.
"""

from __future__ import annotations

from collections import deque

DRIFT = 1000e-6
"""By how much clocks may differ in speed."""

_JUMP = 0.05  # seconds; clocks that drift more than they should are further apart by less, and `step` covers it
_TALKING = 5.0  # seconds; between two replies no more than this counts as talking


class StoreClock:
    """Bracket the store's clock.

    Args:
        memory: seconds of talking for which a smaller difference is remembered.
    """

    def __init__(self, memory: float) -> None:
        self.memory: float = memory
        self._talked = 0.0
        self._lowest: deque[tuple[float, float]] = deque()  # (seconds talked, difference), the smallest first
        self._upper = 0.0
        self._sent = self._received = 0.0

    def heard(self, sent: float, received: float, now: float) -> bool:
        """Take note of a reply, by one's own clock; return whether the store's clock was where it had to be.

        If not, it has jumped ahead, or this machine has slept: what was stamped meanwhile is younger than it says.
        """
        expected = not self._lowest or now <= self.bounds(received)[1] + _JUMP
        if self._lowest:
            self._talked += min(received - self._received, _TALKING)
        self._sent, self._received = sent, received
        self._upper = now - sent
        difference = now - received
        lowest = self._lowest
        while lowest and lowest[-1][1] >= difference:
            lowest.pop()
        lowest.append((self._talked, difference))
        while self._talked - lowest[0][0] > self.memory:
            lowest.popleft()
        return expected

    def bounds(self, at: float) -> tuple[float, float]:
        """Return between which times the store's clock is, when one's own shows `at`."""
        return (
            at + self._lowest[0][1] - DRIFT * (at - self._received),
            at + self._upper + DRIFT * (at - self._sent),
        )
