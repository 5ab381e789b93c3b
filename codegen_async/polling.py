"""Which request next, and when. Pure: no clock, no I/O, no dialect."""

from __future__ import annotations

import enum
import itertools
import math
from typing import TYPE_CHECKING

import msgspec

from codegen_async.listing import Listing
from codegen_async.models import RunId
from codegen_async.queues import DueQueue, Stalest
from codegen_async.windows import Watch

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from codegen_async.limits import Rate

__all__ = ["GetPoll", "ListPoll", "Poll", "PollSchedule", "Sighting", "Stream"]

_UNSEEN = 60.0  # seconds for which a run that nobody has seen yet counts as unseen
_LONGEST_PAUSE = 30.0


class Stream(enum.Enum):
    """Name an endpoint that reveals runs; each has a budget of its own."""

    GET = "get"
    LIST = "list"


class GetPoll(msgspec.Struct, frozen=True):
    """Ask for one run."""

    run_id: RunId


class ListPoll(msgspec.Struct, frozen=True):
    """Ask for a page of the list, newest first; `source` is the filter, None for all runs."""

    skip: int
    limit: int
    source: str | None


Poll = GetPoll | ListPoll


class Sighting(msgspec.Struct, frozen=True):
    """What an answer tells of one run, as far as polling cares.

    `order` grows with creation (an integer id, else the time of creation) and is None where nothing does; `created`
    is in epoch seconds of the server's clock.
    """

    run_id: RunId
    order: float | None = None
    created: float | None = None
    source: str | None = None


class _Flight(msgspec.Struct):
    """A request under way, and what was known of the runs it should show."""

    asked: float
    claims: list[tuple[Watch, float, float]]


class _Pace:
    """Space the requests of one stream evenly: at most one in each cell of a grid in time."""

    def __init__(self, rate: Rate, share: float, phase: float) -> None:
        # The limiter's window is a little longer than the server's, so is the grid: a burst never forms.
        self._gap = rate.period * (1 + 1 / 600) / (rate.limit * share)
        self._phase = phase
        self._cell: float | None = None
        self._paused = -math.inf
        self._strikes = 0

    @property
    def ready(self) -> float:
        """When the next request may go."""
        return self._paused if self._cell is None else max(self._cell, self._paused)

    @property
    def paused(self) -> float:
        """Until when the endpoint is left alone."""
        return self._paused

    def start(self, now: float) -> None:
        if self._cell is None:
            self._cell = now + self._phase * self._gap

    def spend(self, now: float) -> None:
        cell = now if self._cell is None else self._cell
        self._cell = cell + self._gap * (math.floor(max(0.0, now - cell) / self._gap) + 1)

    def praise(self) -> None:
        self._strikes = 0

    def blame(self, now: float) -> None:
        self._strikes += 1
        if self._strikes > 1:
            self._paused = now + min(_LONGEST_PAUSE, 2.0 ** min(self._strikes - 2, 10))


