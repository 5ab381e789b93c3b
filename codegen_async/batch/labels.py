"""Say in one word where an item of a batch stands, for people. Pure."""

from __future__ import annotations

from codegen_async.batch.items import Outcome, State
from codegen_async.models import Phase

LABELS = ("planned", "sending", "running", "paused", "succeeded", "failed", "cancelled", "rejected", "unknown")


def label(outcome: Outcome) -> str:
    """Return the one of `LABELS` that says where an item stands."""
    return label_of(outcome.state, None if outcome.run is None else outcome.run.phase)


def label_of(state: State, phase: Phase | None) -> str:
    """Return the same for an item whose run was seen last in this phase; None: it has none, or it was not seen."""
    if state is State.ENDED:
        return (phase or Phase.FAILED).value
    if state is State.CREATED:
        return "paused" if phase is Phase.BLOCKED else "running"
    return state.value
