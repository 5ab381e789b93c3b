"""What has to be known of an API of hosted runs: how its calls are written, and what its answers say. Pure.

A dialect is a small class without I/O: from arguments to calls, from answers to runs. All else (limits, repeats, waits,
creating once, batches, the command line) comes with `HostedRuns` and knows no API.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec

from codegen_async.cleaning import shown
from codegen_async.errors import ConfigurationError, InvalidArgumentError
from codegen_async.hosted.wire import segment
from codegen_async.http.answers import Refusal, Request, Response, Twice
from codegen_async.limits import Rate
from codegen_async.models import Phase, PhaseTable, RunLike
from codegen_async.numeric import is_number, is_whole
from codegen_async.secret import bearer

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R", bound=RunLike)

Value = str | float | bool | None
"""What a query may hold: true and false are written in lower case, and None is left out."""


class Call(msgspec.Struct, Generic[T_co], frozen=True, kw_only=True):
    """Describe one call of an API: what is sent, and how the answer is read.

    Attributes:
        limit: whose rates it spends: a name in `Dialect.rates`.
        path: the path below the base URL, with names in braces for what `values` holds: `/v1/agents/{agent}`.
        values: what stands in the path; each is quoted, so that no id can lead elsewhere.
        read: turns the answer into the result. It may fail as it likes where the answer is not as promised
            (`KeyError`, `TypeError`, what msgspec raises): that is a `DecodeError`. None from where a run is asked for
            says that there is none (yet).
        method: GET, POST, PUT, PATCH or DELETE.
        query: names and values; a list writes its name again for each, None is left out.
        json: the body.
        headers: headers besides those of the dialect.
        twice: what comes of sending it again. Default: of a GET the same, of all others another.
        refusals: what statuses from 400 to 499 mean to this call, where `Dialect.refused` says nothing else: the 404
            to a cancel, say, that the run has ended. Of a gateway's page they mean nothing.
    """

    limit: str
    path: str
    read: Callable[[Response], T_co]
    values: Mapping[str, str] = {}
    method: str = "GET"
    query: Mapping[str, Value | Sequence[Value]] = {}
    json: Any = msgspec.UNSET
    headers: Mapping[str, str] = {}
    twice: Twice | None = None
    refusals: Mapping[int, Refusal] = {}

    def reading(self, read: Callable[[Response], T]) -> Call[T]:
        """Return the same call, whose answer is read otherwise."""
        return msgspec.structs.replace(cast("Call[T]", self), read=read)

    def request(self, headers: Mapping[str, str]) -> Request:
        """Return what goes over the wire; `headers` are those of the dialect."""
        return Request(
            endpoint=self.limit,
            method=self.method,
            path=self.path.format_map({name: segment(value) for name, value in self.values.items()}),
            template=self.path,
            query=tuple(_pairs(self.query)),
            body=None if self.json is msgspec.UNSET else msgspec.json.encode(self.json),
            headers=tuple({**headers, **self.headers}.items()),
            twice=self.twice,
            refusals=self.refusals,
        )


class Shown(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """Hold what a look at several runs has shown.

    Attributes:
        runs: the runs; None stands for one that is not there.
        following: where the next page is, in the words of the dialect; None if this is the last.
        sure: whether the runs are as complete as what `get` shows. If not, an end is confirmed by a get. Default: no.
    """

    runs: Sequence[R | None]
    following: str | None = None
    sure: bool = False


class Dialect(ABC, Generic[R]):
    """Describe an API of hosted runs.

    Only `get` and `create` are required. The others return None where an API has nothing of the kind. Of the looks at
    several runs (`many`, `changed`, `page`), the first that there is serves the waits; gets alone do as well, later.

    Attributes:
        name: what logs and journals call the API.
        base_url: where it is, without a slash at the end.
        token_variable: the environment variable that holds the token.
        rates: the limits that the API's pages state, by names that the calls use: a rate, several that hold at once, or
            none (`()`) where no rate is stated: then it is learned from the headers of answers and from refusals.
        concurrency: how many runs may go on at once, where the pages state it. Default: it is learned from refusals
            (`Refusal.FULL`).
        phases: what the status words stand for, in any case of letters. A status of two parts (`running/finished`) is
            looked up whole, then by its first part; a word that is not there reads as running, and is logged.
        headers: headers of every call, such as a version.
        id_parts: the names of what an id is made of, where that is more than one: of `agent` and `run`, say, written
            `agent/run`. The paths of calls have them from `parts`.
        prompt_field: the field of `create` that says what the agent is to do: what a line of plain text is in a file of
            prompts. Default: such files are not understood.
        many_at_most: how many runs `many` may name.
        unseen_for: seconds for which the API may deny a run that it has just created. Default 60. A create whose answer
            was lost is looked for as long.
        settles: seconds for which a status word must stand until it is believed, for words that pass between others.
    """

    name: str
    base_url: str
    token_variable: str
    rates: Mapping[str, Rate | Sequence[Rate]]
    phases: Mapping[str, Phase]
    headers: Mapping[str, str] = {}
    id_parts: Sequence[str] = ("id",)
    concurrency: int | None = None
    prompt_field: str | None = None
    many_at_most: int = 0
    unseen_for: float = 60.0
    settles: Mapping[str, float] = {}

    def auth(self, token: str) -> Mapping[str, str]:
        """Return the headers that carry the token. Default: it is a bearer token."""
        return bearer(token)

    def parts(self, run_id: str) -> Mapping[str, str]:
        """Return what an id is made of, by the names in `id_parts`: what `Call.values` takes.

        Raises:
            InvalidArgumentError: it is not made of that.
        """
        parts = run_id.split("/") if len(self.id_parts) > 1 else [run_id]
        if len(parts) != len(self.id_parts) or any(part in ("", ".", "..") for part in parts):
            raise InvalidArgumentError("run_id", run_id, f"an id of the form {'/'.join(self.id_parts)}")
        return dict(zip(self.id_parts, parts, strict=True))

    @abstractmethod
    def get(self, run_id: str) -> Call[R | None]:
        """Read a run."""

    @abstractmethod
    def create(self, key: str, fields: Mapping[str, Any]) -> Call[R]:
        """Start a run.

        Args:
            key: tells this create from all others: visible ASCII, 32 characters unless the caller chose another. It
                goes where the API gives it back, refuses it a second time, or knows it: say which by `Call.twice`.
            fields: what the caller gave.
        """

    def parent(self, fields: Mapping[str, Any]) -> Call[str] | None:  # noqa: ARG002 - an interface
        """Make what a run is to belong to, such as a thread, where the API then tells its run by it; reads as its id.

        That id is the key of the create that follows. It is made again where no answer comes: an empty one more does
        no harm. None, the default, where an API has nothing of the kind: keys are random.
        """
        return None

    def find(self, key: str, since: float | None) -> Call[R | Call[Any] | None] | None:  # noqa: ARG002 - the same
        """Look for the run that was created under a key; None where the API shows no keys.

        It reads as the run that bears the key, as None if it is not shown (a 404 says the same), or as another such
        call, to look further.

        Args:
            key: the key.
            since: seconds since the create was first sent: how old the run can be. None where nobody knows.
        """
        return None

    def many(self, run_ids: Sequence[str]) -> Call[Shown[R]] | None:  # noqa: ARG002 - the same
        """Read runs by their ids, at most `many_at_most`."""
        return None

    def changed(self, since: float, place: str | None) -> Call[Shown[R]] | None:  # noqa: ARG002 - the same
        """Read which runs have changed since a moment.

        Args:
            since: Unix seconds, by the server's own clock (its `Date` header).
            place: where to go on, from `Shown.following`; None to begin.
        """
        return None

    def page(self, place: str | None) -> Call[Shown[R]] | None:  # noqa: ARG002 - the same
        """Read a page of the list; nothing is presumed of its order, and `newest first` helps most.

        Args:
            place: from `Shown.following`, be it a cursor or a number; None for the first page.
        """
        return None

    def full(self, run: R) -> Call[R | None] | None:  # noqa: ARG002 - the same
        """Read what `get` does not show of a run that seems to have ended; it may say that it has not."""
        return None

    def cancel(self, run_id: str) -> Call[object] | None:  # noqa: ARG002 - the same
        """Stop a run."""
        return None

    def reply(self, run_id: str, text: str) -> Call[R | None] | None:  # noqa: ARG002 - the same
        """Tell a run to go on; reads as the run that goes on, which may be another one, or None: it is the same."""
        return None

    def refused(self, answer: Response) -> Refusal | None:  # noqa: ARG002 - the same
        """Tell what a refusal (4xx, 5xx) means; None where that is what its status says."""
        return None

    def is_own(self, status: int, said: Mapping[str, Any]) -> bool:  # noqa: ARG002 - the same
        """Whether a refusal (4xx) is the API's own, and not a gateway's; `said` is its JSON object, empty if none.

        Default: any JSON object is.
        """
        return bool(said)


def check_dialect_class(dialect: Dialect[Any]) -> None:
    """Make sure that a dialect has what every dialect must have.

    Raises:
        ConfigurationError: something is missing or cannot be right.
    """
    if not isinstance(dialect, Dialect):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
        raise ConfigurationError(f"dialect: expected an instance of a Dialect, got {shown(dialect)}")
    for name, (expected, fits) in _VALUES.items():
        if not fits(value := cast("object", getattr(dialect, name, None))):
            raise ConfigurationError(f"{type(dialect).__name__}.{name}: expected {expected}, got {shown(value)}")
    for name, fits in (("rates", _are_rates), ("phases", _is_phase)):
        entries: object = getattr(dialect, name, None)
        if not isinstance(entries, Mapping):
            raise ConfigurationError(f"{type(dialect).__name__}.{name}: expected a mapping, got {shown(entries)}")
        for key, entry in cast("Mapping[object, object]", entries).items():
            if not isinstance(key, str) or not fits(entry):
                expected = f"a {'Rate' if name == 'rates' else 'Phase'} for {shown(key)}"
                raise ConfigurationError(f"{type(dialect).__name__}.{name}: expected {expected}, got {shown(entry)}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_text_or_none(value: object) -> bool:
    return value is None or _is_text(value)


def _are_texts(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) for pair in cast("Mapping[object, object]", value).items() for text in pair
    )


def _are_names(value: object) -> bool:
    names = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
    return bool(names) and all(map(_is_text, names))


def _are_seconds(value: object) -> bool:
    entries = cast("Mapping[object, object]", value).items() if isinstance(value, Mapping) else [(None, None)]
    return all(isinstance(word, str) and _is_time(seconds) for word, seconds in entries)


def _is_time(value: object) -> bool:
    return is_number(value) and 0 <= value < math.inf


def _is_cap(value: object) -> bool:
    return value is None or (is_whole(value) and value >= 1)


def _is_count(value: object) -> bool:
    return is_whole(value) and value >= 0


_VALUES: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "name": ("a text", _is_text),
    "base_url": ("a text", _is_text),
    "token_variable": ("a text", _is_text),
    "prompt_field": ("a text, or None", _is_text_or_none),
    "headers": ("a mapping of texts", _are_texts),
    "id_parts": ("names, as in ('agent', 'run')", _are_names),
    "concurrency": ("a number of runs from 1, or None", _is_cap),
    "many_at_most": ("a number from 0", _is_count),
    "unseen_for": ("seconds", _is_time),
    "settles": ("seconds by words", _are_seconds),
}


def _are_rates(entry: object) -> bool:
    several = cast("Sequence[object]", entry) if isinstance(entry, list | tuple) else (entry,)
    return all(isinstance(rate, Rate) for rate in several)


def _is_phase(entry: object) -> bool:
    return isinstance(entry, Phase)


def any_id(dialect: Dialect[Any]) -> str:
    """Return an id of the dialect's form; it leads to no run, but which limit a call spends does not depend on it."""
    return "/".join("0" for _ in dialect.id_parts)


def base_url_variable(dialect: Dialect[Any]) -> str:
    """Return the variable that says where the API is: the name of the dialect and `_BASE_URL`."""
    return f"{re.sub('[^A-Z0-9]', '_', dialect.name.upper())}_BASE_URL"


def phase_table(dialect: Dialect[Any]) -> PhaseTable:
    """Return the table of a dialect's words."""
    return PhaseTable(dialect.name, {word.strip().upper(): phase for word, phase in dialect.phases.items()})


def _pairs(query: Mapping[str, Value | Sequence[Value]]) -> list[tuple[str, str]]:
    return [
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, values in query.items()
        for value in ([values] if isinstance(values, str | float | int) or values is None else values)
        if value is not None
    ]
