"""What a command ends with: one table of exit codes, and one place that puts errors into words.

An error is one line that says what, and one that says what to do. A traceback is shown only on request.
"""

from __future__ import annotations

import enum
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from codegen_async.cleaning import clean
from codegen_async.errors import (
    APIError,
    AuthenticationError,
    CodegenAsyncError,
    ConfigurationError,
    ConnectionFailedError,
    CreateOutcomeUnknownError,
    DecodeError,
    GatewayError,
    InvalidArgumentError,
    NotFoundError,
    NotOfferedError,
    OutcomeUnknownError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitedError,
    RedirectedError,
    RequestTimeoutError,
    RunBlockedError,
    RunError,
    RunFailedError,
    ServerError,
    WaitTimeoutError,
)

PROGRAM = "codegen-async"


class Exit(enum.IntEnum):
    """Say how a command ended; the number is the exit code."""

    OK = 0
    ERROR = 1
    USAGE = 2
    ENDED_BADLY = 3
    AUTH = 4
    LIMIT = 5
    TIMEOUT = 6
    ATTENTION = 7
    HUNG_UP = 129
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


MEANINGS = {
    Exit.OK: "done",
    Exit.ERROR: "it failed",
    Exit.USAGE: "the command line is wrong; nothing was sent",
    Exit.ENDED_BADLY: "a run ended in failure or was stopped",
    Exit.AUTH: "no token, or it is refused",
    Exit.LIMIT: "the plan's runs are used up, or the rate limit is",
    Exit.TIMEOUT: "a wait took longer than --timeout; the run goes on",
    Exit.ATTENTION: "a person is needed: a run is paused, or an outcome is unknown",
    Exit.HUNG_UP: "SIGHUP; the command to go on is printed",
    Exit.INTERRUPTED: "Ctrl-C; the command to go on is printed",
    Exit.BROKEN_PIPE: "whoever read the output has left",
    Exit.TERMINATED: "SIGTERM; the command to go on is printed",
}


class CommandError(Exception):
    """Say why a command cannot go on.

    Attributes:
        hint: what to do about it; empty if there is nothing to say.
        code: what the process ends with.
    """

    def __init__(self, what: str, hint: str = "", code: Exit = Exit.ERROR) -> None:
        super().__init__(what)
        self.hint = hint
        self.code = code


