"""`codegen-async auth`: keep a token where only its owner can read it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import CommandError, Exit, command
from codegen_async.cli.options import PLAIN, REAL, Display, RealServer

if TYPE_CHECKING:
    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient
    from codegen_async.secret import Secret

app: App = App(
    name="auth",
    help="Keep a token where only its owner can read it.",
    help_epilogue="Example:\n  codegen-async auth login",
)


@app.command(
    help_epilogue="""\
Asks for the token; without a terminal it is read from standard input. It is
tried before it is kept, in the user's config file (mode 0600), together with
the organization if there is but one or --org-id says which, and with --base-url.

Examples:
  codegen-async auth login
  printenv CODEGEN_API_TOKEN | codegen-async auth login"""
)
def login(
    *,
    no_check: Annotated[bool, Parameter(help="Keep it without trying it.")] = False,
    server: RealServer = REAL,
    display: Display = PLAIN,
) -> Exit:
    """Try a token and write it to the user's config file."""
    from codegen_async.cli import config
    from codegen_async.cli.choosing import user_file
    from codegen_async.cli.output import Output

    output = Output(display)
    path = user_file()
    if path is None:
        raise CommandError("there is no home to keep a config file in", "set CODEGEN_API_TOKEN instead")
    token = _read_token()
    values: dict[str, str | int] = {"token": token.reveal()}
    if server.base_url is not None:
        values["base_url"] = server.base_url
    org_id = server.org_id if no_check else _only_organization(server, display, token)
    if org_id is not None:
        values["org_id"] = org_id
    config.save(path, values)
    output.note(f"written to {path}: {', '.join(values)}")
    if variable := config.variable_of("token"):
        output.note(f"{variable} is set and goes before it")
    if org_id is None:
        output.note(f"which organization is yours: {command('org', 'list')}; then set CODEGEN_ORG_ID")
    return Exit.OK


def _read_token() -> Secret:
    from getpass import getpass

    from codegen_async.cli.inputs import read_prompt
    from codegen_async.secret import Secret

    terminal = sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison] - closed: None
    return Secret((getpass("Token: ") if terminal else read_prompt("-", None)).strip())


def _only_organization(server: RealServer, display: Display, token: Secret) -> int | None:
    """Return the organization that was asked for, or the only one that the token has access to.

    Raises:
        AuthenticationError: the token is refused.
        CommandError: it has no access to the organization that was asked for.
    """
    from codegen_async.cli.targets import execute_on

    found: list[int] = []

    async def work(session: Session[CodegenClient]) -> Exit:
        found.extend([organization.id async for organization in session.client.list_organizations()])
        return Exit.OK

    execute_on(server, display, work, any_organization=True, token=token)
    if server.org_id is None:
        return found[0] if len(found) == 1 else None
    if server.org_id not in found:
        known = ", ".join(map(str, found[:10])) or "none"
        raise CommandError(f"the token has no access to organization {server.org_id}", f"it has to: {known}", Exit.AUTH)
    return server.org_id
