"""The page of the settings: every argument of the clients, and what stands in for it elsewhere."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from codegen_async import Batch, CodegenClient, Fleet, HostedRuns, MiddeskClient, Timeouts
from codegen_async.cli.config import KEYS, PROJECT_FILE, Key
from codegen_async.cli.pages import ANOTHER
from codegen_async.codegen.dialect import RATES
from codegen_async.logs import VARIABLE
from docs.generate.command_line import helps
from docs.generate.docstrings import capital, read, table

_OF_ALL = ("proxy", "fleet", "memory", "dialect")  # settings that count for whatever API is spoken to

OTHERS = {
    VARIABLE: "`debug`, `info` or `warning`: shows what a client does, on the standard error"
    " ([more](../howto/observability.md))",
    "CODEGEN_ASYNC_SPEED": "`SPEED@URL`: the server at this URL, on this machine, is simulated and its clock runs"
    " faster; `codegen-async fake serve` prints it",
    "XDG_CONFIG_HOME": "the folder in which `codegen-async/config.toml` is. Default: `~/.config`",
    "XDG_STATE_HOME": "the folder in which it is kept which journals are yours, and what commands have sent. Default:"
    " `~/.local/state`",
    "NO_COLOR": "commands write without colours",
    "TERM": "`dumb`: commands write without colours, links and pictures that change",
    "TERM_PROGRAM": "where it says that a terminal knows no links, commands write none",
    "COLUMNS": "how wide tables of commands are. Default: as wide as the terminal",
}
"""Variables of the environment that stand in for no argument."""

_HEAD = f"""\
# Settings

Every argument of the clients, with what stands in for it. An argument goes before the environment. Of the command line,
a flag goes before the environment, then `{PROJECT_FILE}` in the working directory, the user's file
(`~/.config/codegen-async/config.toml`), the default; `codegen-async config view` shows each value and where it comes
from.

A variable that is marked *commands* is read by the command line alone; in a program it counts for nothing. A key that
is marked *own file* may stand in the user's file only, as a project's file comes with other people's code. There is no
flag for a token, since others can read command lines.

## Clients
"""

_COMMANDS = """\
## Commands alone
"""

_RATES = """\
## Limits

What `CodegenClient` keeps to, by endpoint, unless `rates=` says otherwise. No page of the vendor states a limit for
`resume` and `stop`, so the strictest of the others is kept. `MiddeskClient` keeps to 20 requests per second in all, and
`HostedRuns` to what its dialect states or learns.
"""


@dataclass(frozen=True)
class Client:
    """Say how the settings of a client are called elsewhere.

    Attributes:
        kind: its class.
        words: the first words of the commands that use it.
        prefix: what its keys in config files begin with.
    """

    kind: Callable[..., Any]
    words: str
    prefix: str = ""

    def key(self, argument: str) -> Key | None:
        """Return the setting of the command line that stands in for an argument."""
        names = (f"{self.prefix}{argument}", argument if argument in _OF_ALL else "")
        return next((key for name in names for key in KEYS if key.name == name), None)


_CODEGEN = Client(CodegenClient, "run")
_MIDDESK = Client(MiddeskClient, "middesk", "middesk_")
_ANY = Client(HostedRuns, ANOTHER, "(none) ")
CLIENTS = {"Codegen": _CODEGEN, "Middesk": _MIDDESK, "any API": _ANY}
"""The clients, by what the table calls them."""


def page() -> str:
    """Return the page."""
    flags = {name: _flags(client.words) for name, client in CLIENTS.items()}
    heads = ("argument", "of", "default", "environment", "config file", "flag", "what it decides, and why so")
    lines = [_HEAD, *table(heads, _rows(flags)), _COMMANDS, *_commands_alone()]
    lines += ["## Other variables of the environment", ""]
    lines += table(("variable", "what it does"), ((f"`{name}`", capital(what)) for name, what in OTHERS.items()))
    for title, item in (("Timeouts", Timeouts), ("Fleet", Fleet), ("Batch", Batch), ("Batch.run", Batch.run)):
        lines += [f"## {title}", "", *table(("argument", "default", "what it decides"), _arguments(item))]
    rates = ((f"`{name}`", f"{rate.limit} per {rate.period:g} s") for name, rate in RATES.items())
    lines += [_RATES, *table(("endpoint", "limit"), rates)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def _rows(flags: Mapping[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each argument, of several clients where all is the same."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for owner, client in CLIENTS.items():
        for name, default, text in _arguments(client.kind):
            plain = name.strip("`")
            key = client.key(plain)
            flag = f"--{plain.replace('_', '-')}"
            cells = (
                name,
                default,
                _variables(text, key),
                _file(key),
                f"`{flag}`" if flag in flags[owner] else "",
                text,
            )
            rows.setdefault(cells, []).append(owner)
    order = list(dict.fromkeys(name for name, *_ in rows))
    for (name, *others), owners in sorted(rows.items(), key=lambda row: order.index(row[0][0])):
        yield name, "all" if len(owners) == len(CLIENTS) else ", ".join(owners), *others


def _arguments(item: Callable[..., Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the default and the description of each argument.

    Raises:
        ValueError: one is not described, or its default is not.
    """
    text = read(item).sections
    described = {**text.get("Attributes", {}), **text.get("Args", {})}
    signature = inspect.signature(item)
    for name, parameter in signature.parameters.items():
        if name == "self":
            continue
        if name not in described:
            raise ValueError(f"{item}: {name} is not described")
        yield f"`{name}`", _default(name, parameter.default, described[name]), capital(described[name])


def _default(name: str, given: object, text: str) -> str:
    if given is inspect.Parameter.empty:
        return "needed"
    if given is not None and re.match(r"\w+|'", repr(given)) and isinstance(given, int | float | str | bool):
        return f"`{given}`"
    said = re.search(r"Default:? ((?:`[^`]*`|[^`])+?)(?:[.;:] |, since |[.]?$)", text)
    if said is None:
        raise ValueError(f"{name}: its default is not described")
    return said[1]


def _variables(text: str, key: Key | None) -> str:
    told = re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text)
    only = [] if key is None or key.variable in told else [key.variable]
    return ", ".join(
        [*(f"`{name}`" for name in told if not name.startswith("_")), *(f"`{name}` (commands)" for name in only)]
    )


def _file(key: Key | None) -> str:
    if key is None:
        return ""
    return f"`{key.name}`" if key.in_project else f"`{key.name}` (own file)"


def _flags(words: str) -> set[str]:
    """Return the flags that the commands of a client have."""
    return {
        row.name.split()[0].rstrip(",")
        for name, help_ in helps().items()
        if name.split()[:1] == [words]
        for title, rows in help_.panels.items()
        if title != "Commands"
        for row in rows
    }


def _commands_alone() -> Iterator[str]:
    used = {key.name for client in CLIENTS.values() for name in _names(client.kind) if (key := client.key(name))}
    flags = _flags("run") | _flags("batch")
    rows = (
        (
            f"`{key.name}`",
            f"`{key.default}`" if key.default else "none",
            f"`{key.variable}`",
            _file(key),
            _flag(key, flags),
        )
        for key in KEYS
        if key.name not in used
    )
    return table(("setting", "default", "environment", "config file", "flag"), rows)


def _flag(key: Key, flags: set[str]) -> str:
    flag = f"--{key.name.replace('_', '-')}"
    return f"`{flag}`" if flag in flags else ""


def _names(item: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(item).parameters)
