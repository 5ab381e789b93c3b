"""`codegen-async --dialect module:Name doctor`: is everything there that the client needs, and what the API offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit
from codegen_async.cli.hosted import Fields
from codegen_async.cli.options import HOSTED, PLAIN, Display, HostedConnection

if TYPE_CHECKING:
    from codegen_async.cli.checks import Finding
    from codegen_async.cli.hosted_target import Runs
    from codegen_async.cli.session import Session
    from codegen_async.limits import LimiterState

app: App = App(
    name="doctor",
    help_epilogue="""\
Sends the token only where --run names a run to look at, and creates none; the
fields of a run are looked at and not sent. The exit code is that of the first
check that failed.

Examples:
  codegen-async --dialect acme:Acme doctor
  codegen-async --dialect acme:Acme doctor --run r1 --field task=x --json""",
)


@app.default
def doctor(
    *,
    run: Annotated[str | None, Parameter(name="--run", help="Run to be looked at with the token.")] = None,
    fields: Fields = (),
    connection: HostedConnection = HOSTED,
    display: Display = PLAIN,
) -> Exit:
    """Check versions, dialect, token, network, clock, limits, and what the dialect offers."""
    from codegen_async.cli import config
    from codegen_async.cli.checks import Verdict, check_files, check_server, check_versions, show
    from codegen_async.cli.fields import read_fields
    from codegen_async.cli.fleet_checks import check_store
    from codegen_async.cli.hosted_checks import (
        check_base_url,
        check_create,
        check_dialect,
        check_limits,
        check_looks,
        check_prompts,
        check_token,
    )
    from codegen_async.cli.hosted_target import chosen_dialect, place_of
    from codegen_async.cli.output import Output

    output = Output(display)
    given = read_fields(fields)
    dialect = chosen_dialect(connection)
    place = place_of(connection, dialect)
    findings = [check_versions(), check_dialect(dialect, connection), check_base_url(place), check_token(dialect)]
    findings += [*check_files(None), check_store(config.load(config.Flags(fleet=connection.fleet)))]
    findings += [check_looks(dialect), check_prompts(dialect), check_create(dialect, given)]
    failed = {finding.check for finding in findings if finding.verdict is Verdict.FAIL}
    if "base_url" not in failed:
        findings += check_server(place.base_url)
    seen, learned = _access(connection, display, None if failed else run)
    findings += [*seen, *check_limits(dialect, learned)]
    return show(output, findings)


def _access(
    connection: HostedConnection, display: Display, run: str | None
) -> tuple[Sequence[Finding], Mapping[str, LimiterState]]:
    """Look at a run; return what came of it, and what is then known of the limits."""
    from codegen_async.cli.checks import Finding, Verdict
    from codegen_async.cli.fleet_checks import check_members
    from codegen_async.cli.hosted_checks import check_access
    from codegen_async.cli.hosted_target import execute_on_dialect, hints_of

    if run is None:
        return [Finding("access", Verdict.SKIP, "give --run RUN_ID to look at a run with the token")], {}
    found: list[tuple[Sequence[Finding], Mapping[str, LimiterState]]] = []

    async def work(session: Session[Runs]) -> Exit:
        seen = [await check_access(session.client, run, hints_of(connection)), *await check_members(session.client)]
        found.append((seen, session.client.limits))
        return Exit.OK

    execute_on_dialect(connection, display, work)
    return found[0]
