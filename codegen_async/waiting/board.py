"""Who waits for what, and what they are told."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Container, Iterable
from typing import Generic, TypeVar, cast

from codegen_async.errors import own_copy
from codegen_async.events import Reporter
from codegen_async.models import RunId, RunLike
from codegen_async.polling import PollSchedule, Sighting
from codegen_async.recent import Recent
from codegen_async.waiting.ends import Memory
from codegen_async.waiting.lasting import OddWord, Ration
from codegen_async.waiting.listeners import Listener
from codegen_async.waiting.others import Nobody, Others
from codegen_async.waiting.resumed import FORGOTTEN, Resumed
from codegen_async.waiting.watched import Watched

R = TypeVar("R", bound=RunLike)

_log = logging.getLogger("codegen_async")

_REOPENED = 10_000  # runs of which it is remembered that they were taken up again
_GOLDEN = (math.sqrt(5) - 1) / 2  # whose multiples, modulo 1, spread evenly
_FAMILIAR = 10_000  # ids of which it is remembered that they were seen


class Board(Generic[R]):
    """Keep the listeners of each watched run, and the schedule up to date with what they want.

    Args:
        schedule: decides what to ask next, and when.
        is_old: tells a snapshot from before a resume; see `Waiting`.
        on_empty: called when nobody waits any more.
        reporter: hears of every change of a phase.
        knows: tells whether a status word has a meaning.
        end_of: tells ends of a run apart; see `Waiting`.
    """

    def __init__(
        self,
        schedule: PollSchedule,
        is_old: Callable[[R], bool] | None,
        on_empty: Callable[[], None],
        reporter: Reporter,
        knows: Callable[[str], bool],
        *,
        end_of: Callable[[R], object | None],
    ) -> None:
        self._reporter = reporter
        self._schedule = schedule
        self._is_old = is_old
        self._on_empty = on_empty
        self._watched: dict[RunId, Watched[R]] = {}
        self._end_of = end_of
        self._reopened: Recent[RunId, Resumed[R]] = Recent(_REOPENED)
        self._knows = knows
        self._ration = Ration()
        self._familiar: dict[RunId, None] = {}
        self._guests: dict[RunId, float] = {}  # runs that are watched for others, with the latency these want
        self.memory: Memory[R] = Memory()
        self.others: Others[R] = Nobody()

    def __len__(self) -> int:
        return len(self._watched)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._watched

    def get(self, run_id: RunId) -> Watched[R] | None:
        """Return what is known of a watched run, None if nobody waits for it."""
        return self._watched.get(run_id)

    def add(self, run: RunId | R, listener: Listener[R], now: float) -> bool:
        """Let a listener hear of a run; return whether it wants more than what is known already."""
        snapshot = None if isinstance(run, int | str) else run
        run_id = id_of(run)
        watched = self._watched.get(run_id)
        if watched is None:
            watched = self._watched[run_id] = Watched(known=self.knows_of(run_id))
        watched.known |= snapshot is not None
        sighting = Sighting(run_id, order=order_of(run_id, None)) if snapshot is None else sighting_of(snapshot)
        self._schedule.add(sighting, now, latency=listener.latency, seen=snapshot is not None)
        if snapshot is not None and watched.phase is None and not self.may_be_old(snapshot, now):
            self._report(watched, snapshot)
        if snapshot is not None and snapshot.phase.is_still and run_id in self._reopened:
            snapshot = None  # it may be what the caller had before
        ended = snapshot if snapshot is not None and snapshot.phase.is_terminal else None
        known = watched.run or ended or self.memory.recall(run_id, now) or snapshot
        if known is None or self.may_be_old(known, now) or not listener.tell(known):
            watched.join(listener)
            self.others.wished(run_id)
            return True
        self._settle(run_id, watched)
        return False

    def remove(self, run_id: RunId, listener: Listener[R]) -> None:
        """Let a listener hear no more of a run."""
        watched = self._watched.get(run_id)
        if watched is not None and watched.leave(listener):
            self._settle(run_id, watched)

    def _settle(self, run_id: RunId, watched: Watched[R]) -> None:
        """Ask about the run no more often than those who still wait for it need."""
        if watched.listeners or run_id in self._guests:
            self._schedule.relax(run_id, min(watched.latency, self._guests.get(run_id, math.inf)))
            self.others.wished(run_id)
        else:
            self._forget(run_id)

    def _forget(self, run_id: RunId) -> None:
        if self._watched.pop(run_id).known:
            self.met((run_id,))
        self._guests.pop(run_id, None)
        self._schedule.discard(run_id)
        self.others.wished(run_id)
        if not self._watched:
            self._on_empty()

    def knows_of(self, run_id: RunId) -> bool:
        """Whether that run was ever seen or made by this client, as far as that is remembered."""
        watched = self._watched.get(run_id)
        return run_id in self._familiar or (watched is not None and watched.known)

    def bystander(self, refused: Container[RunId], number: int) -> RunId | None:
        """Return a watched run that is none of those, if there is one; for each number another, spread over them all.

        One that was shown before tells most: if that is refused now, it is hardly for its own sake.
        """
        others = [run_id for run_id in self._watched if run_id not in refused]
        others = [run_id for run_id in others if self._watched[run_id].run is not None] or others
        return others[int(number * _GOLDEN % 1 * len(others))] if others else None

    def met(self, run_ids: Iterable[RunId]) -> None:
        """Remember that there are such runs."""
        self._familiar.update(dict.fromkeys(run_ids))
        for run_id in [*itertools.islice(self._familiar, max(0, len(self._familiar) - _FAMILIAR))]:
            del self._familiar[run_id]

    def tell(self, run: R, now: float, asked: float | None = None) -> None:
        """Tell the listeners of a run what it looks like now; `asked`: when that was asked for, if not just now."""
        at = now if asked is None else asked
        watched = self._watched.get(run.id)
        old = self.may_be_old(run, now) or (watched is not None and self._knows_better(watched, run, at))
        if not old and (run.phase.is_still or run.id in self.memory):
            self.memory.keep(run, at)
        if not old:
            self.others.told(run)
        if watched is None:
            return
        self.saw(run, watched, now)
        if old:
            return
        watched.run = run
        if watched.listeners:
            self._report(watched, run)
        leaving = [listener for listener in watched.listeners if listener.tell(run)]
        loosened = [watched.leave(listener) for listener in leaving]
        if run.phase.is_terminal and self._guests.pop(run.id, None) is not None:
            loosened.append(True)
        if any(loosened):
            self._settle(run.id, watched)

    def _knows_better(self, watched: Watched[R], run: R, asked: float) -> bool:
        """Return whether a snapshot of a run that moves was asked for before the newest one that is known.

        An end, or a block, that comes late counts: what shows another thing may be later still.
        """
        seen = None if watched.run is None or run.phase.is_still else self._schedule.seen(run.id)
        return seen is not None and asked < seen

    def saw(self, row: RunLike, watched: Watched[R], now: float) -> None:
        """Note that an answer has shown a run; tell if it sits in a word that nobody knows."""
        watched.saw()
        word = row.status
        if word is None or self._knows(word):
            watched.odd = None
            return
        if watched.odd is None or watched.odd.word != word:
            watched.odd = OddWord(word)
        if watched.odd.tell(now) and self._ration.take(now):
            more = "; further runs like it are not named within the hour" if self._ration.spent == Ration.MOST else ""
            _log.warning(
                "waiting: run %s is in state %.100r, which is not known and taken as running; `phases` of the client"
                " teaches it%s",
                row.id,
                word,
                more,
            )

    def _report(self, watched: Watched[R], run: R) -> None:
        if self._reporter.hears_phases and watched.phase is not run.phase:
            before, watched.phase = watched.phase, run.phase
            self._reporter.tell_phase(run, before)

    def fail(self, run_id: RunId, error: Exception) -> None:
        """Tell the listeners of a run that there will be no more of it."""
        watched = self._watched.get(run_id)
        if watched is None:
            return
        self._forget(run_id)
        self._familiar.pop(run_id, None)
        for listener in watched.listeners:
            listener.fail(run_id, own_copy(error))

    def abort(self, error: Exception) -> None:
        """Tell all listeners that there will be no more of anything."""
        for run_id, watched in list(self._watched.items()):
            self._forget(run_id)
            for listener in watched.listeners:
                listener.abort(own_copy(error))
        self.others.gave_up()

    # -- runs that are watched for others

    @property
    def wanted(self) -> list[RunId]:
        """The runs that somebody here waits for."""
        return [run_id for run_id, watched in self._watched.items() if watched.listeners]

    @property
    def waits(self) -> int:
        """How many runs these are."""
        return len(self) - sum(not self._watched[run_id].listeners for run_id in self._guests)

    def adopt(self, run_id: RunId, latency: float, seen: float | None, now: float) -> None:
        """Watch a run for others; see `Elsewhere`."""
        watched = self._watched.get(run_id)
        if watched is None:
            known = seen is not None or self.knows_of(run_id)
            watched = self._watched[run_id] = Watched(known=known)
        moment, seen_by_them = (now, False) if seen is None else (now - seen, True)
        sighting = Sighting(run_id, order=order_of(run_id, None))
        self._schedule.add(sighting, moment, latency=latency, seen=seen_by_them)
        self._guests[run_id] = latency
        self._schedule.relax(run_id, min(latency, watched.latency))

    def disown(self, run_id: RunId) -> None:
        """Watch a run for others no more."""
        if self._guests.pop(run_id, None) is not None:
            self._settle(run_id, self._watched[run_id])

    # -- runs that were taken up again

    def reopen(self, run_id: RunId, now: float, before: R | None = None, *, elsewhere: bool = False) -> None:
        """Take the end that run had for its end no more: the server may still show it.

        What was done elsewhere is nothing that the dialect knows of here, so its snapshots alone must tell.
        """
        watched = self._watched.get(run_id)
        known = before or (watched and watched.run) or self.memory.recall(run_id, now, math.inf)
        self.memory.drop(run_id)
        if watched is not None:
            watched.run = None  # what was known is of its former life
        if self._is_old is None or elsewhere:
            self._reopened[run_id] = Resumed(now, known if known and known.phase.is_still else None, self._end_of)

    def believe(self, run_id: RunId) -> None:
        """Take the end that is shown of a run for its new one: who shows it knows of the resume."""
        self._reopened.pop(run_id, None)

    def overtaken(self, run: R, asked: float) -> bool:
        """Return whether an end was asked for before its run was taken up again."""
        resumed = self._reopened.get(run.id)
        return resumed is not None and run.phase.is_still and asked < resumed.at

    def was_reopened(self, run_id: RunId, now: float) -> bool:
        """Return whether that run was resumed so recently that the server may still show its old end."""
        resumed = self._reopened.get(run_id)
        return resumed is not None and now - resumed.at < FORGOTTEN

    def witness(self, run: RunLike, now: float) -> None:
        """Note what a read has shown of a run that may have been resumed."""
        if resumed := self._reopened.get(run.id):
            resumed.saw(cast("R", run), now)

    def may_be_old(self, run: R, now: float) -> bool:
        """Return whether a snapshot may be from before a resume."""
        if self._is_old is not None and self._is_old(run):
            return True
        resumed = self._reopened.get(run.id)
        return resumed is not None and resumed.may_be_old(run, now)


def id_of(run: RunId | RunLike) -> RunId:
    """Return the id of a run that is given by it, or by a snapshot."""
    return run if isinstance(run, int | str) else run.id


def order_of(run_id: RunId, run: RunLike | None) -> float | None:
    """Return what grows with creation: an integer id, else the time of creation."""
    if isinstance(run_id, int):
        return run_id
    return None if run is None or run.created_time is None else run.created_time.timestamp()


def sighting_of(run: RunLike, *, doubtful: bool = False, partial: bool = False) -> Sighting:
    """Describe a run for the schedule."""
    created = run.created_time
    return Sighting(
        run.id,
        order=order_of(run.id, run),
        created=None if created is None else created.timestamp(),
        source=run.source_type,
        phase=run.phase.value,
        doubtful=doubtful,
        partial=partial,
    )
