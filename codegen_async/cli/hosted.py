"""`codegen-async --dialect module:Name run` and `watch`: runs of any API that a dialect describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from codegen_async.cli.errors import CommandError, Exit, UsageError, command
from codegen_async.cli.options import HOSTED, PATIENT, PLAIN, Display, HostedConnection, Phases, Timeout, Waits

if TYPE_CHECKING:
    from codegen_async.cli.hosted_target import Runs
    from codegen_async.cli.session import Session
    from codegen_async.hosted.dialect import Dialect

run: App = App(
    name="run",
    help="Start, look at, stop and answer single runs.",
    help_epilogue="Example:\n  codegen-async --dialect acme:Acme run get r1",
)

RunName = Annotated[str, Parameter(name="RUN_ID", help="The run.")]
RunNames = Annotated[tuple[str, ...], Parameter(name="RUN_ID", help="The runs.")]
Fields = Annotated[
    tuple[str, ...],
    Parameter(
        name="--field",
        help="name=text, or name:=JSON; - reads it from standard input. May be repeated.",
        allow_leading_hyphen=True,
    ),
]
Text = Annotated[
    str | None, Parameter(help="What it is told; - reads it from standard input.", allow_leading_hyphen=True)
]
Wait = Annotated[bool, Parameter(help="Wait for the end of the run and show it.")]


@run.command(
    help_epilogue="""\
The fields are what the `create` of the dialect takes. Prints the id of the run,
with --wait the run as it ended.

Examples:
  codegen-async --dialect acme:Acme run create --field task='Fix it' --wait
  codegen-async --dialect acme:Acme run create --field task=- --field n:=3 <a.md"""
)
def create(
    *,
    fields: Fields = (),
    key: Annotated[str | None, Parameter(help="What tells this create from all others. Default: random.")] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Start a run, once, even if the answer is lost, as far as the API lets that be known."""
    import uuid

    from codegen_async.batch.fields import DialectColumns
    from codegen_async.cli.fields import read_fields
    from codegen_async.cli.hosted_target import execute_on_dialect
    from codegen_async.errors import InvalidArgumentError

    _check_timeout(wait, timeout)
    given = read_fields(fields)
    drawn = uuid.uuid4().hex

    def check(dialect: Dialect[Any]) -> None:
        try:
            DialectColumns(dialect).check(given)
        except InvalidArgumentError as error:
            raise UsageError(f"--field {error}", "nothing was sent") from error

    async def work(session: Session[Runs]) -> Exit:
        dialect, name = session.client.dialect, key
        if dialect.find(drawn, None) is not None and dialect.parent(given) is None:
            name = key or drawn  # drawn here, so that whoever stops the command is told how to find the run
            session.resume = command("run", "get", "--key", name, *connection.words())
        started = await session.client.create_run(idempotency_key=name, **given)
        return await _started(session, started, connection, wait=wait, timeout=timeout)

    return execute_on_dialect(connection, display, work, before=check)


