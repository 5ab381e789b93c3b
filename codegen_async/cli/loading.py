"""Import what a user names as `module:Name`; whatever is wrong with it is told in a line."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from codegen_async.cleaning import clean
from codegen_async.cli.choosing import BUILT_IN, FLAG, Choice
from codegen_async.cli.errors import UsageError
from codegen_async.errors import ConfigurationError

if TYPE_CHECKING:
    from codegen_async.hosted.dialect import Dialect


def load_dialect(choice: Choice) -> Dialect[Any]:
    """Return the dialect that was chosen.

    Raises:
        UsageError: there is no such thing, it is no dialect, or it lacks what every dialect has.
    """
    from codegen_async.hosted.dialect import Dialect, check_dialect_class

    by_flag = choice.source == "flag"
    name = FLAG if by_flag else f"dialect (from {choice.source})"
    found = load(name, choice.dialect, Dialect, here=by_flag, otherwise=f" or {BUILT_IN}")
    dialect: Dialect[Any] = made(name, found) if isinstance(found, type) else found
    try:
        check_dialect_class(dialect)
    except ConfigurationError as error:  # what it says of itself, which no setting mends
        raise UsageError(f"{name}: {error}") from error
    return dialect


def load(name: str, text: str, kind: type[Any], *, here: bool, otherwise: str = "") -> Any:
    """Return the class, or the object of one, that `module:Name` means.

    Args:
        name: what to call the setting.
        text: the module and the name in it.
        kind: what it has to be a subclass or an object of.
        here: whether the module may be in this directory: only if it was named just now, since it is not known which
            directory that will be the next time, and whose.
        otherwise: what else could have been given.

    Raises:
        UsageError: there is none.
    """
    place, _, what = text.partition(":")
    if not place or not what.isidentifier():
        raise UsageError(f"{name}: expected module:Name{otherwise}, got {clean(text, 60)!r}")
    module = _imported(name, place, here=here)
    found: Any = getattr(module, what, None)
    if not isinstance(found, kind) and not (isinstance(found, type) and issubclass(found, kind)):
        problem = f"{place} has no {what}" if found is None else f"{place}:{what} is no {kind.__name__}"
        raise UsageError(f"{name}: {problem}", _what_it_has(module, kind))
    return found


def made(name: str, kind: type[Any], **options: Any) -> Any:
    """Return an object of a class that a user has named.

    Raises:
        UsageError: its constructor fails.
    """
    try:
        return kind(**options)
    except Exception as error:
        words = f"{type(error).__name__}: {clean(str(error))}"
        given = f" with {', '.join(options)}" if options else ""
        raise UsageError(f"{name}: {kind.__name__} cannot be made{given}: {words}") from error


def _imported(name: str, place: str, *, here: bool) -> object:
    if here and "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 - as Python writes it there
        sys.path.append(os.getcwd())  # noqa: PTH109 - at the end, so that nothing here hides a module of others
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise UsageError(f"{name}: {place} cannot be imported: it wants {clean(error.name or '?')}") from error
        ways = "put its folder into PYTHONPATH, or install it"
        hint = ways if here else f"{ways}; it may be in this directory only where {FLAG} names it"
        raise UsageError(f"{name}: there is no module {error.name}", hint) from None
    except (Exception, SystemExit) as error:
        words = f"{type(error).__name__}: {clean(str(error))}"
        raise UsageError(f"{name}: {place} cannot be imported: {words}", "--debug shows where") from error


def _what_it_has(module: object, kind: type[Any]) -> str:
    found = [
        name
        for name, each in vars(module).items()
        if each is not kind and isinstance(each, type) and issubclass(each, kind)
    ]
    return f"of that kind it has: {', '.join(found) or 'nothing'}"
