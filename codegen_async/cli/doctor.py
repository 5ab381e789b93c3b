"""`codegen-async doctor`: is everything there that the client needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit
from codegen_async.cli.options import PLAIN, REAL, Display, RealServer

if TYPE_CHECKING:
    from codegen_async.cli.checks import Finding
    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient

app: App = App(
    name="doctor",
    help_epilogue="""\
Sends the token to list organizations and one run; --echo creates one run.
The exit code is that of the first check that failed.

Examples:
  codegen-async doctor
  codegen-async doctor --journal prompts.jsonl.db --json""",
)


@app.default
def doctor(
    *,
    journal: Annotated[Path | None, Parameter(help="Journal of a batch to be checked as well.")] = None,
    echo: Annotated[bool, Parameter(help="Check whether metadata is given back. COSTS A RUN.")] = False,
    server: RealServer = REAL,
    display: Display = PLAIN,
) -> Exit:
    """Check versions, settings, files, network, clock and access."""
    from codegen_async.cli import config
    from codegen_async.cli.checks import (
        Verdict,
        check_files,
        check_journal,
        check_server,
        check_settings,
        check_versions,
        show,
    )
    from codegen_async.cli.fleet_checks import check_store
    from codegen_async.cli.output import Output

    output = Output(display)
    settings = config.load(config.flags_of(server))
    findings = [check_versions(), *check_settings(settings), *check_files(journal), check_journal(journal)]
    findings.append(check_store(settings))
    failed = {finding.check for finding in findings if finding.verdict is Verdict.FAIL}
    if "base_url" not in failed:
        findings += check_server(str(settings["base_url"].value))
    if not failed:
        findings += _ask(server, display, settings["org_id"].value, echo=echo)
    return show(output, findings)


def _ask(server: RealServer, display: Display, org_id: object, *, echo: bool) -> list[Finding]:
    from codegen_async.cli.checks import Verdict, check_access, check_echo, check_organizations
    from codegen_async.cli.fleet_checks import check_members
    from codegen_async.cli.targets import execute_on

    findings: list[Finding] = []

    async def look_around(session: Session[CodegenClient]) -> Exit:
        findings.append(await check_organizations(session.client, org_id))
        return Exit.OK

    execute_on(server, display, look_around, any_organization=True)
    if org_id is None and findings[0].verdict is Verdict.FAIL:
        return findings  # as which organization to go on cannot be known

    async def work(session: Session[CodegenClient]) -> Exit:
        findings.append(await check_access(session.client))
        findings.extend(await check_members(session.client))
        if echo:
            findings.append(await check_echo(session.client))
        return Exit.OK

    execute_on(server, display, work)
    return findings
