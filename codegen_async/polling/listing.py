"""The list of runs, as far as watched runs stand in it: learns from pages, and lays out the next one."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeGuard

from codegen_async.models import RunId
from codegen_async.polling.look import Look
from codegen_async.polling.polls import ListPoll, PagePoll, Sighting, Tail
from codegen_async.polling.ranks import PAGE, RankBook
from codegen_async.polling.windows import Watch, Windows

_MOST_MISSES = 3  # pages without it until a run is taken not to be in the list


class Listing(Look):
    """Know the ranks of watched runs, exactly or by estimate.

    Args:
        source: the filter of the list while no watched run is known to have another source.
    """

    company: int = 0
    """How many others a page must show besides a run, to be worth more than a get."""

    def __init__(self, source: str | None) -> None:
        self._source = source
        self._strangers = 0  # watched runs known to have another source
        self._books = {source: RankBook(), None: RankBook()}
        self._windows = Windows()
        self._guessed: list[tuple[float, int, Watch]] = []  # runs whose rank is estimated, by order
        self._ties = itertools.count()  # among equal orders

    @property
    def source(self) -> str | None:
        """The filter to list under."""
        return None if self._strangers else self._source

    @property
    def _book(self) -> RankBook:
        return self._books[self.source]

    @property
    def unknown(self) -> bool:
        """Whether no page was read yet."""
        return self._book.total is None

    @property
    def holds_any(self) -> bool:
        """Whether the rank of any watched run is known or guessed."""
        return bool(self._windows)

    # Who is in it

    def enter(self, run: Watch) -> None:
        """Take in a run nothing is known of but its order."""
        self._guess(run)

    def leave(self, run: Watch) -> None:
        """Forget a run."""
        self._unguess(run)
        self._windows.put(run, None)

    def created(self, run: Watch) -> None:
        """Count a run that was created just now, if nothing newer is known."""
        self._book.created(run.order)

    def touch(self, runs: Iterable[Watch]) -> None:
        """Note that runs were asked for."""
        self._windows.touch(runs)

    def strange(self, source: str | None) -> bool:
        """Whether the usual filter hides runs of this source."""
        return self._source is not None and source is not None and source != self._source

    def recount(self, change: int, runs: Collection[Watch]) -> None:
        """Count the watched runs of other sources; with the first and the last of them the filter changes."""
        before = self.source
        self._strangers += change
        if self.source != before:
            self._windows = Windows()
            self._guessed = []
            for run in runs:
                run.rank, run.misses = None, 0
                self._guess(run)

    def _guess(self, run: Watch) -> None:
        run.exact = False
        if run.order is None:
            self._windows.put(run, None)
            return
        run.tie = next(self._ties)
        bisect.insort(self._guessed, (run.order, run.tie, run))
        self._windows.put(run, self._book.estimate(run.order))

    def _unguess(self, run: Watch) -> None:
        if run.tie >= 0 and run.order is not None:
            del self._guessed[bisect.bisect_left(self._guessed, (run.order, run.tie))]
            run.tie = -1

    # What a page tells

    def takes(self, poll: PagePoll) -> TypeGuard[ListPoll]:
        """Whether it learns from a page: one under the present filter."""
        return isinstance(poll, ListPoll) and poll.source == self.source

    def read(
        self, poll: PagePoll, seen: Sequence[Sighting], shown: Mapping[int, Watch], tail: Tail, asked: float
    ) -> bool:
        """Learn from a page that it takes, and return whether its total can be true.

        `shown` are its watched runs, by index.
        """
        orders = [sighting.order for sighting in seen]
        return self.takes(poll) and self._read(poll.skip, orders, shown, tail.total, asked)

    def _read(
        self, skip: int, orders: Sequence[float | None], shown: Mapping[int, Watch], total: int | None, asked: float
    ) -> bool:
        unknown = self.unknown
        top = self._book.learn(skip, orders, total, asked)
        if top is None:
            return False
        self._place(shown, top)
        known = [order for order in orders if order is not None]
        self._miss({run.run_id for run in shown.values()}, known, top - len(orders) + 1, top)
        if unknown:
            self._guess_again(-math.inf, math.inf)
        elif known:
            self._guess_again(*self._book.gap(known[-1], known[0]))
        return True

    def _place(self, shown: Mapping[int, Watch], top: int) -> None:
        believed = (top - index - run.rank for index, run in shown.items() if run.exact and run.rank is not None)
        shift = next(believed, 0)
        for index, run in shown.items():
            self._unguess(run)
            run.exact, run.misses = True, 0
            if run.rank != top - index:
                self._windows.put(run, top - index)
        if shift:  # runs were deleted beneath
            self._book.shift(top, shift)
            self._windows.shift(top, shift)

    def _miss(self, shown: Collection[RunId], orders: Sequence[float], low: int, high: int) -> None:
        """Give up what was believed of runs that the page should have shown."""
        missing = [run for run in self._windows.between(low, high) if run.run_id not in shown]
        for run in missing:
            self._unguess(run)
            passed_over = bool(orders) and run.order is not None and orders[-1] < run.order < orders[0]
            run.misses += 1
            if passed_over or run.misses >= _MOST_MISSES:
                run.exact = False
                self._windows.put(run, None)  # not in this list; only a page that shows it can tell where it is
            else:
                self._guess(run)

    def _guess_again(self, low: float, high: float) -> None:
        """Estimate anew where better anchors are known now."""
        begin = bisect.bisect_left(self._guessed, (low,))
        end = bisect.bisect_left(self._guessed, (high, math.inf))
        for _, _, run in self._guessed[begin:end]:
            self._windows.put(run, self._book.estimate(run.order))

    def helped(self, found: int, expected: int) -> bool:
        """Whether a page has shown enough of what it should: anything, as estimates may be far off."""
        return found > 0 or not expected

    def silent(self, poll: PagePoll, runs: Sequence[Watch], tail: Tail) -> Sequence[Watch]:  # noqa: ARG002 - see `looks`
        """Return the runs that an answer leaves out because nothing of them has changed; none, of a page."""
        return ()

    def stands_beside(self, run: Watch, poll: PagePoll, length: int, total: int | None) -> bool:  # noqa: ARG002 - see `numbered`
        """Whether the page beside should show a run that a page has missed; never, if a page may begin anywhere."""
        return False

    # What to ask for

    @property
    def searching(self) -> bool:
        """Whether to read page after page; never, as orders tell where to look."""
        return False

    def search(self) -> PagePoll:
        """Return a page that teaches where the list stands."""
        return ListPoll(0, PAGE, self.source)

    def lonely(self, run: Watch, company: int) -> bool:
        """Whether no page is likely to show more than so many other runs together with this one."""
        return self._windows.lonely(run, company)

    def best(self, now: float) -> list[Watch]:
        """Return the runs of the page with the largest gain."""
        return self._windows.best(now, self._book.reach(now))

    def around(self, run: Watch, now: float) -> list[Watch]:
        """Return the runs of the page that shows this one and gathers the most staleness."""
        return self._windows.around(run, now, self._book.reach(now))

    def fit(self, runs: Sequence[Watch], now: float) -> PagePoll:
        """Return the smallest page that shows the runs, the oldest of which comes first."""
        low, high = runs[0].rank or 0, runs[-1].rank or 0
        guessed = not all(run.exact for run in runs)
        return ListPoll(*self._book.fit(low, high, now, guessed=guessed), self.source)

    def at(self, rank: int, now: float) -> PagePoll:
        """Return a page with a rank in its middle."""
        return ListPoll(*self._book.fit(rank, rank, now, guessed=True), self.source)
