"""What is watched: each run somebody waits for, with all who do."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection
from typing import Generic, TypeVar

from codegen_async.models import Phase, RunLike
from codegen_async.waiting.lasting import OddWord, Standing, Trouble
from codegen_async.waiting.listeners import Listener

R = TypeVar("R", bound=RunLike)

_SLACK = 64  # void entries that are not worth sweeping out


class Crowd(Generic[R]):
    """The listeners of one run, in the order in which they came; each comes and goes at no cost to the others."""

    __slots__ = ("_counts", "_heap", "listeners")

    def __init__(self) -> None:
        self.listeners: dict[Listener[R], None] = {}
        self._counts: dict[float, int] = {}  # of each latency
        self._heap: list[float] = []  # latencies, also some that nobody has any more

    def join(self, listener: Listener[R]) -> None:
        """Take in a listener."""
        self.listeners[listener] = None
        count = self._counts.get(listener.latency, 0)
        self._counts[listener.latency] = count + 1
        if not count:
            heapq.heappush(self._heap, listener.latency)

    def leave(self, listener: Listener[R]) -> bool:
        """Leave out a listener; return whether another one as impatient is missing now."""
        del self.listeners[listener]
        count = self._counts[listener.latency] - 1
        if count:
            self._counts[listener.latency] = count
            return False
        del self._counts[listener.latency]
        while self._heap and self._heap[0] not in self._counts:
            heapq.heappop(self._heap)
        if len(self._heap) > 2 * len(self._counts) + _SLACK:
            self._heap = sorted(self._counts)
        return True

    @property
    def latency(self) -> float:
        """Seconds within which the most impatient listener wants a look; infinite if there is none."""
        return self._heap[0] if self._heap else math.inf


class Watched(Generic[R]):
    """A run somebody waits for.

    Attributes:
        run: its newest snapshot.
        phase: the phase that was last reported; None if none was.
        known: whether it was ever seen or made by this client.
        denied: how long the server has denied it; None as long as it does not.
        listed: whether a page has shown it though it is denied.
        trouble: what is wrong with the looks at it; None if nothing is.
        odd: the word it sits in, if nobody knows that.
    """

    __slots__ = ("_crowd", "_only", "denied", "known", "listed", "odd", "phase", "run", "trouble")

    def __init__(self, *, known: bool) -> None:
        self.run: R | None = None
        self.phase: Phase | None = None
        self.known: bool = known
        self.denied: Standing | None = None
        self.listed: bool = False
        self.trouble: Trouble | None = None
        self.odd: OddWord | None = None
        self._only: Listener[R] | None = None  # most runs have one, which costs less alone
        self._crowd: Crowd[R] | None = None

    @property
    def listeners(self) -> Collection[Listener[R]]:
        """Those who wait, in the order in which they came."""
        if self._crowd is not None:
            return self._crowd.listeners
        return () if self._only is None else (self._only,)

    @property
    def latency(self) -> float:
        """Seconds within which its most impatient listener wants a look; infinite if there is none."""
        if self._crowd is not None:
            return self._crowd.latency
        return math.inf if self._only is None else self._only.latency

    def join(self, listener: Listener[R]) -> None:
        """Take in a listener."""
        if self._crowd is None and self._only is None:
            self._only = listener
            return
        if self._crowd is None:
            self._crowd = Crowd()
        if self._only is not None:
            self._crowd.join(self._only)
            self._only = None
        self._crowd.join(listener)

    def leave(self, listener: Listener[R]) -> bool:
        """Leave out a listener; return whether that can change how often the run is to be looked at."""
        if self._crowd is not None:
            return listener in self._crowd.listeners and self._crowd.leave(listener)
        if self._only is not listener:
            return False
        self._only = None
        return True

    def saw(self) -> None:
        """Note that an answer has shown the run."""
        self.known = True
        self.listed = self.denied is not None
        self.trouble = None
