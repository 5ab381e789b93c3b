"""Looks at what has changed since the last one: what a walk to its end does not show is as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codegen_async.models import RunId
from codegen_async.polling.look import Look
from codegen_async.polling.polls import ChangedPoll, PagePoll, Sighting, Tail
from codegen_async.polling.windows import Watch

_BROKEN = 2  # walks in a row that came to no end, from which on silence is no news before the end


class ChangedSince(Look):
    """Know which runs were seen since they are watched: of these, silence says that they are as they were.

    A run that nobody has seen yet may have changed before the first walk, so a get is for it. So it is for all where
    walks come to no end, as what has changed may stand on the pages that nobody has seen.
    """

    company = 1

    def __init__(self) -> None:
        self._runs: dict[RunId, Watch] = {}
        self._place: str | None = None  # of the next page of the walk that is on
        self._walked: set[str] = set()  # the places where that walk has been
        self._broken = 0  # walks in a row that came to no end

    def enter(self, run: Watch) -> None:
        """Take in a run."""
        self._runs[run.run_id] = run

    def leave(self, run: Watch) -> None:
        """Forget a run."""
        self._runs.pop(run.run_id, None)

    @property
    def searching(self) -> bool:
        """Whether a walk has to be brought to its end."""
        return self._place is not None

    @property
    def holds_any(self) -> bool:
        """Whether any run is watched."""
        return bool(self._runs)

    def lonely(self, run: Watch, company: int) -> bool:
        """Whether there are too few others, or the run was not seen yet."""
        return not run.known or len(self._runs) <= 1 + company

    def search(self) -> PagePoll:
        """Return the next page of the walk."""
        return ChangedPoll(self._place)

    def best(self, now: float) -> list[Watch]:  # noqa: ARG002 - an interface
        """Return all runs that were seen."""
        return [run for run in self._runs.values() if run.known]

    def around(self, run: Watch, now: float) -> list[Watch]:  # noqa: ARG002 - the same
        """Return all runs that were seen: one walk is for all."""
        return self.best(now)

    def fit(self, runs: Sequence[Watch], now: float) -> PagePoll:  # noqa: ARG002 - the same
        """Return the first page of a walk."""
        return ChangedPoll(None)

    def takes(self, poll: PagePoll) -> bool:
        """Whether it belongs to a walk."""
        return isinstance(poll, ChangedPoll)

    def read(
        self,
        poll: PagePoll,
        seen: Sequence[Sighting],  # noqa: ARG002 - an interface
        shown: Mapping[int, Watch],  # noqa: ARG002 - the same
        tail: Tail,
        asked: float,  # noqa: ARG002 - the same
    ) -> bool:
        """Learn where the walk goes on, and return whether it does: it may be led back to where it has been."""
        if isinstance(poll, ChangedPoll) and poll.place is not None:
            self._walked.add(poll.place)
        else:
            self._walked.clear()
        self._place = tail.following
        if tail.following is None:
            self._broken = 0
        elif tail.following in self._walked:
            self._break_off()
            return False
        return True

    def silent(self, poll: PagePoll, runs: Sequence[Watch], tail: Tail) -> Sequence[Watch]:  # noqa: ARG002 - the same
        """Return all runs of the walk: what it is silent of is as it was. Where it goes on, more of them come."""
        return runs if self._place is None or self._broken < _BROKEN else ()

    def missed(self, poll: PagePoll) -> None:
        """Begin the walk anew: the next one asks for all that this one would have shown."""
        if isinstance(poll, ChangedPoll) and poll.place is not None:
            self._break_off()

    def _break_off(self) -> None:
        self._place = None
        self._broken += 1
