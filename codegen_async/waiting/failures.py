"""What becomes of looks that fail: which end the waits for a run, which end all, and which end nothing."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from codegen_async.errors import (
    PASSING,
    REFUSALS,
    APIError,
    CodegenAsyncError,
    DecodeError,
    NotFoundError,
    StatusError,
)
from codegen_async.models import RunId, RunLike
from codegen_async.polling import GetPoll, Poll, PollSchedule
from codegen_async.waiting.barriers import Barriers
from codegen_async.waiting.board import Board
from codegen_async.waiting.driver import Driver
from codegen_async.waiting.lasting import REFUSED, Grace, Standing, Trouble, is_about_the_run
from codegen_async.waiting.watched import Watched

R = TypeVar("R", bound=RunLike)
Call = Callable[[], Awaitable[object]]

_log = logging.getLogger("codegen_async")

_ANSWER = 5.0  # seconds in which a call that needs no run has to be answered
_FICKLE = 3  # times as many denials are needed where refusals come and go, or pages show the run


class Failures(Generic[R]):
    """Judge looks that fail.

    Args:
        schedule: decides what to ask next, and when.
        board: knows who waits for what.
        driver: asks.
        grace: how long the server must deny a run until that is believed.
        without_run: makes a call that needs no run; see `Waiting`.
    """

    def __init__(
        self, schedule: PollSchedule, board: Board[R], driver: Driver[R], grace: Grace, without_run: Call | None
    ) -> None:
        self._schedule = schedule
        self._board = board
        self._driver = driver
        self._grace = grace
        self._without_run = without_run
        self._is_asking = False  # that way
        self._barriers = Barriers()
        self._got = -math.inf  # when a run was last had, by itself

    def answered(self) -> None:
        """Note a good answer."""
        self._barriers.answered()

    def allowed(self, run_id: RunId) -> None:
        """Note that a run was had by itself; what a page shows may still be refused, or be gone."""
        self._barriers.answered()
        self._got = _now()
        if (watched := self._board.get(run_id)) and watched.denied is not None:
            self._barriers.passed(_now())
            watched.denied = None

    def is_final(self, run_id: RunId, denied: Standing, error: APIError, *, known: bool) -> bool:
        """Note a failed look at a run; return whether it is final, as an outage is not, nor a denial before its time.

        Args:
            run_id: the run.
            denied: for how long it is denied.
            error: what the look has brought.
            known: whether who looks has seen it before.
        """
        if isinstance(error, PASSING):
            denied.interrupt()
            return False
        if not is_about_the_run(error):
            return True
        denied.again(_now())
        return denied.lasts(*self._patience(error, known=known or self._board.knows_of(run_id)))

    def _patience(self, error: APIError, *, known: bool) -> tuple[float, int]:
        """Return for how many seconds, and how often, a run must be denied."""
        passing = isinstance(error, REFUSALS) and self._barriers.pass_lately(_now())
        again = isinstance(error, REFUSALS)  # at once, which says little more than the first time
        looks = self._grace.looks * _FICKLE if passing else self._grace.looks + again
        return self._grace.seconds(error, known=known, passing=passing), looks

    def failed(self, poll: Poll, error: APIError) -> None:
        """Take in that a poll has failed."""
        run_id = poll.run_id if isinstance(poll, GetPoll) else None
        ends_all = self._barriers.failed(error, run_id, self._board, len(self._board), _now())
        watched = None if run_id is None else self._board.get(run_id)
        if run_id is not None and watched is not None and not ends_all:
            self._note(run_id, watched, error)
        if run_id is not None and isinstance(error, (NotFoundError, *REFUSALS)):
            self._schedule.observed(poll, [], _now())
        else:
            wait = error.retry_after if isinstance(error, StatusError) else None
            self._schedule.failed(poll, _now(), wait or 0.0)
        if ends_all:
            self._end_all(error)
        elif isinstance(error, REFUSALS):
            is_first = watched is not None and watched.denied is not None and watched.denied.looks == 1
            self._look_beyond(run_id if is_first else None)

    # -- all runs

    def _look_beyond(self, again: RunId | None) -> None:
        """Look at another run than those that are refused: whether it is shown tells if it is for the token's sake.

        Before that, look again at one that was refused for the first time: where every second request is refused, it
        is not to be the one that always is.
        """
        bystander = self._board.bystander(self._barriers, self._barriers.refusals)
        for run_id in (bystander, again):
            if run_id is not None:
                self._schedule.hurry(run_id, _now(), first=True)
                self._driver.nudge()

    def _end_all(self, error: APIError) -> None:
        """End all waits; for a refusal only if a call that needs no run is not answered either."""
        if self._without_run is None or not isinstance(error, REFUSALS):
            self._board.abort(error)
        elif not self._is_asking:
            self._is_asking = True
            self._driver.start(self._ask_without_run(error, self._without_run))

    async def _ask_without_run(self, error: APIError, ask: Call) -> None:
        is_good = False
        try:
            async with asyncio.timeout(_ANSWER):
                await ask()
            is_good = True
        except (CodegenAsyncError, TimeoutError):
            pass
        finally:
            self._is_asking = False
        if is_good:
            self._barriers.answered()
        elif self._barriers.refused:  # nothing was shown meanwhile
            self._board.abort(error)

    # -- one run

    def _note(self, run_id: RunId, watched: Watched[R], error: APIError) -> None:
        """Note a look at a run that has failed; if it is final, end the waits for that run."""
        now = _now()
        watched.trouble = watched.trouble or Trouble()
        if watched.trouble.error is not None and type(watched.trouble.error) is not type(error):
            watched.denied = watched.denied and Standing()  # one answer contradicts the other
        watched.trouble.failed(error, now)
        if is_about_the_run(error):
            self._deny(run_id, watched, error)
        elif watched.denied is not None:
            watched.denied.interrupt()
        since, general = watched.trouble.since or now, self._driver.trouble
        # Where all polls fail, the driver tells it once.
        if (general is None or since < (general.since or now)) and watched.trouble.tell(now):
            _log.warning("waiting: no look at run %s for %.0f s; the last one: %s", run_id, now - since, error)

    def _deny(self, run_id: RunId, watched: Watched[R], error: APIError) -> None:
        """Note that the server says that a run cannot be had; believe it when it has said so for long enough."""
        seconds, looks = self._patience(error, known=watched.known)
        denied = watched.denied = watched.denied or Standing()
        began = denied.again(_now())
        if watched.listed:
            seconds, looks = self._grace.seen, looks * _FICKLE
        if self._is_contested(watched, denied, error):
            return
        if denied.lasts(seconds, looks):
            self._board.fail(run_id, error)
            return
        loop = asyncio.get_running_loop()
        if began or denied.stood >= seconds:  # whatever its latency, it is looked for when the time is over
            loop.call_later(max(0.0, seconds - denied.stood), self._hurry, run_id)
        if began and isinstance(error, REFUSALS):  # and when it would be over for the token
            loop.call_later(REFUSED, self._hurry, run_id)

    def _is_contested(self, watched: Watched[R], denied: Standing, error: APIError) -> bool:
        """Whether pages show a run that is denied, and nothing tells that they are wrong: other runs could be had."""
        return watched.listed and (isinstance(error, DecodeError) or self._got < denied.since)

    def _hurry(self, run_id: RunId) -> None:
        self._schedule.hurry(run_id, _now(), first=True)
        self._driver.nudge()


def _now() -> float:
    return asyncio.get_running_loop().time()
