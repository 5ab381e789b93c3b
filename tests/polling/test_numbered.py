"""A list of which nothing is promised: what is asked of it, and what is believed."""

import math

import pytest

from codegen_async.limits import Rate
from codegen_async.polling import GetPoll, ListPoll, NumberedListing, PollSchedule, Sighting, Stream, Tail
from codegen_async.polling.ranks import RankBook

RATE = Rate(20, 1.0)
PAGES = Rate(4, 1.0)


def run(number: int) -> Sighting:
    """Describe a run; one of a higher number is newer."""
    return Sighting(f"r{number}", order=1000.0 + number)


def newest(count: int, skip: int = 0, size: int = 100) -> list[Sighting]:
    """Return a page of a list of so many runs."""
    return [run(number) for number in range(count - skip, max(0, count - skip - size), -1)]


def all_of(count: int) -> list[Sighting]:
    """Return all runs of a list."""
    return newest(count, size=count)


def schedule_of(watched: list[Sighting]) -> PollSchedule:
    """Return a schedule that watches runs which were seen just now."""
    schedule = PollSchedule(get=RATE, page=PAGES, share=1.0, listing=NumberedListing(), shared=True)
    for one in watched:
        schedule.add(one, 0.0, latency=5.0, seen=True)
    return schedule


def page(schedule: PollSchedule, now: float) -> ListPoll:
    """Return the page that is asked for now."""
    poll = schedule.next(Stream.LIST, now)
    assert isinstance(poll, ListPoll)
    return poll


def learnt(count: int, watched: list[Sighting], size: int = 100) -> PollSchedule:
    """Return a schedule that has read the first page of a list of so many runs, at 5 s."""
    schedule = schedule_of(watched)
    schedule.observed(page(schedule, 5.2), newest(count, size=size), 5.3, count)
    return schedule


def test_the_first_page_is_asked_for_whole() -> None:
    assert page(schedule_of(newest(10)), 5.2) == ListPoll(0, 100, None)


@pytest.mark.parametrize("size", [100, 30, 7])
def test_pages_begin_at_multiples_of_the_size_that_the_first_page_shows(size: int) -> None:
    schedule = learnt(400, all_of(400), size)
    for now in (5.6, 6.0, 6.4):
        poll = page(schedule, now)
        assert poll.limit == size
        assert poll.skip % size == 0
        assert poll.skip > 0
        schedule.observed(poll, newest(400, poll.skip, size), now + 0.1, 400)


def two_pages() -> PollSchedule:
    """Return a schedule that has read all of a list of 200 runs."""
    schedule = learnt(200, all_of(200))
    schedule.observed(page(schedule, 5.6), newest(200, 100), 5.7, 200)
    return schedule


def joined(total: int) -> list[Sighting]:
    """Return the first page of a list of 200 runs that strangers have joined."""
    strangers = [Sighting(f"x{n}", order=3000.0 - n) for n in range(total - 200)]
    return [*strangers, *newest(200, size=100 - len(strangers))]


def test_a_run_that_has_moved_to_the_next_page_is_sought_there_and_not_by_a_get() -> None:
    schedule = two_pages()
    schedule.observed(page(schedule, 10.3), joined(202), 10.4, 202)
    assert schedule.next_due(Stream.GET, 10.5) > 10.5
    poll = page(schedule, 10.7)
    assert poll.skip == 100
    schedule.observed(poll, [run(102), run(101), *newest(200, 100, 98)], 10.8, 202)
    assert schedule.next_due(Stream.GET, 10.9) > 10.9


def test_a_run_that_is_on_neither_of_two_pages_is_asked_for_by_get() -> None:
    schedule = two_pages()
    schedule.observed(page(schedule, 10.3), joined(202), 10.4, 202)
    schedule.observed(page(schedule, 10.7), newest(200, 100, 98), 10.8, 202)
    assert schedule.next(Stream.GET, 10.9) in {GetPoll("r101"), GetPoll("r102")}


@pytest.mark.parametrize(
    ("shown", "total", "believed"),
    [
        (newest(50), 50, True),
        (newest(50), 70, True),
        (newest(50)[::-1], 50, False),
        (newest(50)[::2] + newest(50)[1::2], 50, True),  # one step out of order
        ([one for pair in zip(newest(50)[1::2], newest(50)[::2], strict=True) for one in pair], 50, False),
        ([Sighting(f"r{n}") for n in range(50)], 50, True),
        (newest(50), None, False),
        (newest(50), 49, False),
        ([], 50, False),
        ([], 0, True),
    ],
)
def test_a_page_that_cannot_be_what_it_should_be_is_not_believed(
    shown: list[Sighting], total: int | None, believed: bool
) -> None:
    listing = NumberedListing()
    assert listing.read(ListPoll(0, 100, None), shown, {}, Tail(total), 0.0) is believed
    assert listing.unknown is not believed


def test_a_short_page_in_the_middle_is_not_believed() -> None:
    listing = NumberedListing()
    shown, total = newest(250), Tail(250)
    assert listing.read(ListPoll(0, 100, None), shown, {}, total, 0.0)
    assert not listing.read(ListPoll(100, 100, None), shown[:99], {}, total, 1.0)
    assert not listing.read(ListPoll(200, 100, None), shown[:49], {}, total, 1.0)
    assert listing.read(ListPoll(200, 100, None), shown[:50], {}, total, 1.0)


