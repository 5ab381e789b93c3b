"""`codegen-async middesk batch`: files of what runs of Middesk are to be about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App

from codegen_async.cli.errors import Exit
from codegen_async.cli.journals import app as journals
from codegen_async.cli.options import (
    ALONE,
    MIDDESK,
    NO_PAGE,
    PLAIN,
    UNLIMITED,
    Adopt,
    AllFailed,
    BatchJournal,
    Display,
    DoneJournal,
    InputFormat,
    JournalFile,
    Keys,
    Limits,
    MiddeskConnection,
    OutcomesFile,
    Page,
    PromptsFile,
    Sharing,
)

if TYPE_CHECKING:
    from codegen_async.cli.batches import Api
    from codegen_async.cli.session import Work
    from codegen_async.middesk.client import MiddeskClient

app: App = App(
    name="batch",
    help="Start a run for each line of a file, durably: nothing lost, nothing created twice.",
    help_epilogue="Example:\n  codegen-async middesk batch run businesses.csv",
)

app.update(journals)


@app.command(
    help_epilogue="""\
Runs come from a table (.csv, .tsv) or from objects (.jsonl, .json) with "type",
"business_id", or "context_type" and "context_id", and "key" where wanted. Names
that begin with _ are kept for the results. The journal remembers what was done:
after an interruption, the same command goes on; so does it with the journal
itself as FILE. A thread is made for each run first, by which it is found again.
Ctrl-C creates no more and waits for what runs; a second one leaves at once, as
SIGTERM does. Nothing is lost either way.
The exit code is 3 if one ended badly, else 7 if one asks something.

Example:
  codegen-async middesk batch run businesses.csv --out outcomes.jsonl"""
)
def run(
    file: PromptsFile,
    /,
    *,
    journal: BatchJournal = None,
    kind: InputFormat = None,
    out: OutcomesFile = None,
    sharing: Sharing = ALONE,
    adopt: Adopt = False,
    limits: Limits = UNLIMITED,
    page: Page = NO_PAGE,
    connection: MiddeskConnection = MIDDESK,
    display: Display = PLAIN,
) -> Exit:
    """Start a run for each line of a file, and wait for all of them."""
    from codegen_async.cli import batches

    api = _api(connection, display, adopt=adopt)
    return batches.run(
        api, file, sharing.journal(file, journal), kind, out=out, limits=limits, page=page, display=display
    )


@app.command(
    help_epilogue="""\
Asks no server and needs no key. All that is wrong is told, each with file and
line; the exit code is then 2.

Example:
  codegen-async middesk batch check businesses.csv"""
)
def check(
    file: PromptsFile,
    /,
    *,
    journal: DoneJournal = None,
    kind: InputFormat = None,
    display: Display = PLAIN,
) -> Exit:
    """Check a file before anything is sent."""
    from codegen_async.cli import batches
    from codegen_async.middesk.dialect import MiddeskDialect

    return batches.check(MiddeskDialect(), file, journal, kind, display)


@app.command(
    usage="Usage: codegen-async middesk batch retry [OPTIONS] JOURNAL [KEY ...]",
    help_epilogue="""\
Sends again what the server rejected, with --failed what has failed, or what you
name. What is unknown may have a run already, so it is sent again only if you
name it. What has ended well is final: to repeat it, give it a new key.

Example:
  codegen-async middesk batch retry businesses.csv.db --failed""",
)
def retry(
    journal: JournalFile,
    keys: Keys = (),
    /,
    *,
    failed: AllFailed = False,
    adopt: Adopt = False,
    limits: Limits = UNLIMITED,
    connection: MiddeskConnection = MIDDESK,
    display: Display = PLAIN,
) -> Exit:
    """Start runs again that came to nothing or failed, and run the batch."""
    from codegen_async.cli import batches

    api = _api(connection, display, adopt=adopt)
    return batches.retry(api, journal, keys, failed=failed, limits=limits, display=display)


@app.command(
    help_epilogue="""\
Looks for the run of each line by its thread. Do it when the batch is not being
run. The exit code is 7 if anything is wrong.

Example:
  codegen-async middesk batch audit businesses.csv.db"""
)
def audit(
    journal: JournalFile,
    /,
    *,
    adopt: Adopt = False,
    connection: MiddeskConnection = MIDDESK,
    display: Display = PLAIN,
) -> Exit:
    """Compare a batch with the runs that the server has."""
    from codegen_async.cli import batches

    return batches.audit(_api(connection, display, adopt=adopt), journal)


def _api(connection: MiddeskConnection, display: Display, *, adopt: bool) -> Api[MiddeskClient]:
    from codegen_async.cli.batches import Api
    from codegen_async.cli.inputs import group_of
    from codegen_async.cli.targets import execute_on_middesk
    from codegen_async.middesk.dialect import MiddeskDialect

    def execute(work: Work[MiddeskClient]) -> Exit:
        return execute_on_middesk(connection, display, work)

    dialect, words = MiddeskDialect(), [*connection.words()]
    return Api(dialect=dialect, group=group_of(dialect.name), naming=(), words=words, execute=execute, adopt=adopt)
