"""What each call of the schedule's interface does."""

import math

import pytest

from codegen_async.polling import GetPoll, ListPoll, PollSchedule, Sighting, Stream
from tests.polling.client import GAP, RATE, SHARE, driver
from tests.polling.server import ModelServer, sighting

A, B = Sighting(1, order=1.0), Sighting(2, order=2.0)


def gets_only() -> PollSchedule:
    return PollSchedule(get=RATE, page=None, share=SHARE)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, math.nan])
def test_a_share_is_a_part_of_the_limit(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        PollSchedule(get=RATE, page=None, share=share)


def test_a_run_that_was_just_seen_is_due_one_latency_later() -> None:
    schedule = gets_only()
    schedule.add(A, 100.0, latency=7.0, seen=True)
    assert schedule.next_due(Stream.GET, 100.0) == 107.0
    assert schedule.next(Stream.GET, 106.9) is None
    assert schedule.next(Stream.GET, 107.0) == GetPoll(1)


def test_a_run_that_nobody_has_seen_is_due_at_once() -> None:
    schedule = gets_only()
    schedule.add(A, 100.0)
    assert schedule.next_due(Stream.GET, 100.0) <= 100.0
    assert schedule.next(Stream.GET, 100.0) == GetPoll(1)


def test_without_a_list_there_is_nothing_to_list() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0)
    schedule.add(B, 0.0)
    assert schedule.next_due(Stream.LIST, 0.0) == math.inf
    assert schedule.next(Stream.LIST, 100.0) is None


def test_it_knows_what_it_watches() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0)
    assert len(schedule) == 1
    assert 1 in schedule
    assert 2 not in schedule


def test_a_discarded_run_is_not_asked_for() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0)
    schedule.discard(1)
    assert schedule.next_due(Stream.GET, 0.0) == math.inf
    assert 1 not in schedule


def test_runs_nobody_watches_are_ignored() -> None:
    schedule = gets_only()
    schedule.discard(9)
    schedule.relax(9, 5.0)
    schedule.hurry(9, 0.0)
    schedule.sighted(A, 0.0)
    assert schedule.next_due(Stream.GET, 0.0) == math.inf


def test_the_most_impatient_watcher_decides() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=30.0, seen=True)
    schedule.add(A, 1.0, latency=5.0)
    schedule.add(A, 2.0, latency=60.0)
    assert schedule.next_due(Stream.GET, 2.0) == 5.0


def test_when_the_most_impatient_watcher_has_left_the_run_is_due_later() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=5.0, seen=True)
    schedule.relax(1, 30.0)
    assert schedule.next_due(Stream.GET, 0.0) == 30.0


@pytest.mark.parametrize(("before", "after"), [(0.0, 30.0), (30.0, 0.0), (5.0, 0.0), (0.0, 5.0)])
def test_a_run_may_become_eager_or_patient(before: float, after: float) -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=before, seen=True)
    schedule.relax(1, after)
    assert schedule.next_due(Stream.GET, 1.0) == max(1.0, after)
    assert schedule.next(Stream.GET, 40.0) == GetPoll(1)


def test_a_run_that_is_due_for_another_reason_stays_due_when_its_watcher_leaves() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=5.0)
    schedule.relax(1, 30.0)
    assert schedule.next_due(Stream.GET, 0.0) <= 0.0


def test_a_hurried_run_goes_before_all_others() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=5.0)
    schedule.add(B, 0.0, latency=50.0, seen=True)
    schedule.hurry(2, 0.0)
    assert schedule.next(Stream.GET, 0.0) == GetPoll(2)
    assert schedule.next(Stream.GET, 1.0) == GetPoll(1)


def test_a_run_hurried_while_it_is_asked_for_is_asked_for_once_more() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=50.0)
    poll = schedule.next(Stream.GET, 0.0)
    assert poll is not None
    schedule.hurry(1, 0.1)
    schedule.observed(poll, [A], 0.2)
    assert schedule.next(Stream.GET, 1.0) == GetPoll(1)


