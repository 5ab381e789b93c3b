"""Looks of other kinds than Codegen's list: what they know, what they cost, and that odd servers do no harm."""

import itertools
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.limits import Rate
from codegen_async.polling import (
    ChangedPoll,
    ChangedSince,
    CursorListing,
    CursorPoll,
    GetPoll,
    Look,
    ManyById,
    ManyPoll,
    Poll,
    PollSchedule,
    Sighting,
    Stream,
)

RATE = Rate(60, 30.0)
SIZE = 20

Page = tuple[list[str], str | None]


class Lists:
    """A server that lists names by cursors; what it does wrong is set from outside."""

    def __init__(self, names: int, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.names = [f"r{number}" for number in range(names)]  # the newest last
        self.strangers = itertools.count()
        self.changed: list[str] = []
        self.odd: Callable[[Page], Page | None] = lambda page: page

    def grow(self, by: int) -> None:
        self.names += [f"s{next(self.strangers)}" for _ in range(by)]

    def page(self, place: str | None) -> Page | None:
        """Return a page, or None where the server refuses it."""
        end = len(self.names)
        if place is not None:
            if place not in self.names:
                return None
            end = self.names.index(place)
        shown = self.names[max(0, end - SIZE) : end][::-1]
        return self.odd((shown, shown[-1] if end > SIZE else None))


class Client:
    """Asks when the schedule says so. Ended runs are discarded once they are shown."""

    def __init__(self, look: Look, server: Lists, *, latency: float = 0.0) -> None:
        self.server, self.look = server, look
        self.schedule = PollSchedule(get=RATE, page=RATE, share=1.0, listing=look, shared=True)
        self.ended: set[str] = set()
        self.sent: list[Poll] = []
        self.now = 0.0
        for name in server.names:
            self.schedule.add(Sighting(name), 0.0, latency=latency, seen=True)

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(int(seconds * 8) + 20):
            when = min(self.schedule.next_due(stream, self.now) for stream in Stream)
            if max(self.now, when) > until:
                self.now = until
                return
            self.now = max(self.now, when)
            for stream in Stream:
                if self.schedule.next_due(stream, self.now) <= self.now:
                    poll = self.schedule.next(stream, self.now)
                    assert poll is not None, "asked for a slot without a use for it: the driver would spin"
                    self.sent.append(poll)
                    self.answer(poll)
        pytest.fail("more turns than the rate allows")

    def answer(self, poll: Poll) -> None:
        page = self.shown(poll)
        if page is None:
            self.schedule.failed(poll, self.now)
            return
        names, following = page
        doubtful = not isinstance(poll, GetPoll)
        seen = [Sighting(name, doubtful=doubtful and name in self.ended) for name in names]
        self.schedule.observed(poll, seen, self.now, None, following)
        for name in names:
            if name in self.ended and not doubtful:
                self.schedule.discard(name)

    def shown(self, poll: Poll) -> Page | None:
        if isinstance(poll, GetPoll):
            return [str(poll.run_id)], None
        if isinstance(poll, ManyPoll):
            return self.server.odd(([str(name) for name in poll.run_ids], None))
        if isinstance(poll, ChangedPoll):
            return self.server.odd((sorted(self.ended), None))
        assert isinstance(poll, CursorPoll)
        return self.server.page(poll.place)


def honest(page: Page) -> Page:
    return page


def twice(page: Page) -> Page:
    return [*page[0], *page[0]], page[1]


def circle(page: Page) -> Page:
    return page[0], page[0][0] if page[0] else None


def empty(page: Page) -> Page:
    return [], page[1]


def ODDITIES(seed: int) -> dict[str, Callable[[Page], Page | None]]:  # noqa: N802 - a table that draws
    chance = random.Random(seed)

    def shuffled(page: Page) -> Page:
        return chance.sample(page[0], len(page[0])), page[1]

    def holes(page: Page) -> Page:
        return [name for name in page[0] if chance.random() < 0.7], page[1]

    def refusing(page: Page) -> Page | None:
        return page if chance.random() < 0.7 else None

    return {
        "honest": honest,
        "twice": twice,
        "circle": circle,
        "empty": empty,
        "shuffled": shuffled,
        "holes": holes,
        "refusing": refusing,
    }


LOOKS: dict[str, Callable[[], Look]] = {
    "cursors": CursorListing,
    "many": lambda: ManyById(SIZE),
    "changes": ChangedSince,
}


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(LOOKS)),
    st.lists(st.sampled_from(sorted(ODDITIES(0))), min_size=1, max_size=3),
    st.tuples(st.integers(1, 60), st.integers(0, 8)),
    st.sampled_from([0.0, 5.0]),
    st.integers(0, 99),
)
def test_every_end_is_seen_whatever_a_look_shows(
    kind: str, oddities: list[str], counts: tuple[int, int], latency: float, seed: int
) -> None:
    runs, strangers = counts
    server = Lists(runs, seed)
    client = Client(LOOKS[kind](), server, latency=latency)
    table = ODDITIES(seed)
    for oddity in oddities:
        server.odd = table[oddity]
        client.advance(20.0)
        server.grow(strangers)
    client.ended.update(server.chance.sample(sorted(str(name) for name in server.names if name[0] == "r"), runs))
    if kind == "changes":  # its silence is an answer, so what it hides no other page can tell
        server.odd = honest
    client.advance(60.0 + 30.0 * runs)
    assert not len(client.schedule)


