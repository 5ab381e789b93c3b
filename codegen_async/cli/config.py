"""Where a setting comes from: flag, environment, project file, user file, default, in this order.

There is no flag for a token, as other users of a machine see command lines. A project file comes with other people's
code, so it may say neither a token nor to which server one is sent, nor a dialect, whose module would be imported.
"""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codegen_async.arguments import LARGEST_ID
from codegen_async.cleaning import clean
from codegen_async.cli.choosing import BUILT_IN, VARIABLE, user_file
from codegen_async.cli.errors import CommandError, Exit, UsageError, command
from codegen_async.cli.streams import printable, write
from codegen_async.errors import ConfigurationError
from codegen_async.files import read_regular
from codegen_async.models import Phase
from codegen_async.private import replacing
from codegen_async.secret import Secret
from codegen_async.settings import Fleet, check_phases

if TYPE_CHECKING:
    from codegen_async.cli.options import Server

_DIGITS = re.compile("[0-9]{1,18}")
_NAME = re.compile("[a-z_]{1,40}")

PROJECT_FILE = Path("codegen-async.toml")
_LARGEST = 2**20  # bytes of a config file


@dataclass(frozen=True)
class Key:
    """Describe one setting: its name in files, its environment variable, its type, its default."""

    name: str
    variable: str
    kind: type = str
    default: str | None = None
    secret: bool = False
    in_project: bool = True
    others: tuple[str, ...] = ()
    """Variables that are read where `variable` is not set."""

    @property
    def source(self) -> str:
        """The variable that is set; `variable` if none is."""
        return next((each for each in (self.variable, *self.others) if os.environ.get(each)), self.variable)


KEYS = (
    Key("token", "CODEGEN_API_TOKEN", secret=True, in_project=False, others=("CODEGEN_API_KEY",)),
    Key("org_id", "CODEGEN_ORG_ID", int),
    Key("base_url", "CODEGEN_API_BASE_URL", default="https://api.codegen.com", in_project=False),
    Key("repo_id", "CODEGEN_REPO_ID", int),
    Key("proxy", "CODEGEN_PROXY", secret=True, in_project=False),  # its URL may hold a password
    Key("fleet", "CODEGEN_FLEET", Fleet, secret=True, in_project=False),  # the same
    Key("memory", "CODEGEN_MEMORY", in_project=False),  # by default a file among the user's state
    Key("phases", "CODEGEN_PHASES", dict),
    Key("dialect", VARIABLE, default=BUILT_IN, in_project=False),  # its module is imported
    Key("middesk_token", "MIDDESK_API_KEY", secret=True, in_project=False),
    Key("middesk_base_url", "MIDDESK_API_BASE_URL", in_project=False),  # by default the key decides
    Key("middesk_phases", "MIDDESK_PHASES", dict),
)


@dataclass(frozen=True)
class Setting:
    """Hold a value and where it comes from; None if nothing gives it."""

    name: str
    value: str | int | Secret | Fleet | None
    source: str

    @property
    def shown(self) -> str:
        """The value as it may be shown."""
        if isinstance(self.value, Secret):
            return f"*** ({len(self.value.reveal())} characters)"
        if isinstance(self.value, Fleet):
            return "***"
        return "" if self.value is None else clean(str(self.value))


Settings = Mapping[str, Setting]


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Hold the settings that a command line gives; None for what it does not."""

    org_id: int | None = None
    base_url: str | None = None
    phases: str | None = None
    fleet: str | None = None
    dialect: str | None = None
    middesk_base_url: str | None = None
    middesk_phases: str | None = None


def flags_of(server: Server) -> Flags:
    """Return the settings that the options of a command give."""
    return Flags(
        org_id=server.org_id,
        base_url=server.base_url,
        phases=server.phases,
        fleet=server.fleet,
        dialect=server.dialect,
    )


def where_user_file_is() -> str:
    """Return the same in words."""
    return str(user_file() or "a config file (there is no home to look for one in)")


def load(flags: Flags) -> Settings:
    """Return all settings by name.

    Raises:
        CommandError: a value cannot be right, or a file with a token can be read by others.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("flag", asdict(flags)),
        ("environment", _environment()),
        (str(PROJECT_FILE), _project()),
        (where_user_file_is(), _user()),
    ]
    settings = {key.name: _resolve(key, layers) for key in KEYS}
    for key in KEYS:
        if settings[key.name].source == str(PROJECT_FILE):
            _tell_override(settings[key.name], _resolve(key, layers[3:]))
    return settings


