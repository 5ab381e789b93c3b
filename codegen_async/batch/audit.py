"""Hold what the server has against what the journal says."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence

import msgspec

from codegen_async.batch.items import Fact, State, idempotency_key
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.searching import key_of


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """Say whether each item has exactly the run that the journal says.

    Attributes:
        items: how many were looked at.
        runs: how many runs of the batch the server has.
        missing: keys of items whose run the server does not have under their key (or not any more).
        duplicates: keys of items with more than one run for one attempt, each with its runs, oldest first. The
            journal keeps to one; there is no documented way to stop the others.
        unrecorded: keys of items that have a run of which the journal does not know, with the run. Running the batch
            again finds those of items that are `sending` or `unknown`, which are not named here.
        foreign: runs that carry a key of this batch which no item has, as after a journal was restored from a copy.
    """

    items: int
    runs: int
    missing: Sequence[str]
    duplicates: Mapping[str, Sequence[int]]
    unrecorded: Mapping[str, int]
    foreign: Sequence[int]

    @property
    def ok(self) -> bool:
        """Whether every item has at most one run, and the one that the journal says."""
        return not (self.missing or self.duplicates or self.unrecorded or self.foreign)


async def compare(batch_id: str, facts: AsyncIterable[Fact], runs: Iterable[AgentRun]) -> AuditReport:
    """Compare the items of a batch with all runs that carry a key, newest first."""
    found = _runs_by_key(batch_id, runs)
    total = sum(map(len, found.values()))
    items = 0
    missing: list[str] = []
    duplicates: dict[str, Sequence[int]] = {}
    unrecorded: dict[str, int] = {}
    async for fact in facts:
        items += 1
        attempts = [found.pop(idempotency_key(batch_id, fact.identity, n + 1), []) for n in range(fact.attempt)]
        for ids in attempts:
            if len(ids) > 1:
                duplicates[fact.name] = ids
        ids = attempts[-1]
        if fact.run_id is not None and fact.run_id not in ids:
            missing.append(fact.name)
        if ids and fact.run_id not in ids and fact.state not in (State.SENDING, State.UNKNOWN):
            unrecorded[fact.name] = ids[0]
    return AuditReport(
        items=items,
        runs=total,
        missing=tuple(missing),
        duplicates=duplicates,
        unrecorded=unrecorded,
        foreign=tuple(run_id for ids in found.values() for run_id in ids),
    )


def _runs_by_key(batch_id: str, runs: Iterable[AgentRun]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for run in runs:
        key = key_of(run)
        if key is not None and key.startswith(f"{batch_id}-"):
            found.setdefault(key, []).append(run.id)
    return {key: sorted(ids) for key, ids in found.items()}