@run.command(
    help_epilogue="""\
Examples:
  codegen-async --dialect acme:Acme run get r1
  codegen-async --dialect acme:Acme run get r1 --json id,phase"""
)
def get(
    run_id: Annotated[str | None, Parameter(help="The run.")] = None,
    /,
    *,
    key: Annotated[str | None, Parameter(help="The key of its create, instead of its id.")] = None,
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Show a run as it is now."""
    from codegen_async.cli.hosted_target import execute_on_dialect
    from codegen_async.cli.render import show_run

    if (run_id is None) == (key is None):
        raise UsageError("give a run's id, or --key")

    async def work(session: Session[Runs]) -> Exit:
        if run_id is not None:
            found = await session.client.get_run(run_id)
        else:
            found = await session.client.find_run_by_key(key or "")
        if found is None:
            raise CommandError("no run with this key is shown", "if its create has just been sent, look again")
        show_run(session.output, found)
        return Exit.OK

    return execute_on_dialect(connection, display, work)


@run.command(
    name="list",
    help_epilogue="""\
In the order of the API. On a terminal a table; elsewhere a line a run with tabs
between id, status, time and summary.

Examples:
  codegen-async --dialect acme:Acme run list --limit 100
  codegen-async --dialect acme:Acme run list --phase failed --json id,web_url""",
)
def list_(
    *,
    limit: Annotated[int, Parameter(help="How many.", show_default=True)] = 20,
    phase: Phases = (),
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """List runs, where the API does."""
    from codegen_async.cli.hosted_target import execute_on_dialect
    from codegen_async.cli.listing import check_limit, chosen, show_first
    from codegen_async.cli.render import HOSTED_COLUMNS, hosted_row_of

    most = check_limit(limit)

    async def work(session: Session[Runs]) -> Exit:
        listed = chosen(session.client.list_runs(), phase)
        return await show_first(session.output, listed, most, HOSTED_COLUMNS, hosted_row_of)

    return execute_on_dialect(connection, display, work)


@run.command(
    usage="Usage: codegen-async run wait [OPTIONS] RUN_ID ...",
    help_epilogue="""\
Shows each run as it ends. The exit code is 3 if one failed or was stopped, else 7 if one is paused.

Example:
  codegen-async --dialect acme:Acme run wait r1 r2 --timeout 3600 --jsonl""",
)
def wait(
    run_ids: RunNames = (),
    /,
    *,
    waits: Waits = PATIENT,
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Wait until runs have ended or are paused."""
    from codegen_async.cli.hosted_target import execute_on_dialect

    if not run_ids:
        raise UsageError("give at least one run's id")

    async def work(session: Session[Runs]) -> Exit:
        from codegen_async.cli.following import show_rests

        def remark(ended: Any) -> None:
            _note_pause(session, ended, connection)

        session.resume = command("run", "wait", *run_ids, *connection.words())
        return await show_rests(session, run_ids, remark, waits)

    return execute_on_dialect(connection, display, work)


@run.command(
    help_epilogue="""\
Shows the run as it is then; an API may take its time to stop it: wait for it.

Example:
  codegen-async --dialect acme:Acme run cancel r1"""
)
def cancel(run_id: RunName, /, *, connection: HostedConnection = HOSTED, display: Display = PLAIN) -> Exit:
    """Stop a run; one that has ended is left as it is."""
    from codegen_async.cli.hosted_target import execute_on_dialect
    from codegen_async.cli.render import show_run

    async def work(session: Session[Runs]) -> Exit:
        session.resume = command("run", "get", run_id, *connection.words())
        show_run(session.output, await session.client.cancel_run(run_id))
        return Exit.OK

    return execute_on_dialect(connection, display, work)


@run.command(
    help_epilogue="""\
Prints the id of the run that goes on, which may be another one, with --wait
the run as it ended.

Example:
  codegen-async --dialect acme:Acme run reply r1 'Yes, the second way' --wait"""
)
def reply(
    run_id: RunName,
    text: Text = None,
    /,
    *,
    file: Annotated[Path | None, Parameter(help="File with what it is told.")] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Tell a run to go on."""
    from codegen_async.cli.hosted_target import execute_on_dialect
    from codegen_async.cli.inputs import read_prompt

    _check_timeout(wait, timeout)
    told = read_prompt(text, file)

    async def work(session: Session[Runs]) -> Exit:
        session.resume = command("run", "get", run_id, *connection.words())
        going_on = await session.client.reply(run_id, told)
        return await _started(session, going_on, connection, wait=wait, timeout=timeout, resumed=True)

    return execute_on_dialect(connection, display, work)


watch: App = App(
    name="watch",
    usage="Usage: codegen-async watch [OPTIONS] RUN_ID ...",
    help_epilogue="""\
On a terminal a table that changes; elsewhere, and with --jsonl, a line for every change.
The exit code does not tell how runs ended; that of `run wait` does.

Example:
  codegen-async --dialect acme:Acme watch r1 r2 --jsonl""",
)


@watch.default
def watch_runs(
    run_ids: RunNames = (),
    /,
    *,
    waits: Waits = PATIENT,
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Watch runs as they change, until all have ended."""
    from codegen_async.cli.hosted_target import execute_on_dialect

    if not run_ids:
        raise UsageError("give at least one run's id")
    if display.json:
        raise UsageError("watch has no end to put into one document: --json does not fit", "use --jsonl")

    async def work(session: Session[Runs]) -> Exit:
        from codegen_async.cli.following import show_changes

        session.resume = command("watch", *run_ids, *connection.words())
        return await show_changes(session, run_ids, waits)

    return execute_on_dialect(connection, display, work)


def _check_timeout(wait: bool, timeout: float | None) -> None:
    if timeout is not None and not wait:
        raise UsageError("--timeout is how long --wait waits: it needs --wait")


async def _started(
    session: Session[Runs],
    started: Any,
    connection: HostedConnection,
    *,
    wait: bool,
    timeout: float | None,  # noqa: ASYNC109 - the wait's own
    resumed: bool = False,
) -> Exit:
    """Show a run that was started or told to go on just now, or its end if that is waited for."""
    from codegen_async.cli.following import until_it_rests, verdict
    from codegen_async.cli.output import WHOLE, one_line
    from codegen_async.cli.render import news_of, show_run

    session.resume = command("run", "wait", started.id, *connection.words())
    # Before anything goes to the standard output, which may be full: whoever paid for the run has to know its id.
    session.output.note(news_of(started, "goes on" if resumed else "started"))
    if not wait and not session.output.structured:
        session.output.line(one_line(started.id, WHOLE))
        return Exit.OK
    shown = await until_it_rests(session, started, Waits(timeout=timeout)) if wait else started
    try:
        show_run(session.output, shown)
    except UsageError as error:  # a field that runs of this dialect lack, which only a run tells: something was sent
        raise CommandError(str(error), error.hint) from None
    if not wait:
        return Exit.OK
    _note_pause(session, shown, connection)
    return verdict([shown])


def _note_pause(session: Session[Runs], paused: Any, connection: HostedConnection) -> None:
    from codegen_async.models import Phase

    if paused.phase is Phase.BLOCKED:
        answer = command("run", "reply", paused.id, *connection.words())
        session.output.note(f"run {paused.id} is paused; to answer it: {answer} ...")
