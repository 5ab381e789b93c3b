"""Count where the items of a batch stand, and put outcomes into the forms a command prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from codegen_async.batch.items import Outcome
from codegen_async.batch.labels import LABELS, label
from codegen_async.batch.results import time_of
from codegen_async.cli.errors import Exit
from codegen_async.cli.render import summary_of

COLUMNS = ("KEY", "RUN", "STATUS", "SECONDS", "SUMMARY")


def tally(outcomes: Iterable[Outcome]) -> Mapping[str, int]:
    """Return how many items have each of `LABELS`."""
    counts = Counter(map(label, outcomes))
    return {name: counts[name] for name in LABELS}


def summary(counts: Mapping[str, int]) -> str:
    """Return counts as a sentence."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing to do"


def verdict(counts: Mapping[str, int]) -> Exit:
    """Return what a command ends with whose batch stands there."""
    if counts["failed"] or counts["cancelled"] or counts["rejected"]:
        return Exit.ENDED_BADLY
    return Exit.ATTENTION if counts["unknown"] or counts["paused"] else Exit.OK


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON fields."""
    fields = msgspec.structs.asdict(outcome)
    if outcome.fields is None:  # of Codegen, whose fields have columns of their own
        del fields["fields"]
    return {
        **fields,
        "run": None if outcome.run is None else outcome.run.to_dict(),
        "created_at": time_of(outcome.created_at),
        "ended_at": time_of(outcome.ended_at),
    }


def outcome_row(outcome: Outcome) -> Sequence[str]:
    """Return an outcome as a row of `COLUMNS`."""
    run = outcome.run
    said = outcome.error or ("" if run is None else summary_of(run))
    seconds = "" if outcome.seconds is None else f"{outcome.seconds:.0f}"
    return outcome.key, str(outcome.run_id or ""), label(outcome), seconds, said