class UsageError(CommandError):
    """Say that the command line is wrong."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint, Exit.USAGE)


def command(*words: object) -> str:
    """Return a command of this program as one would type it, which a terminal can show as it is."""
    return " ".join((PROGRAM, *map(_typed, words)))


def _typed(word: object) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"  # a path forgets that it began so, and would be taken for an option
    # A tab is harmless, and quoted like any blank. What could fool a terminal is not: shells read it in escapes too.
    visible = text.replace("\t", " ")
    if visible.isprintable() and clean(visible, len(visible)) == visible:
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


class Hints(NamedTuple):
    """Say what to do about errors that lead to other commands at one API than at another.

    Attributes:
        token: where a token is refused.
        account: where what it asks for is not for its owner.
        runs: where there is no such run.
        silence: where nothing answers.
        server: where something answers that is not the API.
        settings: where a setting cannot be right.
    """

    token: str
    account: str
    runs: str
    silence: str
    server: str
    settings: str


CODEGEN = Hints(
    token=f"check the token: {command('doctor')}",
    account="check --org-id, and whose token this is",
    runs=f"runs of this organization: {command('run', 'list')}",
    silence=f"what does not answer: {command('doctor')}",
    server=f"is this the right server? {command('config', 'view')}",
    settings=f"where each value comes from: {command('config', 'view')}",
)
MIDDESK = CODEGEN._replace(
    token=f"where the key comes from: {command('config', 'view')}",
    account="whose key is this?",
    runs=f"runs that there are: {command('middesk', 'list')}",
    silence=CODEGEN.server,
)

# The first class that fits counts. What is in braces is of `Hints`.
_KINDS: tuple[tuple[type[Exception], Exit, str], ...] = (
    (AuthenticationError, Exit.AUTH, "{token}"),
    (PermissionDeniedError, Exit.AUTH, "{account}"),
    (QuotaExceededError, Exit.LIMIT, "runs that exist go on; create more when the plan allows it"),
    (RateLimitedError, Exit.LIMIT, "somebody else spends the same limit; try again in a minute"),
    (RunFailedError, Exit.ENDED_BADLY, ""),
    (NotFoundError, Exit.ERROR, "{runs}"),
    (InvalidArgumentError, Exit.USAGE, "nothing was sent"),
    (NotOfferedError, Exit.USAGE, "nothing was sent"),
    (ConfigurationError, Exit.USAGE, "{settings}"),
    (ConnectionFailedError, Exit.ERROR, "{silence}"),
    (RequestTimeoutError, Exit.ERROR, "{silence}"),
    (GatewayError, Exit.ERROR, "try again later; if it lasts, {server}"),
    (ServerError, Exit.ERROR, "the server failed; try again later"),
    (RedirectedError, Exit.ERROR, "{server}"),
    (DecodeError, Exit.ERROR, "{server}"),
    (APIError, Exit.ERROR, ""),
    (CodegenAsyncError, Exit.ERROR, ""),
    (OSError, Exit.ERROR, ""),
)


# Arguments of calls, as they are called on a command line. What a file says is named with the file before it.
_TYPED = {
    "path": "FILE",
    "prompt": "PROMPT",
    "run": "RUN_ID",
    "run_id": "RUN_ID",
    "idempotency_key": "--key",
    "images": "--image",
} | {name: f"--{name.replace('_', '-')}" for name in ("agent_type", "latency", "model", "out", "port", "timeout")}


def explain(error: Exception, options: Iterable[str] = (), hints: Hints = CODEGEN) -> CommandError:
    """Return an error as what the user is told about it.

    Args:
        error: what happened.
        options: those that lead to the same server, for the commands of hints.
        hints: what to do about it at the API that was asked.
    """
    if isinstance(error, CommandError):
        return error
    special = _explain_run(error, options) or _explain_unknown(error, options)
    if special is not None:
        return special
    for kind, code, hint in _KINDS:
        if isinstance(error, kind):
            return CommandError(_words(error), hint.format_map(hints._asdict()), code)
    what = f"this should not have happened: {type(error).__name__}: {clean(str(error))}"
    return CommandError(what, "please report it with what --debug shows")


def _words(error: Exception) -> str:
    if isinstance(error, InvalidArgumentError):
        name, bracket, place = error.field.partition("[")
        return str(InvalidArgumentError(_TYPED.get(name, name) + bracket + place, error.value, error.expected))
    if isinstance(error, OSError) and error.strerror and not isinstance(error, CodegenAsyncError):
        # Errors of the network have classes of their own, and files are named where they are opened.
        where = f"{error.filename}: cannot be used" if error.filename else "the output cannot be written"
        return f"{where}: {error.strerror}"
    return str(error)


def _explain_run(error: Exception, options: Iterable[str]) -> CommandError | None:
    if isinstance(error, WaitTimeoutError):
        again = command(_group(error), "wait", error.run_id, *options)
        return wait_again(error, again)
    if isinstance(error, RunBlockedError):
        answer = command(_group(error), "resume", error.run_id, *options)
        return CommandError(str(error), f"answer it: {answer} ...", Exit.ATTENTION)
    return None


def wait_again(error: WaitTimeoutError, again: str) -> CommandError:
    """Return what is said where a wait took too long; of a run that nobody has seen, not that it goes on."""
    goes_on = "" if error.run is None else "it goes on; "
    return CommandError(str(error), f"{goes_on}wait again: {again}", Exit.TIMEOUT)


def _group(error: RunError) -> str:
    return "run" if isinstance(error.run_id, int) else "middesk"


def _explain_unknown(error: Exception, options: Iterable[str]) -> CommandError | None:
    if isinstance(error, CreateOutcomeUnknownError):
        look = command("run", "get", "--key", error.key, *options)
        what = "the create was sent and its answer lost; no run with its key was found"
        return CommandError(what, f"look again before you create it once more: {look}", Exit.ATTENTION)
    if isinstance(error, OutcomeUnknownError):
        return CommandError(str(error), "look at the run before you repeat this", Exit.ATTENTION)
    return None