def test_a_run_that_is_asked_for_is_not_chosen_again_while_the_answer_is_on_its_way() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=50.0)
    schedule.add(B, 0.0, latency=50.0)
    assert {schedule.next(Stream.GET, 0.0), schedule.next(Stream.GET, 1.0)} == {GetPoll(1), GetPoll(2)}
    assert schedule.next_due(Stream.GET, 1.0) == 50.0


def test_what_the_user_reads_is_known_for_free() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=5.0, seen=True)
    schedule.sighted(A, 4.0)
    assert schedule.next_due(Stream.GET, 4.0) == 9.0


def test_pages_the_user_reads_are_known_for_free_and_teach_where_runs_stand() -> None:
    server = ModelServer()
    client = driver(server)
    watched = [server.create(0.0) for _ in range(50)][10:12]
    for run in watched:
        client.watch(run, latency=5.0, seen=True)
    poll = ListPoll(0, 50, "API")
    client.schedule.observed(poll, server.answer(poll).seen, 4.0, 50)
    client.advance(10.0)
    when, sent = client.sent[0]
    assert when == 9.0
    assert isinstance(sent, ListPoll)
    assert sent.limit < 10


def test_a_page_under_another_filter_teaches_no_ranks() -> None:
    server = ModelServer()
    client = driver(server)
    for index in range(50):
        run = server.create(0.0, "API" if index % 2 else "SLACK")
        if 20 < index < 30 and index % 2:
            client.watch(run, latency=5.0, seen=True)
    poll = ListPoll(0, 50, None)
    client.schedule.observed(poll, server.answer(poll).seen, 0.0, 50)
    client.advance(6.0)
    assert client.sent[0][1] == ListPoll(0, 100, "API")  # still has to learn


def test_an_answer_without_the_run_lets_it_be_asked_for_again() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=50.0)
    for now in (0.0, 1.0):
        poll = schedule.next(Stream.GET, now)
        assert poll == GetPoll(1)
        schedule.observed(poll, [], now + 0.1)
    assert schedule.next_due(Stream.GET, 2.0) == 51.0  # but not for ever at once


def test_after_a_failure_the_run_is_as_stale_as_before() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=50.0)
    poll = schedule.next(Stream.GET, 0.0)
    assert poll is not None
    schedule.failed(poll, 0.5)
    assert schedule.next_due(Stream.GET, 0.5) == pytest.approx(GAP)
    assert schedule.next(Stream.GET, 1.0) == poll


def asked_by(schedule: PollSchedule, count: int, *, fail: int | None = None, now: float = 0.0) -> list[object]:
    """Return which runs the next gets ask for; the first of one run fails, the others are answered."""
    asked: list[object] = []
    for _ in range(count):
        now = max(now, schedule.next_due(Stream.GET, now))
        poll = schedule.next(Stream.GET, now)
        assert isinstance(poll, GetPoll)
        if poll.run_id == fail and fail not in asked:
            schedule.failed(poll, now)
        else:
            schedule.observed(poll, [Sighting(poll.run_id)], now)
        asked.append(poll.run_id)
    return asked


def test_an_eager_run_whose_get_has_failed_is_still_the_stalest() -> None:
    schedule = gets_only()
    for run_id in range(4):
        schedule.add(Sighting(run_id), float(run_id), latency=0.0, seen=True)
    assert asked_by(schedule, 6, fail=0, now=4.0) == [0, 0, 1, 2, 3, 0]


def test_a_failure_that_comes_late_is_made_up_for_as_well() -> None:
    schedule = gets_only()
    for run_id in range(4):
        schedule.add(Sighting(run_id), float(run_id), latency=0.0, seen=True)
    first = schedule.next(Stream.GET, 4.0)
    assert first == GetPoll(0)
    assert asked_by(schedule, 5, now=5.0) == [1, 2, 3, 0, 1]
    schedule.failed(first, 9.0)  # it was asked for again meanwhile
    assert asked_by(schedule, 1, now=9.0) == [2]
    second = schedule.next(Stream.GET, 10.0)
    assert second == GetPoll(3)
    assert schedule.next(Stream.GET, 11.0) == GetPoll(0)
    schedule.failed(second, 12.0)
    assert asked_by(schedule, 2, now=12.0) == [3, 1]


