"""What a schedule asks of any look that shows more than one run: which runs it shows, and what asks for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence

from codegen_async.polling.polls import PagePoll, Sighting, Tail
from codegen_async.polling.windows import Watch


class Look(ABC):
    """Know what one request shows besides a get."""

    company: int = 0
    """How many others it must show besides a run, to be worth more than a get."""
    checked: bool = True
    """Whether gets are to check what it tells."""

    # Who is in it

    @abstractmethod
    def enter(self, run: Watch) -> None:
        """Take in a run."""

    @abstractmethod
    def leave(self, run: Watch) -> None:
        """Forget a run."""

    def created(self, run: Watch) -> None:  # noqa: B027 - not every look cares
        """Count a run that was created just now."""

    def touch(self, runs: Iterable[Watch]) -> None:  # noqa: B027 - not every look cares
        """Note that runs were asked for."""

    def strange(self, source: str | None) -> bool:  # noqa: ARG002 - an interface
        """Whether the usual filter hides runs of this source."""
        return False

    def recount(self, change: int, runs: Collection[Watch]) -> None:  # noqa: B027 - not every look cares
        """Count the watched runs of other sources."""

    # What there is

    @property
    def unknown(self) -> bool:
        """Whether no page was read yet, and one has to be, to learn what it shows."""
        return False

    @property
    def searching(self) -> bool:
        """Whether to read page after page."""
        return False

    @property
    @abstractmethod
    def holds_any(self) -> bool:
        """Whether it can show any watched run."""

    @abstractmethod
    def lonely(self, run: Watch, company: int) -> bool:
        """Whether it is likely to show no more than so many other runs together with this one."""

    # What to ask for

    def search(self) -> PagePoll:
        """Return the next page that teaches something."""
        raise NotImplementedError

    @abstractmethod
    def best(self, now: float) -> list[Watch]:
        """Return the runs that one look shows with the largest gain."""

    @abstractmethod
    def around(self, run: Watch, now: float) -> list[Watch]:
        """Return the runs that a look shows together with this one."""

    @abstractmethod
    def fit(self, runs: Sequence[Watch], now: float) -> PagePoll:
        """Return what asks for the runs."""

    def at(self, rank: int, now: float) -> PagePoll:
        """Return a page on which a rank stands."""
        raise NotImplementedError

    # What came of it

    @abstractmethod
    def takes(self, poll: PagePoll) -> bool:
        """Whether it learns from the answer to that."""

    @abstractmethod
    def read(
        self, poll: PagePoll, seen: Sequence[Sighting], shown: Mapping[int, Watch], tail: Tail, asked: float
    ) -> bool:
        """Learn from an answer, and return whether it can be true; `shown` are its watched runs, by index."""

    def silent(self, poll: PagePoll, runs: Sequence[Watch], tail: Tail) -> Sequence[Watch]:  # noqa: ARG002 - as above
        """Return the runs that an answer leaves out because nothing of them has changed."""
        return ()

    def missed(self, poll: PagePoll) -> None:  # noqa: B027 - not every look cares
        """Take in that no answer came."""

    def helped(self, found: int, expected: int) -> bool:
        """Whether a look has shown enough of what it should: anything, as estimates may be far off."""
        return found > 0 or not expected

    def stands_beside(self, run: Watch, poll: PagePoll, length: int, total: int | None) -> bool:  # noqa: ARG002 - as above
        """Whether the page beside should show a run that a page has missed."""
        return False
