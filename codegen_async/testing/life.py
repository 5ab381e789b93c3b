"""One simulated agent run: the stages of its life, so far and to come."""

import math
import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["FINAL_STATUSES", "Life", "Run", "Script", "Stage"]

Script = Sequence[tuple[float, str | None]]
"""The stages of a life: seconds since the run was created or resumed, and its status from then on."""

FINAL_STATUSES = frozenset(
    {
        "COMPLETE",
        "ERROR",
        "FAILED",
        "CANCELLED",
        "STOPPED",
        "TIMEOUT",
        "MAX_ITERATIONS_REACHED",
        "OUT_OF_TOKENS",
    }
)


class Stage(NamedTuple):
    """One step of a life: from `at` (clock seconds) on the run has `status`."""

    at: float
    status: str | None
    prompt: str | None = None
    """What the user said, where that is how the stage began: at creation and at each resume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How runs live that are given no script.

    Durations are lognormal with `median` (seconds) and `sigma`. A share `evaluation` of the runs evaluates
    its work in the last tenth of its life. `outcomes` gives the weight of each final status. A run that
    works writes a log row every `log_interval` seconds on average.
    """

    median: float = 360.0
    sigma: float = 1.0
    evaluation: float = 0.3
    outcomes: Mapping[str, float] = field(
        default_factory=lambda: {
            "COMPLETE": 88,
            "ERROR": 5,
            "MAX_ITERATIONS_REACHED": 3,
            "TIMEOUT": 2,
            "OUT_OF_TOKENS": 1,
            "CANCELLED": 1,
        }
    )
    log_interval: float = 20.0

    def script(self, rng: random.Random) -> Script:
        """Draw the life of one run."""
        duration = self.median * math.exp(self.sigma * rng.gauss(0, 1))
        evaluated = rng.random() < self.evaluation
        (outcome,) = rng.choices(list(self.outcomes), list(self.outcomes.values()))
        evaluation = [(duration * 0.9, "EVALUATION")] if evaluated else []
        return [(0.0, "ACTIVE"), *evaluation, (duration, outcome)]


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """An agent run: what was asked for, and what becomes of it."""

    id: int
    created: float
    prompt: str
    images: Sequence[str]
    metadata: Mapping[str, Any] | None
    repo_id: int | None
    model: str | None
    agent_type: str | None
    source_type: str | None
    user_id: int
    stages: list[Stage]
    webhooks: Sequence[Mapping[str, Any]] = ()

    @property
    def finished_at(self) -> float | None:
        """The clock time at which the run ends, past or to come; None if it never does."""
        last = self.stages[-1]
        return last.at if last.status in FINAL_STATUSES else None

    def status_at(self, time: float) -> str | None:
        """Return the status at a clock time; None before the first stage."""
        reached = self.reached(time)
        return self.stages[reached - 1].status if reached else None

    def reached(self, time: float) -> int:
        """Return how many stages have begun at a clock time."""
        return bisect_right(self.stages, time, key=lambda stage: stage.at)

    def change(self, time: float, stages: Sequence[Stage]) -> None:
        """Let the life take another course from a clock time on."""
        self.stages = [*self.stages[: self.reached(time)], *stages]
