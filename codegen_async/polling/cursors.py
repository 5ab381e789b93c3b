"""A list of which only the first page can be asked for; each page tells where the next one is.

A place that was told once can be asked for again, so what is remembered is which runs each known place has shown.
Nothing is promised of order or length. Where the newest come first, strangers push runs from the first page on; they
are taken to stand on the page behind, and if they do not, a get looks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from codegen_async.models import RunId
from codegen_async.polling.look import Look
from codegen_async.polling.polls import CursorPoll, PagePoll, Sighting, Tail
from codegen_async.polling.windows import Watch

_MANY = 8  # runs that may stand anywhere, from which on the list is read through for them
_BARREN = 3  # pages in a row that find next to none of them, until that is given up


class _Place:
    """What a place is believed to show, and what that is worth: a parabola in time, given by three sums."""

    def __init__(self) -> None:
        self.runs: dict[RunId, Watch] = {}
        self.stale = True
        """Whether the sums have to be taken anew."""
        self._sums = (0.0, 0.0, 0.0)
        self._origin = 0.0

    def put(self, run: Watch) -> None:
        self.runs[run.run_id] = run
        self.stale = True

    def take(self, run: Watch) -> None:
        del self.runs[run.run_id]
        self.stale = True

    def gain(self, now: float) -> float:
        """Return what the page is worth."""
        if self.stale:
            self._add_up(now)
        a, b, c = self._sums
        since = now - self._origin
        return (a * since + 2 * b) * since + c

    def _add_up(self, now: float) -> None:
        self.stale, self._origin = False, now
        a = b = c = 0.0
        for run in self.runs.values():
            weight, waited = 1 / run.patience, now - run.asked
            a += weight
            b += weight * waited
            c += weight * waited * waited
        self._sums = a, b, c


class CursorListing(Look):
    """Know which places have shown each watched run. Places overlap where the list has grown between two readings."""

    company = 1  # a run that ends may have to be confirmed by a get

    def __init__(self) -> None:
        self._places: dict[str | None, _Place] = {}
        self._following: dict[str | None, str] = {}  # the place behind, rather one that is known
        self._shown_by: dict[RunId, dict[str | None, None]] = {}  # all places of a run, the newest last
        self._adrift: dict[RunId, Watch] = {}  # runs of which nobody knows where they stand
        self._hoped_for = 0  # runs that went adrift since the list was read through
        self._reading = True
        self._ahead: str | None = None  # the next place to read
        self._barren = 0
        self._chosen: str | None = None

    # Who is in it

    def enter(self, run: Watch) -> None:
        """Take in a run that may stand anywhere, or on the first page if it was just created."""
        if run.run_id not in self._shown_by:
            self._lose(run)

    def leave(self, run: Watch) -> None:
        """Forget a run."""
        self._adrift.pop(run.run_id, None)
        for place in list(self._shown_by.get(run.run_id, ())):
            self._take(run, place)

    def created(self, run: Watch) -> None:
        """Take a run that was created just now for one of the first page."""
        if None in self._places:
            self._put(run, None)

    def touch(self, runs: Iterable[Watch]) -> None:
        """Note that runs were asked for."""
        for run in runs:
            for place in self._shown_by.get(run.run_id, ()):
                self._places[place].stale = True

    def _lose(self, run: Watch) -> None:
        self._adrift[run.run_id] = run
        self._hoped_for += 1
        if self._hoped_for >= _MANY and not self._reading:
            self._reading, self._ahead, self._barren = True, None, 0

    def _put(self, run: Watch, place: str | None) -> None:
        self._adrift.pop(run.run_id, None)
        places = self._shown_by.setdefault(run.run_id, {})
        places.pop(place, None)
        places[place] = None
        self._at(place).put(run)

    def _take(self, run: Watch, place: str | None) -> None:
        self._places[place].take(run)
        places = self._shown_by[run.run_id]
        del places[place]
        if not places:
            del self._shown_by[run.run_id]

    def _at(self, place: str | None) -> _Place:
        return self._places.setdefault(place, _Place())

    # What there is

    @property
    def unknown(self) -> bool:
        """Whether no page was read yet."""
        return None not in self._places

    @property
    def searching(self) -> bool:
        """Whether to read on, as many runs may stand on pages that were not read."""
        return self._reading and len(self._adrift) >= _MANY

    @property
    def holds_any(self) -> bool:
        """Whether a known place shows any watched run."""
        return bool(self._shown_by)

    def lonely(self, run: Watch, company: int) -> bool:
        """Whether no place that shows a run shows more than so many others."""
        places = self._shown_by.get(run.run_id, ())
        return all(len(self._places[place].runs) <= 1 + company for place in places)

    # What to ask for

    def search(self) -> PagePoll:
        """Return the next page to read."""
        return CursorPoll(self._ahead)

    def best(self, now: float) -> list[Watch]:
        """Return the runs of the place with the largest gain."""
        return self._of(max(self._places, key=lambda place: self._places[place].gain(now)))

    def around(self, run: Watch, now: float) -> list[Watch]:
        """Return the runs of that place which gains most of those that show this one."""
        return self._of(max(self._shown_by[run.run_id], key=lambda place: self._places[place].gain(now)))

    def _of(self, place: str | None) -> list[Watch]:
        self._chosen = place
        return list(self._places[place].runs.values())

    def fit(self, runs: Sequence[Watch], now: float) -> PagePoll:  # noqa: ARG002 - an interface
        """Return the page that shows the runs, as they were chosen last."""
        return CursorPoll(self._chosen)

    # What came of it

    def takes(self, poll: PagePoll) -> bool:
        """Whether it is a page of the list."""
        return isinstance(poll, CursorPoll)

    def read(
        self,
        poll: PagePoll,
        seen: Sequence[Sighting],  # noqa: ARG002 - an interface
        shown: Mapping[int, Watch],
        tail: Tail,
        asked: float,  # noqa: ARG002 - the same
    ) -> bool:
        """Learn which runs a place shows, and where the next one is."""
        if not isinstance(poll, CursorPoll):
            return False
        place, following = poll.place, tail.following
        here = {run.run_id for run in shown.values()}
        missing = [run for run in self._at(place).runs.values() if run.run_id not in here]
        found = len(here & self._adrift.keys())
        for run in shown.values():
            run.misses = 0
            self._put(run, place)
        self._push_on(missing, place, following)
        if following is not None and (following in self._places or self._following.get(place) not in self._places):
            self._following[place] = following
        if self._reading and place == self._ahead:
            self._read_on(found, following)
        self._forget_unused(place)
        return True

    def _push_on(self, missing: Sequence[Watch], place: str | None, following: str | None) -> None:
        """Take runs that a place does not show any more for ones of the place behind, once.

        That place begins as much before the former one behind as runs were pushed on, so it shows the runs of both.
        """
        former = self._places.get(self._following[place]) if place in self._following else None
        fresh = following is not None and following not in self._places
        for run in missing:
            self._take(run, place)
            if run.run_id in self._shown_by:
                continue
            run.misses += 1
            if following is None or run.misses > 1:
                self._lose(run)
            else:
                self._put(run, following)
        if fresh and former is not None and following in self._places:
            for run in list(former.runs.values()):
                self._put(run, following)

    def _read_on(self, found: int, following: str | None) -> None:
        self._barren = 0 if found > self.company else self._barren + 1
        self._ahead = following
        if following is None or self._barren >= _BARREN:
            self._reading, self._ahead, self._hoped_for = False, None, 0

    def _forget_unused(self, read: str | None) -> None:
        """Forget places all of whose runs others show, and those that show none."""
        near = {place for run in self._at(read).runs.values() for place in self._shown_by[run.run_id]}
        empty = {place for place, there in self._places.items() if not there.runs}
        for place in (near | empty) - {None, read, self._following.get(read), self._ahead}:
            runs = list(self._places[place].runs.values())
            if all(len(self._shown_by[run.run_id]) > 1 for run in runs):
                self._forget(place, runs)

    def _forget(self, place: str | None, runs: Iterable[Watch]) -> None:
        for run in runs:
            self._take(run, place)
        self._places.pop(place, None)
        self._following.pop(place, None)

    def missed(self, poll: PagePoll) -> None:
        """Forget a place that brought no answer: it may be one that the server does not know any more."""
        if not isinstance(poll, CursorPoll) or poll.place is None:
            return
        runs = list(self._at(poll.place).runs.values())
        self._forget(poll.place, runs)
        for run in runs:
            if run.run_id not in self._shown_by:
                self._lose(run)
        if self._ahead == poll.place:
            self._ahead = None

    def helped(self, found: int, expected: int) -> bool:
        """Whether a page has shown enough of what it should: half of it."""
        return 2 * found >= expected

    def stands_beside(self, run: Watch, poll: PagePoll, length: int, total: int | None) -> bool:  # noqa: ARG002 - as above
        """Whether a run that a page has missed is taken for one of another page."""
        return run.run_id in self._shown_by
