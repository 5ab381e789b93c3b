"""`codegen-async middesk`: agent runs of Middesk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit, UsageError, command
from codegen_async.cli.options import MIDDESK, PATIENT, PLAIN, Display, MiddeskConnection, Waits

if TYPE_CHECKING:
    from codegen_async.cli.session import Session
    from codegen_async.middesk.client import MiddeskClient
    from codegen_async.middesk.models import MiddeskRun

app: App = App(
    name="middesk",
    help="Look at and resume agent runs of Middesk, and run files of them.",
    help_epilogue="""\
The API key comes from MIDDESK_API_KEY, or from middesk_token in the user's
config file.

Example:
  codegen-async middesk list""",
)

app.command(
    "codegen_async.cli.middesk_batch:app",
    name="batch",
    help="Start a run for each line of a file, durably: nothing lost, nothing created twice.",
)

RunName = Annotated[str, Parameter(name="RUN_ID", help="The run.")]


@app.command(
    help_epilogue="""\
Example:
  codegen-async middesk get 5f0d2a52-6b4c-4f8e-9a43-52a7e43a1f0c --steps"""
)
def get(
    run_id: RunName,
    /,
    *,
    steps: Annotated[bool, Parameter(help="Show what it did as well.")] = False,
    connection: MiddeskConnection = MIDDESK,
    display: Display = PLAIN,
) -> Exit:
    """Show a run as it is now."""
    from codegen_async.cli.render import show_run
    from codegen_async.cli.targets import execute_on_middesk

    async def work(session: Session[MiddeskClient]) -> Exit:
        show_run(session.output, await session.client.get_run(run_id, include_steps=steps))
        return Exit.OK

    return execute_on_middesk(connection, display, work)


@app.command(
    name="list",
    help_epilogue="""\
The order is the server's; none is documented.

Example:
  codegen-async middesk list --limit 50 --json""",
)
def list_(
    *,
    limit: Annotated[int, Parameter(help="How many.", show_default=True)] = 20,
    connection: MiddeskConnection = MIDDESK,
    display: Display = PLAIN,
) -> Exit:
    """List runs."""
    from codegen_async.arguments import LARGEST_ID, check_int
    from codegen_async.cli.listing import show_first
    from codegen_async.cli.render import MIDDESK_COLUMNS, row_of
    from codegen_async.cli.targets import execute_on_middesk

    check_int("--limit", limit, 1, LARGEST_ID)

    async def work(session: Session[MiddeskClient]) -> Exit:
        return await show_first(session.output, session.client.list_runs(), limit, MIDDESK_COLUMNS, row_of)

    return execute_on_middesk(connection, display, work)


@app.command(
    usage="Usage: codegen-async middesk wait [OPTIONS] RUN_ID ...",
    help_epilogue="""\
Shows each run as it ends or asks something. The exit code is 3 if one failed,
else 7 if one asks something.

Example:
  codegen-async middesk wait 5f0d2a52-6b4c-4f8e-9a43-52a7e43a1f0c --timeout 600""",
)
def wait(
    run_ids: Annotated[tuple[str, ...], Parameter(name="RUN_ID", help="The runs.")],
    /,
    *,
    waits: Waits = PATIENT,
    connection: MiddeskConnection = MIDDESK,
    display: Display = PLAIN,
) -> Exit:
    """Wait until runs have ended or ask something."""
    from codegen_async.cli.targets import execute_on_middesk

    if not run_ids:
        raise UsageError("give at least one run's id")

    async def work(session: Session[MiddeskClient]) -> Exit:
        from codegen_async.cli.following import show_rests

        def remark(run: MiddeskRun) -> None:
            for interrupt in run.interrupts:
                answer = command("middesk", "resume", run.id, interrupt.id, *connection.words())
                session.output.note(f"to answer: {answer} JSON")

        session.resume = command("middesk", "wait", *run_ids, *connection.words())
        return await show_rests(session, run_ids, remark, waits)

    return execute_on_middesk(connection, display, work)


@app.command(
    help_epilogue="""\
The answer is JSON, so a text has quotes of its own.

Examples:
  codegen-async middesk resume 5f0d2a52-6b4c-4f8e-9a43-52a7e43a1f0c 8c1e... '"yes"'
  jq .answer decision.json | codegen-async middesk resume 5f0d... 8c1e... -"""
)
def resume(
    run_id: RunName,
    interrupt_id: Annotated[str, Parameter(help="What it asks; see `middesk get`.")],
    answer: Annotated[str, Parameter(help="JSON; - reads it from standard input.", allow_leading_hyphen=True)],
    /,
    *,
    connection: MiddeskConnection = MIDDESK,
    display: Display = PLAIN,
) -> Exit:
    """Answer what a run asks, so that it goes on."""
    from codegen_async.cli.inputs import read_json
    from codegen_async.cli.targets import execute_on_middesk

    value: Any = read_json("ANSWER", answer)

    async def work(session: Session[MiddeskClient]) -> Exit:
        from codegen_async.cli.render import show_run

        session.resume = command("middesk", "get", run_id, *connection.words())
        run = await session.client.resume_run(run_id, interrupt_id, value)
        show_run(session.output, run or await session.client.get_run(run_id))
        return Exit.OK

    return execute_on_middesk(connection, display, work)
