"""One record for the runs of all APIs that need no structs of their own."""

from __future__ import annotations

import functools
import json
import math
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar, cast

import msgspec

from codegen_async.cleaning import clean
from codegen_async.errors import RunFailedError
from codegen_async.models import Phase, RunLike, parse_time
from codegen_async.numeric import is_number
from codegen_async.reading import Reader, read_json
from codegen_async.record import Model

R = TypeVar("R", bound=RunLike)

_UNWRITABLE = (TypeError, ValueError, RecursionError, msgspec.MsgspecError)  # half an emoji is a ValueError
_BAD = (Phase.FAILED, Phase.CANCELLED)
_MILLISECONDS = 1e11  # numbers above are no seconds before the year 5138


class Cost(msgspec.Struct, frozen=True):
    """Say what a run cost. Amounts of different units are never added up.

    Attributes:
        amount: how much.
        unit: of what, as the server or its page calls it, such as `USD` or `acu`.
    """

    amount: float
    unit: str


class HostedRun(Model, frozen=True, kw_only=True):
    """Hold a run as a dialect read it.

    Attributes:
        id: what the dialect names it by; text that nobody else takes apart.
        status: the server's word, as sent; None where it sent none. A status of two parts is written `running/idle`.
        phase: where the run stands, by the dialect's table; set by the client.
        created: when it was created, as sent: RFC 3339, a naive time (taken as UTC), or Unix seconds or milliseconds.
        web_url: where a person can look at it.
        text: what the agent said in the end.
        urls: what came of it: pull requests, files.
        error: what went wrong, in the server's words.
        cost: what it cost so far.
        raw: the whole answer, decoded.
    """

    _brief: ClassVar[tuple[str, ...]] = ("id", "status", "phase", "created", "web_url", "text")

    id: str
    status: str | None = None
    phase: Phase = Phase.RUNNING
    created: str | float | None = None
    web_url: str | None = None
    text: str | None = None
    urls: tuple[str, ...] = ()
    error: str | None = None
    cost: Cost | None = None
    raw: Any = None

    @property
    def created_time(self) -> datetime | None:
        """When the run was created; None if the server did not say in a form that is known."""
        return moment_of(self.created)

    @property
    def source_type(self) -> str | None:
        """What started the run: not told."""
        return None

    def raise_for_status(self) -> HostedRun:
        """Return the run itself, or raise if it ended badly.

        Raises:
            RunFailedError: it failed or was cancelled.
        """
        if self.phase in _BAD:
            why = f": {clean(self.error)}" if self.error else ""
            raise RunFailedError(
                f"run {clean(self.id)} ended as {clean(str(self.status))}{why}", run_id=self.id, run=self
            )
        return self


def in_phase(run: R, phase: Phase) -> R:
    """Return a run that stands in that phase from now on."""
    if isinstance(run, HostedRun):
        return cast("R", msgspec.structs.replace(run, phase=phase))
    vars(run)["taught"] = phase
    return run


def sound(run: HostedRun) -> HostedRun:
    """Return a run in which all is what it should be, so that it can be kept and written, whatever was put there.

    What is of another shape reads as it does in an answer: as if it were not there, and `odd` keeps it. What no JSON
    can hold is left out.
    """
    if _fits(run) and _is_writable(run):
        return run
    sent = {name: _as_sent(getattr(run, name)) for name in run.__struct_fields__ if name != "phase"}
    return _reader(type(run)).read({**sent, "id": _as_sent(str(run.id))})


def _fits(run: HostedRun) -> bool:
    created, urls, cost = cast("tuple[Any, Any, Any]", (run.created, run.urls, run.cost))
    required: list[Any] = [run.id, *urls] if isinstance(urls, tuple | list) else [None]
    optional: list[Any] = [run.web_url, run.text, run.error]
    return (
        all(isinstance(text, str) for text in required)
        and all(isinstance(text, str | None) for text in optional)
        and (isinstance(created, str | None) or is_number(created))
        and (cost is None or _is_cost(cost))
    )


def _is_cost(cost: Any) -> bool:
    is_finite = isinstance(cost, Cost) and is_number(cost.amount) and math.isfinite(cost.amount)
    return is_finite and isinstance(cost.unit, str)


def _is_writable(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except _UNWRITABLE:
        return False
    return True


def _as_sent(value: object) -> object:
    """Return a value as JSON holds it, with readable text; None where it holds none of the kind."""
    try:
        body = msgspec.json.encode(value) if _is_writable(value) else json.dumps(value).encode()
        return read_json(body)
    except _UNWRITABLE:
        return None


@functools.cache
def _reader(kind: type[HostedRun]) -> Reader[HostedRun]:
    return Reader(kind)


def check_success(run: RunLike) -> None:
    """Raise RunFailedError if a run failed or was cancelled; in the words of its own kind, where that has any."""
    own = getattr(run, "raise_for_status", None)
    if own is not None:
        own()
    elif run.phase in _BAD:
        raise RunFailedError(f"run {clean(str(run.id))} ended as {clean(str(run.status))}", run_id=run.id, run=run)


def moment_of(value: str | float | None) -> datetime | None:
    """Read a point in time in any form that is known; None where it is none of them."""
    if value is None or isinstance(value, str):
        return parse_time(value)
    try:
        return datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS else value, UTC)
    except (OverflowError, ValueError, OSError, TypeError):
        return None
