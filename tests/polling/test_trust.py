"""What a list tells is checked by gets, and not believed while they tell something else."""

import random
from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.limits import Rate
from codegen_async.polling import GetPoll, ListPoll, NumberedListing, Poll, PollSchedule, Sighting
from codegen_async.polling.trust import FRESH, LAG, PART, Trust
from codegen_async.polling.windows import Watch
from tests.polling.client import GAP, RATE, SHARE, Driver, driver
from tests.polling.server import Answer, ModelServer

LATENCY = 5.0

Row = Sighting | None
Lie = Callable[[Sighting], Row]


def watched(trust: Trust, run_id: int, *, rank: int | None = 7, confirmed: float = 0.0) -> Watch:
    run = Watch(run_id, LATENCY, 0.0, 0.0, 0.0, rank=rank, confirmed=confirmed)
    trust.enter(run)
    return run


def row(run_id: int, phase: str | None) -> Sighting:
    return Sighting(run_id, phase=phase)


def hear(trust: Trust, asked: float, *rows: Sighting) -> None:
    trust.hear(rows, asked, asked + 0.1)


def accused(now: float = 10.0) -> Trust:
    """Return what is thought of a list that has told that run 1 moves, when a get told that it has ended."""
    trust = Trust()
    run = watched(trust, 1)
    run.told = "running"
    trust.confirm(run, "succeeded", now)
    assert trust.witness is not None
    return trust


def convicted(now: float = 10.0) -> Trust:
    trust = accused(now)
    hear(trust, now + LAG, row(1, "running"))
    assert not trust.holds
    return trust


# Checks


def test_a_check_is_for_the_run_for_which_no_get_was_sent_for_longest() -> None:
    trust = Trust()
    runs = [watched(trust, run_id, confirmed=float(run_id)) for run_id in (1, 2, 3)]  # as time goes by
    now = 10.0 + FRESH
    for run_id in (1, 2, 3):
        run = trust.candidate(now)
        assert run is not None
        assert run.run_id == run_id
        trust.asked(run, now)
        assert trust.checking
    assert trust.candidate(now) is None
    for run in runs:
        trust.leave(run)
    assert trust.candidate(now + FRESH) is None


def test_a_check_is_due_once_in_so_many_pages() -> None:
    trust = Trust()
    run = watched(trust, 1)
    for _ in range(PART - 1):
        hear(trust, 100.0)
        assert not trust.is_due(100.0)
    hear(trust, 100.0)
    assert trust.is_due(100.0)
    trust.asked(run, 100.0)
    assert not trust.is_due(200.0)


# Evidence


@pytest.mark.parametrize(
    ("told", "phase", "rank"), [(None, "ended", 7), ("running", "running", 7), ("running", None, 7), ("a", "b", None)]
)
def test_a_get_that_tells_nothing_else_accuses_nobody(told: str | None, phase: str | None, rank: int | None) -> None:
    trust = Trust()
    run = watched(trust, 1, rank=rank)
    run.told = told
    trust.confirm(run, phase, 10.0)
    assert trust.witness is None


def test_what_was_told_before_the_last_get_is_no_evidence() -> None:
    trust = Trust()
    run = watched(trust, 1)
    run.told = "pending"
    trust.confirm(run, "pending", 10.0)
    trust.confirm(run, "running", 20.0)
    assert trust.witness is None


def test_an_end_that_came_between_page_and_get_is_forgiven_by_the_next_page() -> None:
    trust = accused()
    for asked in (9.0, 19.0):
        hear(trust, asked, row(1, "running"))
        assert trust.witness is not None
    hear(trust, 20.0, row(1, "succeeded"))
    assert trust.witness is None
    assert trust.holds


def test_a_list_that_tells_what_is_over_is_believed_when_it_tells_the_end_and_a_minute_has_passed() -> None:
    trust = convicted()
    hear(trust, 30.0, row(1, "succeeded"))
    assert not trust.holds
    hear(trust, 100.0, row(1, "running"))
    assert not trust.holds
    hear(trust, 110.0, row(1, "succeeded"))
    assert trust.holds


def test_a_list_that_stands_still_is_never_believed_again() -> None:
    trust = convicted()
    for hour in range(1, 100):
        hear(trust, hour * 3600.0, row(1, "running"))
        assert not trust.holds


def test_sentences_grow_to_an_hour_and_are_forgotten_after_one() -> None:
    trust, now, served = Trust(), 0.0, []
    for _ in range(9):
        run = watched(trust, 1)
        run.told = "running"
        trust.confirm(run, "succeeded", now)
        hear(trust, began := now + LAG, row(1, "running"))
        while not trust.holds:
            now += 10.0
            hear(trust, now, row(1, "succeeded"))
        served.append(now - began)
    assert [round(seconds, -2) for seconds in served[-3:]] == [3600.0] * 3
    assert served[0] < 80.0
    run.told = "running"
    trust.confirm(run, "succeeded", now := now + 3700.0)
    hear(trust, now + LAG, row(1, "running"))
    assert not trust.holds
    hear(trust, now + 80.0, row(1, "succeeded"))
    assert trust.holds


