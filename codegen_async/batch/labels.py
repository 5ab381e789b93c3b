"""Say in one word where an item of a batch stands, for people. Pure."""

from __future__ import annotations

from codegen_async.batch.items import Outcome, State
from codegen_async.models import Phase

LABELS = ("planned", "sending", "running", "paused", "succeeded", "failed", "cancelled", "rejected", "unknown")


def label(outcome: Outcome) -> str:
    """Return the one of `LABELS` that says where an item stands."""
    return label_of(outcome.state, None if outcome.run is None else outcome.run.phase, outcome.error)


def label_of(state: State, phase: Phase | None, error: str | None) -> str:
    """Return the same for an item whose run was seen last in this phase; None: it has none, or it was not seen.

    A run that has neither ended nor waits for a person, and of which there is an error, is not followed any more: it is
    not found, say. So what comes of it is unknown.
    """
    if state is State.ENDED:
        return (phase or Phase.FAILED).value
    if state is not State.CREATED:
        return state.value
    if phase is Phase.BLOCKED:
        return "paused"
    return "running" if error is None else State.UNKNOWN.value