def test_a_page_that_has_failed_late_is_asked_for_again() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(500):
        server.create(-1000.0)
    for index in (100, 300):
        client.watch(server.runs[index], latency=0.0, seen=True)
    client.advance(5.0)  # both are where they are known to be
    schedule = client.schedule
    first, second = schedule.next(Stream.LIST, 10.0), schedule.next(Stream.LIST, 11.0)
    assert first
    assert second
    assert first != second
    schedule.failed(first, 12.0)
    assert schedule.next(Stream.LIST, 12.0) == first


def test_after_a_page_has_failed_the_run_that_was_stalest_before_is_so_again() -> None:
    server = ModelServer()
    client = driver(server)
    stale, fresh = server.create(0.0), server.create(0.0)
    for run in (stale, fresh):
        client.watch(run, latency=0.0, seen=True)
    schedule, newest = client.schedule, ListPoll(0, 100, "API")
    schedule.observed(newest, server.answer(newest).seen, 0.0, 2)
    schedule.sighted(sighting(fresh), 5.0)
    poll = schedule.next(Stream.LIST, 6.0)
    assert poll is not None
    schedule.failed(poll, 6.0)
    assert schedule.next(Stream.GET, 6.0) == GetPoll(stale.id)


def test_a_hurried_run_whose_get_has_failed_is_still_hurried() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=50.0, seen=True)
    schedule.hurry(1, 10.0)
    poll = schedule.next(Stream.GET, 10.0)
    assert poll == GetPoll(1)
    schedule.failed(poll, 10.5)
    assert schedule.next_due(Stream.GET, 10.5) < 10.0 + 2 * GAP


def test_an_eager_run_that_nobody_has_seen_is_asked_for_before_those_seen() -> None:
    schedule = gets_only()
    for run_id in range(20):
        schedule.add(Sighting(run_id), 0.0, latency=0.0, seen=True)
    schedule.add(Sighting(99), 1.0, latency=0.0)
    assert schedule.next(Stream.GET, 1.0) == GetPoll(99)


def test_a_run_whose_gets_always_fail_does_not_crowd_out_the_others() -> None:
    schedule = gets_only()
    for run_id in range(10):
        schedule.add(Sighting(run_id), 0.0, latency=0.0, seen=True)
    asked: list[object] = []
    now = 0.0
    while now < 100:
        now = schedule.next_due(Stream.GET, now)
        poll = schedule.next(Stream.GET, now)
        assert isinstance(poll, GetPoll)
        asked.append(poll.run_id)
        if poll.run_id == 0:
            schedule.failed(poll, now)
        else:
            schedule.observed(poll, [Sighting(poll.run_id)], now)
    assert asked.count(0) < 0.25 * len(asked)
    assert min(asked.count(run_id) for run_id in range(10)) > 0.05 * len(asked)


def test_an_endpoint_that_fails_again_and_again_is_left_alone_longer_and_longer() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=0.0)
    waits: list[float] = []
    now = 0.0
    for _ in range(9):
        poll = schedule.next(Stream.GET, now)
        assert poll is not None
        schedule.failed(poll, now)
        due = schedule.next_due(Stream.GET, now)
        waits.append(due - now)
        now = due
    assert waits == pytest.approx([GAP, 1, 2, 4, 8, 16, 30, 30, 30])
    poll = schedule.next(Stream.GET, now)
    assert poll is not None
    schedule.observed(poll, [A], now)
    assert schedule.next_due(Stream.GET, now) - now <= GAP


def test_an_answer_that_was_overtaken_by_a_failure_is_not_forgotten() -> None:
    server = ModelServer()
    client = driver(server)
    run = server.create(0.0)
    client.watch(run, latency=0.0, seen=True)
    schedule = client.schedule
    get, page = schedule.next(Stream.GET, 10.0), schedule.next(Stream.LIST, 11.0)
    assert get
    assert page
    schedule.relax(run.id, 20.0)
    schedule.observed(page, server.answer(page).seen, 12.0, 1)
    schedule.failed(get, 13.0)
    assert schedule.next_due(Stream.GET, 13.0) == 31.0


