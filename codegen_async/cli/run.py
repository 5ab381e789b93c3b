"""`codegen-async run`: single runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit, UsageError, command
from codegen_async.cli.options import HERE, PLAIN, Connection, Display, Latency, RunNumber, Timeout

if TYPE_CHECKING:
    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient
    from codegen_async.codegen.models import AgentRun

app: App = App(
    name="run",
    help="Start, look at, follow and resume single runs.",
    help_epilogue="Example:\n  codegen-async run list",
)

FirstPrompt = Annotated[
    str | None,
    Parameter(help="What the agent is to do; - reads it from standard input.", allow_leading_hyphen=True),
]
NextPrompt = Annotated[
    str | None, Parameter(help="What it is to do next; - reads it from standard input.", allow_leading_hyphen=True)
]
Images = Annotated[tuple[Path, ...], Parameter(name="--image", help="PNG, JPEG, GIF or WebP file. May be repeated.")]
PromptFile = Annotated[Path | None, Parameter(help="File with the prompt.")]
Wait = Annotated[bool, Parameter(help="Wait for the end of the run and show it.")]


@app.command(
    help_epilogue="""\
Prints the id of the run, with --wait the run as it ended.

Examples:
  codegen-async run create 'Fix the flaky test' --repo-id 17
  git diff | codegen-async run create - --wait --timeout 3600"""
)
def create(
    prompt: FirstPrompt = None,
    /,
    *,
    file: PromptFile = None,
    images: Images = (),
    metadata: Annotated[str | None, Parameter(help="JSON object to be stored with the run.")] = None,
    repo_id: Annotated[
        int | None, Parameter(help="Repository. Default: CODEGEN_REPO_ID, else the config files.")
    ] = None,
    model: Annotated[str | None, Parameter(help="Model. Default: the organization's.")] = None,
    agent_type: Annotated[str | None, Parameter(help="codegen or claude_code. Default: the organization's.")] = None,
    key: Annotated[str | None, Parameter(help="What tells this create from all others. Default: random.")] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Start a run, once, even if the answer is lost."""
    import uuid

    from codegen_async.cli.inputs import read_metadata, read_prompt
    from codegen_async.cli.targets import default_repo, execute_on

    _check_timeout(timeout, wait=wait)
    text, extra = read_prompt(prompt, file), read_metadata(metadata)
    repo = default_repo(connection) if repo_id is None else repo_id
    name = uuid.uuid4().hex if key is None else key

    async def work(session: Session[CodegenClient]) -> Exit:
        session.resume = command("run", "get", "--key", name, *connection.words())
        run = await session.client.create_run(
            text,
            images=images,
            metadata=extra,
            repo_id=repo,
            model=model,
            agent_type=agent_type,
            idempotency_key=name,
        )
        return await _started(session, run, connection, wait=wait, timeout=timeout)

    return execute_on(connection, display, work)


