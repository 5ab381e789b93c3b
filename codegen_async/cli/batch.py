"""`codegen-async batch`: files of prompts, each made into a run exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit, UsageError, command
from codegen_async.cli.options import (
    ANY_REPOSITORY,
    HERE,
    PLAIN,
    REAL,
    UNLIMITED,
    Connection,
    Display,
    Limits,
    RealServer,
    Repository,
)

if TYPE_CHECKING:
    from codegen_async.batch.batch import Batch
    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient

app: App = App(
    name="batch",
    help="Run a file of prompts, durably: nothing lost, nothing created twice.",
    help_epilogue="Example:\n  codegen-async demo --prompts | codegen-async batch run - --simulate",
)

JournalFile = Annotated[Path, Parameter(name="JOURNAL", help="The journal of the batch, or its file of prompts.")]
Adopt = Annotated[
    bool, Parameter(help="Take over a journal that was made elsewhere, or whose server has another address now.")
]
PromptsFile = Annotated[
    Path, Parameter(name="FILE", help="The prompts; - for the standard input.", allow_leading_hyphen=True)
]
InputFormat = Annotated[
    Literal["jsonl", "json", "csv", "tsv", "txt"] | None,
    Parameter(name="--format", help="What FILE is. Default: as its name or beginning says."),
]
OutputFormat = Annotated[
    Literal["csv", "tsv", "jsonl", "json"] | None,
    Parameter(name="--format", help="What FILE is to be. Default: as its name says."),
]


@app.command(
    help_epilogue="""\
Prompts come from objects with "prompt" and, where wanted, "key", "images",
"metadata", "repo_id", "model", "agent_type" (.jsonl, .json), from a table with
these as columns (.csv, .tsv), or from a text with one a line (.txt). Other
fields and columns come out with the results. Images are looked for in the
folder of the file. --repo or --repo-id goes for those that name none. The
journal remembers what was done: after an interruption, the same command goes
on; so does it with the journal itself as FILE.
Ctrl-C creates no more and waits for what runs; a second one leaves at once, as
SIGTERM does. Nothing is lost either way.

Prints a line for each prompt that is done: key, run, status, seconds, summary;
through a pipe again if its reader may not have got it, as after a kill.
--json prints all that is done of the batch, also by earlier starts.
--out appends it to a file as well, as `batch export` writes it: each outcome
once, however often the command is interrupted and started again.
The exit code is 3 if one ended badly, else 7 if one needs a person.

Examples:
  codegen-async demo --prompts > prompts.jsonl
  codegen-async batch run prompts.jsonl --simulate
  codegen-async batch run prompts.jsonl --max-active 20 --out outcomes.jsonl
  codegen-async demo --prompts | codegen-async batch run - --journal tasks.db"""
)
def run(
    file: PromptsFile,
    /,
    *,
    journal: Annotated[Path | None, Parameter(help="Where to remember. Default: FILE.db")] = None,
    kind: InputFormat = None,
    out: Annotated[Path | None, Parameter(help="Where to append each outcome, as JSON on a line.")] = None,
    dry_run: Annotated[bool, Parameter(help="Only check the file, as `batch check` does.")] = False,
    adopt: Adopt = False,
    repository: Repository = ANY_REPOSITORY,
    limits: Limits = UNLIMITED,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Make each prompt of a file into a run, and wait for all of them."""
    import os
    import tempfile

    from codegen_async.cli.driving import Drive
    from codegen_async.cli.filling import Filling, appending
    from codegen_async.cli.output import Output
    from codegen_async.cli.repositories import repository as meant
    from codegen_async.cli.targets import execute_on

    find_repo = meant(repository, connection)
    if dry_run:
        return check(file, journal=journal, kind=kind, display=display)
    if connection.simulate and journal is not None:
        raise UsageError("--simulate keeps no journal, as its runs are gone when it ends")
    filling = Filling(file, kind, journal, simulated=connection.simulate)
    filling.tell(Output(display))

    def drive(path: Path) -> Exit:
        def again() -> str:
            words = () if out is None else ("--out", str(out))
            options = (*words, *repository.words(), *limits.words(), *connection.words(), *display.words())
            # With a simulation its journal goes as well.
            return "" if connection.simulate else filling.again(path, options)

        with appending(out) as outcomes:
            work = Drive(path, filling, again, limits, find_repo=find_repo, out=outcomes, adopt=adopt)
            return execute_on(connection, display, work)

    if filling.journal is not None:
        return drive(filling.journal)
    with tempfile.TemporaryDirectory(prefix="codegen-async-") as directory:
        os.environ["XDG_STATE_HOME"] = directory  # what would be kept for the user goes as well
        return drive(Path(directory) / "journal.db")


@app.command(
    help_epilogue="""\
Reads all lines, looks at all images, and says how many runs are still to be
created and how long that takes at the limit. Asks no server and needs no token.
All that is wrong is told, each with file and line; the exit code is then 2.

Examples:
  codegen-async batch check prompts.jsonl
  codegen-async demo --prompts | codegen-async batch check - --json"""
)
def check(
    file: PromptsFile,
    /,
    *,
    journal: Annotated[Path | None, Parameter(help="What was done already. Default: FILE.db, if there.")] = None,
    kind: InputFormat = None,
    display: Display = PLAIN,
) -> Exit:
    """Check a file of prompts before anything is sent."""
    from codegen_async.cli.checking import check as show
    from codegen_async.cli.filling import read_file

    return show(read_file(file, kind), journal or Path(f"{file}.db"), display)


