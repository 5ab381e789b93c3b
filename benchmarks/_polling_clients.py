"""Ways to find out which runs have ended, for `polling.py`: what others do, and the product."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from typing import TYPE_CHECKING

from benchmarks._polling_model import LIMIT, MARGIN, PERIOD, Slots
from codegen_async.limits import Rate
from codegen_async.polling import GetPoll, Listing, ListPoll, Poll, PollSchedule, Sighting, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._polling_model import Run, World

GAP = (PERIOD + MARGIN) / LIMIT  # seconds between requests that use up one budget evenly


class Naive:
    """Each run has a poller of its own: a get every 5 s, after a 429 once more in 1, 2, 4 .. 60 s (jittered)."""

    def __init__(self, world: World, *, interval: float = 5.0) -> None:
        self._world = world
        self._interval = interval
        self._rng = random.Random(1)
        self._heap: list[tuple[float, int, float]] = []

    def watch(self, run: Run, now: float) -> None:
        # Runs that are known already have their pollers going, each with its own phase.
        first = self._rng.uniform(0, self._interval) if now == 0 else self._interval
        heapq.heappush(self._heap, (now + first, run.number, 1.0))

    def due(self, now: float) -> float:
        del now
        return self._heap[0][0] if self._heap else math.inf

    def act(self, now: float) -> None:
        _, number, delay = heapq.heappop(self._heap)
        run = self._world.get(number)
        if run is None:
            heapq.heappush(self._heap, (now + delay * self._rng.uniform(0.5, 1), number, min(60.0, 2 * delay)))
        elif not self._world.show(run, now):
            heapq.heappush(self._heap, (now + self._interval, number, 1.0))


class Queued:
    """Each run has a poller of its own, every 5 s, and all of them queue at one limiter."""

    def __init__(self, world: World, *, interval: float = 5.0) -> None:
        self._world = world
        self._interval = interval
        self._rng = random.Random(1)
        self._slots = Slots()
        self._sleeping: list[tuple[float, int]] = []
        self._waiting: deque[int] = deque()

    def watch(self, run: Run, now: float) -> None:
        first = self._rng.uniform(0, self._interval) if now == 0 else self._interval
        heapq.heappush(self._sleeping, (now + first, run.number))

    def due(self, now: float) -> float:
        del now
        if self._waiting:
            return self._slots.free
        return max(self._sleeping[0][0], self._slots.free) if self._sleeping else math.inf

    def act(self, now: float) -> None:
        while self._sleeping and self._sleeping[0][0] <= now:
            self._waiting.append(heapq.heappop(self._sleeping)[1])
        number = self._waiting.popleft()
        self._slots.take(now)
        run = self._world.get(number)
        assert run is not None
        if not self._world.show(run, now):
            heapq.heappush(self._sleeping, (now + self._interval, number))


class RoundRobin:
    """One loop: gets at the rate the limit allows, the longest unseen run first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: deque[int] = deque()
        self._next = 0.0

    def watch(self, run: Run, now: float) -> None:
        del now
        self._queue.append(run.number)

    def due(self, now: float) -> float:
        del now
        return self._next if self._queue else math.inf

    def act(self, now: float) -> None:
        self._next = max(self._next + GAP, now)
        number = self._queue.popleft()
        run = self._world.get(number)
        assert run is not None
        if not self._world.show(run, now):
            self._queue.append(number)


class Sweep:
    """One loop: page after page of the list, from the newest run down to the oldest one waited for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._oldest: list[int] = []  # ranks, a heap
        self._skip = 0
        self._next = 0.0

    def watch(self, run: Run, now: float) -> None:
        del now
        heapq.heappush(self._oldest, run.rank)

    def due(self, now: float) -> float:
        del now
        return self._next if self._world.watched else math.inf

    def act(self, now: float) -> None:
        self._next = max(self._next + GAP, now)
        page = self._world.page(self._skip, 100)
        assert page is not None
        for run in page:
            self._world.show(run, now)
        while self._oldest and self._world.runs[self._oldest[0] - 1].number not in self._world.watched:
            heapq.heappop(self._oldest)
        self._skip += 100
        if not self._oldest or self._skip > len(self._world.runs) - self._oldest[0]:
            self._skip = 0


class Ours:
    """The product: `PollSchedule`, with the limiter's rule in front of each endpoint.

    `leg` draws the time a message takes one way.
    """

    def __init__(self, world: World, *, latency: float, share: float, jitter: Sequence[float] = (0.0, 0.0)) -> None:
        self._world = world
        self._latency = latency
        self._jitter = jitter
        self._rng = random.Random(1)
        rate = Rate(LIMIT, PERIOD)
        self.schedule = PollSchedule(get=rate, page=rate, share=share, listing=Listing("API"))
        self._slots = {stream: Slots() for stream in Stream}
        self._answers: list[tuple[float, int, Poll, list[Run], float, int]] = []
        self._sent = 0

    def watch(self, run: Run, now: float) -> None:
        self.schedule.add(self._sighting(run), now, latency=self._latency, seen=True)

    @staticmethod
    def _sighting(run: Run) -> Sighting:
        return Sighting(run.number, float(run.number), 1.7e9 + run.created, "API")

    def _free(self, stream: Stream, now: float) -> float:
        return max(self.schedule.next_due(stream, now), self._slots[stream].free)

    def due(self, now: float) -> float:
        answer = self._answers[0][0] if self._answers else math.inf
        return min(answer, *(self._free(stream, now) for stream in Stream))

    def act(self, now: float) -> None:
        if self._answers and self._answers[0][0] <= now:
            self._read(now)
            return
        for stream in Stream:
            if self._free(stream, now) <= now:
                poll = self.schedule.next(stream, now)
                assert poll is not None, "the schedule asked for a slot and had no use for it"
                self._send(poll, now)

    def _send(self, poll: Poll, now: float) -> None:
        # What the server shows is that of the moment it serves the request; nothing else happens meanwhile.
        served = now + self._rng.uniform(*self._jitter)
        back = served + self._rng.uniform(*self._jitter)
        if isinstance(poll, GetPoll):
            self._slots[Stream.GET].take(back)
            run = self._world.get(int(poll.run_id))
            assert run is not None, "429"
            runs = [run]
        else:
            assert isinstance(poll, ListPoll)
            self._slots[Stream.LIST].take(back)
            page = self._world.page(poll.skip, poll.limit)
            assert page is not None, "429"
            runs = page
        self._sent += 1
        heapq.heappush(self._answers, (back, self._sent, poll, runs, served, len(self._world.runs)))
        if back == now:
            self._read(now)

    def _read(self, now: float) -> None:
        _, _, poll, runs, served, total = heapq.heappop(self._answers)
        self.schedule.observed(
            poll, [self._sighting(run) for run in runs], now, total if isinstance(poll, ListPoll) else None
        )
        for run in runs:
            if self._world.show(run, served):
                self.schedule.discard(run.number)
