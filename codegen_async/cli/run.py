"""`codegen-async run`: single runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit, UsageError, command
from codegen_async.cli.options import (
    ANY_REPOSITORY,
    HERE,
    PATIENT,
    PLAIN,
    Connection,
    Display,
    Latency,
    Phases,
    Repository,
    RunNumber,
    Timeout,
    Waits,
)

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
Since = Annotated[str | None, Parameter(help="Only runs created since then: 90m, 12h, 7d, or a date (UTC).")]
Wait = Annotated[bool, Parameter(help="Wait for the end of the run and show it.")]
Follow = Annotated[bool, Parameter(alias="-f", help="Show the rows of its log while it is waited for.")]


@app.command(
    help_epilogue="""\
Prints the id of the run, with --wait the run as it ended, with --follow the
rows of its log before.

Examples:
  codegen-async run create 'Fix the flaky test' --repo example/website
  echo 'Fix the flaky test' | codegen-async run create - --wait --follow"""
)
def create(
    prompt: FirstPrompt = None,
    /,
    *,
    file: PromptFile = None,
    images: Images = (),
    metadata: Annotated[str | None, Parameter(help="JSON object to be stored with the run.")] = None,
    repository: Repository = ANY_REPOSITORY,
    model: Annotated[str | None, Parameter(help="Model. Default: the organization's.")] = None,
    agent_type: Annotated[str | None, Parameter(help="codegen or claude_code. Default: the organization's.")] = None,
    key: Annotated[str | None, Parameter(help="What tells this create from all others. Default: random.")] = None,
    wait: Wait = False,
    follow: Follow = False,
    timeout: Timeout = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Start a run, once, even if the answer is lost."""
    import uuid

    from codegen_async.arguments import check_key
    from codegen_async.cli.inputs import read_metadata, read_prompt
    from codegen_async.cli.repositories import repository as meant
    from codegen_async.cli.targets import execute_on

    waiting = _Waiting(wait, follow, timeout, display)
    text, extra = read_prompt(prompt, file), read_metadata(metadata)
    find_repo = meant(repository, connection)
    name = uuid.uuid4().hex if key is None else key

    async def work(session: Session[CodegenClient]) -> Exit:
        repo = await find_repo(session.client)
        session.resume = command("run", "get", "--key", name, *connection.words())
        client = session.client
        fields = await client.creating.prepare(
            text, images=images, metadata=extra, repo_id=repo, model=model, agent_type=agent_type
        )
        # Nobody can have used a key that was drawn just now, so there is nothing to look for.
        creates = client.creating if key is None else client.keyed
        run = await creates.create(fields, check_key(name), on_unknown="raise")
        return await _started(session, run, connection, waiting)

    return execute_on(connection, display, work)


