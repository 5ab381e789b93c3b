"""Every watched run is seen at least every `latency` seconds, for as few requests as possible."""

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from codegen_async.polling import GetPoll, ListPoll
from tests.polling.client import GAP, Driver, driver
from tests.polling.server import ModelServer

Event = tuple[float, str, float]  # when; "new" or "old" with a latency, or "strangers" with their number

events = st.lists(
    st.one_of(
        st.tuples(st.floats(0, 60), st.sampled_from(["new", "old"]), st.sampled_from([5.0, 7.0, 20.0])),
        st.tuples(st.floats(0, 60), st.just("strangers"), st.integers(1, 60).map(float)),
    ),
    max_size=12,
)


def play(client: Driver, plan: list[Event]) -> dict[int, float]:
    """Let the events happen, and another minute pass; return the watched runs and their latencies."""
    wanted: dict[int, float] = {}
    for when, kind, value in sorted(plan):
        client.advance(when - client.now)
        if kind == "strangers":
            for _ in range(int(value)):
                client.server.create(client.now)
        elif len(wanted) < 5:
            run = client.server.create(client.now) if kind == "new" else client.server.runs[int(when * 2)]
            client.watch(run, latency=value, seen=kind == "new")
            wanted[run.id] = min(value, wanted.get(run.id, value))
    client.advance(120 - client.now)
    return wanted


@settings(max_examples=100)
@example([(0.0, "new", 5.0), (25.0, "new", 7.0), (30.0, "strangers", 23.0)], 0.0)
@example([(0.0, "new", 5.0), (0.0, "old", 5.0), (37.0, "old", 5.0), (37.0, "strangers", 9.0), (42.0, "old", 5.0)], 0.3)
@given(events, st.sampled_from([0.0, 0.3]))
def test_a_run_is_never_seen_later_than_promised_while_the_budget_allows_it(plan: list[Event], delay: float) -> None:
    server = ModelServer()
    for _ in range(300):
        server.create(-1000.0, gap=2)
    client = driver(server)
    client.delay = delay
    for run_id, latency in play(client, plan).items():
        # Runs that are due at the same moment are served one after another.
        assert client.worst[run_id] <= latency + 5 * GAP + delay
        assert client.now - client.last_seen[run_id] <= latency + 5 * GAP + delay


def test_neighbours_cost_one_page_each_time() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(60):
        client.watch(server.create(0.0), latency=5.0, seen=True)
    client.advance(60.0)
    *pages, check = [poll for _, poll in client.sent]
    assert all(isinstance(poll, ListPoll) for poll in pages)
    assert len(pages) == 12
    assert isinstance(check, GetPoll)  # once in twelve pages a get checks what they tell


def test_lonely_runs_are_got() -> None:
    server = ModelServer()
    for _ in range(1000):
        server.create(-1000.0)
    client = driver(server)
    for index in (100, 500, 900):
        client.watch(server.runs[index], latency=5.0, seen=True)
    client.advance(60.0)
    assert len(client.sent) <= 1 + 3 * 12  # the one taught where they stand
    assert sum(isinstance(poll, GetPoll) for _, poll in client.sent) >= 3 * 10


def test_pages_stand_in_for_gets_that_come_too_late() -> None:
    server = ModelServer()
    for _ in range(1300):
        server.create(-1000.0)
    client = driver(server)
    for index in range(0, 1300, 105):
        client.watch(server.runs[index], latency=5.0, seen=True)
    client.advance(120.0)  # thirteen lonely runs every 5 s: more than the gets alone can serve, less than both
    assert 13 / 5.0 * GAP > 1.6
    client.worst = dict.fromkeys(client.worst, 0.0)
    client.advance(120.0)
    assert max(client.worst.values()) <= 5.0 + 3 * GAP


def test_gets_stand_in_for_pages_that_come_too_late() -> None:
    server = ModelServer()
    for _ in range(2600):
        server.create(-1000.0)
    client = driver(server)
    for start in range(0, 2600, 270):  # ten pairs of neighbours every 5 s: more than pages alone can serve
        for run in server.runs[start : start + 2]:
            client.watch(run, latency=5.0, seen=True)
    client.advance(120.0)
    client.worst = dict.fromkeys(client.worst, 0.0)
    client.advance(120.0)
    assert max(client.worst.values()) <= 5.0 + 3 * GAP


def test_one_page_serves_runs_of_different_latencies() -> None:
    server = ModelServer()
    client = driver(server)
    client.watch(server.create(0.0), latency=5.0, seen=True)
    client.watch(server.create(0.0), latency=7.0, seen=True)
    client.advance(59.0)
    assert len(client.sent) == 11