def required(settings: Settings, name: str) -> Any:
    """Return the value of a setting.

    Raises:
        CommandError: nothing gives it.
    """
    value = settings[name].value
    if value is None:
        key = next(key for key in KEYS if key.name == name)
        ways = [f"set {key.variable}"]
        is_token = name == "token"
        if (path := user_file()) is not None:
            login = f"keep one in {path}: {command('auth', 'login')}"
            ways.append(login if is_token else f"write {name} = ... into {path} (mode 0600)")
        if not key.secret:
            ways.append(f"give --{name.replace('_', '-')}")
        hint = ", or ".join(ways) + (f"; without one: {command('demo')}" if is_token else "")
        raise CommandError(f"{name} is not set", hint, Exit.AUTH if key.secret else Exit.USAGE)
    return value


def _resolve(key: Key, layers: list[tuple[str, Mapping[str, Any]]]) -> Setting:
    for source, values in layers:
        given = values.get(key.name)
        if given is not None:
            name = f"{source} {key.source}" if source == "environment" else source
            return Setting(key.name, _checked(key, given, name), name)
    return Setting(key.name, key.default, "not set" if key.default is None else "default")


def _tell_override(decided: Setting, own: Setting) -> None:
    """Say that a project's file, which may have come with other people's code, goes before what the user has set."""
    if own.source == where_user_file_is() and own.value != decided.value:
        instead = f"in place of {own.shown} of {own.source}"
        _tell_once(f"note: {PROJECT_FILE} of this directory sets {decided.name} to {decided.shown}, {instead}")


@functools.cache
def _tell_once(note: str) -> None:
    write(sys.stderr, f"{printable(note)}\n")


def _checked(key: Key, given: Any, source: str) -> str | int | Secret | Fleet:
    if key.kind is int:
        number = _number(given)
        if number is None:
            raise UsageError(f"{key.name}: expected a positive integer, got {_shown(given)} (from {source})")
        return number
    if key.kind is dict:
        return ", ".join(f"{word}={phase}" for word, phase in _phases(key, given, source).items())
    if not isinstance(given, str):
        shown = "something else" if key.secret else _shown(given)
        raise UsageError(f"{key.name}: expected a text, got {shown} (from {source})")
    if not key.secret:
        return given
    if key.kind is Fleet:
        return _fleet(given, source)
    try:
        return Secret(given, f"{key.name} (from {source})")
    except ConfigurationError as error:
        raise CommandError(str(error), code=Exit.AUTH) from None


def _fleet(given: str, source: str) -> Fleet:
    if source == "flag":
        from codegen_async.fleet.address import Address

        try:
            address = Address(given)
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
        if address.password or address.options:
            raise UsageError(
                "--fleet: expected a URL without a password and options, as other users of a machine see command lines",
                f"set CODEGEN_FLEET, or write fleet = ... into {where_user_file_is()} (mode 0600)",
            )
    return Fleet(given)


def _phases(key: Key, given: Any, source: str) -> Mapping[str, Phase]:
    """Return phases by status words, which a file may give as a table, and whoever can only give text as a list."""
    pairs: Any = given
    if isinstance(given, str):
        pairs = {word: phase for word, _, phase in (pair.partition("=") for pair in given.split(",") if pair.strip())}
        pairs = {word.strip(): phase.strip() for word, phase in pairs.items()}
    try:
        return check_phases(pairs)
    except ConfigurationError as error:
        problem = str(error).partition(": ")[2]
        raise UsageError(
            f"{key.name}: {problem} (from {source})", "write it as ABORTED=failed,PARKED=blocked"
        ) from None


