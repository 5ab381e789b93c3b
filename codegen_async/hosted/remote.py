"""Polls of any API, for `waiting`: which looks a dialect offers, and how they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from codegen_async.cleaning import clean, shown
from codegen_async.errors import ConfigurationError, DecodeError
from codegen_async.hosted.calls import Calls, several
from codegen_async.hosted.dialect import Call, Dialect, Shown, any_id
from codegen_async.hosted.walk import Walk
from codegen_async.http.answers import Response
from codegen_async.http.retry import parse_date
from codegen_async.limits import ASSUMED, Priority, Rate, Slot
from codegen_async.models import RunId, RunLike
from codegen_async.polling import (
    ChangedPoll,
    ChangedSince,
    CursorListing,
    CursorPoll,
    Look,
    ManyById,
    ManyPoll,
    PollSchedule,
    Stream,
)
from codegen_async.waiting import Page

T = TypeVar("T")
R = TypeVar("R", bound=RunLike)

_OVERLAP = 2.0  # seconds by which walks through what has changed overlap: servers round, and their machines differ


class DialectRemote(Generic[R]):
    """Ask the server on behalf of all waits; a `waiting.Remote`."""

    def __init__(self, calls: Calls[R]) -> None:
        self._calls = calls
        self._dialect = calls.dialect
        _, pages = look_of(self._dialect)
        get = self._dialect.get(any_id(self._dialect))
        self._limits = {Stream.GET: get.limit, Stream.LIST: (pages or get).limit}
        self._since: float | None = None  # up to when, by the server's clock, all changes were shown
        self._walk_from: float | None = None  # the same, once the walk that is on has come to its end
        self._walk = Walk()
        self._is_endless = False

    def slot(self, stream: Stream) -> Slot:
        """Return a slot for a poll of that stream."""
        return self._calls.slot(self._limits[stream], Priority.BACKGROUND)

    async def get(self, run_id: RunId, slot: Slot) -> R:
        """Read one run, and once it seems to have ended, all of it."""
        call = self._calls.get(run_id)
        if self._since is None:
            call = _clocked(call, self._began)
        return await self._calls.whole(call, priority=Priority.BACKGROUND, slot=slot, about=run_id)

    async def page(self, poll: ChangedPoll | ManyPoll | CursorPoll, slot: Slot) -> Page[R]:
        """Look at many runs in the way of the dialect."""
        if isinstance(poll, ChangedPoll):
            shown = await self._changes(poll.place, slot)
        elif isinstance(poll, ManyPoll):
            call = _offered(self._dialect.many([str(run_id) for run_id in poll.run_ids]))
            shown = await self._calls.carry(several(call), slot=slot)
        else:
            shown = await self._calls.carry(several(_offered(self._dialect.page(poll.place))), slot=slot)
        runs = [self._calls.known(run) for run in shown.runs if run is not None]
        sure = shown.sure and all(self._is_whole(run) for run in runs if run.phase.is_terminal)
        return Page(runs, None, sure=sure, following=shown.following)

    async def _changes(self, place: str | None, slot: Slot) -> Shown[R]:
        """Read the next page of a walk, and know from its end on up to when all changes were shown."""
        call = _offered(self._dialect.changed(self._since or 0.0, place))
        if self._since is None:  # no get has told the time
            raise DecodeError("the server tells no time (`Date`) to ask by", method=call.method, path=call.path)
        if self._is_endless:
            raise _endless(call)
        moments: list[float] = []
        shown = await self._calls.carry(several(_clocked(call, moments.append)), slot=slot)
        if place is None:
            self._walk, self._walk_from = Walk(), next(iter(moments), None)
        for run in shown.runs:
            if run is not None:
                self._walk.is_new(run.id)
        if shown.following is not None and not self._walk.leads_to(shown.following):
            self._is_endless = True  # gets alone serve the waits: silence of a walk without an end says nothing
            raise _endless(call)
        if shown.following is None and self._walk_from is not None:
            self._since = max(self._since, self._walk_from - _OVERLAP)
        return shown

    def _is_whole(self, run: R) -> bool:
        try:
            return self._dialect.full(run) is None
        except Exception:  # noqa: BLE001 - a get tells whether it stumbles over that as well
            return False

    def _began(self, moment: float) -> None:
        if self._since is None:
            self._since = moment - _OVERLAP


def schedule_of(dialect: Dialect[Any], rates: Mapping[str, Sequence[Rate]], share: float) -> PollSchedule:
    """Return a schedule for the looks that a dialect offers."""
    look, call = look_of(dialect)
    get = dialect.get(any_id(dialect)).limit
    if look is None or call is None:
        return PollSchedule(get=_pace_of(rates[get]), page=None, share=share)
    pages = _pace_of(rates[call.limit])
    return PollSchedule(get=_pace_of(rates[get]), page=pages, share=share, listing=look, shared=call.limit == get)


def _pace_of(rates: Sequence[Rate]) -> Rate:
    """Return the rate that allows the fewest in the long run: at that pace, polls keep to all of them."""
    return min(rates, key=lambda rate: rate.limit / rate.period, default=ASSUMED)


def look_of(dialect: Dialect[Any]) -> tuple[Look | None, Call[Any] | None]:
    """Return the look at several runs that serves the waits, and its call; None and None where gets alone do."""
    if dialect.many_at_most > 1 and (many := dialect.many([any_id(dialect)])) is not None:
        return ManyById(dialect.many_at_most), many
    if (changed := dialect.changed(0.0, None)) is not None:
        return ChangedSince(), changed
    page = dialect.page(None)
    return (None, None) if page is None else (CursorListing(), page)


def check_looks(dialect: Dialect[Any]) -> None:
    """Make sure that the looks of a dialect are calls, and spend limits that there are.

    Raises:
        ConfigurationError: one of them is none, or spends another.
    """
    asked = any_id(dialect)
    looks: dict[str, Callable[[], Call[Any] | None]] = {
        "get": lambda: dialect.get(asked),
        "page": lambda: dialect.page(None),
        "changed": lambda: dialect.changed(0.0, None),
        "many": lambda: dialect.many([asked]),
    }
    for name, make in looks.items():
        where = f"{type(dialect).__name__}.{name}"
        try:
            call = make()
        except Exception as problem:
            what = f"{type(problem).__name__}: {clean(str(problem))}"
            raise ConfigurationError(f"{where}: expected a Call, got {what}") from problem
        if call is None and name != "get":
            continue
        if not isinstance(call, Call):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
            raise ConfigurationError(f"{where}: expected a Call, got {shown(call)}")
        if call.limit not in dialect.rates:
            expected = f"a limit of {', '.join(map(clean, dialect.rates))}"
            raise ConfigurationError(f"{where}: expected {expected}, got {shown(call.limit)}")


def call_without_run(dialect: Dialect[Any]) -> Call[Any] | None:
    """Return a call that is refused with the token, and not with a run; None where there is none."""
    many = dialect.many([any_id(dialect)]) if dialect.many_at_most else None
    return dialect.page(None) or dialect.changed(0.0, None) or many


def _clocked(call: Call[T], tell: Callable[[float], None]) -> Call[T]:
    """Return the same call, which tells when it was answered by the server's clock."""

    def read(answer: Response) -> T:
        moment = parse_date(answer.headers.get("date", ""))
        if moment is not None:
            tell(moment)
        return call.read(answer)

    return call.reading(read)


def _endless(call: Call[Any]) -> DecodeError:
    return DecodeError("the pages of what has changed come to no end", method=call.method, path=call.path)


def _offered(call: Call[T] | None) -> Call[T]:
    if call is None:
        raise NotImplementedError("the dialect had this call when the client was opened")
    return call
