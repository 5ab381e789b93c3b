"""Read what a command is given: prompts from the command line, a file or standard input; JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from codegen_async.batch.places import CODEGEN_API
from codegen_async.batch.readers import Where, read_account, read_counts
from codegen_async.batch.texts import read_whole
from codegen_async.cleaning import clean, reason_of
from codegen_async.cli.errors import CommandError, Exit, UsageError, command

STDIN = "-"
_PROMPTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
MIDDESK_API = "middesk"
_DATABASE = b"SQLite format 3\0"


def read_prompt(given: str | None, file: Path | None) -> str:
    """Return the prompt.

    Raises:
        UsageError: there is none, there are two, or it cannot be read.
    """
    if (given is None) == (file is None):
        raise UsageError("give one prompt", "as an argument, by --file PATH, or - to read it from standard input")
    if given is None or given == STDIN:
        return _read(file)
    if given.startswith(STDIN):  # more likely a mistyped option than a prompt, and a run costs money
        raise UsageError(f"unknown option or prompt: {clean(given, 60)}", "give such a prompt by --file PATH, or -")
    return given


def read_json(name: str, given: str) -> Any:
    """Return a value given as JSON, or read from standard input.

    Args:
        name: what to call it.
        given: the JSON, or - for standard input.

    Raises:
        UsageError: it is no JSON.
    """
    text = _read(None) if given == STDIN else given
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # lone surrogates; thousands of digits or of brackets
        hint = "a text needs quotes of its own: '\"yes\"'"
        raise UsageError(f"{name}: expected JSON, got {clean(text, 60)}", hint) from None


def read_metadata(given: str | None) -> dict[str, Any] | None:
    """Return metadata given as a JSON object.

    Raises:
        UsageError: it is something else.
    """
    if given is None:
        return None
    value = read_json("--metadata", given)
    if not isinstance(value, dict):
        raise UsageError(f"--metadata: expected a JSON object, got {clean(given, 60)}")
    return cast("dict[str, Any]", value)


def existing(journal: Path, api: str | None = None) -> Where:
    """Return the path of a journal if there is one, or of the journal beside a file of prompts; or a database.

    Args:
        journal: one of them.
        api: the API that it has to be of. Default: any.

    Raises:
        CommandError: there is none, or it is of another API.
        JournalError: it cannot be read.
    """
    found = elsewhere(journal) or _existing(journal)
    if api is not None:
        check_api(found, api)
    return found


def elsewhere(journal: Path) -> Where | None:
    """Return the database that is meant, or that stands beside a file of prompts; None if it is neither.

    Raises:
        ConfigurationError: it is the URL of none.
    """
    beside = Path(f"{journal}.dbos.db")
    if not names_database(journal):
        if Path(f"{journal}.db").exists() or not beside.exists():
            return None
        journal = beside
    from codegen_async.engine.database import database_at

    return database_at(journal)


def names_database(path: Path) -> bool:
    """Whether what was given as a path is the URL of a database, or its file."""
    return str(path).startswith(("sqlite:", "postgresql:", "postgres:")) or path.name.endswith(".dbos.db")


def check_api(journal: Where, api: str) -> None:
    """Make sure that a batch is not of another API: its fields would mean nothing there.

    Raises:
        CommandError: it is.
        JournalError: the journal cannot be read.
    """
    account = read_account(journal)
    if account is None or account.api == api or not any(read_counts(journal).values()):
        return
    what = f"{journal}: is a batch of {clean(str(account))}, and this command speaks to {clean(api)}"
    hint = f"go on with it by {command(*group_of(account.api))} ...; or give another --journal"
    raise CommandError(what, hint, Exit.USAGE)


def group_of(api: str) -> Sequence[str]:
    """Return the words of the group of commands for batches of an API."""
    if api == MIDDESK_API:
        return "middesk", "batch"
    return "--dialect", CODEGEN_API if api == CODEGEN_API else "module:Name", "batch"


def _existing(journal: Path) -> Path:
    beside = Path(f"{journal}.db")
    if is_journal(beside) and not is_journal(journal):
        return beside
    hint = "a batch keeps its journal in FILE.db, beside the file of prompts, or where --journal said"
    if journal.is_dir():
        raise CommandError(f"{journal}: is a folder, and no journal", hint)
    if not journal.is_file():
        raise CommandError(f"{journal}: there is no such journal", hint)
    if journal.suffix.lower() in _PROMPTS and not is_journal(journal):
        hint = "it was not run yet, or with --journal PATH; then give that path"
        raise CommandError(f"{journal}: no journal stands beside this file of prompts", hint)
    return journal


def is_journal(path: Path) -> bool:
    """Whether a database is there, as every journal is one."""
    try:
        if not path.is_file():  # to look into a pipe would take from it
            return False
        with path.open("rb") as file:
            return file.read(len(_DATABASE)) == _DATABASE
    except (OSError, ValueError):  # a path with a null character in it
        return False


def _read(file: Path | None) -> str:
    try:
        return read_bytes(file).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file or 'standard input'} is not UTF-8 text") from None


def read_bytes(file: Path | None) -> bytes:
    """Return what a file holds, or the standard input.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if file is not None:
            with file.open("rb") as stream:
                return read_whole(stream)
        if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is where the shell has closed it
            raise UsageError("standard input is closed")
        return read_whole(sys.stdin.buffer)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file or 'standard input'} cannot be read: {reason_of(error)}") from None