def test_runs_pushed_from_the_first_page_are_looked_for_on_the_page_behind() -> None:
    server = Lists(60)
    client = Client(CursorListing(), server)
    client.advance(30.0)
    server.grow(5)
    client.sent.clear()
    client.advance(10.0)
    assert sum(isinstance(poll, GetPoll) for poll in client.sent) <= 2  # checks


def test_a_place_that_begins_earlier_stands_in_for_the_one_it_covers() -> None:
    look, server = CursorListing(), Lists(60)
    client = Client(look, server)
    for _ in range(100):
        client.advance(3.0)
        server.grow(1)
    client.advance(30.0)
    assert len([place for place in look._places.values() if place.runs]) <= 5


@pytest.mark.parametrize("most", [10, 25])
def test_the_places_that_are_remembered_do_not_grow_with_the_strangers(most: int) -> None:
    look, server = CursorListing(), Lists(3 * most)
    client = Client(look, server)
    for _ in range(300):
        client.advance(1.0)
        server.grow(7)
    assert len(look._places) <= 3 * most + 3
    assert len(look._following) <= len(look._places)
    assert len(look._adrift) <= len(client.schedule)


def test_a_discarded_run_leaves_nothing_behind() -> None:
    look, server = CursorListing(), Lists(60)
    client = Client(look, server)
    client.advance(30.0)
    for name in list(server.names):
        client.schedule.discard(name)
    assert not look._adrift
    assert not look._shown_by
    assert not look.holds_any
    assert not any(place.runs for place in look._places.values())


def test_a_turn_goes_to_the_look_that_gains_most_by_it() -> None:
    client = Client(ManyById(100), Lists(100))
    client.advance(100.0)
    assert sum(isinstance(poll, GetPoll) for poll in client.sent) <= 1  # the first turn
    assert len(client.sent) >= 195


def test_checks_take_few_turns_from_walks() -> None:
    client = Client(ChangedSince(), Lists(100))
    client.advance(300.0)
    checks = sum(isinstance(poll, GetPoll) for poll in client.sent)
    assert 10 <= checks <= 16


def test_a_look_that_fails_leaves_its_turns_to_gets() -> None:
    client = Client(ManyById(100), Lists(50))
    client.server.odd = lambda _: None
    client.advance(100.0)
    assert sum(isinstance(poll, GetPoll) for poll in client.sent) >= 180


def test_where_one_run_is_left_gets_do() -> None:
    for make in LOOKS.values():
        client = Client(make(), Lists(1))
        client.advance(50.0)
        assert all(isinstance(poll, GetPoll) for poll in client.sent)


def test_the_gain_of_a_place_is_that_of_its_runs() -> None:
    look, server = CursorListing(), Lists(40)
    client = Client(look, server)
    client.advance(20.3)
    for place in look._places.values():
        true = sum(run.gain(client.now) for run in place.runs.values())
        assert math.isclose(place.gain(client.now), true, rel_tol=1e-9, abs_tol=1e-12)


def led_in_a_circle(_: str | None) -> Page | None:
    return [], "again"


def broken_off(place: str | None) -> Page | None:
    return ([], "more") if place is None else None


@pytest.mark.parametrize("tell", [led_in_a_circle, broken_off])
def test_where_walks_come_to_no_end_gets_do(tell: Callable[[str | None], Page | None]) -> None:
    class Walker(Client):
        def shown(self, poll: Poll) -> Page | None:
            return tell(poll.place) if isinstance(poll, ChangedPoll) else super().shown(poll)

    client = Walker(ChangedSince(), Lists(40), latency=5.0)
    client.advance(300.0)
    client.ended.update(client.server.names)
    client.advance(60.0)
    assert len(client.schedule) == 0
    assert sum(isinstance(poll, ChangedPoll) for poll in client.sent) <= 80


def test_a_walk_that_ends_again_is_believed_again() -> None:
    class Walker(Client):
        ends = False

        def shown(self, poll: Poll) -> Page | None:
            if isinstance(poll, ChangedPoll) and not self.ends:
                return led_in_a_circle(poll.place)
            return super().shown(poll)

    client = Walker(ChangedSince(), Lists(40), latency=5.0)
    client.advance(300.0)
    client.ends = True
    client.advance(60.0)
    client.sent.clear()
    client.advance(300.0)
    assert sum(isinstance(poll, GetPoll) for poll in client.sent) <= 16
