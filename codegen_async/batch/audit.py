"""Hold what the server has against what the journal says.

A list may lag, leave runs out, or not give back keys. So a run that is not found under its key is looked for again as
long as a create is, and then by its id: only what the server says it does not have is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from codegen_async.batch.items import Fact, State, idempotency_key
from codegen_async.batch.journal import Journal
from codegen_async.codegen.creating import Creating
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.searching import is_cut_from, key_of
from codegen_async.errors import APIError, NotFoundError
from codegen_async.hosted.creating import Creating as AnyCreating
from codegen_async.hosted.settling import pauses
from codegen_async.models import RunId

_MOST_GETS = 100  # of runs that the list does not show


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """Say whether each item has exactly the run that the journal says.

    Attributes:
        items: how many were looked at.
        runs: how many runs of the batch the server has.
        missing: keys of items whose run the server does not have under their key (or not any more).
        unproven: keys of items of which nobody can say that: neither the list nor their run shows their key.
        complete: whether the list could be read without gaps and showed what it should; else there may be runs that are
            not told here.
        duplicates: keys of items with more than one run for one attempt, each with its runs, oldest first. The
            journal keeps to one; there is no documented way to stop the others.
        unrecorded: keys of items that have a run of which the journal does not know, with the run. Running the batch
            again finds those of items that are `sending` or `unknown`, which are not named here.
        foreign: runs that carry a key of this batch which no item has, as after a journal was restored from a copy.
    """

    items: int
    runs: int
    missing: Sequence[str]
    unproven: Sequence[str] = ()
    complete: bool = True
    duplicates: Mapping[str, Sequence[RunId]]
    unrecorded: Mapping[str, RunId]
    foreign: Sequence[RunId]

    @property
    def ok(self) -> bool:
        """Whether every item has at most one run, and the one that the journal says."""
        wrong = self.missing or self.unproven or self.duplicates or self.unrecorded or self.foreign
        return self.complete and not wrong


class _Hidden(NamedTuple):
    """A run that is not seen under its key."""

    key: str
    run_id: int


async def audit_by_keys(
    journal: Journal, creating: AnyCreating[Any], is_there: Callable[[RunId], Awaitable[bool]], *, parents: bool
) -> AuditReport:
    """Compare a journal with what the server has, where it is asked for each key; see `Batch.audit`.

    Args:
        journal: the journal.
        creating: looks for keys.
        is_there: asks for a run by its id.
        parents: whether keys are of what was made for runs to belong to, so that without one nothing was sent.

    Raises:
        APIError: the server could not be asked.
    """
    items = runs = 0
    find = creating.finding.find
    hidden: list[Fact] = []
    duplicates: dict[str, Sequence[RunId]] = {}
    unrecorded: dict[str, RunId] = {}
    async for fact in journal.facts():
        items += 1
        if parents and fact.parent is None:
            continue
        found = await find(fact.key, None)
        runs += found is not None
        if found is None and fact.run_id is not None:
            hidden.append(fact)
        elif found is not None and fact.run_id is None and fact.state not in (State.SENDING, State.UNKNOWN):
            unrecorded[fact.name] = found.id
        elif found is not None and fact.run_id not in (None, found.id):
            duplicates[fact.name] = (str(fact.run_id), found.id)
    for pause in (0.0, *pauses(creating.settle_time)):  # neither a list nor a get may show what is new
        await asyncio.sleep(pause if hidden else 0.0)
        seen = [await is_there(fact.run_id or "") or await find(fact.key, None) is not None for fact in hidden]
        runs += sum(seen)
        hidden = [fact for fact, is_seen in zip(hidden, seen, strict=True) if not is_seen]
    return AuditReport(
        items=items,
        runs=runs,
        missing=[fact.name for fact in hidden],
        duplicates=duplicates,
        unrecorded=unrecorded,
        foreign=(),
    )


async def audit(journal: Journal, creating: Creating) -> AuditReport:
    """Compare a journal with what the server has; see `Batch.audit`."""
    floor = await journal.first_floor()
    runs: dict[int, AgentRun] = {}
    pauses = [*creating.pauses]
    while True:
        complete = True
        if floor is not None:
            sight = await creating.all_since(floor)
            complete = sight.whole
            runs = {**runs, **sight.runs}
        report, hidden = await _compare(journal.batch_id, journal.facts(), runs)
        if (complete and not hidden) or not pauses:
            break
        await asyncio.sleep(pauses.pop(0))
    missing, unproven = await _ask_for(hidden, creating)
    shown = len(missing) + len(unproven) == len(hidden)  # else the list leaves out runs, or keys
    return msgspec.structs.replace(report, missing=missing, unproven=unproven, complete=complete and shown)


async def _ask_for(hidden: Mapping[str, _Hidden], creating: Creating) -> tuple[Sequence[str], Sequence[str]]:
    """Return which items have a run that the server does not have, and of which nobody can say that."""
    missing: list[str] = []
    unproven = list(hidden)[_MOST_GETS:]
    for name, (key, run_id) in list(hidden.items())[:_MOST_GETS]:
        try:
            shown = key_of(await creating.fetch(run_id))
        except NotFoundError:
            missing.append(name)
        except APIError:
            unproven.append(name)
        else:
            if shown is None or (shown != key and is_cut_from(key, shown)):
                unproven.append(name)
            elif shown != key:
                missing.append(name)
    return tuple(missing), tuple(unproven)


async def _compare(
    batch_id: str, facts: AsyncIterable[Fact], runs: Mapping[int, AgentRun]
) -> tuple[AuditReport, Mapping[str, _Hidden]]:
    """Compare the items of a batch with runs, by id; return also which are not seen under their keys."""
    found = _runs_by_key(batch_id, runs)
    total = sum(map(len, found.values()))
    items = 0
    hidden: dict[str, _Hidden] = {}
    duplicates: dict[str, Sequence[RunId]] = {}
    unrecorded: dict[str, RunId] = {}
    async for fact in facts:
        items += 1
        attempts = [found.pop(idempotency_key(batch_id, fact.identity, n + 1), []) for n in range(fact.attempt)]
        for ids in attempts:
            if len(ids) > 1:
                duplicates[fact.name] = ids
        ids = attempts[-1]
        run_id = None if fact.run_id is None else int(fact.run_id)
        if run_id is not None and run_id not in ids:
            hidden[fact.name] = _Hidden(idempotency_key(batch_id, fact.identity, fact.attempt), run_id)
        if ids and run_id not in ids and fact.state not in (State.SENDING, State.UNKNOWN):
            unrecorded[fact.name] = ids[0]
    report = AuditReport(
        items=items,
        runs=total,
        missing=(),
        duplicates=duplicates,
        unrecorded=unrecorded,
        foreign=tuple(run_id for ids in found.values() for run_id in ids),
    )
    return report, hidden


def _runs_by_key(batch_id: str, runs: Mapping[int, AgentRun]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for run in runs.values():
        key = key_of(run)
        if key is not None and key.startswith(f"{batch_id}-"):
            found.setdefault(key, []).append(run.id)
    return {key: sorted(ids) for key, ids in found.items()}
