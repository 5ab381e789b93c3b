"""The server that flags, environment and config files name, or a simulated one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Generic, TypeVar

from codegen_async.cli import config
from codegen_async.cli.errors import MIDDESK, Exit, explain
from codegen_async.cli.memory import memory_file
from codegen_async.cli.options import Connection, Display, MiddeskConnection, Server
from codegen_async.cli.session import RealTime, Target, Work, execute, telling
from codegen_async.codegen.client import CodegenClient
from codegen_async.errors import CodegenAsyncError, OutcomeUnknownError, RunError
from codegen_async.events import Observer
from codegen_async.secret import Secret
from codegen_async.settings import Fleet

if TYPE_CHECKING:
    from codegen_async.middesk.client import MiddeskClient

C = TypeVar("C")

_ANY_ORGANIZATION = 1  # goes into no request


class Real(RealTime, Generic[C]):
    """A server that exists, and its client."""

    def __init__(self, client: AbstractAsyncContextManager[C], observers: list[Observer] | None = None) -> None:
        self._client = client
        self.observers: list[Observer] = [] if observers is None else observers

    def open(self) -> AbstractAsyncContextManager[C]:
        """Return the client."""
        return self._client

    def record(self) -> Sequence[str]:
        """Return nothing: only the server knows."""
        return ()


def execute_on(
    connection: Server,
    display: Display,
    work: Work[CodegenClient],
    *,
    any_organization: bool = False,
    token: Secret | None = None,
) -> Exit:
    """Run a command on the Codegen server that its options ask for.

    Args:
        connection: which server, as which organization.
        display: how results are shown.
        work: the command.
        any_organization: whether it asks only what no organization has to be known for.
        token: instead of the one that the settings give.

    Raises:
        CommandError: a setting is missing or wrong, the command was interrupted, or a person has to do something.
        CodegenAsyncError: as the client raises it.
    """
    target = _codegen(connection, any_organization=any_organization, token=token)
    try:
        return execute(work, target, display)
    except (RunError, OutcomeUnknownError) as error:  # what is done about them has to be done on the same server
        raise explain(error, connection.words()) from error


def execute_on_middesk(connection: MiddeskConnection, display: Display, work: Work[MiddeskClient]) -> Exit:
    """Run a command on the Middesk server that its options ask for.

    Raises:
        CommandError: whatever went wrong, in words.
    """
    from codegen_async.middesk.client import MiddeskClient

    settings = config.load(
        config.Flags(middesk_base_url=connection.base_url, middesk_phases=connection.phases, fleet=connection.fleet)
    )
    base_url = settings["middesk_base_url"].value
    observers: list[Observer] = []
    client = MiddeskClient(
        config.required(settings, "middesk_token").reveal(),
        base_url=None if base_url is None else str(base_url),
        proxy=proxy_of(settings),
        fleet=fleet_of(settings),
        memory=memory_file(settings),
        phases=config.phases(settings, "middesk_phases"),
        observe=telling(observers),
    )
    try:
        return execute(work, Real(client, observers), display)
    except CodegenAsyncError as error:
        raise explain(error, connection.words(), MIDDESK) from error


def _codegen(connection: Server, *, any_organization: bool, token: Secret | None) -> Target[CodegenClient]:
    if isinstance(connection, Connection) and connection.simulate:
        from codegen_async.cli.simulation import Simulated

        return Simulated()
    settings = config.load(config.flags_of(connection))
    observers: list[Observer] = []
    org_id = settings["org_id"].value or (_ANY_ORGANIZATION if any_organization else None)
    client = CodegenClient(
        (token or config.required(settings, "token")).reveal(),
        org_id=org_id if isinstance(org_id, int) else None,
        base_url=config.required(settings, "base_url"),
        proxy=proxy_of(settings),
        fleet=fleet_of(settings),
        memory=memory_file(settings),
        phases=config.phases(settings),
        observe=telling(observers),
    )
    return Real(client, observers)


def fleet_of(settings: config.Settings) -> Fleet | None:
    """Return where the settings say that a fleet meets."""
    given = settings["fleet"].value
    return given if isinstance(given, Fleet) else None


def proxy_of(settings: config.Settings) -> str | None:
    """Return the proxy that the settings name."""
    given = settings["proxy"].value
    return given.reveal() if isinstance(given, Secret) else None


def default_repo(connection: Server) -> int | None:
    """Return the repository that the settings name."""
    if isinstance(connection, Connection) and connection.simulate:
        return None
    value = config.load(config.flags_of(connection))["repo_id"].value
    return value if isinstance(value, int) else None
