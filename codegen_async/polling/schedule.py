"""Which request next, and when. Pure: no clock, no I/O, no dialect."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

from codegen_async.limits import Rate
from codegen_async.models import RunId
from codegen_async.polling.agenda import Agenda, Turn
from codegen_async.polling.flights import Flight
from codegen_async.polling.listing import Listing
from codegen_async.polling.look import Look
from codegen_async.polling.pacing import Pace
from codegen_async.polling.polls import NOTHING, GetPoll, PagePoll, Poll, Sighting, Stream, Tail
from codegen_async.polling.trust import SPARED, UNSEEN, Trust
from codegen_async.polling.windows import Watch

_FEW = 2  # runs a page shows besides
_PATIENT = 1e9  # seconds; of longer ones squares cannot be taken
_UNSEEN = 60.0  # seconds for which a run that nobody has seen yet counts as unseen


class PollSchedule:
    """Decide which request shows the most of what its watchers wait for, and when it is due.

    Three rules, in this order:

    - Whoever is due is served: every run is seen at least every `latency` seconds, for as few requests as possible. A
      run that a page shows together with others is served by a page, a lonely one by a get.
    - Unless somebody waits twice as long as it wants to. Then the budget is short, and the request with the largest
      expected gain goes first, until nobody waits that long.
    - What the budget leaves goes to the runs that want to be seen more often than that is possible (latency 0).

    What pages tell is checked: for twelve pages there is a get for the run that has gone longest without one, and where
    the budget is short, every get that no lonely run needs is such a check. So whatever pages tell, a get is sent for
    each of N runs within twelve pages a run, or N gets; see `trust`.

    Args:
        get: the limit of the endpoint that shows one run.
        page: the limit of the list endpoint; None where a dialect has no usable list.
        share: the part of both limits that may be spent; the rest is left to other calls.
        listing: what one look can show besides a get, and where runs stand in it. Default: a list, newest first, that
            may be asked for from any position.
        shared: a page spends a turn of the gets as well, since both endpoints have one limit. If `page` is that limit,
            each turn goes to what gains most by it; if it is a lower one, so many turns are for pages.

    Raises:
        ValueError: the share is not above 0, or above 1.
    """

    def __init__(
        self,
        *,
        get: Rate,
        page: Rate | None,
        share: float = 0.8,
        listing: Look | None = None,
        shared: bool = False,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share: expected a part of 1, got {share!r}")
        self._paces = {Stream.GET: Pace(get, share, 0.0)}
        if page is not None:
            self._paces[Stream.LIST] = Pace(page, share, 0.5)
        self._runs: dict[RunId, Watch] = {}
        self._shared = shared
        self._contended = shared and page == get  # pages have no part of the turns for themselves
        self._listing: Look = Listing(None) if listing is None else listing
        self._agenda = Agenda(self._paces, self._paces[Stream.GET].gap, self._stream_of)
        self._hurried: OrderedDict[RunId, bool] = OrderedDict()  # and whether only a get will do
        self._flights: dict[int, Flight] = {}  # by the identity of the poll: equal ones may be under way
        self._search: Poll | None = None  # the page under way that is to teach where the list stands, or how it does
        self._trust = Trust(SPARED if self._contended else 0.0)
        self._ahead = -math.inf  # how far the server's clock is ahead of ours
        self._resting = -math.inf  # until when others ask

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs

    # What the watchers want

    def add(self, sighting: Sighting, now: float, *, latency: float = 5.0, seen: bool = False) -> None:
        """Watch a run; `seen` tells that the caller has just created or read it, else it is due at once.

        A run that is watched already is seen as often as its most impatient watcher wants.
        """
        run, latency = self._runs.get(sighting.run_id), min(latency, _PATIENT)
        if run is None:
            self._enter(sighting, now, latency, seen=seen)
            return
        if latency < run.latency:
            self._change(run, latency)
        if seen:
            self.sighted(sighting, now)

    def _enter(self, sighting: Sighting, now: float, latency: float, *, seen: bool) -> None:
        before, due = (now, now + latency) if seen else (now - max(latency, _UNSEEN), now)
        run = Watch(sighting.run_id, latency, before, before, due, sighting.order)
        self._learn(run, sighting, now)
        if seen:
            self._listing.created(run)
        self._listing.enter(run)
        self._runs[run.run_id] = run
        run.confirmed, run.known = before, seen
        self._trust.enter(run)
        run.grow_older(now + self._ahead)
        self._agenda.enter(run)
        for pace in self._paces.values():
            pace.start(now)

    def relax(self, run_id: RunId, latency: float) -> None:
        """Let a run wait longer: its most impatient watcher has left."""
        run, latency = self._runs.get(run_id), min(latency, _PATIENT)
        if run and latency != run.latency:
            self._change(run, latency)

    def _change(self, run: Watch, latency: float) -> None:
        self._agenda.leave(run)
        run.want(latency, self._ahead)
        self._agenda.enter(run)
        self._listing.touch((run,))

    def discard(self, run_id: RunId) -> None:
        """Forget a run that nobody waits for any more."""
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        self._hurried.pop(run_id, None)
        self._agenda.leave(run)
        self._trust.leave(run)
        self._listing.leave(run)
        self._listing.recount(-self._listing.strange(run.source), self._runs.values())

    def hurry(self, run_id: RunId, now: float, *, first: bool = False) -> None:
        """Ask for a run before all others: somebody says that it has ended. `first`: by get, and before these."""
        if run := self._runs.get(run_id):
            run.told = None  # that the list does not know it yet is not held against it
            self._hurry(run, now)
            if first:
                self._hurried[run_id] = True
                self._hurried.move_to_end(run_id, last=False)

    def _hurry(self, run: Watch, now: float) -> None:
        self._hurried.setdefault(run.run_id, False)
        self._agenda.expedite(run, now)

    # When

    def rest(self, until: float) -> None:
        """Until then, ask only for runs that somebody is in a hurry for: others ask, and tell what they see."""
        self._resting = until

    def next_due(self, stream: Stream, now: float) -> float:
        """Return when the stream should next take a slot; it may be past, and is infinite if there is nothing to do."""
        if stream not in self._paces:
            return math.inf
        if now < self._resting:
            is_urgent = stream is Stream.GET and self._hurried
            return max(now, self._paces[stream].ready) if is_urgent else self._resting
        due, turn = self._due(stream, now), self._paces[Stream.GET]
        if not self._contended:
            return due
        other = Stream.LIST if stream is Stream.GET else Stream.GET
        if max(due, turn.cell) > now or self._due(other, now) > now:
            return max(due, turn.cell)
        return due if self._prefers_page(now) is (stream is Stream.LIST) else now + turn.gap

    def _due(self, stream: Stream, now: float) -> float:
        return max(self._paces[stream].ready, self._need(stream, now))

    def _prefers_page(self, now: float) -> bool:
        """Whether a page gains more than a get, where both are due."""
        if self._listing.unknown or self._listing.searching or self._hearing <= now:
            return True  # it is not for what it shows of the runs
        turn = self._agenda.next(Stream.GET, now)
        if self._is_check_due(turn, now) or (turn.run and turn.due <= now < turn.late):
            return False
        least, gains = self._agenda.stalest(now).gain(now), (run.gain(now) for run in self._best(now))
        return any(gain >= least for gain in itertools.accumulate(gains))

    def _need(self, stream: Stream, now: float) -> float:
        if stream is Stream.LIST and not self._lists:
            return math.inf
        if stream is Stream.LIST and self._searches:
            return now if self._search is None else math.inf
        if stream is Stream.LIST and not self._trust.holds:
            return self._hearing
        if self._agenda.eager or (self._hurried and stream is Stream.GET):
            return now
        turn = self._agenda.next(stream, now)
        if stream is Stream.LIST:
            return min(turn.due, turn.late, self._hearing)
        return now if self._is_check_due(turn, now) else min(turn.due, turn.late)

    @property
    def _hearing(self) -> float:
        """When a page is to show what the list tells of the witness, infinite if there is none."""
        return math.inf if self._trust.witness is None or self._search else self._trust.witness.since

    def _is_check_due(self, turn: Turn, now: float) -> bool:
        """Whether the next get is to check the list; not two in a row, if there is more to do."""
        return self._trust.is_due(now) and not (self._trust.checking and (self._hurried or turn.late <= now))

    @property
    def _searches(self) -> bool:
        """Whether the next page is to teach where the list stands; one at a time, as another would teach the same."""
        return self._listing.searching or (self._listing.unknown and self._search is not None)

    @property
    def _lists(self) -> bool:
        """Whether any page could be worth its while."""
        if self._shared and (self._hurried or len(self._runs) <= 1 + self._listing.company):
            return False  # the turn is better spent on a get
        if not (self._trust.holds or self._agenda.eager or len(self._runs) > 1):
            return False
        return self._listing.unknown or self._listing.searching or self._listing.holds_any

    def _stream_of(self, run: Watch, when: float) -> Stream:
        """Return which stream serves a run: a page if it shows others too, else a get.

        When pages come too late, gets take over where a page would not show much more.
        """
        pages = self._paces.get(Stream.LIST)
        if pages is None or pages.paused_until > when or not self._trust.holds:
            return Stream.GET
        if self._listing.unknown:
            return Stream.LIST if len(self._runs) > 1 + self._listing.company else Stream.GET
        company = _FEW if when > run.due + pages.gap else self._listing.company
        return Stream.GET if run.lost or self._listing.lonely(run, company) else Stream.LIST

    # What

    def next(self, stream: Stream, now: float) -> Poll | None:
        """Choose the best request of the stream, or None if there is none worth sending.

        The runs it should show count as asked for from now on.
        """
        if self.next_due(stream, now) > now:
            return None
        poll, runs = self._choose_run(now) if stream is Stream.GET else self._choose_page(now)
        unserved = (None,) if stream is Stream.GET else (None, True)
        hurried = [run.run_id for run in runs if self._hurried.get(run.run_id) not in unserved]
        self._flights[id(poll)] = Flight(poll, now, runs, hurried)
        if not runs:
            self._search = poll
        for run_id in hurried:
            del self._hurried[run_id]
        self._ask(runs, now)
        for each in {stream, Stream.GET} if self._shared else {stream}:
            self._paces[each].spend(now)
        return poll

    def _choose_run(self, now: float) -> tuple[Poll, Sequence[Watch]]:
        turn, candidate = self._agenda.next(Stream.GET, now), self._trust.candidate(now)
        if candidate and now >= self._resting and self._is_check_due(turn, now):
            run = candidate
        elif self._hurried:
            run = self._runs[next(iter(self._hurried))]
        elif turn.run and turn.due <= now < turn.late:
            run = turn.run
        else:
            run = self._agenda.stalest(now) if turn.late <= now else self._agenda.eager.best(now)
            if (unseen := self._trust.candidate(now, UNSEEN)) and self._stream_of(run, now) is Stream.LIST:
                run = unseen  # a page shows the other one as well
        self._trust.asked(run, now)
        return GetPoll(run.run_id), [run]

    def _choose_page(self, now: float) -> tuple[Poll, Sequence[Watch]]:
        if self._listing.unknown or self._listing.searching:
            return self._listing.search(), ()
        if self._trust.witness is not None and self._hearing <= now:
            return self._listing.at(self._trust.witness.rank, now), ()
        runs = self._best(now)
        return self._listing.fit(runs, now), runs

    def _best(self, now: float) -> Sequence[Watch]:
        """Return the runs that the next page is to show."""
        centre = self._centre(now)
        return self._listing.around(centre, now) if centre else self._listing.best(now)

    def _centre(self, now: float) -> Watch | None:
        """Return the run that the next page must show, or None if it is free to show the best."""
        turn = self._agenda.next(Stream.LIST, now)
        if turn.late <= now:
            return None
        if turn.run and turn.due <= now:
            return turn.run
        eager = self._agenda.eager.best(now)
        return eager if self._agenda.patient and eager.rank is not None else None

    def _ask(self, runs: Iterable[Watch], now: float) -> None:
        server_now = now + self._ahead
        for run in runs:
            run.asked, run.due = now, now + run.latency
            if server_now >= run.birthday:
                run.grow_older(server_now)
                self._agenda.aged(run)
        self._listing.touch(runs)

    # What came of it

    def observed(
        self,
        poll: Poll,
        seen: Sequence[Sighting],
        now: float,
        total: int | None = None,
        following: str | None = None,
    ) -> None:
        """Take in an answer: for a page all its runs in their order, its total, and where the next one is.

        `poll` is the very object that `next` returned, or another one if somebody else asked. A get that answered that
        there is no such run has seen none.
        """
        flight, tail = self._land(poll), Tail(total, following)
        asked = now if flight is None else flight.asked
        told = [sighting for sighting in seen if not sighting.partial]
        if not isinstance(poll, GetPoll) and self._listing.checked:
            told = self._believed(told, asked, now, ours=flight is not None)
        for sighting in told:
            self.sighted(sighting, asked)
        if isinstance(poll, GetPoll):
            for sighting in told:
                if run := self._runs.get(sighting.run_id):
                    self._trust.confirm(run, sighting.phase, now)
            self._paces[Stream.GET].praise()
            flight = flight and flight._replace(hurried=())  # whoever was in a hurry has an answer
        elif Stream.LIST in self._paces and self._listing.takes(poll):
            self._read(poll, seen, tail, flight, now)
        if flight is not None:
            self._restore(flight, {sighting.run_id for sighting in told}, len(seen), tail)
        for sighting in told:
            if sighting.doubtful and (run := self._runs.get(sighting.run_id)):
                self._hurry(run, now)

    def _read(self, poll: PagePoll, seen: Sequence[Sighting], tail: Tail, flight: Flight | None, now: float) -> None:
        shown = {i: run for i, item in enumerate(seen) if (run := self._runs.get(item.run_id))}
        asked = now if flight is None else flight.asked
        believed = self._listing.read(poll, seen, shown, tail, asked)
        if flight is None:
            return
        silent = self._listing.silent(poll, flight.runs, tail)
        for run in silent:
            run.seen = max(run.seen, asked)
        plain = {item.run_id for item in seen if not (item.doubtful or item.partial) and item.run_id in self._runs}
        found = sum(run.run_id in plain for run in flight.runs)
        if believed and self._trust.holds and self._listing.helped(found + len(silent), len(flight.runs)):
            self._paces[Stream.LIST].praise()
        else:
            self._paces[Stream.LIST].blame(now)

    def _believed(self, told: list[Sighting], asked: float, now: float, *, ours: bool) -> list[Sighting]:
        """Return what is believed of a page; what it tells is kept, to be checked."""
        if ours:  # else nobody knows when it was asked for
            self._trust.hear(told, asked, now)
        for sighting in told:
            if run := self._runs.get(sighting.run_id):
                run.told = sighting.phase
        return told if self._trust.holds else []

    @property
    def believes(self) -> bool:
        """Whether what a page tells of runs needs no get to confirm it."""
        return self._trust.holds

    @property
    def witness(self) -> RunId | None:
        """The run of which a page must tell how it is, though nobody waits for it any more."""
        return None if self._trust.witness is None else self._trust.witness.run_id

    def seen(self, run_id: RunId) -> float | None:
        """Return when a watched run was last seen, by what was asked then; None if it never was."""
        run = self._runs.get(run_id)
        return run.seen if run is not None and run.known else None

    def failed(self, poll: Poll, now: float, wait: float = 0.0) -> None:
        """Take in that no answer came: its runs are as stale as before; its endpoint is spared if that goes on.

        `wait` are the seconds for which the server asks to be left alone; that holds for all endpoints.
        """
        stream = Stream.GET if isinstance(poll, GetPoll) else Stream.LIST
        if stream in self._paces:
            self._paces[stream].blame(now)
        if not isinstance(poll, GetPoll) and self._listing.takes(poll):
            self._listing.missed(poll)
        for pace in self._paces.values() if wait else ():
            pace.pause(now + wait)
        if flight := self._land(poll):
            self._restore(flight, (), 0)

    def _land(self, poll: Poll) -> Flight | None:
        if poll is self._search:
            self._search = None
        return self._flights.pop(id(poll), None)

    def _restore(self, flight: Flight, shown: Collection[RunId], length: int, tail: Tail = NOTHING) -> None:
        """Take back that the runs which were not shown were asked for; a get will look for them.

        If that fails as well, they wait for their next turn: a run that is never shown must not crowd out the others.
        """
        for run in flight.runs:
            settled = run.asked != flight.asked or run.seen >= flight.asked  # the latter if nothing of it has changed
            if settled or run.run_id in shown or self._runs.get(run.run_id) is not run:
                continue
            if run.lost and isinstance(flight.poll, GetPoll):
                run.lost = False
                continue
            run.lost = isinstance(poll := flight.poll, GetPoll) or not self._listing.stands_beside(
                run, poll, length, tail.total
            )
            run.asked = run.seen
            self._agenda.restored(run)
            self._listing.touch((run,))
            self._agenda.expedite(run, run.seen + run.latency)
            if run.run_id in flight.hurried:
                self._hurry(run, flight.asked)

    def sighted(self, sighting: Sighting, asked: float) -> None:
        """Take in any answer that showed a run, and was asked for at that time."""
        run = self._runs.get(sighting.run_id)
        if run is None:
            return
        self._learn(run, sighting, asked)
        run.lost, run.known = False, True
        run.seen = max(run.seen, asked)
        if asked > run.asked:
            self._ask((run,), asked)

    def _learn(self, run: Watch, sighting: Sighting, now: float) -> None:
        if sighting.created is not None:
            if sighting.created != run.created:
                run.created, run.birthday = sighting.created, -math.inf
            self._ahead = max(self._ahead, sighting.created - now)
        if sighting.source is not None and sighting.source != run.source:
            change = self._listing.strange(sighting.source) - self._listing.strange(run.source)
            run.source = sighting.source
            self._listing.recount(change, self._runs.values())
        if run.order is None and sighting.order is not None:
            self._listing.leave(run)
            run.order = sighting.order
            self._listing.enter(run)
            self._agenda.requeue(run)