@app.command(
    help_epilogue="""\
Works while the batch is being run.

Example:
  codegen-async batch status prompts.jsonl.db"""
)
def status(journal: JournalFile, /, *, display: Display = PLAIN) -> Exit:
    """Show how many prompts of a batch stand where, and on which server."""
    from codegen_async.batch.readers import read_account, read_outcomes
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.output import Output
    from codegen_async.cli.tally import tally

    output = Output(display)
    journal = existing(journal)
    counts = tally(read_outcomes(journal))
    account = read_account(journal)
    if output.structured:
        where = {} if account is None else {"base_url": account.base_url, "org_id": account.org_id}
        output.document({**counts, **where})
    else:
        output.note(f"its runs are those of {account or 'no server yet'}")
        output.table(("STATUS", "PROMPTS"), [(name, str(count)) for name, count in counts.items()])
    return Exit.OK


@app.command(
    help_epilogue="""\
The file is .csv, .tsv, .jsonl or .json, and takes the place of another when it
is complete; - writes to the standard output, .jsonl if nothing else is said.
Each prompt has its state, run, attempts, times, result and error, its text and
metadata, and what else its line said. Works while the batch is being run. In
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
    state: Annotated[tuple[str, ...], Parameter(help="Only these. Default: all.", negative=())] = (),
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
def watch(journal: JournalFile, /, *, display: Display = PLAIN) -> Exit:
    """Watch a batch that is being run elsewhere."""
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.standing import watch_items

    return watch_items(existing(journal), display)


@app.command(
    usage="Usage: codegen-async batch retry [OPTIONS] JOURNAL [KEY ...]",
    help_epilogue="""\
Prompts that the server rejected are sent again, with --failed those whose runs
failed or were cancelled, or those that you name. One whose outcome is unknown
may have a run already, so it is sent again only if you name it: look at the
list of runs first. To name one that is under way goes on with it. What has
ended well is final: to repeat such a prompt, give it a new key.

Examples:
  codegen-async batch retry prompts.jsonl.db
  codegen-async batch retry prompts.jsonl.db --failed
  codegen-async batch retry prompts.jsonl.db issue-17 issue-23""",
)
def retry(
    journal: JournalFile,
    keys: Annotated[tuple[str, ...], Parameter(name="KEY", help="Which. Default: all that were rejected.")] = (),
    /,
    *,
    failed: Annotated[bool, Parameter(help="All whose runs failed or were cancelled.")] = False,
    adopt: Adopt = False,
    repository: Repository = ANY_REPOSITORY,
    limits: Limits = UNLIMITED,
    server: RealServer = REAL,
    display: Display = PLAIN,
) -> Exit:
    """Send prompts again that came to nothing or failed, and run the batch."""
    from codegen_async.cli.driving import Drive
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.repositories import repository as meant
    from codegen_async.cli.retrying import choose, left
    from codegen_async.cli.targets import execute_on

    find_repo, journal = meant(repository, server), existing(journal)
    chosen = choose(journal, keys, failed=failed)

    async def fill(batch: Batch) -> None:
        await batch.retry(*chosen)

    def again() -> str:
        options = (*repository.words(), *limits.words(), *server.words(), *display.words())
        chosen_ones = keys or (chosen if failed else ())
        named = left(journal, chosen_ones)
        if chosen_ones and not named:
            return ""  # without a key, it would send all that were rejected
        end = ("--",) if any(key.startswith("-") for key in named) else ()
        return command("batch", "retry", *options, *end, journal, *named)

    return execute_on(server, display, Drive(journal, fill, again, limits, find_repo=find_repo, adopt=adopt))


@app.command(
    help_epilogue="""\
Each prompt is to have one run, and no run is to be without its prompt. Do it
when the batch is not being run. The exit code is 7 if anything is wrong.

Example:
  codegen-async batch audit prompts.jsonl.db"""
)
def audit(
    journal: JournalFile, /, *, adopt: Adopt = False, server: RealServer = REAL, display: Display = PLAIN
) -> Exit:
    """Compare a batch with the runs that the server has."""
    import msgspec

    from codegen_async.batch.batch import Batch
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.targets import execute_on

    journal = existing(journal)  # one that is not there must not be made

    async def work(session: Session[CodegenClient]) -> Exit:
        async with Batch(session.client, journal, adopt=adopt) as batch:
            report = await batch.audit()
        if session.output.structured:
            session.output.document(report)
        else:
            rows = [(name, _shown(value)) for name, value in msgspec.structs.asdict(report).items()]
            session.output.table(("FOUND", "WHICH"), rows, whole=True)
        return Exit.OK if report.ok else Exit.ATTENTION

    return execute_on(server, display, work)


def _shown(value: int | Sequence[object] | Mapping[str, object]) -> str:
    if isinstance(value, int):
        return str(value)
    found = [f"{key}: {runs}" for key, runs in value.items()] if isinstance(value, Mapping) else map(str, value)
    return ", ".join(found) or "none"