@pytest.mark.parametrize(
    ("found", "expected", "helps"), [(50, 100, True), (49, 100, False), (0, 1, False), (0, 0, True)]
)
def test_a_page_must_show_half_of_what_it_should(found: int, expected: int, helps: bool) -> None:
    assert NumberedListing().helped(found, expected) is helps


def test_pages_that_show_other_runs_than_they_should_do_not_help() -> None:
    schedule = learnt(100, newest(100))
    for now in (11.0, 17.0):
        poll = page(schedule, now)
        strangers = [Sighting(f"x{now}{n}", order=3000.0 - n) for n in range(100)]
        schedule.observed(poll, strangers, now + 0.1, 100)
    schedule.add(run(1), 17.2, latency=0.0)  # wants pages as soon as any may be asked for
    assert 18.0 < schedule.next_due(Stream.LIST, 17.2) < 18.2


def test_what_a_page_only_hints_at_is_asked_for_at_once() -> None:
    schedule = learnt(100, newest(100))
    hinted = Sighting("r42", order=1042.0, doubtful=True)
    shown = [hinted if one.run_id == "r42" else one for one in newest(100)]
    schedule.observed(page(schedule, 11.0), shown, 11.1, 100)
    assert schedule.next(Stream.GET, 11.2) == GetPoll("r42")
    assert schedule.next_due(Stream.GET, 11.3) > 15.0


def test_pages_wait_while_there_is_something_to_confirm() -> None:
    schedule = learnt(100, newest(100))
    schedule.hurry("r42", 11.0)
    assert schedule.next_due(Stream.LIST, 11.0) == math.inf
    schedule.next(Stream.GET, 11.0)
    assert schedule.next_due(Stream.LIST, 11.0) <= 11.0


def test_pages_that_only_hint_do_not_help() -> None:
    schedule = learnt(100, newest(100))
    hints = [Sighting(str(one.run_id), order=one.order, doubtful=True) for one in newest(100)]
    for now in (11.0, 22.0):
        schedule.observed(page(schedule, now), hints, now + 0.1, 100)
        for turn in range(100):
            poll = schedule.next(Stream.GET, now + 0.2 + turn * 0.06)
            assert isinstance(poll, GetPoll)
            schedule.observed(poll, [run(int(str(poll.run_id)[1:]))], now + 0.2 + turn * 0.06)
    assert schedule._paces[Stream.LIST].paused_until > 23.0


def test_a_page_spends_a_turn_of_the_gets() -> None:
    schedule = schedule_of(newest(10))
    page(schedule, 5.2)
    schedule.hurry("r1", 5.2)
    assert schedule.next(Stream.GET, 5.2) is None
    assert schedule.next(Stream.GET, 5.2 + 1 / 19) == GetPoll("r1")


@pytest.mark.parametrize(("count", "listed"), [(3, False), (4, True)])
def test_a_page_must_be_worth_more_than_gets(count: int, listed: bool) -> None:
    schedule = schedule_of(newest(count))
    assert (schedule.next_due(Stream.LIST, 5.5) < math.inf) is listed
    for number in range(count):
        schedule.add(Sighting(f"r{number + 1}"), 5.5, latency=0.0)
    assert (schedule.next_due(Stream.LIST, 5.5) < math.inf) is listed


def test_runs_that_may_stand_anywhere_are_searched_for_page_by_page() -> None:
    schedule = PollSchedule(get=RATE, page=PAGES, share=1.0, listing=NumberedListing(), shared=True)
    for number in range(1, 401):
        schedule.add(Sighting(f"r{number}"), 0.0)
    skips: list[int] = []
    for step in range(5):
        now = 0.3 + step * 0.3
        if poll := schedule.next(Stream.LIST, now):
            assert isinstance(poll, ListPoll)
            skips.append(poll.skip)
            schedule.observed(poll, newest(400, poll.skip), now + 0.1, 400)
    assert skips == [0, 100, 200, 300]


def test_a_search_that_finds_nothing_is_given_up() -> None:
    schedule = PollSchedule(get=RATE, page=PAGES, share=1.0, listing=NumberedListing(), shared=True)
    for number in range(1, 401):
        schedule.add(Sighting(f"other{number}"), 0.0)
    skips: list[int] = []
    for step in range(20):
        now = 0.3 + step * 0.3
        if poll := schedule.next(Stream.LIST, now):
            assert isinstance(poll, ListPoll)
            skips.append(poll.skip)
            schedule.observed(poll, newest(5000, poll.skip), now + 0.1, 5000)
    assert skips == [0, 100, 200]


def test_times_of_creation_too_close_to_be_told_apart_give_an_estimate() -> None:
    book = RankBook()
    near = math.nextafter(1.7e9, math.inf)
    book.learn(0, [near, *[1.7e9] * 98, 1.7e9], 100, 0.0)
    for order in (1.6e9, math.nextafter(1.7e9, 0.0), 1.7e9, near, 1.8e9):
        rank = book.estimate(order)
        assert rank is not None
        assert 1 <= rank <= 100
