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


class CursorListing(Look):
    """Know which place showed each watched run last."""

    company = 1  # a run that ends may have to be confirmed by a get

    def __init__(self) -> None:
        self._places: dict[str | None, dict[RunId, Watch]] = {}  # what each is believed to show
        self._following: dict[str | None, str | None] = {}
        self._where: dict[RunId, str | None] = {}
        self._adrift: dict[RunId, Watch] = {}  # runs of which nobody knows where they stand
        self._hoped_for = 0  # runs that went adrift since the list was read through
        self._reading = True
        self._ahead: str | None = None  # the next place to read
        self._barren = 0

    # Who is in it

    def enter(self, run: Watch) -> None:
        """Take in a run that may stand anywhere, or on the first page if it was just created."""
        if run.run_id not in self._where:
            self._lose(run)

    def leave(self, run: Watch) -> None:
        """Forget a run."""
        self._adrift.pop(run.run_id, None)
        self._take(run)

    def created(self, run: Watch) -> None:
        """Take a run that was created just now for one of the first page."""
        if None in self._places:
            self._put(run, None)

    def _lose(self, run: Watch) -> None:
        self._take(run)
        self._adrift[run.run_id] = run
        self._hoped_for += 1
        if self._hoped_for >= _MANY and not self._reading:
            self._reading, self._ahead, self._barren = True, None, 0

    def _put(self, run: Watch, place: str | None) -> None:
        self._take(run)
        self._adrift.pop(run.run_id, None)
        self._where[run.run_id] = place
        self._places.setdefault(place, {})[run.run_id] = run

    def _take(self, run: Watch) -> None:
        if run.run_id in self._where:
            self._places[self._where.pop(run.run_id)].pop(run.run_id)

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
        return bool(self._where)

    def lonely(self, run: Watch, company: int) -> bool:
        """Whether the place of a run shows next to no others."""
        if run.run_id not in self._where:
            return True
        return len(self._places[self._where[run.run_id]]) <= 1 + company

    # What to ask for

    def search(self) -> PagePoll:
        """Return the next page to read."""
        return CursorPoll(self._ahead)

    def best(self, now: float) -> list[Watch]:
        """Return the runs of the place with the largest gain."""
        shown = max(self._places.values(), key=lambda runs: sum(run.gain(now) for run in runs.values()))
        return list(shown.values())

    def around(self, run: Watch, now: float) -> list[Watch]:  # noqa: ARG002 - an interface
        """Return the runs of the place that shows this one."""
        return list(self._places[self._where[run.run_id]].values())

    def fit(self, runs: Sequence[Watch], now: float) -> PagePoll:  # noqa: ARG002 - the same
        """Return the page that shows the runs."""
        return CursorPoll(self._where[runs[0].run_id])

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
        missing = [run for run in self._places.setdefault(place, {}).values() if run.run_id not in here]
        found = len(here & self._adrift.keys())
        for run in shown.values():
            run.misses = 0
            self._put(run, place)
        self._following[place] = following
        if following is not None:
            self._places.setdefault(following, {})
        self._push_on(missing, following)
        if self._reading and place == self._ahead:
            self._read_on(found, following)
        self._forget_unused()
        return True

    def _push_on(self, missing: Iterable[Watch], following: str | None) -> None:
        """Take runs that a place does not show any more for ones of the place behind, once."""
        for run in missing:
            run.misses += 1
            if following is None or run.misses > 1:
                self._lose(run)
            else:
                self._put(run, following)

    def _read_on(self, found: int, following: str | None) -> None:
        self._barren = 0 if found > self.company else self._barren + 1
        self._ahead = following
        if following is None or self._barren >= _BARREN:
            self._reading, self._ahead, self._hoped_for = False, None, 0

    def _forget_unused(self) -> None:
        """Forget places that show nothing and lie behind none that does."""
        used = {place for place, runs in self._places.items() if runs} | {None, self._ahead}
        used |= {self._following.get(place) for place in used}
        for place in self._places.keys() - used:
            del self._places[place]
            self._following.pop(place, None)

    def missed(self, poll: PagePoll) -> None:
        """Forget a place that brought no answer: it may be one that the server does not know any more."""
        if not isinstance(poll, CursorPoll) or poll.place is None:
            return
        for run in list(self._places.get(poll.place, {}).values()):
            self._lose(run)
        self._places.pop(poll.place, None)
        self._following.pop(poll.place, None)
        if self._ahead == poll.place:
            self._ahead = None

    def helped(self, found: int, expected: int) -> bool:
        """Whether a page has shown enough of what it should: half of it."""
        return 2 * found >= expected

    def stands_beside(self, run: Watch, poll: PagePoll, length: int, total: int | None) -> bool:  # noqa: ARG002 - as above
        """Whether a run that a page has missed was taken for one of the page behind."""
        return run.run_id in self._where
