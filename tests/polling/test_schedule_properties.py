"""Whatever the server does, every end is seen in time and nothing is asked in vain."""

import math
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from codegen_async.polling import GetPoll, ListPoll, Stream
from tests.polling.client import GAP, driver
from tests.polling.server import ModelRun, ModelServer, sighting

if TYPE_CHECKING:
    from collections.abc import Callable

    from codegen_async.polling import Poll

MOST_WATCHED = 12
LATENCIES = (0.0, 2.0, 5.0, 20.0)
PAUSE = 30.0

# While the budget is short, the gain of a look decides: no run is passed over once its staleness is as many times that
# of another as the square roots of their patience differ. Ages up to an hour: sqrt(3900 / 600); latencies 0 and 20: 21.
LONGEST = 2 * max(LATENCIES) + MOST_WATCHED * GAP * 21 * math.sqrt(6.5)
"""Seconds within which any watched run is seen while the server answers: no starvation, whatever it tells."""


class Machine(RuleBasedStateMachine):
    """Let everything happen to the list that may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.server = ModelServer()
        self.client = driver(self.server)
        self.trouble = 0.0  # seconds by which faults may have delayed a sighting
        for _ in range(150):
            self.server.create(-3600.0, gap=3).ended = -1800.0

    def pick(self, index: int) -> ModelRun:
        return self.server.runs[index % len(self.server.runs)]

    # The owner

    @precondition(lambda self: len(self.client.last_seen) < MOST_WATCHED)
    @rule(latency=st.sampled_from(LATENCIES), source=st.sampled_from(["API", "API", "API", "SLACK"]))
    def create_and_watch(self, latency: float, source: str) -> None:
        self.client.watch(self.server.create(self.client.now, source), latency=latency, seen=True)

    @precondition(lambda self: len(self.client.last_seen) < MOST_WATCHED)
    @rule(index=st.integers(0, 1000), latency=st.sampled_from(LATENCIES))
    def watch_some(self, index: int, latency: float) -> None:
        self.client.watch(self.pick(index), latency=latency, seen=False)

    @rule(index=st.integers(0, 1000), latency=st.sampled_from(LATENCIES))
    def relax(self, index: int, latency: float) -> None:
        self.client.schedule.relax(self.pick(index).id, latency)

    @rule(index=st.integers(0, 1000))
    def give_up(self, index: int) -> None:
        self.client.forget(self.pick(index).id)

    @rule(index=st.integers(0, 1000))
    def hurry(self, index: int) -> None:
        self.client.schedule.hurry(self.pick(index).id, self.client.now)

    @rule(skip=st.integers(0, 200), limit=st.integers(1, 100), source=st.sampled_from(["API", "SLACK", None]))
    def list_by_hand(self, skip: int, limit: int, source: str | None) -> None:
        poll = ListPoll(skip, limit, source)
        answer = self.server.answer(poll)
        self.client.schedule.observed(poll, answer.seen, self.client.now, answer.total)

    @rule(index=st.integers(0, 1000))
    def get_by_hand(self, index: int) -> None:
        self.client.schedule.sighted(sighting(self.pick(index)), self.client.now)

    # The server

    @rule(index=st.integers(0, 1000))
    def end(self, index: int) -> None:
        self.pick(index).ended = self.client.now

    @rule(index=st.integers(0, 1000))
    def resume(self, index: int) -> None:
        self.pick(index).ended = None

    @rule(count=st.integers(1, 120), source=st.sampled_from(["API", "SLACK"]))
    def strangers_create(self, count: int, source: str) -> None:
        for _ in range(count):
            self.server.create(self.client.now, source)

    @precondition(lambda self: len(self.server.runs) > 100)
    @rule(index=st.integers(0, 1000), count=st.integers(1, 30))
    def delete(self, index: int, count: int) -> None:
        start = index % len(self.server.runs)
        doomed = [run for run in self.server.runs[start : start + count] if run.id not in self.client.last_seen]
        self.server.runs = [run for run in self.server.runs if run not in doomed]

    @rule(total=st.sampled_from([None, None, -5, 0, 7, 100, 150, 10**6]))
    def lie_about_the_total(self, total: int | None) -> None:
        self.server.lie = total

    @rule(delay=st.sampled_from([0.0, 0.0, 0.2, 3.0]))
    def answer_after(self, delay: float) -> None:
        self.client.delay = delay

    # Time

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.client.advance(seconds)

    @rule(seconds=st.sampled_from([2.0, 20.0]), streams=st.sampled_from(["get", "list", "both"]))
    def suffer(self, seconds: float, streams: str) -> None:
        """Let every request of an endpoint fail for a while."""
        faults: dict[str, Callable[[Poll], bool]] = {
            "get": lambda poll: isinstance(poll, GetPoll),
            "list": lambda poll: isinstance(poll, ListPoll),
            "both": lambda _: True,
        }
        self.client.fault = faults[streams]
        self.client.advance(seconds)
        self.client.fault = lambda _: False
        self.client.advance(self.client.delay)
        self.trouble = seconds + PAUSE + 2 * max(LATENCIES)

    @invariant()
    def nobody_starves(self) -> None:
        for run_id, last in self.client.last_seen.items():
            assert self.client.now - last <= LONGEST + self.trouble + 2 * self.client.delay, run_id

    def teardown(self) -> None:
        """See that every run that has ended is found out."""
        for run in self.server.runs:
            run.ended = self.client.now if run.ended is None else run.ended
        self.client.advance(LONGEST + self.trouble)
        assert not self.client.last_seen
        assert len(self.client.schedule) == 0
        assert all(self.client.schedule.next_due(stream, self.client.now) == math.inf for stream in Stream)


TestEverythingHappens = Machine.TestCase
TestEverythingHappens.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