def test_pages_are_fitted_to_the_runs_they_are_to_show() -> None:
    server = ModelServer()
    for _ in range(500):
        server.create(-1000.0)
    client = driver(server)
    for index in (300, 310, 320):
        client.watch(server.runs[index], latency=5.0, seen=True)
    client.advance(60.0)
    last = client.sent[-1][1]
    assert isinstance(last, ListPoll)
    assert last.skip <= 499 - 320
    assert last.skip + last.limit > 499 - 300
    assert last.limit <= 25


def test_the_last_page_allows_for_runs_that_strangers_have_created_since() -> None:
    server = ModelServer()
    for _ in range(500):
        server.create(-1000.0)
    client = driver(server)
    for index in (300, 310):
        client.watch(server.runs[index], latency=10.0, seen=True)
    for _ in range(300):
        client.advance(1.0)
        server.create(client.now)
        server.create(client.now)
    # At two a second a page is off by twenty when it is asked for; nothing may be missed for that.
    assert max(client.worst.values()) <= 10.0 + GAP
    assert len(client.sent) <= 35


def test_a_single_eager_run_is_seen_twice_as_often_as_one_budget_allows() -> None:
    server = ModelServer()
    client = driver(server)
    client.watch(server.create(0.0), latency=0.0, seen=True)
    client.advance(30.0)
    moments = [when for when, _ in client.sent]
    assert all(abs(later - earlier - GAP / 2) < 1e-9 for earlier, later in itertools.pairwise(moments))


def test_an_eager_run_takes_what_patient_ones_leave() -> None:
    server = ModelServer()
    for _ in range(1000):
        server.create(-80000.0)
    client = driver(server)
    patient = [server.runs[index] for index in range(50, 1000, 100)]
    for run in patient:
        client.watch(run, latency=20.0, seen=True)
    eager = server.create(0.0)
    client.watch(eager, latency=0.0, seen=True)
    client.advance(200.0)
    assert all(client.worst[run.id] <= 20.0 + 5 * GAP for run in patient)
    assert client.worst[eager.id] <= 5 * GAP
    gets = [poll.run_id for _, poll in client.sent if isinstance(poll, GetPoll)]
    assert gets.count(eager.id) > len(gets) / 2


def test_pages_serve_an_eager_run_before_crowds_of_patient_ones() -> None:
    server = ModelServer()
    for _ in range(1000):
        server.create(-1000.0)
    client = driver(server)
    for run in server.runs[100:190]:
        client.watch(run, latency=20.0, seen=True)
    client.watch(server.runs[900], latency=0.0, seen=True)
    client.advance(100.0)
    pages = [poll for _, poll in client.sent if isinstance(poll, ListPoll)][1:]
    assert sum(poll.limit < 5 for poll in pages) > 0.9 * len(pages)


def test_when_the_budget_is_short_young_runs_are_seen_more_often_but_old_ones_as_well() -> None:
    server = ModelServer()
    old = [server.create(-3600.0 * 23) for _ in range(50)]
    young = [server.create(0.0) for _ in range(50)]
    client = driver(server, pages=False)
    for run in old + young:
        client.watch(run, latency=5.0, seen=True)
    client.advance(3600.0)
    gets = [poll.run_id for _, poll in client.sent if isinstance(poll, GetPoll)]
    looks = [[gets.count(run.id) for run in group] for group in (old, young)]
    assert min(looks[1]) > 2 * max(looks[0])
    assert max(client.worst.values()) < 12 * 100 * GAP  # a hundred gets: each run once, in turn


def test_ten_thousand_runs_nobody_has_seen_are_all_seen_by_pages() -> None:
    server = ModelServer()
    for _ in range(10_000):
        server.create(-1000.0, gap=3)
    client = driver(server)
    for run in server.runs:
        client.watch(run, latency=5.0, seen=False)
    client.advance(100.0)
    never = sum(client.worst[run.id] == client.last_seen[run.id] == 0 for run in server.runs)
    pages = sum(isinstance(poll, ListPoll) for _, poll in client.sent)
    assert pages < 170
    assert never < 500


def test_runs_added_at_a_gap_in_the_ids_are_found_by_estimates() -> None:
    server = ModelServer()
    for index in range(3000):
        server.create(-1000.0, gap=50 if index % 1000 < 100 else 1)
    client = driver(server)
    watched = server.runs[700:720]
    for run in watched:
        client.watch(run, latency=5.0, seen=False)
    client.advance(40.0)
    sent = len(client.sent)
    client.advance(50.0)
    kinds = [type(poll) for _, poll in client.sent[sent:]]
    assert kinds.count(ListPoll) == 10
    assert len(kinds) <= 10 + 1  # a get checks what the pages tell