@app.command(
    help_epilogue="""\
Examples:
  codegen-async run get 40012
  codegen-async run get 40012 --json | jq -r .result"""
)
def get(
    run_id: Annotated[int | None, Parameter(help="The run.")] = None,
    /,
    *,
    key: Annotated[str | None, Parameter(help="The key of its create, instead of its id.")] = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Show a run as it is now."""
    from codegen_async.cli.render import show_run
    from codegen_async.cli.targets import execute_on

    if (run_id is None) == (key is None):
        raise UsageError("give a run's id, or --key")

    async def work(session: Session[CodegenClient]) -> Exit:
        if run_id is not None:
            run = await session.client.get_run(run_id)
        else:
            run = await _keyed(session.client, key or "")
        show_run(session.output, run)
        return Exit.OK

    return execute_on(connection, display, work)


@app.command(
    name="list",
    help_epilogue="""\
On a terminal a table; elsewhere a line a run with tabs between id, status, time, source and summary.

Examples:
  codegen-async run list --limit 100
  codegen-async run list | cut -f 1""",
)
def list_(
    *,
    limit: Annotated[int, Parameter(help="How many.", show_default=True)] = 20,
    user_id: Annotated[int | None, Parameter(help="Only runs that this user started.")] = None,
    source_type: Annotated[str | None, Parameter(help="Only runs started this way, such as API or SLACK.")] = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """List runs, newest first."""
    from codegen_async.arguments import LARGEST_ID, LARGEST_PAGE, check_int
    from codegen_async.cli.listing import show_first
    from codegen_async.cli.render import RUN_COLUMNS
    from codegen_async.cli.targets import execute_on

    size = min(check_int("limit", limit, 1, LARGEST_ID), LARGEST_PAGE)

    async def work(session: Session[CodegenClient]) -> Exit:
        listed = session.client.list_runs(user_id=user_id, source_type=source_type, page_size=size)
        return await show_first(session.output, listed, limit, RUN_COLUMNS)

    return execute_on(connection, display, work)


@app.command(
    help_epilogue="""\
Examples:
  codegen-async run logs 40012
  codegen-async run logs 40012 --follow --jsonl"""
)
def logs(
    run_id: RunNumber,
    /,
    *,
    follow: Annotated[bool, Parameter(alias="-f", help="Show new rows as they come, until the run ends.")] = False,
    reverse: Annotated[bool, Parameter(help="Newest first.")] = False,
    latency: Latency = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Show the log of a run, oldest first."""
    from contextlib import aclosing

    from codegen_async.cli.render import log_fields, log_line
    from codegen_async.cli.targets import execute_on

    if follow and (reverse or display.json):
        raise UsageError(f"--follow goes on: --{'reverse' if reverse else 'json'} does not fit", "use --jsonl for JSON")

    if latency is not None and not follow:
        raise UsageError("--latency is how soon --follow notices a row: it needs --follow")

    async def work(session: Session[CodegenClient]) -> Exit:
        client, output = session.client, session.output
        session.resume = command("run", "logs", run_id, *(["--follow"] if follow else []), *connection.words())
        rows = client.follow_logs(run_id, latency=latency) if follow else client.run_logs(run_id, reverse=reverse)
        collected: list[object] = []
        async with aclosing(rows):
            async for row in rows:
                if output.json:
                    collected.append(log_fields(row))
                elif output.jsonl:
                    output.document(log_fields(row))
                else:
                    output.line(log_line(row))
        if output.json:
            output.document(collected)
        return Exit.OK

    return execute_on(connection, display, work)


@app.command(
    usage="Usage: codegen-async run wait [OPTIONS] RUN_ID ...",
    help_epilogue="""\
Shows each run as it ends. The exit code is 3 if one failed or was stopped, else 7 if one is paused.

Examples:
  codegen-async run wait 40012 --timeout 3600
  codegen-async run wait 40012 40015 --jsonl""",
)
def wait(
    run_ids: Annotated[tuple[int, ...], Parameter(name="RUN_ID", help="The runs.")],
    /,
    *,
    timeout: Timeout = None,
    latency: Latency = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Wait until runs have ended or are paused."""
    from codegen_async.cli.targets import execute_on

    if not run_ids:
        raise UsageError("give at least one run's id")

    async def work(session: Session[CodegenClient]) -> Exit:
        from codegen_async.cli.following import show_rests

        def remark(run: AgentRun) -> None:
            _note_pause(session, run, connection)

        session.resume = command("run", "wait", *run_ids, *connection.words())
        return await show_rests(session, run_ids, remark, timeout=timeout, latency=latency)

    return execute_on(connection, display, work)


@app.command(
    help_epilogue="""\
Prints the id of the run, with --wait the run as it ended.

Example:
  codegen-async run resume 40012 'Yes, use the second way' --wait"""
)
def resume(
    run_id: RunNumber,
    prompt: NextPrompt = None,
    /,
    *,
    file: PromptFile = None,
    images: Images = (),
    wait: Wait = False,
    timeout: Timeout = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Take up a paused or ended run with a new prompt."""
    from codegen_async.cli.inputs import read_prompt
    from codegen_async.cli.targets import execute_on

    _check_timeout(timeout, wait=wait)
    text = read_prompt(prompt, file)

    async def work(session: Session[CodegenClient]) -> Exit:
        session.resume = command("run", "get", run_id, *connection.words())
        run = await session.client.resume_run(run_id, text, images=images)
        return await _started(session, run, connection, wait=wait, timeout=timeout)

    return execute_on(connection, display, work)


def _check_timeout(timeout: float | None, *, wait: bool) -> None:
    if timeout is not None and not wait:
        raise UsageError("--timeout is how long --wait waits: it needs --wait")


async def _started(
    session: Session[CodegenClient],
    run: AgentRun,
    connection: Connection,
    *,
    wait: bool,
    timeout: float | None,  # noqa: ASYNC109 - the wait's own
) -> Exit:
    """Show a run that was started just now, or its end if that is waited for."""
    from codegen_async.cli.following import until_rest, verdict
    from codegen_async.cli.render import fields_of, show_run

    session.resume = command("run", "wait", run.id, *connection.words())
    # Before anything goes to the standard output, which may be full: whoever paid for the run has to know its id.
    session.output.note(f"run {run.id} started: {run.web_url or ''}")
    if not wait:
        if session.output.structured:
            session.output.document(fields_of(run))
        else:
            session.output.line(str(run.id))
        return Exit.OK
    ended = [final async for final in until_rest(session, [run], timeout=timeout)]
    show_run(session.output, ended[0])
    _note_pause(session, ended[0], connection)
    return verdict(ended)


def _note_pause(session: Session[CodegenClient], run: AgentRun, connection: Connection) -> None:
    from codegen_async.models import Phase

    if run.phase is Phase.BLOCKED:
        answer = command("run", "resume", run.id, *connection.words())
        session.output.note(f"run {run.id} is paused; to answer it: {answer} ...")


async def _keyed(client: CodegenClient, key: str) -> AgentRun:
    from codegen_async.cli.errors import CommandError

    run = await client.find_run_by_key(key)
    if run is None:
        raise CommandError("no run with this key is among the newest", "if its create has just been sent, look again")
    return run
