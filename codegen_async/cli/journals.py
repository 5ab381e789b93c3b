"""What `codegen-async batch` shows of a journal by the file alone, whatever API its runs are of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit
from codegen_async.cli.options import ANY, PLAIN, Display, JournalFile, Reading

_STATES = """\
Only these: planned, sending, running, paused, succeeded, failed, cancelled, rejected, unknown. Default: all. \
May be repeated."""

app: App = App(name="batch")
"""Commands, for the groups of all dialects."""

OutputFormat = Annotated[
    Literal["csv", "tsv", "jsonl", "json"] | None,
    Parameter(name="--format", help="What FILE is to be. Default: as its name says."),
]


@app.command(
    help_epilogue="""\
Works while the batch is being run.

Example:
  codegen-async batch status prompts.jsonl.db"""
)
def status(journal: JournalFile, /, *, reading: Reading = ANY, display: Display = PLAIN) -> Exit:  # noqa: ARG001 - whatever it says, the journal knows
    """Show how many prompts of a batch stand where, and on which server."""
    import msgspec

    from codegen_async.batch.readers import read_account, read_outcomes
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.output import Output
    from codegen_async.cli.tally import tally

    output = Output(display)
    place = existing(journal)
    counts = tally(read_outcomes(place))
    account = read_account(place)
    if output.structured:
        output.document({**counts, **({} if account is None else msgspec.structs.asdict(account))})
    else:
        output.note(f"its runs are those of {account or 'no server yet'}")
        output.table(("STATUS", "PROMPTS"), [(name, str(count)) for name, count in counts.items()])
    return Exit.OK


@app.command(
    help_epilogue="""\
The file is .csv, .tsv, .jsonl or .json, and takes the place of another when it
is complete; - writes to the standard output, .jsonl if nothing else is said.
Each prompt has its state, run, attempts, times, result and error, its text and
metadata (for other APIs than Codegen its fields), and what else its line said.
Works while the batch is being run. In
tables, text that a spreadsheet would take for a formula begins with an
apostrophe.

Examples:
  codegen-async batch export prompts.jsonl results.csv
  codegen-async batch export prompts.jsonl.db - > results.jsonl"""
)
def export(
    journal: JournalFile,
    file: Annotated[
        Path, Parameter(name="FILE", help="The file to write; - for the standard output.", allow_leading_hyphen=True)
    ],
    /,
    *,
    kind: OutputFormat = None,
    reading: Reading = ANY,  # noqa: ARG001 - whatever it says, the journal knows
    display: Display = PLAIN,
) -> Exit:
    """Write what became of each prompt to a file."""
    from codegen_async.cli.exporting import export_to
    from codegen_async.cli.inputs import existing

    return export_to(existing(journal), file, kind, display)


@app.command(
    name="list",
    help_epilogue="""\
Works while the batch is being run. With --json and --jsonl each prompt has the
fields of `batch export`.

Examples:
  codegen-async batch list prompts.jsonl
  codegen-async batch list prompts.jsonl --state failed --state rejected
  codegen-async batch list prompts.jsonl --state failed --json""",
)
def list_(
    journal: JournalFile,
    /,
    *,
    state: Annotated[tuple[str, ...], Parameter(help=_STATES, negative=())] = (),
    reading: Reading = ANY,  # noqa: ARG001 - whatever it says, the journal knows
    display: Display = PLAIN,
) -> Exit:
    """List the prompts of a batch and where each stands."""
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.standing import show_items

    return show_items(existing(journal), state, display)


@app.command(
    help_epilogue="""\
Prints a line for each prompt whose status changes, and ends when nothing is
left to do: with 3 if one ended badly, else 7 if one needs a person. It only
reads the journal: it asks no server, and the batch goes on if it is stopped.

Examples:
  codegen-async batch watch prompts.jsonl
  codegen-async batch watch prompts.jsonl.db --jsonl"""
)
def watch(journal: JournalFile, /, *, reading: Reading = ANY, display: Display = PLAIN) -> Exit:
    """Watch a batch that is being run elsewhere."""
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.standing import watch_items

    return watch_items(existing(journal), display, reading.words())
