"""`codegen-async watch`: runs as they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit, UsageError, command
from codegen_async.cli.options import HERE, PATIENT, PLAIN, Connection, Display, Waits

if TYPE_CHECKING:
    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient
    from codegen_async.codegen.models import AgentRun

app: App = App(
    name="watch",
    usage="Usage: codegen-async watch [OPTIONS] [RUN_ID ...]",
    help_epilogue="""\
On a terminal a table that changes; elsewhere, and with --jsonl, a line for every change.
The exit code does not tell how runs ended; that of `run wait` does.

Examples:
  codegen-async watch
  codegen-async watch 40012 40015 --jsonl
  codegen-async watch --simulate""",
)


@app.default
def watch(
    run_ids: Annotated[tuple[int, ...], Parameter(name="RUN_ID", help="The runs. Default: the newest ones.")] = (),
    /,
    *,
    recent: Annotated[int, Parameter(help="Without ids: how many of the newest.", show_default=True)] = 20,
    waits: Waits = PATIENT,
    connection: Connection = HERE,
    display: Display = PLAIN,
) -> Exit:
    """Watch runs as they change, until all have ended."""
    from codegen_async.arguments import LARGEST_PAGE, check_int
    from codegen_async.cli.targets import execute_on

    if display.json:
        raise UsageError("watch has no end to put into one document: --json does not fit", "use --jsonl")
    check_int("--recent", recent, 1, LARGEST_PAGE)

    async def work(session: Session[CodegenClient]) -> Exit:
        from codegen_async.cli.following import show_changes

        session.resume = command("watch", *run_ids, *connection.words())
        runs: tuple[int | AgentRun, ...] = run_ids or (await session.client.list_runs_page(limit=recent)).items
        return await show_changes(session, runs, waits)

    return execute_on(connection, display, work)