def phases(settings: Settings, name: str = "phases") -> Mapping[str, Phase]:
    """Return what status words are to stand for."""
    value = settings[name].value
    return {} if value is None else _phases(Key(name, ""), value, settings[name].source)


def _number(given: Any) -> int | None:
    """Return an id; None if it is none."""
    if isinstance(given, str):
        return int(given) if _DIGITS.fullmatch(given) and int(given) > 0 else None
    whole = isinstance(given, int) and not isinstance(given, bool)
    return given if whole and 0 < given <= LARGEST_ID else None


def _shown(given: Any) -> str:
    try:
        return clean(repr(given))
    except ValueError:  # Python prints no number of more than 4300 digits
        return "a number too large to show"


def _environment() -> Mapping[str, str]:
    return {key.name: value for key in KEYS if (value := os.environ.get(key.source))}


def _project() -> Mapping[str, Any]:
    values = _read(PROJECT_FILE)
    for key in KEYS:
        if key.name in values and not key.in_project:
            raise UsageError(
                f"{PROJECT_FILE}: {key.name} is not allowed in a project's file",
                f"others can read or write it; move the line to {where_user_file_is()}",
            )
    return values


def _user() -> Mapping[str, Any]:
    path = user_file()
    if path is None:
        return {}
    values = _read(path)
    if any(key.secret and key.name in values for key in KEYS) and exposed(path):
        raise CommandError(f"{path} holds a token and others can read it", f"chmod 600 {path}", Exit.AUTH)
    return values


def dialect_of_user(path: Path) -> str | None:
    """Return the dialect that the user's file names, if it does; no other setting of it is looked at.

    Raises:
        UsageError: the file cannot be right.
    """
    given = _read(path, tell=False).get("dialect")  # the settings are read in turn, and it is told then
    key = next(key for key in KEYS if key.name == "dialect")
    return None if given is None else str(_checked(key, given, str(path)))


def variable_of(name: str) -> str | None:
    """Return the environment variable that gives a setting; None if none does."""
    key = next(key for key in KEYS if key.name == name)
    return key.source if os.environ.get(key.source) else None


def save(path: Path, values: Mapping[str, str | int]) -> None:
    """Write settings to the user's file, whose other lines stay as they are; it is whole at every moment.

    Raises:
        UsageError: the file that is there is not valid, or cannot be written.
    """
    kept = _read(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = path.resolve()  # a link stays one: people keep such files elsewhere
        lines = _text_of(place).splitlines() if place.exists() else []
        assigned = re.compile(rf"\s*(?:{'|'.join(values)})\s*=")
        written = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        text = "\n".join([*written, *(line for line in lines if not assigned.match(line)), ""])
        if tomllib.loads(text) != {**kept, **values}:  # a value over several lines, say
            raise UsageError(f"{path} cannot be changed by a program", f"write {', '.join(values)} into it yourself")
        with replacing(place) as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def exposed(path: Path) -> bool:
    """Whether others than its owner may read or write a file."""
    return bool(stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO))


def _text_of(path: Path) -> str:
    return read_regular(path, _LARGEST).decode().replace("\r\n", "\n")


def _read(path: Path, *, tell: bool = True) -> Mapping[str, Any]:
    try:
        values = tomllib.loads(_text_of(path))
    except (FileNotFoundError, NotADirectoryError):  # a home of /dev/null is none
        return {}
    except OSError as error:  # settings may come from elsewhere, so this stops nothing, but is told
        if tell:
            write(sys.stderr, f"warning: {printable(str(path))} is left out: {error.strerror}\n")
        return {}
    except (ValueError, RecursionError) as error:  # thousands of digits or of brackets are no errors of TOML
        raise UsageError(f"{path} is not valid TOML: {clean(str(error))}") from None
    if unknown := sorted(set(values) - {key.name for key in KEYS}):
        # Anything but a plain name may be a token that was written where a name belongs.
        name = f" {unknown[0]!r}" if _NAME.fullmatch(unknown[0]) else ""
        raise UsageError(f"{path}: unknown setting{name}", f"known are {', '.join(key.name for key in KEYS)}")
    return values
