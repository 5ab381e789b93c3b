"""Which dialect the commands speak: `--dialect`, CODEGEN_DIALECT or the user's file, else Codegen's. Imports little.

A project's file has no say: to name a dialect is to have its module imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from codegen_async.cleaning import clean
from codegen_async.cli.errors import CommandError, UsageError, command

FLAG = "--dialect"
VARIABLE = "CODEGEN_DIALECT"
BUILT_IN = "codegen"

_OTHERS = {
    "org": "organizations are Codegen's",
    "repo": "repositories are Codegen's",
    "auth": "it keeps Codegen's token; a dialect names the variable that its own is in",
    "run logs": "logs are Codegen's",
    "run resume": "here a run is told to go on by: run reply",
}


class Choice(NamedTuple):
    """Name a dialect, as `module:Name` or the one that is built in, and where that was said."""

    dialect: str
    source: str

    @property
    def is_built_in(self) -> bool:
        """Whether the commands are Codegen's."""
        return self.dialect == BUILT_IN


def lift(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the words without `--dialect`, which may stand anywhere before `--`, and what it says.

    Raises:
        UsageError: it says nothing, or it is there twice.
    """
    end = words.index("--") if "--" in words else len(words)
    rest: list[str] = []
    found: list[str] = []
    places = iter(range(end))
    for place in places:
        flag, equals, value = words[place].partition("=")
        if flag != FLAG:
            rest.append(words[place])
            continue
        found.append(value if equals or next(places, None) is None else words[place + 1])
    if len(found) > 1 or not all(found):
        raise UsageError(f"{FLAG}: expected module:Name, once")
    return [*rest, *words[end:]], next(iter(found), None)


def put_back(words: Sequence[str], dialect: str | None) -> list[str]:
    """Return the words with `--dialect` as an option of their command."""
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *([] if dialect is None else [FLAG, dialect]), *words[end:]]


def choose(flag: str | None) -> Choice:
    """Return the dialect that is asked for, by the nearest that asks for one.

    Raises:
        CommandError: the user's file cannot be right.
    """
    if flag is not None:
        return Choice(flag, "flag")
    if value := os.environ.get(VARIABLE):
        return Choice(value, f"environment {VARIABLE}")
    path = user_file()
    if path is None or not _is_file(path):
        return Choice(BUILT_IN, "default")
    from codegen_async.cli.config import dialect_of_user

    return Choice(value, str(path)) if (value := dialect_of_user(path)) else Choice(BUILT_IN, "default")


def speaks_another(flag: str | None) -> bool:
    """Whether commands speak another dialect than Codegen's, for pages of help, which nothing may stop."""
    try:
        return not choose(flag).is_built_in
    except (CommandError, OSError):
        return False


def user_file() -> Path | None:
    """Return where the user's config file is; None for a user without a home."""
    given = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if given.is_absolute():  # any other has no meaning, says the standard that names the variable
        return given / "codegen-async" / "config.toml"
    try:
        return Path.home() / ".config" / "codegen-async" / "config.toml"
    except RuntimeError:  # a container's user without an entry in the passwd file
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a place that this user may not look into
        return False


def check_offered(words: Sequence[str], choice: Choice) -> None:
    """Make sure that a command is one that other dialects than Codegen's have.

    Raises:
        UsageError: it is Codegen's only.
    """
    named = [word for word in words if not word.startswith("-")][:2]
    for name in (" ".join(named[:1]), " ".join(named)):
        if name in _OTHERS:
            said = f"{clean(choice.dialect)} (from {choice.source})"
            what = f"{name} is a command for Codegen only, and the dialect is {said}: {_OTHERS[name]}"
            raise UsageError(what, f"for Codegen: {command(FLAG, BUILT_IN, *name.split())} ...")
