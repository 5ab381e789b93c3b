"""`codegen-async --dialect module:Name batch`: files of prompts for any API that a dialect describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App

from codegen_async.cli.errors import Exit
from codegen_async.cli.journals import app as journals
from codegen_async.cli.options import (
    ALONE,
    ANY,
    HOSTED,
    NO_PAGE,
    PLAIN,
    UNLIMITED,
    Adopt,
    AllFailed,
    BatchJournal,
    Display,
    DoneJournal,
    DryRun,
    HostedConnection,
    InputFormat,
    JournalFile,
    Keys,
    Limits,
    OutcomesFile,
    Page,
    PromptsFile,
    Reading,
    Sharing,
)

if TYPE_CHECKING:
    from codegen_async.cli.batches import Api
    from codegen_async.cli.hosted_target import Runs
    from codegen_async.cli.session import Work

app: App = App(
    name="batch",
    help="Run a file of prompts, durably: nothing lost, nothing created twice.",
    help_epilogue="Example:\n  codegen-async --dialect acme:Acme batch run tasks.csv",
)

app.update(journals)


@app.command(
    help_epilogue="""\
Prompts come from objects (.jsonl, .json) or from a table (.csv, .tsv) with the
fields that the dialect's `create` takes, and "key" where wanted; cells are text,
or JSON in a column whose name ends with a colon ("n:"). A line of a text (.txt)
is the field that the dialect names as its `prompt_field`. A field of which
nothing would be sent is refused; one whose name begins with _ is kept for the
results. The journal remembers what was done: after an interruption, the same
command goes on; so does it with the journal itself as FILE.
Each prompt becomes one run as far as the API lets that be known: `doctor` tells.
Ctrl-C creates no more and waits for what runs; a second one leaves at once, as
SIGTERM does. Nothing is lost either way.

Prints a line for each prompt that is done: key, run, status, seconds, summary;
through a pipe again if its reader may not have got it, as after a kill.
--json prints all that is done of the batch, also by earlier starts.
--out appends it to a file as well, as `batch export` writes it: each outcome
once, however often the command is interrupted and started again.
The exit code is 3 if one ended badly, else 7 if one needs a person.

Examples:
  codegen-async --dialect acme:Acme batch run tasks.csv --out outcomes.jsonl
  codegen-async --dialect acme:Acme batch run - --journal tasks.db <tasks.jsonl"""
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
    limits: Limits = UNLIMITED,
    page: Page = NO_PAGE,
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Make each prompt of a file into a run, and wait for all of them."""
    from codegen_async.cli import batches

    if dry_run:
        reading = Reading(dialect=connection.dialect)
        return check(file, journal=journal, kind=kind, reading=reading, display=display)
    api = _api(connection, display, adopt=adopt)
    return batches.run(
        api, file, sharing.journal(file, journal), kind, out=out, limits=limits, page=page, display=display
    )


@app.command(
    help_epilogue="""\
Reads all lines, lets the dialect make a call of each, and says how many runs are
still to be created and how long that takes at the limits that are stated. Asks
no server and needs no token.
All that is wrong is told, each with file and line; the exit code is then 2.

Example:
  codegen-async --dialect acme:Acme batch check tasks.csv"""
)
def check(
    file: PromptsFile,
    /,
    *,
    journal: DoneJournal = None,
    kind: InputFormat = None,
    reading: Reading = ANY,
    display: Display = PLAIN,
) -> Exit:
    """Check a file of prompts before anything is sent."""
    from codegen_async.cli import batches
    from codegen_async.cli.hosted_target import chosen_dialect

    return batches.check(chosen_dialect(reading), file, journal, kind, display)


@app.command(
    usage="Usage: codegen-async batch retry [OPTIONS] JOURNAL [KEY ...]",
    help_epilogue="""\
Prompts that the server rejected are sent again, with --failed those whose runs
failed or were cancelled, or those that you name. One whose outcome is unknown
may have a run already, so it is sent again only if you name it: look at the
runs first. To name one that is under way goes on with it. What has ended well
is final: to repeat such a prompt, give it a new key.

Example:
  codegen-async --dialect acme:Acme batch retry tasks.csv.db issue-17""",
)
def retry(
    journal: JournalFile,
    keys: Keys = (),
    /,
    *,
    failed: AllFailed = False,
    adopt: Adopt = False,
    limits: Limits = UNLIMITED,
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Send prompts again that came to nothing or failed, and run the batch."""
    from codegen_async.cli import batches

    api = _api(connection, display, adopt=adopt)
    return batches.retry(api, journal, keys, failed=failed, limits=limits, display=display)


@app.command(
    help_epilogue="""\
Looks for the run of each prompt by its key, where the API shows keys. Do it
when the batch is not being run. The exit code is 7 if anything is wrong.

Example:
  codegen-async --dialect acme:Acme batch audit tasks.csv.db"""
)
def audit(
    journal: JournalFile,
    /,
    *,
    adopt: Adopt = False,
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Compare a batch with the runs that the server has."""
    from codegen_async.cli import batches

    return batches.audit(_api(connection, display, adopt=adopt), journal)


def _api(connection: HostedConnection, display: Display, *, adopt: bool) -> Api[Runs]:
    """Return the API that the options name."""
    from codegen_async.cli.batches import Api
    from codegen_async.cli.hosted_target import chosen_dialect, execute_on_dialect

    def execute(work: Work[Runs]) -> Exit:
        return execute_on_dialect(connection, display, work)

    return Api(
        dialect=chosen_dialect(connection),
        group=("batch",),
        naming=[*Reading(dialect=connection.dialect).words()],
        words=[*connection.words()],
        execute=execute,
        adopt=adopt,
    )
