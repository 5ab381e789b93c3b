"""`codegen-async org` and `codegen-async repo`: what a token has access to, and what its ids are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit
from codegen_async.cli.options import HERE, PLAIN, Connection, Display

if TYPE_CHECKING:
    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient

org: App = App(
    name="org",
    help="Look at the organizations that the token has access to.",
    help_epilogue="Example:\n  codegen-async org list",
)
repo: App = App(
    name="repo",
    help="Look at the repositories of the organization.",
    help_epilogue="Example:\n  codegen-async repo list",
)

Limit = Annotated[int | None, Parameter(help="How many. Default: all.")]


@org.command(
    name="list",
    help_epilogue="""\
Needs a token, and no organization. Elsewhere than on a terminal a line an
organization with a tab between id and name.

Examples:
  codegen-async org list
  export CODEGEN_ORG_ID=$(codegen-async org list --limit 1 | cut -f 1)""",
)
def org_list(*, limit: Limit = None, connection: Connection = HERE, display: Display = PLAIN) -> Exit:
    """List the organizations that the token has access to."""
    from codegen_async.cli.listing import check_limit, show_first
    from codegen_async.cli.targets import execute_on

    most = check_limit(limit)

    async def work(session: Session[CodegenClient]) -> Exit:
        listed = session.client.list_organizations()
        return await show_first(
            session.output, listed, most, ("ORG", "NAME"), lambda one: (str(one.id), one.name or "")
        )

    return execute_on(connection, display, work, any_organization=True)


@repo.command(
    name="list",
    help_epilogue="""\
Elsewhere than on a terminal a line a repository with tabs between id, name,
language and how far it is set up.

Examples:
  codegen-async repo list
  codegen-async repo list --json id,full_name""",
)
def repo_list(*, limit: Limit = None, connection: Connection = HERE, display: Display = PLAIN) -> Exit:
    """List the repositories of the organization."""
    from codegen_async.cli.listing import check_limit, show_first
    from codegen_async.cli.targets import execute_on

    most = check_limit(limit)
    columns = ("REPO", "NAME", "LANGUAGE", "SETUP")

    async def work(session: Session[CodegenClient]) -> Exit:
        return await show_first(
            session.output,
            session.client.list_repos(),
            most,
            columns,
            lambda one: (str(one.id), one.full_name or one.name or "", one.language or "", one.setup_status or ""),
        )

    return execute_on(connection, display, work)
