"""A list of which nothing is promised: its pages are numbered, and whether it is newest first must show.

Most of what a `Listing` knows holds for it too, as long as its pages bear it out. What is different: a page begins at
a multiple of its size, so runs are asked for by the page they stand on; the size is the server's, which the first page
tells; and a page that is out of order, or too short, is not believed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from codegen_async.models import RunId
from codegen_async.polling.listing import Listing
from codegen_async.polling.polls import ListPoll, PagePoll
from codegen_async.polling.ranks import PAGE
from codegen_async.polling.windows import Watch

_MANY = 16  # runs that may stand anywhere, from which on the list is read through for them
_BARREN = 3  # pages in a row that show next to none, until that is given up
_DISORDER = 0.1  # the part of a page's runs that may be newer than the one before; chance makes it a half


class NumberedListing(Listing):
    """Know the ranks of watched runs, and on which page each stands."""

    company = 2  # a page costs the server more than a get, and an end it shows has to be confirmed by one

    def __init__(self) -> None:
        super().__init__(None)
        self._size = PAGE
        self._adrift: set[RunId] = set()  # runs of which not even the order is known
        self._searched = 0  # pages
        self._barren = 0

    def enter(self, run: Watch) -> None:
        """Take in a run; where those of unknown order stand, only a get or a search can tell."""
        super().enter(run)
        if run.order is None:
            self._adrift.add(run.run_id)

    def leave(self, run: Watch) -> None:
        """Forget a run."""
        super().leave(run)
        self._adrift.discard(run.run_id)
        if not self._adrift:
            self._searched = self._barren = 0

    @property
    def searching(self) -> bool:
        """Whether to read page after page, as so many runs may stand anywhere."""
        if self.unknown or len(self._adrift) < _MANY or self._barren >= _BARREN:
            return False
        return self._searched * self._size < (self._book.total or 0)

    def search(self) -> PagePoll:
        """Return the next page to read through."""
        if self.unknown:
            return super().search()
        self._searched += 1
        return self._page(self._searched - 1)

    def _page(self, number: int) -> PagePoll:
        return ListPoll(number * self._size, self._size, self.source)

    def _read(
        self, skip: int, orders: Sequence[float | None], shown: Mapping[int, Watch], total: int | None, asked: float
    ) -> bool:
        if total is None or not _falls(orders) or self._is_short(skip, len(orders), total):
            return False
        if skip == 0 and len(orders) < total:
            self._size = len(orders)
        self._search_on(skip, shown)
        return super()._read(skip, orders, shown, total, asked)

    def _search_on(self, skip: int, shown: Mapping[int, Watch]) -> None:
        self._adrift.difference_update(run.run_id for run in shown.values())
        if not self._adrift:
            self._searched = self._barren = 0
            return
        self._barren = 0 if len(shown) > self.company else self._barren + 1
        if skip == 0:
            self._searched = max(self._searched, 1)

    def _is_short(self, skip: int, length: int, total: int) -> bool:
        """Whether a page shows fewer runs than a list of that length has there."""
        expected = 1 if skip == 0 else self._size
        return length < min(expected, total - skip)

    def helped(self, found: int, expected: int) -> bool:
        """Whether a page has shown enough of what it should: half of it."""
        return 2 * found >= expected

    def stands_beside(self, run: Watch, poll: PagePoll, length: int, total: int | None) -> bool:
        """Whether a page has missed a run as the list has grown, so that the page beside it should show the run.

        True once, until a page shows the run: what goes wrong again is not to be mended by more pages.
        """
        if run.misses or run.rank is None or total is None or not self.takes(poll):
            return False
        if total - poll.skip - length < run.rank <= total - poll.skip:
            return False
        run.misses = 1
        return True

    def around(self, run: Watch, now: float) -> list[Watch]:
        """Return the runs of the page on which this one stands."""
        rank = run.rank or 0
        top = self._end(now) - self._number(rank, now) * self._size
        return self._windows.between(min(top - self._size + 1, rank), max(top, rank))

    def best(self, now: float) -> list[Watch]:
        """Return the runs of the page with the largest gain, or of one close to it."""
        stretch = self._windows.best(now, self._size)
        pages = (self.around(stretch[0], now), self.around(stretch[-1], now))
        return max(pages, key=lambda runs: sum(run.gain(now) for run in runs))

    def fit(self, runs: Sequence[Watch], now: float) -> PagePoll:
        """Return the page on which the runs stand."""
        return self.at(runs[0].rank or 0, now)

    def at(self, rank: int, now: float) -> PagePoll:
        """Return the page on which a rank stands."""
        return self._page(self._number(rank, now))

    def _number(self, rank: int, now: float) -> int:
        return max(0, self._end(now) - rank) // self._size

    def _end(self, now: float) -> int:
        """Return how many runs the list probably has by now."""
        least, most = self._book.growth(now)
        return (self._book.total or 0) + (least + most) // 2


def _falls(orders: Sequence[float | None]) -> bool:
    known = [order for order in orders if order is not None]
    rises = sum(older < newer for older, newer in itertools.pairwise(known))
    return rises <= _DISORDER * len(known)
