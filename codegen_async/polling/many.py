"""Looks at many runs by their ids: no list, no places; whoever gains most comes along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from codegen_async.models import RunId
from codegen_async.polling.look import Look
from codegen_async.polling.polls import ManyPoll, PagePoll, Sighting, Tail
from codegen_async.polling.windows import Watch


class ManyById(Look):
    """Know which runs are watched: any of them can be shown together.

    Args:
        most: how many ids one call takes.
    """

    checked = False  # the server tells of each run that was named, as with a get

    def __init__(self, most: int) -> None:
        self._most = most
        self._runs: dict[RunId, Watch] = {}  # those that were asked for last come last
        self._best: list[Watch] = []
        self._best_at: float | None = None  # for what moment that holds

    def enter(self, run: Watch) -> None:
        """Take in a run."""
        self._runs[run.run_id] = run
        self._best_at = None

    def leave(self, run: Watch) -> None:
        """Forget a run."""
        self._runs.pop(run.run_id, None)
        self._best_at = None

    def touch(self, runs: Iterable[Watch]) -> None:
        """Note that runs were asked for."""
        for run in runs:
            if self._runs.pop(run.run_id, None) is not None:
                self._runs[run.run_id] = run
        self._best_at = None

    @property
    def holds_any(self) -> bool:
        """Whether any run is watched."""
        return bool(self._runs)

    def lonely(self, run: Watch, company: int) -> bool:
        """Whether there are not enough others to name."""
        return run.run_id not in self._runs or len(self._runs) <= 1 + company

    def best(self, now: float) -> list[Watch]:
        """Return the runs with the largest gains."""
        if len(self._runs) <= self._most:
            return list(self._runs.values())
        if self._best_at != now:
            gains = [(now - run.asked) ** 2 / run.patience for run in self._runs.values()]  # as `gain`, but quicker
            least = sorted(gains)[-self._most]
            enough = [run for run, gain in zip(self._runs.values(), gains, strict=True) if gain >= least]
            self._best, self._best_at = enough[: self._most], now
        return self._best

    def around(self, run: Watch, now: float) -> list[Watch]:
        """Return that run and the others with the largest gains."""
        runs = self.best(now)
        return runs if run in runs else [run, *runs[: self._most - 1]]

    def fit(self, runs: Sequence[Watch], now: float) -> PagePoll:  # noqa: ARG002 - an interface
        """Return what asks for the runs."""
        return ManyPoll(tuple(run.run_id for run in runs))

    def takes(self, poll: PagePoll) -> bool:
        """Whether it is a call by ids."""
        return isinstance(poll, ManyPoll)

    def read(
        self,
        poll: PagePoll,  # noqa: ARG002 - an interface
        seen: Sequence[Sighting],  # noqa: ARG002 - the same
        shown: Mapping[int, Watch],  # noqa: ARG002 - the same
        tail: Tail,  # noqa: ARG002 - the same
        asked: float,  # noqa: ARG002 - the same
    ) -> bool:
        """Learn nothing, as there is nothing to learn."""
        return True
