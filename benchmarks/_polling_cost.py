"""What a `PollSchedule` costs its process, for `polling.py`: CPU time per call, bytes per run."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from codegen_async.limits import Rate
from codegen_async.polling import GetPoll, Listing, ListPoll, Poll, PollSchedule, Sighting, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = Rate(60, 30.0)


class Cost(NamedTuple):
    """Microseconds of CPU: the mean of `add`, medians and the worst of decisions and answers."""

    add: float
    get: float
    page: float
    worst: float
    answer: float


class Crowd:
    """Watched runs, spread at random over the positions of a list, and the schedule that watches them."""

    def __init__(self, count: int, positions: int, latency: float) -> None:
        self._positions = positions
        self.schedule = PollSchedule(get=RATE, page=RATE, listing=Listing("API"))
        for top in range(positions, 0, -max(100, positions // 200)):  # it has looked around before
            poll = ListPoll(positions - top, 100, "API")
            self.schedule.observed(poll, self._page(poll), 0.0, positions)
        rng = random.Random(1)
        ranks = rng.sample(range(1, positions + 1), count)
        runs = [Sighting(3 * r, 3.0 * r, 1.7e9 - 0.5 * (positions - r), "API") for r in ranks]
        start = time.process_time()
        for run in runs:
            self.schedule.add(run, 0.0, latency=latency, seen=True)
        self.add_seconds = (time.process_time() - start) / count

    def _page(self, poll: ListPoll) -> list[Sighting]:
        top = self._positions - poll.skip
        return [Sighting(3 * rank, 3.0 * rank) for rank in range(top, max(0, top - poll.limit), -1)]

    def answer(self, poll: Poll) -> tuple[Sequence[Sighting], int | None]:
        if isinstance(poll, GetPoll):
            return [Sighting(poll.run_id)], None
        assert isinstance(poll, ListPoll)
        return self._page(poll), self._positions


def cost(count: int, positions: int, latency: float, decisions: int) -> Cost:
    """Measure decisions, each as the driver makes it: when is the stream due, and what does it ask then."""
    crowd = Crowd(count, positions, latency)
    schedule, now = crowd.schedule, 0.0
    spent: dict[Stream, list[float]] = {stream: [] for stream in Stream}
    answers: list[float] = []
    for _ in range(decisions):
        stream = min(Stream, key=lambda stream: schedule.next_due(stream, now))
        now = max(now, schedule.next_due(stream, now))
        start = time.process_time()
        schedule.next_due(stream, now)
        poll = schedule.next(stream, now)
        spent[stream].append(time.process_time() - start)
        assert poll is not None
        seen, total = crowd.answer(poll)
        start = time.process_time()
        schedule.observed(poll, seen, now, total)
        answers.append(time.process_time() - start)
    gets, pages = spent[Stream.GET], spent[Stream.LIST]
    seconds = (crowd.add_seconds, median(gets or [0.0]), median(pages), max(pages), median(answers))
    return Cost(*(1e6 * value for value in seconds))


def bytes_per_run(count: int, positions: int) -> float:
    """Return the memory a watched run takes, its id and everything else included."""
    gc.collect()
    tracemalloc.start()
    crowd = Crowd(count, positions, 5.0)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(crowd.schedule)
