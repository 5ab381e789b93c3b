"""A driver for a schedule in virtual time: asks when the schedule says so, and checks what it must not do."""

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from codegen_async.limits import Rate
from codegen_async.polling import GetPoll, Listing, ListPoll, Poll, PollSchedule, Stream
from tests.polling.server import Answer, ModelRun, ModelServer, sighting

RATE = Rate(60, 30.0)
SHARE = 0.8
GAP = 30.0 * (1 + 1 / 600) / (60 * SHARE)
"""Seconds between the requests of one stream at full speed."""

Fault = Callable[[Poll], bool]


def no_fault(_: Poll) -> bool:
    return False


@dataclass
class Driver:
    """Sends the polls of a schedule to a model server; an answer takes `delay` seconds."""

    server: ModelServer
    schedule: PollSchedule
    now: float = 0.0
    delay: float = 0.0
    fault: Fault = no_fault
    sent: list[tuple[float, Poll]] = field(default_factory=list)
    last_seen: dict[int, float] = field(default_factory=dict)  # of watched runs, by when they were asked for
    worst: dict[int, float] = field(default_factory=dict)  # the longest time between two such moments
    detected: dict[int, float] = field(default_factory=dict)
    _answers: list[tuple[float, int, float, Poll, Answer | None]] = field(default_factory=list)
    _recent: dict[Stream, deque[float]] = field(default_factory=lambda: {stream: deque(maxlen=20) for stream in Stream})

    def watch(self, run: ModelRun, *, latency: float, seen: bool) -> None:
        self.schedule.add(sighting(run), self.now, latency=latency, seen=seen)
        self.last_seen.setdefault(run.id, self.now)
        self.worst.setdefault(run.id, 0.0)

    def forget(self, run_id: int) -> None:
        self.schedule.discard(run_id)
        self.last_seen.pop(run_id, None)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while True:
            due = min(self.schedule.next_due(stream, self.now) for stream in Stream)
            when = max(self.now, min(due, self._answers[0][0] if self._answers else math.inf))
            if when > until:
                break
            self.now = when
            self._answer_or_ask()
        self.now = until

    def _answer_or_ask(self) -> None:
        if self._answers and self._answers[0][0] <= self.now:
            self._receive()
            return
        for stream in Stream:
            if self.schedule.next_due(stream, self.now) <= self.now:
                poll = self.schedule.next(stream, self.now)
                assert poll is not None, "asked for a slot without a use for it: the driver would spin"
                self._send(stream, poll)

    def _send(self, stream: Stream, poll: Poll) -> None:
        assert isinstance(poll, GetPoll) == (stream is Stream.GET)
        self._check_pace(stream)
        self._check_use(poll)
        self.sent.append((self.now, poll))
        answer = None if self.fault(poll) else self.server.answer(poll)
        heapq.heappush(self._answers, (self.now + self.delay, len(self.sent), self.now, poll, answer))

    def _check_pace(self, stream: Stream) -> None:
        """Two requests may be close, in neighbouring cells; more must be a gap apart on the average."""
        recent = self._recent[stream]
        recent.append(self.now)
        for index, earlier in enumerate(recent):
            assert len(recent) - index <= (self.now - earlier) / GAP + 2 + 1e-6

    def _check_use(self, poll: Poll) -> None:
        if isinstance(poll, GetPoll):
            assert poll.run_id in self.schedule, "asked for a run nobody waits for"
        else:
            flight = self.schedule._flights[id(poll)]
            learning = poll is self.schedule._search
            assert learning or any(run.run_id in self.schedule for run in flight.runs)

    def _receive(self) -> None:
        _, _, asked, poll, answer = heapq.heappop(self._answers)
        if answer is None:
            self.schedule.failed(poll, self.now)
            return
        total = answer.total if isinstance(poll, ListPoll) else None
        self.schedule.observed(poll, answer.seen, self.now, total)
        for seen in answer.seen:
            self._see(int(seen.run_id), asked, ended=seen.run_id in answer.ended)

    def _see(self, run_id: int, asked: float, *, ended: bool) -> None:
        if run_id not in self.last_seen:
            return
        self.worst[run_id] = max(self.worst[run_id], asked - self.last_seen[run_id])
        self.last_seen[run_id] = max(asked, self.last_seen[run_id])
        if ended:
            self.detected[run_id] = self.now
            self.forget(run_id)


def driver(server: ModelServer, *, source: str | None = "API", pages: bool = True) -> Driver:
    schedule = PollSchedule(get=RATE, page=RATE if pages else None, share=SHARE, listing=Listing(source))
    return Driver(server, schedule)
