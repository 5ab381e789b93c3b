"""Share looks with others that wait for runs of the same server somewhere else. Knows not how they are reached."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Generic, TypeVar

from codegen_async.models import RunId, RunLike
from codegen_async.polling import PollSchedule, Sighting
from codegen_async.waiting.board import Board, order_of, sighting_of
from codegen_async.waiting.driver import Driver
from codegen_async.waiting.failures import Failures
from codegen_async.waiting.others import Others, Wish

R = TypeVar("R", bound=RunLike)


class Elsewhere(Generic[R]):
    """Look for others, and hear what others have seen.

    Args:
        board: knows who waits for what.
        schedule: decides what to ask next, and when.
        driver: asks.
        failures: judges looks that fail.
    """

    def __init__(self, board: Board[R], schedule: PollSchedule, driver: Driver[R], failures: Failures[R]) -> None:
        self._board = board
        self._schedule = schedule
        self._driver = driver
        self._failures = failures

    # -- what they are told

    def attend(self, others: Others[R]) -> None:
        """Let others hear what happens here from now on."""
        self._board.others = others

    @property
    def wanted(self) -> list[RunId]:
        """The runs that somebody here waits for."""
        return self._board.wanted

    def wish(self, run_id: RunId) -> Wish | None:
        """Return what is wanted of a run by those who wait here; None if nobody does."""
        watched = self._board.get(run_id)
        if watched is None or not watched.listeners:
            return None
        seen = self._schedule.seen(run_id)
        ago = None if seen is None else max(0.0, _now() - seen)
        return Wish(watched.latency, ago, None if watched.run is None else watched.run.phase)

    def asked(self, run_id: RunId) -> float:
        """Return when what is known of a run was asked for; just now, if it is not remembered."""
        seen = self._schedule.seen(run_id)
        seen = self._board.memory.at(run_id) if seen is None else seen
        return _now() if seen is None else seen

    def known(self, run_id: RunId) -> R | None:
        """Return what is believed of a run without asking; None if nothing is."""
        watched, now = self._board.get(run_id), _now()
        run = (watched and watched.run) or self._board.memory.recall(run_id, now)
        return None if run is None or self._board.may_be_old(run, now) else run

    @property
    def stuck(self) -> float:
        """Seconds for which polls have brought nothing good; 0 if none is awaited, or has failed."""
        return self._driver.stuck

    # -- what is done for them

    def adopt(self, run_id: RunId, latency: float, seen: float | None) -> None:
        """Watch a run for others, besides those who may wait for it here; once more: with another latency.

        It ends with the run, or by `disown`.

        Args:
            run_id: the run.
            latency: seconds within which they want a look.
            seen: seconds since they last saw it; None if they never did.
        """
        if not self._board:
            self._failures.answered()  # what former waits have met says nothing of these
        self._board.adopt(run_id, latency, seen, _now())
        self._driver.drive()

    def disown(self, run_id: RunId) -> None:
        """Watch a run for others no more."""
        self._board.disown(run_id)

    # -- what they tell

    def be_quiet(self, until: float) -> None:
        """Ask for nothing until then but what somebody here is in a hurry for: others ask."""
        self._schedule.rest(until)
        if until <= _now():
            self._driver.nudge()

    def saw(self, run_ids: Iterable[RunId], asked: float) -> None:
        """Take in that others have seen runs, and nothing new, by what was asked at that time."""
        for run_id in run_ids:
            if run_id in self._board:
                self._schedule.sighted(Sighting(run_id, order=order_of(run_id, None)), asked)

    def hear(self, run: R, asked: float) -> None:
        """Take in a snapshot that others believe, and that was asked for at that time.

        A resume that is known here must be known to them.
        """
        now, seen = _now(), self._schedule.seen(run.id)
        if not run.phase.is_still and asked < (-math.inf if seen is None else seen):
            return  # overtaken
        if run.phase.is_still:
            self._board.believe(run.id)
        else:
            self._board.witness(run, now)
        self._failures.allowed(run.id)
        self._board.met((run.id,))
        self._schedule.sighted(sighting_of(run), asked)
        self._board.tell(run, now, asked)

    def reopened(self, run_id: RunId, before: R | None) -> None:
        """Take in that others took a run up again; `before`: the end it had, as far as they know."""
        self._board.reopen(run_id, _now(), before, elsewhere=True)

    def notified(self, run_id: RunId, *, look: bool) -> None:
        """Take in that something is known to have happened to a run; `look` at it now, if it is watched."""
        self._board.memory.drop(run_id)
        if look:
            self.hurry(run_id)

    def hurry(self, run_id: RunId) -> None:
        """Look at a run now, if it is watched."""
        self._schedule.hurry(run_id, _now())
        self._driver.nudge()


def _now() -> float:
    return asyncio.get_running_loop().time()
