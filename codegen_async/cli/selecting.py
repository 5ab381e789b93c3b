"""What of the JSON is wanted: `--json id,phase` names fields, `--jq` says it in the language of jq."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from codegen_async.cleaning import clean
from codegen_async.cli.errors import CommandError, UsageError

if TYPE_CHECKING:
    from codegen_async.cli.options import Display

_NAMES = re.compile("[a-z_]+(?:,[a-z_]+)*")
_PAGE = "--dashboard"
FORMS = ("--json", "--jsonl")

Select = Callable[[object], Iterator[object]]
"""Yields what is wanted of a value that JSON can hold."""


def expand(words: Sequence[str], *, another: bool = False) -> list[str]:
    """Return a command line in which names behind `--json` are an option of their own.

    One name alone may be an argument of the command as well, so it has to be one that is known.

    Args:
        words: the command line.
        another: whether its command is one for other dialects than Codegen's, whose runs may have any fields.

    Raises:
        UsageError: names are given that are no fields.
    """
    end = words.index("--") if "--" in words else len(words)
    expanded: list[str] = []
    rest = iter(range(end))
    for place in rest:
        form, equals, names = words[place].partition("=")
        if form not in FORMS:
            expanded.append(words[place])
            continue
        following = words[place + 1] if place + 1 < end else ""
        if not equals and _NAMES.fullmatch(following) and ("," in following or _is_field(following)):
            names = following
            next(rest)
        known = _of_command(words, another=another)
        expanded += [form, f"--fields={_checked(names, form, known)}"] if equals or names else [form]
    return [*expanded, *words[end:]]


def with_port(words: Sequence[str]) -> list[str]:
    """Return a command line in which the port behind `--dashboard=` is an option of its own.

    Raises:
        UsageError: what stands there is no port, or it stands behind a blank.
    """
    end = words.index("--") if "--" in words else len(words)
    expanded: list[str] = []
    for word, following in zip(words[:end], (*words[1:end], ""), strict=True):
        flag, equals, port = word.partition("=")
        if flag == _PAGE and not equals and following.isdecimal():
            raise UsageError(f"{_PAGE}: a port is joined to it: {_PAGE}={clean(following, 60)}")
        if flag == _PAGE and equals and not port.isdecimal():
            raise UsageError(f"{_PAGE}: expected a port, got {clean(port, 60)!r}", f"such as {_PAGE}=8080")
        expanded += (flag, f"--port={port}") if equals and flag == _PAGE else (word,)
    return [*expanded, *words[end:]]


def _checked(names: str, form: str, known: Sequence[str]) -> str:
    """Return names, if they can be fields of what the command prints; where nothing is sent, printing tells in time."""
    for name in names.split(",") if known else ():
        if name not in known:
            raise _no_field(name, known, form)
    return names


def _no_field(name: str, known: Sequence[str], form: str = "--json") -> UsageError:
    hint = f"{did_you_mean(name, known)} fields are {', '.join(known)}"
    return UsageError(f"{form}: there is no field {name!r}", hint.strip())


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return a question that names what was most likely meant; empty if nothing is near."""
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {clean(near[0])}?" if near else ""


def _of_command(words: Sequence[str], *, another: bool) -> Sequence[str]:
    """Return the fields of what a command prints that sends something first; none of any other, as if unknown."""
    from codegen_async.batch.items import Outcome
    from codegen_async.codegen.models import AgentRun
    from codegen_async.middesk.models import MiddeskRun

    kinds: Mapping[tuple[str, ...], type[msgspec.Struct]] = {
        ("run", "create"): AgentRun,
        ("run", "resume"): AgentRun,
        ("middesk", "resume"): MiddeskRun,
        ("batch", "run"): Outcome,
        ("batch", "retry"): Outcome,
        ("middesk", "batch", "run"): Outcome,
        ("middesk", "batch", "retry"): Outcome,
    }
    named = tuple(word for word in words if not word.startswith("-"))
    kind = kinds.get(named[:2], kinds.get(named[:3]))
    if another and kind is AgentRun:
        return ()
    return () if kind is None else (*kind.__struct_fields__, *(() if kind is Outcome else ("phase",)))


def _is_field(name: str) -> bool:
    """Whether a word alone is the name of a field of something."""
    from codegen_async.batch.items import Outcome
    from codegen_async.batch.results import COLUMNS
    from codegen_async.codegen import account_models as account
    from codegen_async.codegen import models
    from codegen_async.hosted.run import HostedRun
    from codegen_async.middesk.models import MiddeskRun

    kinds = (Outcome, models.AgentRun, models.AgentRunLog, MiddeskRun, HostedRun, account.Organization, account.Repo)
    return name in {"phase", *COLUMNS, *(field for kind in kinds for field in kind.__struct_fields__)}


def selection(display: Display) -> Select:
    """Return what picks out of each value what is wanted.

    Raises:
        UsageError: the expression is none.
        CommandError: what reads it is not installed.
    """
    names = display.fields.split(",") if display.fields else []
    if display.jq is None:
        return lambda value: iter((_picked(value, names),))
    program = _compiled(display.jq)
    return lambda value: _results(program, _picked(value, names))


def _picked(value: object, names: Sequence[str]) -> object:
    if not names:
        return value
    plain: Any = msgspec.to_builtins(value)
    if isinstance(plain, list):
        return [_picked(one, names) for one in cast("list[object]", plain)]
    for name in names:
        if name not in plain:
            raise _no_field(name, list(plain))
    return {name: plain[name] for name in names}


def _compiled(expression: str) -> Any:
    from importlib import import_module

    try:
        jq: Any = import_module("jq")
    except ModuleNotFoundError:
        raise CommandError("--jq needs one more package", "pip install 'codegen-async[jq]'") from None
    try:
        return jq.compile(expression)
    except ValueError as error:
        raise UsageError(f"--jq: {' '.join(str(error).split())}") from None


def _results(program: Any, value: object) -> Iterator[object]:
    try:
        yield from program.input_text(msgspec.json.encode(value).decode())
    except ValueError as error:
        raise CommandError(f"--jq: {error}") from None
