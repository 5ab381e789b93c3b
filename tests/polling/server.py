"""A model of the list and get endpoints, which knows nothing of the schedule that asks it."""

from dataclasses import dataclass, field

from codegen_async.polling import GetPoll, ListPoll, Poll, Sighting


@dataclass
class ModelRun:
    """A run on the server."""

    id: int
    created: float
    source: str
    ended: float | None = None


@dataclass
class Answer:
    """What an answer shows, as of the moment it was given."""

    seen: list[Sighting]
    total: int | None
    ended: set[int]


@dataclass
class ModelServer:
    """Lists runs newest first under a filter, and shows single ones. Ids grow, with gaps."""

    runs: list[ModelRun] = field(default_factory=list)
    lie: int | None = None  # the total it tells whatever is true
    next_id: int = 1000

    def create(self, now: float, source: str = "API", gap: int = 1) -> ModelRun:
        self.next_id += gap
        run = ModelRun(self.next_id, now, source)
        self.runs.append(run)
        return run

    def find(self, run_id: int) -> ModelRun | None:
        return next((run for run in self.runs if run.id == run_id), None)

    def answer(self, poll: Poll) -> Answer:
        if isinstance(poll, GetPoll):
            return self._show([run for run in self.runs if run.id == poll.run_id], None)
        assert isinstance(poll, ListPoll)
        return self._page(poll)

    def _page(self, poll: ListPoll) -> Answer:
        assert poll.skip >= 0
        assert 1 <= poll.limit <= 100
        listed = [run for run in reversed(self.runs) if poll.source in {None, run.source}]
        total = len(listed) if self.lie is None else self.lie
        return self._show(listed[poll.skip : poll.skip + poll.limit], total)

    @staticmethod
    def _show(runs: list[ModelRun], total: int | None) -> Answer:
        seen = [sighting(run) for run in runs]
        return Answer(seen, total, {run.id for run in runs if run.ended is not None})


EPOCH = 1.7e9
"""What the server's clock shows when ours shows 0."""


def sighting(run: ModelRun) -> Sighting:
    return Sighting(run.id, float(run.id), EPOCH + run.created, run.source)
