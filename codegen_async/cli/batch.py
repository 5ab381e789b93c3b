"""`codegen-async batch`: files of prompts, each made into a run exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from codegen_async.cli.errors import Exit, UsageError
from codegen_async.cli.journals import app as journals
from codegen_async.cli.options import (
    ALONE,
    ANY,
    ANY_REPOSITORY,
    HERE,
    NO_PAGE,
    PLAIN,
    REAL,
    UNLIMITED,
    Adopt,
    AllFailed,
    BatchJournal,
    Connection,
    Display,
    DoneJournal,
    DryRun,
    InputFormat,
    JournalFile,
    Keys,
    Limits,
    OutcomesFile,
    Page,
    PromptsFile,
    Reading,
    RealServer,
    Repository,
    Sharing,
)

if TYPE_CHECKING:
    from codegen_async.batch.batch import Batch
    from codegen_async.batch.readers import Where
    from codegen_async.cli.repositories import FindRepo
    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient

app: App = App(
    name="batch",
    help="Run a file of prompts, durably: nothing lost, nothing created twice.",
    help_epilogue="Example:\n  codegen-async demo --prompts | codegen-async batch run - --simulate",
)

app.update(journals)


@app.command(
    help_epilogue="""\
Prompts come from objects with "prompt" and, where wanted, "key", "images",
"metadata", "repo_id", "model", "agent_type" (.jsonl, .json), from a table with
these as columns (.csv, .tsv), or from a text with one a line (.txt). Other
fields and columns come out with the results. Images are looked for in the
folder of the file. --repo or --repo-id goes for those that name none. The
journal remembers what was done: after an interruption, the same command goes
on; so does it with the journal itself as FILE. With --engine dbos it is a
database, which other machines may run as well, each by this command; its URL
stands for a journal in all other commands.
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
    journal: BatchJournal = None,
    kind: InputFormat = None,
    out: OutcomesFile = None,
    dry_run: DryRun = False,
    sharing: Sharing = ALONE,
    adopt: Adopt = False,
    repository: Repository = ANY_REPOSITORY,
    limits: Limits = UNLIMITED,
    page: Page = NO_PAGE,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Make each prompt of a file into a run, and wait for all of them."""
    import os
    import tempfile

    from codegen_async.batch.columns import CODEGEN
    from codegen_async.cli.driving import Drive
    from codegen_async.cli.filling import Filling, appending, journal_of
    from codegen_async.cli.output import Output
    from codegen_async.cli.repositories import repository as meant
    from codegen_async.cli.targets import execute_on

    find_repo = meant(repository, connection)
    reading = Reading(dialect=connection.dialect)
    if dry_run:
        return check(file, journal=journal, kind=kind, reading=reading, display=display)
    journal = sharing.journal(file, journal)
    if connection.simulate and journal is not None:
        raise UsageError("--simulate keeps no journal, as its runs are gone when it ends")
    place = None if connection.simulate else journal_of(file, journal)
    filling = Filling(file, kind, place, CODEGEN, group=("batch",), options=reading.words())
    filling.tell(Output(display))

    def drive(path: Where) -> Exit:
        def again() -> str:
            words = () if out is None else ("--out", str(out))
            options = (
                *words,
                *repository.words(),
                *limits.words(),
                *page.words(),
                *connection.words(),
                *display.words(),
            )
            # With a simulation its journal goes as well.
            return "" if connection.simulate else filling.again(path, options)

        with appending(out, file, place) as outcomes:
            work = Drive(
                path, filling, again, limits, make=_making(path, find_repo, adopt=adopt), out=outcomes, page=page
            )
            return execute_on(connection, display, work)

    if place is not None:
        return drive(place)
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
    journal: DoneJournal = None,
    kind: InputFormat = None,
    reading: Reading = ANY,  # noqa: ARG001 - who is here speaks to Codegen
    display: Display = PLAIN,
) -> Exit:
    """Check a file of prompts before anything is sent."""
    from codegen_async.batch.columns import CODEGEN
    from codegen_async.cli.checking import check as show
    from codegen_async.cli.filling import read_file

    return show(read_file(file, kind, CODEGEN), journal or Path(f"{file}.db"), display)


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
    keys: Keys = (),
    /,
    *,
    failed: AllFailed = False,
    adopt: Adopt = False,
    repository: Repository = ANY_REPOSITORY,
    limits: Limits = UNLIMITED,
    server: RealServer = REAL,
    display: Display = PLAIN,
) -> Exit:
    """Send prompts again that came to nothing or failed, and run the batch."""
    from codegen_async.batch.columns import CODEGEN
    from codegen_async.cli.driving import Drive
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.output import Output
    from codegen_async.cli.repositories import repository as meant
    from codegen_async.cli.retrying import Retry
    from codegen_async.cli.targets import execute_on

    find_repo, place = meant(repository, server), existing(journal, CODEGEN.api)
    fill = Retry(place, keys, ("batch",), failed=failed)
    fill.tell(Output(display))

    def again() -> str:
        return fill.again((*repository.words(), *limits.words(), *server.words(), *display.words()))

    work = Drive(place, fill, again, limits, make=_making(place, find_repo, adopt=adopt))
    return execute_on(server, display, work)


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
    from codegen_async.batch.columns import CODEGEN
    from codegen_async.cli.auditing import audit as show
    from codegen_async.cli.batches import batch_at
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.targets import execute_on

    place = existing(journal, CODEGEN.api)  # one that is not there must not be made

    async def work(session: Session[CodegenClient]) -> Exit:
        return await show(batch_at(place, session.client, adopt=adopt), session.output)

    return execute_on(server, display, work)


def _making(
    journal: Where, find_repo: FindRepo, *, adopt: bool
) -> Callable[[Session[CodegenClient]], Awaitable[Batch]]:
    """Return what makes the batch of a journal."""

    async def make(session: Session[CodegenClient]) -> Batch:
        from codegen_async.cli.batches import batch_at

        repo_id = await find_repo(session.client)
        return batch_at(journal, session.client, repo_id=repo_id, adopt=adopt, clock=session.target.clock)

    return make