def test_a_witness_that_no_page_shows_is_dismissed() -> None:
    trust = accused()
    for asked in (21.0, 22.0):
        hear(trust, asked, row(2, "running"))
        assert trust.witness is not None
    hear(trust, 23.0, row(1, None))
    assert trust.witness is None


def test_nothing_is_checked_while_the_list_is_not_believed() -> None:
    trust = convicted()
    watched(trust, 2)
    for _ in range(2 * PART):
        hear(trust, 11.0)
    assert trust.candidate(1000.0) is None


# The schedule


class Liar(ModelServer):
    """Answers gets truly, and tells of the rows of pages what it likes."""

    def __init__(self, telling: Lie) -> None:
        super().__init__()
        self.telling = telling

    def answer(self, poll: Poll) -> Answer:
        answer = super().answer(poll)
        seen = [self._true(item) for item in answer.seen]
        if isinstance(poll, GetPoll):
            return Answer(seen, None, answer.ended)
        shown = [lie for item in seen if (lie := self.telling(item)) is not None]
        return Answer(shown, answer.total, {int(item.run_id) for item in shown if item.phase == "ended"} & answer.ended)

    def _true(self, item: Sighting) -> Sighting:
        run = self.find(int(item.run_id))
        phase = "running" if run is None or run.ended is None else "ended"
        return msgspec.structs.replace(item, phase=phase)


def lying(telling: Lie, runs: int, *, numbered: bool = False, latency: float = LATENCY) -> Driver:
    server = Liar(telling)
    client = driver(server)
    if numbered:
        pages = Rate(RATE.limit, 2 * RATE.period)
        client.schedule = PollSchedule(get=RATE, page=pages, share=SHARE, listing=NumberedListing(), shared=True)
    for _ in range(runs):
        client.watch(server.create(0.0), latency=latency, seen=True)
    return client


def gaps(client: Driver, began: float = 0.0) -> Iterable[float]:
    """Return the longest time that each run was not asked for by get."""
    sent: dict[object, list[float]] = {run.id: [began] for run in client.server.runs}
    for when, poll in client.sent:
        if isinstance(poll, GetPoll):
            sent[poll.run_id].append(when)
    return [
        max(after - before for before, after in zip(times, [*times[1:], client.now], strict=True))
        for run_id, times in sent.items()
        if run_id in client.schedule
    ]


def bound(runs: int, latency: float) -> float:
    """Return the seconds within which a get is sent for each of some runs that stand on one page."""
    return FRESH + (runs + 1) * PART * max(latency + GAP, 2 * GAP) + latency


lies = st.sampled_from(["true", "same", "any", "partial", "absent", "doubtful"])


@settings(max_examples=60)
@given(
    st.lists(lies, min_size=1, max_size=7),
    st.integers(1, 30),
    st.sampled_from([0.0, LATENCY, 20.0]),
    st.booleans(),
    st.integers(0, 99),
)
def test_every_run_is_asked_for_by_get_in_time_whatever_the_list_tells(
    kinds: list[str], runs: int, latency: float, numbered: bool, seed: int
) -> None:
    rng = random.Random(seed)

    def telling(item: Sighting) -> Row:
        kind = kinds[int(item.run_id) % len(kinds)]
        if kind == "absent":
            return None
        word = {"true": item.phase, "any": rng.choice(["running", "ended", "odd"])}.get(kind, "same")
        return msgspec.structs.replace(item, phase=word, partial=kind == "partial", doubtful=kind == "doubtful")

    client = lying(telling, runs, numbered=numbered, latency=latency)
    client.delay = 0.2
    client.advance(2.5 * bound(runs, latency))
    assert max(gaps(client)) <= bound(runs, latency)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("runs", [4, 50])
def test_an_honest_list_costs_one_get_in_a_dozen_pages(runs: int, numbered: bool) -> None:
    client = lying(lambda item: item, runs, numbered=numbered)
    client.delay = 0.2
    client.advance(60.0)
    client.sent.clear()
    rng = random.Random(1)
    for run in rng.sample(client.server.runs, runs - 3):
        client.advance(3600.0 / (runs - 3))
        run.ended = client.now
        client.advance(0.0)
    pages = sum(isinstance(poll, ListPoll) for _, poll in client.sent)
    gets = len(client.sent) - pages
    assert pages >= 700
    assert gets <= pages / PART + 1
    assert client.schedule.believes


@pytest.mark.parametrize("numbered", [False, True])
def test_gets_do_the_work_of_a_list_that_stands_still(numbered: bool) -> None:
    client = lying(lambda item: msgspec.structs.replace(item, phase="running"), 40, numbered=numbered)
    client.delay = 0.2
    client.advance(60.0)
    for run in client.server.runs[:20]:
        run.ended = client.now
    client.advance(2 * PART * LATENCY + 2 * LAG + 40 / 1.6 * 1.2)  # a check or two find one, gets the others
    assert not client.schedule.believes
    assert len(client.detected) == 20
    client.sent.clear()
    began = client.now
    client.advance(3600.0)
    pages = sum(isinstance(poll, ListPoll) for _, poll in client.sent)
    assert pages <= 3600 / 30 + 2
    assert max(gaps(client, began)) <= 20 / 1.6 * 1.2
