"""The server that a dialect and its variables name, and what is said where it refuses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from codegen_async.cleaning import clean
from codegen_async.cli import config
from codegen_async.cli.choosing import choose
from codegen_async.cli.errors import CommandError, Exit, Hints, command, explain, wait_again
from codegen_async.cli.loading import load_dialect
from codegen_async.cli.memory import memory_file
from codegen_async.cli.options import Display, HostedConnection, Reading
from codegen_async.cli.session import Work, execute, telling
from codegen_async.cli.targets import Real, fleet_of, proxy_of
from codegen_async.errors import (
    CodegenAsyncError,
    CreateOutcomeUnknownError,
    RunBlockedError,
    WaitTimeoutError,
)
from codegen_async.events import Observer
from codegen_async.hosted.dialect import Dialect, base_url_variable
from codegen_async.hosted.runs import HostedRuns

Runs = HostedRuns[Any]


class Place(NamedTuple):
    """Say where an API is, and who said that."""

    base_url: str
    source: str


def chosen_dialect(connection: HostedConnection | Reading) -> Dialect[Any]:
    """Return the dialect that the options, the environment or the user's file name.

    Raises:
        UsageError: there is no such thing, or it lacks what every dialect has.
    """
    return load_dialect(choose(connection.dialect))


def place_of(connection: HostedConnection, dialect: Dialect[Any]) -> Place:
    """Return where the API is; as each dialect has a variable for it, no token goes to the server of another."""
    if connection.base_url is not None:
        return Place(connection.base_url, "flag")
    variable = base_url_variable(dialect)
    if value := os.environ.get(variable):
        return Place(value, f"environment {variable}")
    return Place(dialect.base_url, "dialect")


def token_of(dialect: Dialect[Any]) -> str:
    """Return the token.

    Raises:
        CommandError: the variable that the dialect names for it is not set.
    """
    if value := os.environ.get(dialect.token_variable):
        return value
    what = f"{dialect.token_variable} is not set"
    raise CommandError(what, f"the token for {clean(dialect.name)} comes from there only", Exit.AUTH)


def execute_on_dialect(
    connection: HostedConnection,
    display: Display,
    work: Work[Runs],
    *,
    before: Callable[[Dialect[Any]], None] = lambda _: None,
) -> Exit:
    """Run a command on the API that its options ask for.

    Args:
        connection: which API, and where.
        display: how results are shown.
        work: the command.
        before: looks at the dialect before anything else is done.

    Raises:
        CommandError: whatever went wrong, in words.
    """
    dialect = chosen_dialect(connection)
    before(dialect)
    settings = config.load(config.Flags(fleet=connection.fleet))
    observers: list[Observer] = []
    try:
        client = HostedRuns(
            dialect,
            token_of(dialect),
            base_url=place_of(connection, dialect).base_url,
            proxy=proxy_of(settings),
            fleet=fleet_of(settings),
            memory=memory_file(settings),
            observe=telling(observers),
        )
        return execute(work, Real(client, observers), display)
    except CommandError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, CodegenAsyncError):
            raise  # of the output
        raise _explained(error, dialect, connection) from error


def hints_of(connection: HostedConnection) -> Hints:
    """Return what to do about errors of the API: `doctor` looks at everything."""
    doctor = command("doctor", *connection.words())
    server = f"is this the right server? {doctor}"
    return Hints(
        token=f"check the token: {doctor}",
        account=f"whose token is this? {doctor}",
        runs=server,
        silence=f"what does not answer: {doctor}",
        server=server,
        settings=f"is it the dialect, or a setting? {doctor}",
    )


def _explained(error: Exception, dialect: Dialect[Any], connection: HostedConnection) -> CommandError:
    options = [*connection.words()]
    match error:
        case WaitTimeoutError():
            return wait_again(error, command("run", "wait", error.run_id, *options))
        case RunBlockedError():
            answer = command("run", "reply", error.run_id, *options)
            return CommandError(str(error), f"answer it: {answer} ...", Exit.ATTENTION)
        case CreateOutcomeUnknownError():
            what = f"the create was sent and its answer lost; its key is {error.key}"
            return CommandError(what, _look_again(dialect, error.key, options), Exit.ATTENTION)
        case CodegenAsyncError():
            return explain(error, options, hints_of(connection))
        case _:
            hint = f"perhaps it is the dialect {clean(dialect.name)}; --debug shows where"
            return CommandError(f"{type(error).__name__}: {clean(str(error))}", hint)


def _look_again(dialect: Dialect[Any], key: str, options: list[str]) -> str:
    if dialect.find(key, None) is None:
        return "this API shows no keys: look for the run yourself, before you create it once more"
    return f"look again before you create it once more: {command('run', 'get', '--key', key, *options)}"