def test_pages_serve_lonely_runs_while_gets_are_down() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(1000):
        server.create(-1000.0)
    for run in server.runs[::200]:
        client.watch(run, latency=20.0, seen=True)
    client.advance(60.0)
    client.worst = dict.fromkeys(client.worst, 0.0)
    client.fault = lambda poll: isinstance(poll, GetPoll)
    client.advance(300.0)
    assert max(client.worst.values()) <= 20.0 + 10 * GAP


def test_gets_serve_neighbours_while_the_list_is_down() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(10):
        client.watch(server.create(0.0), latency=20.0, seen=True)
    client.advance(60.0)
    client.worst = dict.fromkeys(client.worst, 0.0)
    client.fault = lambda poll: isinstance(poll, ListPoll)
    client.advance(300.0)
    assert max(client.worst.values()) <= 20.0 + 12 * GAP


@pytest.mark.parametrize("broken", [GetPoll, ListPoll])
def test_while_one_endpoint_is_down_the_other_does_its_work(broken: type) -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(10):
        client.watch(server.create(0.0), latency=20.0, seen=True)
    client.advance(60.0)
    client.fault = lambda poll: isinstance(poll, broken)
    client.worst.clear()
    client.worst.update(dict.fromkeys(client.last_seen, 0.0))
    client.advance(300.0)
    assert max(client.worst.values()) <= 2 * 20.0 + 30.0


def test_a_stream_does_not_burst_after_a_pause() -> None:
    schedule = gets_only()
    for run_id in range(10):
        schedule.add(Sighting(run_id), 0.0, latency=0.0, seen=True)
    assert schedule.next(Stream.GET, 0.0) is not None
    assert schedule.next(Stream.GET, 100.0) is not None
    assert schedule.next(Stream.GET, 100.0) is None
    assert schedule.next_due(Stream.GET, 100.0) - 100.0 <= GAP


def test_a_run_of_another_source_switches_the_filter_off_and_on_again() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(40):
        client.watch(server.create(0.0), latency=5.0, seen=True)
    client.advance(10.0)
    stranger = server.create(client.now, "SLACK")
    client.watch(stranger, latency=5.0, seen=True)
    client.advance(20.0)
    assert {poll.source for when, poll in client.sent if when > 10 and isinstance(poll, ListPoll)} == {None}
    client.forget(stranger.id)
    sent = len(client.sent)
    client.advance(20.0)
    after = [poll for _, poll in client.sent[sent:]]
    assert {poll.source for poll in after if isinstance(poll, ListPoll)} == {"API"}
    assert len(after) <= 5  # it has not forgotten where its runs stand


def test_a_run_of_unknown_source_does_not_switch_the_filter_off() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(3):
        client.schedule.add(Sighting(server.create(0.0).id, 1000.0), 0.0)
    client.advance(1.0)
    assert [poll.source for _, poll in client.sent if isinstance(poll, ListPoll)] == ["API"]


def test_a_run_that_the_list_does_not_show_is_got() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(20):
        client.watch(server.create(0.0), latency=5.0, seen=True)
    hidden = server.create(0.0, "SLACK")
    for _ in range(20):
        client.watch(server.create(0.0), latency=5.0, seen=True)
    client.schedule.add(Sighting(hidden.id, float(hidden.id)), 0.0, latency=5.0)
    server.find(hidden.id)
    client.fault = lambda poll: poll == GetPoll(hidden.id)  # so its source stays unknown
    client.advance(100.0)
    assert GetPoll(hidden.id) in [poll for _, poll in client.sent]
    assert max(client.worst.values()) <= 5.0 + 5 * GAP


def test_runs_without_an_order_are_got_until_a_page_shows_them() -> None:
    server = ModelServer()
    client = driver(server)
    runs = [server.create(-100.0) for _ in range(300)]
    for run in (runs[10], runs[20], runs[290], runs[295]):
        client.schedule.add(Sighting(run.id), 0.0, latency=5.0)
        client.last_seen[run.id] = client.worst[run.id] = 0.0
    client.advance(20.0)
    sent = len(client.sent)
    client.advance(50.0)
    later = [poll for _, poll in client.sent[sent:]]
    gets = [poll for poll in later if isinstance(poll, GetPoll)]
    assert len(gets) <= 2  # an answer to a get told their order; one in a dozen pages is checked
    assert len(later) <= 2 * 11


