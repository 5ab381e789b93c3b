"""Show where the prompts of a batch stand, by its journal alone: also while another process runs it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from codegen_async.batch.items import Outcome, State
from codegen_async.batch.labels import LABELS, label
from codegen_async.batch.lease import is_driven
from codegen_async.batch.readers import Where, opened, read_account, read_outcomes
from codegen_async.batch.results import row
from codegen_async.batch.schema import explained
from codegen_async.cli.errors import Exit, UsageError, command
from codegen_async.cli.inputs import MIDDESK_API, group_of
from codegen_async.cli.options import Display
from codegen_async.cli.output import Output
from codegen_async.cli.selecting import did_you_mean
from codegen_async.cli.tally import COLUMNS, outcome_row, summary, tally, verdict

_STATES = (*LABELS, *(state.value for state in State if state.value not in LABELS))
_OPEN = ("planned", "sending", "running")
_EVERY = 1.0  # seconds between two looks at the journal


def show_items(journal: Where, states: Sequence[str], display: Display) -> Exit:
    """List the prompts of a batch that are in one of these states, or all.

    Raises:
        UsageError: there is no such state.
        JournalError: the journal cannot be read.
    """
    output = Output(display)
    for name in states:
        if name not in _STATES:
            problem = f"--state: expected one of {', '.join(_STATES)}, got {name!r}"
            raise UsageError(problem, did_you_mean(name, _STATES))
    chosen = (item for item in read_outcomes(journal) if not states or {label(item), item.state.value} & {*states})
    if output.structured:
        output.records([row(outcome) for outcome in chosen])
    else:
        output.table(COLUMNS, map(_row, chosen))
    return Exit.OK


def _row(outcome: Outcome) -> Sequence[str]:
    """Return an outcome as a row of `COLUMNS`, with its prompt where nothing else is to be said."""
    *fields, said = outcome_row(outcome)
    return *fields, said or outcome.prompt or msgspec.json.encode(outcome.fields or {}).decode()


def watch_items(journal: Where, display: Display, options: Iterable[str]) -> Exit:
    """Print each change of a batch until nothing is left to do.

    Args:
        journal: the journal.
        display: how changes are shown.
        options: those that name its dialect, for the command that goes on.

    Raises:
        UsageError: the changes are wanted as one document.
        JournalError: the journal cannot be read.
    """
    if display.json:
        raise UsageError("watch prints changes as they come: --json does not fit", "use --jsonl")
    output = Output(display)
    account = read_account(journal)
    group = group_of(MIDDESK_API) if account is not None and account.api == MIDDESK_API else ("batch",)
    again = command(*group, "run", journal, *options)
    seen: Mapping[str, str] = {}
    counts: Mapping[str, int] = {}
    driven = True
    with opened(journal) as connection:
        version = None
        while True:
            was_driven, driven = driven, not isinstance(journal, Path) or is_driven(journal)
            if version != (version := _version(connection, journal)):
                outcomes = list(read_outcomes(journal))
                seen = _show_changes(output, outcomes, seen)
                counts = tally(outcomes)
            is_filled = bool(seen) or not driven or not isinstance(journal, Path)
            if is_filled and not any(counts[name] for name in _OPEN):
                return verdict(counts)
            if was_driven and not driven:
                output.note(f"no process of this machine runs it now; to go on: {again}")
            time.sleep(_EVERY)


def _version(connection: sqlite3.Connection, journal: Where) -> object:
    """Return what changes whenever another process has written to the journal."""
    if not isinstance(journal, Path):
        query = "SELECT state, count(*), max(finished), max(attempt) FROM items GROUP BY state ORDER BY state"
        return connection.execute(query).fetchall()
    with explained(journal):
        return connection.execute("PRAGMA data_version").fetchone()


def _show_changes(output: Output, outcomes: Sequence[Outcome], seen: Mapping[str, str]) -> Mapping[str, str]:
    standing = {outcome.key: label(outcome) for outcome in outcomes}
    if standing == seen:
        return seen
    for outcome in outcomes:
        if seen.get(outcome.key, "planned") == standing[outcome.key]:
            continue
        if output.jsonl:
            output.document(row(outcome))
        else:
            output.row(COLUMNS, _row(outcome))
    output.change(summary(tally(outcomes)))
    return standing
