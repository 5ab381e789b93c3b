"""What a command ends with: one table of exit codes, and one place that puts errors into words.

An error is one line that says what, and one that says what to do. A traceback is shown only on request.
"""

from __future__ import annotations

import enum
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

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


# The first class that fits counts.
_KINDS: tuple[tuple[type[Exception], Exit, str], ...] = (
    (AuthenticationError, Exit.AUTH, f"check the token: {command('doctor')}"),
    (PermissionDeniedError, Exit.AUTH, "check --org-id, and whose token this is"),
    (QuotaExceededError, Exit.LIMIT, "runs that exist go on; create more when the plan allows it"),
    (RateLimitedError, Exit.LIMIT, "somebody else spends the same limit; try again in a minute"),
    (RunFailedError, Exit.ENDED_BADLY, ""),
    (NotFoundError, Exit.ERROR, f"runs of this organization: {command('run', 'list')}"),
    (InvalidArgumentError, Exit.USAGE, "nothing was sent"),
    (NotOfferedError, Exit.USAGE, "nothing was sent"),
    (ConfigurationError, Exit.USAGE, f"where each value comes from: {command('config', 'view')}"),
    (ConnectionFailedError, Exit.ERROR, f"what does not answer: {command('doctor')}"),
    (RequestTimeoutError, Exit.ERROR, f"what does not answer: {command('doctor')}"),
    (GatewayError, Exit.ERROR, f"try again later; if it lasts, is this the right server? {command('config', 'view')}"),
    (ServerError, Exit.ERROR, "the server failed; try again later"),
    (RedirectedError, Exit.ERROR, f"is this the right server? {command('config', 'view')}"),
    (DecodeError, Exit.ERROR, f"is this the right server? {command('config', 'view')}"),
    (APIError, Exit.ERROR, ""),
    (CodegenAsyncError, Exit.ERROR, ""),
    (OSError, Exit.ERROR, ""),
)


def explain(error: Exception, options: Iterable[str] = ()) -> CommandError:
    """Return an error as what the user is told about it.

    Args:
        error: what happened.
        options: those that lead to the same server, for the commands of hints.
    """
    if isinstance(error, CommandError):
        return error
    special = _explain_run(error, options) or _explain_unknown(error, options)
    if special is not None:
        return special
    for kind, code, hint in _KINDS:
        if isinstance(error, kind):
            return CommandError(_words(error), hint, code)
    what = f"this should not have happened: {type(error).__name__}: {clean(str(error))}"
    return CommandError(what, "please report it with what --debug shows")


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, CodegenAsyncError):
        # Errors of the network have classes of their own, and files are named where they are opened.
        where = f"{error.filename}: cannot be used" if error.filename else "the output cannot be written"
        return f"{where}: {error.strerror}"
    return str(error)


def _explain_run(error: Exception, options: Iterable[str]) -> CommandError | None:
    if isinstance(error, WaitTimeoutError):
        again = command(_group(error), "wait", error.run_id, *options)
        return CommandError(str(error), f"it goes on; wait again: {again}", Exit.TIMEOUT)
    if isinstance(error, RunBlockedError):
        answer = command(_group(error), "resume", error.run_id, *options)
        return CommandError(str(error), f"answer it: {answer} ...", Exit.ATTENTION)
    return None


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