@pytest.mark.parametrize("total", [-1, 0, 3, 100, 10**9])
def test_a_list_that_lies_about_its_total_starves_nobody(total: int) -> None:
    server = ModelServer(lie=total)
    client = driver(server)
    for _ in range(300):
        server.create(-1000.0)
    for run in server.runs[::75]:
        client.watch(run, latency=5.0, seen=False)
    client.advance(600.0)
    assert max(client.worst.values()) <= 2 * 5.0 + 10 * GAP
    pages = sum(isinstance(poll, ListPoll) for when, poll in client.sent if when > 300)
    assert pages <= 2 * 300 / 5.0  # and is not asked more often than if it told the truth


def test_a_list_whose_total_jumps_about_is_hardly_asked() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(300):
        server.create(-1000.0)
    for run in server.runs[::75]:
        client.watch(run, latency=5.0, seen=False)
    for second in range(600):
        server.lie = [300, 1000, 280, 350][second * second % 7 % 4]
        client.advance(1.0)
    assert max(client.worst.values()) <= 2 * 5.0
    assert sum(isinstance(poll, ListPoll) for when, poll in client.sent if when > 300) <= 20


def test_the_list_is_trusted_again_when_it_tells_the_truth_again() -> None:
    server = ModelServer(lie=-1)
    client = driver(server)
    for _ in range(60):
        client.watch(server.create(0.0), latency=10.0, seen=True)
    client.advance(200.0)
    server.lie = None
    client.advance(100.0)
    sent = len(client.sent)
    client.advance(100.0)
    assert len(client.sent) - sent <= 12


def test_deletions_are_learnt_from_the_first_page_that_shows_them() -> None:
    server = ModelServer()
    client = driver(server)
    for _ in range(600):
        server.create(-1000.0)
    watched = [*server.runs[200:210], *server.runs[400:410], *server.runs[590:600]]
    for run in watched:
        client.watch(run, latency=5.0, seen=True)
    client.advance(30.0)
    del server.runs[100:150]
    sent = len(client.sent)
    client.advance(60.0)
    assert max(client.worst.values()) <= 5.0 + 3 * GAP
    assert len(client.sent) - sent <= 3 * 13 + 6


def test_the_first_page_of_an_empty_list_teaches_as_well() -> None:
    server = ModelServer()
    client = driver(server)
    poll = ListPoll(0, 100, "API")
    client.schedule.observed(poll, [], 0.0, 0)
    for _ in range(2):
        client.watch(server.create(0.0), latency=5.0, seen=True)
    client.advance(6.0)
    assert [type(poll) for _, poll in client.sent] == [ListPoll]


def test_a_get_that_answers_with_another_run_teaches_that_run() -> None:
    schedule = gets_only()
    schedule.add(A, 0.0, latency=50.0)
    schedule.add(B, 0.0, latency=50.0)
    schedule.observed(GetPoll(9), [B], 1.0)
    assert schedule.next(Stream.GET, 1.0) == GetPoll(1)
    assert schedule.next_due(Stream.GET, 2.0) == 51.0


def test_ages_are_read_on_the_servers_clock() -> None:
    schedule = gets_only()
    schedule.add(Sighting(1, 1.0, created=1.7e9 - 80000), 0.0, latency=0.0, seen=True)
    schedule.add(Sighting(2, 2.0, created=1.7e9), 0.0, latency=0.0, seen=True)
    asked: list[object] = []
    now = 0.0
    for _ in range(100):
        now = max(now, schedule.next_due(Stream.GET, now))
        poll = schedule.next(Stream.GET, now)
        assert isinstance(poll, GetPoll)
        asked.append(poll.run_id)
        schedule.observed(poll, [Sighting(poll.run_id)], now)
    assert asked.count(2) > 5 * asked.count(1) > 0


def test_sightings_of_model_runs_carry_what_the_schedule_uses() -> None:
    run = ModelServer().create(5.0)
    assert sighting(run) == Sighting(run.id, float(run.id), 1.7e9 + 5.0, "API")