class PollSchedule:
    """Decide which request shows the most of what its watchers wait for, and when it is due.

    Every watched run is seen at least every `latency` seconds while the budget allows it, for as few requests as
    possible. When the budget is short (always so at latency 0), the request with the largest expected gain goes first.

    Args:
        get: the limit of the endpoint that shows one run.
        page: the limit of the list endpoint; None where a dialect has no usable list.
        share: the part of both limits that may be spent; the rest is left to other calls.
        source: the filter to list under while no watched run is known to have another source.
    """

    def __init__(self, *, get: Rate, page: Rate | None, share: float = 0.8, source: str | None = None) -> None:
        self._paces = {Stream.GET: _Pace(get, share, 0.0)}
        if page is not None:
            self._paces[Stream.LIST] = _Pace(page, share, 0.5)
        self._runs: dict[RunId, Watch] = {}
        self._listing = Listing(source)
        numbers = itertools.count()
        self._dues = {stream: DueQueue(numbers) for stream in self._paces}
        self._stalest = Stalest()
        self._hurried: dict[RunId, None] = {}
        self._flights: dict[Poll, list[_Flight]] = {}
        self._ahead = -math.inf  # how far the server's clock is ahead of ours

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs

    # What the watchers want

    def add(self, sighting: Sighting, now: float, *, latency: float = 5.0, seen: bool = False) -> None:
        """Watch a run; `seen` tells that the caller has just created or read it, else it is due at once.

        A run that is watched already is seen as often as its most impatient watcher wants.
        """
        run = self._runs.get(sighting.run_id)
        if run is None:
            run = self._enter(sighting, now, latency, seen=seen)
        elif latency < run.latency:
            run.latency = latency
            self._expedite(run, run.asked + latency)
        if seen:
            self.sighted(sighting, now)

    def _enter(self, sighting: Sighting, now: float, latency: float, *, seen: bool) -> Watch:
        asked, due = (now, now + latency) if seen else (now - max(latency, _UNSEEN), now)
        run = Watch(sighting.run_id, latency, asked, due, sighting.order)
        self._learn(run, sighting, now)
        if seen:
            self._listing.created(run)
        self._listing.enter(run)
        self._runs[run.run_id] = run
        self._rate(run, now)
        self._dues[self._stream_of(run, now)].push(run)
        for pace in self._paces.values():
            pace.start(now)
        return run

    def relax(self, run_id: RunId, latency: float) -> None:
        """Let a run wait longer: its most impatient watcher has left."""
        if run := self._runs.get(run_id):
            if run.due == run.asked + run.latency:  # else somebody wants it sooner
                run.due = run.asked + latency
            run.latency = latency

    def discard(self, run_id: RunId) -> None:
        """Forget a run that nobody waits for any more."""
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        self._hurried.pop(run_id, None)
        self._stalest.drop(run)
        self._listing.leave(run)
        run.entry = -1
        self._listing.recount(-self._listing.strange(run.source), self._runs.values())

    def hurry(self, run_id: RunId, now: float) -> None:
        """Ask for a run before all others: somebody says that it has ended."""
        if run := self._runs.get(run_id):
            self._hurried[run_id] = None
            self._expedite(run, now)

    def _expedite(self, run: Watch, due: float) -> None:
        if due < run.due:
            run.due = due
            self._dues[self._stream_of(run, due)].push(run)

    # When

    def next_due(self, stream: Stream, now: float) -> float:
        """Return when the stream should next take a slot; it may be past, and is infinite if there is nothing to do."""
        pace = self._paces.get(stream)
        return math.inf if pace is None else max(pace.ready, self._need(stream, now))

    def _need(self, stream: Stream, now: float) -> float:
        if stream is Stream.GET:
            if self._hurried:
                return now
        elif not (self._listing.unknown or self._listing.holds_any):
            return math.inf
        own, late = self._heads(stream, now)
        return late if own is None else min(own.due, late)

    def _heads(self, stream: Stream, now: float) -> tuple[Watch | None, float]:
        """Return the run of the stream that is due first, and from when on the stream is short.

        It is short when somebody waits twice as long as it wants to; one stream helps the other where it can.
        """
        late = math.inf
        for other in self._dues.keys() - {stream}:
            head = self._head(other, now)  # before the own head, as it may find runs that belong here
            if head and (stream is Stream.GET or head.rank is not None or self._listing.unknown):
                late = head.due + head.latency
        own = self._head(stream, now)
        return own, late if own is None else min(late, own.due + own.latency)

    def _head(self, stream: Stream, now: float) -> Watch | None:
        """Return the run that is due first among those the stream serves."""
        while run := self._dues[stream].head():
            right = self._stream_of(run, now)
            if right is stream:
                return run
            self._dues[right].push(run)
        return None

    def _stream_of(self, run: Watch, now: float) -> Stream:
        """Return which stream serves a run when it is due: a page if it shows others too, else a get."""
        when = max(run.due, now)
        pages = self._paces.get(Stream.LIST)
        if pages is None or pages.paused > when:
            return Stream.GET
        if self._listing.unknown:
            return Stream.LIST if len(self._runs) > 1 else Stream.GET
        if run.rank is not None and self._paces[Stream.GET].paused > when:
            return Stream.LIST
        return Stream.GET if run.lost or self._listing.lonely(run) else Stream.LIST

    # What

    def next(self, stream: Stream, now: float) -> Poll | None:
        """Choose the best request of the stream, or None if there is none worth sending.

        The runs it should show count as asked for from now on.
        """
        if self.next_due(stream, now) > now:
            return None
        poll, runs = self._choose_run(now) if stream is Stream.GET else self._choose_page(now)
        flight = _Flight(now, [(run, run.asked, run.due) for run in runs])
        self._flights.setdefault(poll, []).append(flight)
        for run in runs:
            self._hurried.pop(run.run_id, None)
            self._ask(run, now)
        self._paces[stream].spend(now)
        return poll

    def _choose_run(self, now: float) -> tuple[Poll, Sequence[Watch]]:
        own, late = self._heads(Stream.GET, now)
        if self._hurried:
            run = self._runs[next(iter(self._hurried))]
        elif own is None or late <= now:
            run = self._stalest.best(now)
        else:
            run = own
        return GetPoll(run.run_id), [run]

    def _choose_page(self, now: float) -> tuple[Poll, Sequence[Watch]]:
        if self._listing.unknown:
            return ListPoll(*self._listing.first(), self._listing.source), ()
        own, late = self._heads(Stream.LIST, now)
        runs = self._listing.best(now) if own is None or late <= now else self._listing.around(own, now)
        return ListPoll(*self._listing.fit(runs, now), self._listing.source), runs

    def _ask(self, run: Watch, now: float) -> None:
        run.asked, run.due = now, now + run.latency
        self._rate(run, now)

    def _rate(self, run: Watch, now: float) -> None:
        run.grow_older(now + self._ahead)
        self._stalest.put(run)
        self._listing.touch(run)

    # What came of it

    def observed(self, poll: Poll, seen: Sequence[Sighting], now: float, total: int | None = None) -> None:
        """Take in an answer, asked for by the schedule or not: for a page all its runs in their order, and its total.

        A get that answered that there is no such run has seen none.
        """
        flight = self._land(poll)
        asked = now if flight is None else flight.asked
        for sighting in seen:
            self._see(sighting, asked)
        if isinstance(poll, GetPoll):
            self._paces[Stream.GET].praise()
        elif Stream.LIST in self._paces and poll.source == self._listing.source:
            self._read(poll, seen, total, flight, now)
        if flight is not None:
            self._return(flight, {sighting.run_id for sighting in seen})

    def _read(
        self, poll: ListPoll, seen: Sequence[Sighting], total: int | None, flight: _Flight | None, now: float
    ) -> None:
        shown = {i: run for i, item in enumerate(seen) if (run := self._runs.get(item.run_id))}
        orders = [sighting.order for sighting in seen]
        asked = now if flight is None else flight.asked
        missing = self._listing.read(poll.skip, orders, shown, total, asked)
        if flight is None:
            return
        hits = {run.run_id for run in shown.values()}
        useful = not flight.claims or any(run.run_id in hits for run, _, _ in flight.claims)
        if missing is None or not (useful or missing):
            self._paces[Stream.LIST].blame(now)
        else:
            self._paces[Stream.LIST].praise()

    def sighted(self, sighting: Sighting, now: float) -> None:
        """Take in any other answer that showed a run."""
        self._see(sighting, now)

    def failed(self, poll: Poll, now: float) -> None:
        """Take in that no answer came: its runs are as stale as before; its endpoint is spared if that goes on."""
        stream = Stream.GET if isinstance(poll, GetPoll) else Stream.LIST
        if stream in self._paces:
            self._paces[stream].blame(now)
        if flight := self._land(poll):
            self._return(flight, ())

    def _land(self, poll: Poll) -> _Flight | None:
        flights = self._flights.get(poll)
        if not flights:
            return None
        flight = flights.pop(0)
        if not flights:
            del self._flights[poll]
        return flight

    def _return(self, flight: _Flight, shown: Collection[RunId]) -> None:
        """Take back that the runs which were not shown were asked for.

        Not twice in a row: a run that is never shown must not crowd out the others.
        """
        for run, asked, due in flight.claims:
            if run.run_id in shown or self._runs.get(run.run_id) is not run or run.asked != flight.asked:
                continue
            run.lost = not run.lost
            if run.lost:
                run.asked = asked
                self._stalest.restore(run)
                self._listing.touch(run)
                self._expedite(run, due)

    def _see(self, sighting: Sighting, asked: float) -> None:
        run = self._runs.get(sighting.run_id)
        if run is None:
            return
        self._learn(run, sighting, asked)
        run.lost = False
        if asked > run.asked:
            self._ask(run, asked)

    def _learn(self, run: Watch, sighting: Sighting, now: float) -> None:
        if sighting.created is not None:
            run.created = sighting.created
            self._ahead = max(self._ahead, sighting.created - now)
        if sighting.source is not None and sighting.source != run.source:
            change = self._listing.strange(sighting.source) - self._listing.strange(run.source)
            run.source = sighting.source
            self._listing.recount(change, self._runs.values())
        if run.order is None and sighting.order is not None:
            self._listing.leave(run)
            run.order = sighting.order
            self._listing.enter(run)