@app.command(
    help_epilogue="""\
Examples:
  codegen-async run get 40012
  codegen-async run get 40012 --jq .result"""
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
  codegen-async run list --phase failed --since 2d --json id,web_url
  codegen-async run list | cut -f 1""",
)
def list_(
    *,
    limit: Annotated[int, Parameter(help="How many.", show_default=True)] = 20,
    user_id: Annotated[int | None, Parameter(help="Only runs that this user started.")] = None,
    source_type: Annotated[str | None, Parameter(help="Only runs started this way, such as API or SLACK.")] = None,
    phase: Phases = (),
    since: Since = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """List runs, newest first."""
    from codegen_async.arguments import LARGEST_ID, LARGEST_PAGE, check_int
    from codegen_async.cli.listing import chosen, read_since, show_first
    from codegen_async.cli.render import RUN_COLUMNS, row_of
    from codegen_async.cli.targets import execute_on

    check_int("--limit", limit, 1, LARGEST_ID)
    first = None if since is None else read_since(since)
    size = LARGEST_PAGE if phase else min(limit, LARGEST_PAGE)

    async def work(session: Session[CodegenClient]) -> Exit:
        runs = session.client.list_runs(user_id=user_id, source_type=source_type, page_size=size)
        listed = chosen(runs, phase, first)
        return await show_first(session.output, listed, limit, RUN_COLUMNS, row_of)

    return execute_on(connection, display, work)


@app.command(
    help_epilogue="""\
With --follow, the exit code is that of `run wait`: 3 if the run failed or was
stopped, 7 if it is paused.

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

    from codegen_async.cli.render import show_row
    from codegen_async.cli.targets import execute_on

    if follow and (reverse or display.json):
        raise UsageError(f"--follow goes on: --{'reverse' if reverse else 'json'} does not fit", "use --jsonl for JSON")
    if latency is not None and not follow:
        raise UsageError("--latency is how soon --follow notices a row: it needs --follow")

    async def work(session: Session[CodegenClient]) -> Exit:
        from codegen_async.cli.following import follow_until_rest, verdict

        client, output = session.client, session.output
        session.resume = command("run", "logs", run_id, *(["--follow"] if follow else []), *connection.words())
        if follow:
            run = await follow_until_rest(session, run_id, Waits(latency=latency))
            _note_pause(session, run, connection)
            return verdict([run])
        async with aclosing(client.run_logs(run_id, reverse=reverse)) as rows:
            if output.json:
                output.document([row.to_dict() async for row in rows])
                return Exit.OK
            async for row in rows:
                show_row(output, row)
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
    waits: Waits = PATIENT,
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
        return await show_rests(session, run_ids, remark, waits)

    return execute_on(connection, display, work)


@app.command(
    help_epilogue="""\
Prints the id of the run, with --wait the run as it ended, with --follow the
new rows of its log before.

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
    follow: Follow = False,
    timeout: Timeout = None,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Take up a paused or ended run with a new prompt."""
    from codegen_async.cli.inputs import read_prompt
    from codegen_async.cli.targets import execute_on

    waiting = _Waiting(wait, follow, timeout, display)
    text = read_prompt(prompt, file)

    async def work(session: Session[CodegenClient]) -> Exit:
        session.resume = command("run", "get", run_id, *connection.words())
        run = await session.client.resume_run(run_id, text, images=images)
        return await _started(session, run, connection, waiting, resumed=True)

    return execute_on(connection, display, work)


class _Waiting:
    """How a run that was started is waited for, if it is.

    Raises:
        UsageError: the wishes contradict one another.
    """

    def __init__(self, wait: bool, follow: bool, timeout: float | None, display: Display) -> None:
        if timeout is not None and not wait:
            raise UsageError("--timeout is how long --wait waits: it needs --wait")
        if follow and not wait:
            raise UsageError("--follow shows what happens until the end: it needs --wait")
        if follow and (display.json or display.jq):
            raise UsageError("--follow shows rows and then the run: one JSON document does not fit", "use --jsonl")
        self.wait = wait
        self.follow = follow
        self.timeout = timeout


async def _started(
    session: Session[CodegenClient],
    run: AgentRun,
    connection: Connection,
    waiting: _Waiting,
    *,
    resumed: bool = False,
) -> Exit:
    """Show a run that was started or resumed just now, or its end if that is waited for."""
    from codegen_async.cli.following import follow_until_rest, until_it_rests, verdict
    from codegen_async.cli.render import news_of, show_run

    session.resume = command("run", "wait", run.id, *connection.words())
    # Before anything goes to the standard output, which may be full: whoever paid for the run has to know its id.
    session.output.note(news_of(run, "goes on" if resumed else "started"))
    if not waiting.wait:
        if session.output.structured:
            session.output.document(run.to_dict())
        else:
            session.output.line(str(run.id))
        return Exit.OK
    if waiting.follow:
        final = await follow_until_rest(session, run, Waits(timeout=waiting.timeout))
    else:
        final = await until_it_rests(session, run, Waits(timeout=waiting.timeout))
    show_run(session.output, final)
    _note_pause(session, final, connection)
    return verdict([final])


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
