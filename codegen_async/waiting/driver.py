"""Ask the server what the schedule says, as long as somebody waits. Knows polls, and nothing of who waits for what."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Generic, Protocol, TypeVar

from codegen_async.errors import APIError, InvalidRequestError, NotFoundError
from codegen_async.limits import Slot
from codegen_async.models import RunLike
from codegen_async.polling import GetPoll, PagePoll, Poll, PollSchedule, Stream
from codegen_async.waiting.lasting import Trouble
from codegen_async.waiting.remote import Page, Remote

R = TypeVar("R", bound=RunLike)

_log = logging.getLogger("codegen_async")

_AT_ONCE = 1e-6  # seconds; timers that are due within the resolution of a clock fire without time having moved on

MOST_POLLS = 50
"""Polls of one stream that may be under way at once: what a slow server does not answer is not to pile up."""


class Outcomes(Protocol[R]):
    """Take in what polls have brought."""

    def shown(self, poll: GetPoll, run: R, asked: float) -> None:
        """Take in a run that was asked for at that time."""
        ...

    def listed(self, poll: PagePoll, page: Page[R], asked: float) -> None:
        """Take in a page that was asked for at that time."""
        ...

    def failed(self, poll: Poll, error: APIError) -> None:
        """Take in that a poll has failed."""
        ...

    def broke(self, error: Exception) -> None:
        """Take in a defect of ours: it must end the waits, not leave them hanging."""
        ...


class _Lane:
    """What there is of each stream."""

    def __init__(self) -> None:
        self.nudge = asyncio.Event()
        self.driver: asyncio.Task[None] | None = None
        self.polls: set[asyncio.Task[None]] = set()  # under way
        self.trouble = Trouble()


class Driver(Generic[R]):
    """Take a slot when a poll is due, choose the poll, send it, and hand on what comes of it.

    Args:
        remote: asks the server.
        schedule: decides what to ask next, and when.
        outcomes: takes in the answers.
    """

    def __init__(self, remote: Remote[R], schedule: PollSchedule, outcomes: Outcomes[R]) -> None:
        self._remote = remote
        self._schedule = schedule
        self._outcomes = outcomes
        self._lanes = {stream: _Lane() for stream in Stream}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong with the polls that fail now, if any do."""
        failing = (lane.trouble for lane in self._lanes.values() if lane.trouble.error is not None)
        return next(failing, None)

    @property
    def stuck(self) -> float:
        """Seconds for which polls have brought nothing good; 0 if none is awaited, or has failed."""
        return max(0.0 if (since := lane.trouble.since) is None else _now() - since for lane in self._lanes.values())

    def drive(self) -> None:
        """Begin to ask, or look again at what is due."""
        for stream, lane in self._lanes.items():
            if lane.driver is None:
                lane.trouble.end()  # that of former waits
                lane.driver = self.start(self._run(stream, lane))
        self.nudge()

    def nudge(self) -> None:
        """Look again at what is due."""
        for lane in self._lanes.values():
            lane.nudge.set()

    def rest(self) -> None:
        """Stop, also in line for a slot; a request under way comes to its end."""
        for lane in self._lanes.values():
            if lane.driver is not None:
                lane.driver.cancel()
                lane.driver = None
        self._set_alarm(math.inf)

    async def aclose(self) -> None:
        """Stop, and leave no task behind."""
        self.rest()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- asking

    async def _run(self, stream: Stream, lane: _Lane) -> None:
        """Ask and ask, until cancelled because nobody waits."""
        try:
            while True:
                lane.nudge.clear()
                due = math.inf if len(lane.polls) >= MOST_POLLS else self._schedule.next_due(stream, _now())
                if due > _now() + _AT_ONCE:
                    await self._pause(lane, due)
                    continue
                slot = self._remote.slot(stream)
                await slot.__aenter__()
                self._use(slot, stream, lane, max(due, _now()))
                await asyncio.sleep(0)  # where slots are free and time stands still, nothing else lets others run
        except Exception as exc:  # noqa: BLE001 - see `broke`
            self._break(exc)

    def _use(self, slot: Slot, stream: Stream, lane: _Lane, now: float) -> None:
        try:
            poll = self._schedule.next(stream, now)
        except BaseException:
            slot.close()
            raise
        if poll is None:
            slot.close()
            return
        task = self.start(self._ask(poll, slot, lane))
        lane.polls.add(task)
        task.add_done_callback(self._lander(slot, lane))

    def _lander(self, slot: Slot, lane: _Lane) -> Callable[[asyncio.Task[None]], None]:
        def land(task: asyncio.Task[None]) -> None:
            slot.close()  # the task owns the slot, even if it is cancelled before it begins
            lane.polls.discard(task)
            self.nudge()

        return land

    async def _pause(self, lane: _Lane, until: float) -> None:
        try:
            async with asyncio.timeout_at(until if until < math.inf else None):
                await lane.nudge.wait()
        except TimeoutError:
            self.nudge()  # time alone can move runs from one stream to the other

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run something that ends with the waits at the latest."""
        # Not in the context of whoever happens to wait first: its spans and log fields are not the driver's.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(self, poll: Poll, slot: Slot, lane: _Lane) -> None:
        asked = _now()
        lane.trouble.begin(asked)
        self._watch_over()
        try:
            if isinstance(poll, GetPoll):
                run = await self._remote.get(poll.run_id, slot)
                self._answered(lane)
                self._outcomes.shown(poll, run, asked)
            else:
                page = await self._remote.page(poll, slot)
                self._answered(lane)
                self._outcomes.listed(poll, page, asked)
        except APIError as error:
            self._failed(poll, error, lane)
        except Exception as exc:  # noqa: BLE001 - see `broke`
            self._schedule.failed(poll, _now())
            self._break(exc)

    def _failed(self, poll: Poll, error: APIError, lane: _Lane) -> None:
        if isinstance(poll, GetPoll) and isinstance(error, NotFoundError | InvalidRequestError):
            self._answered(lane)  # it is about the run
        else:
            lane.trouble.failed(error, _now())
        self._outcomes.failed(poll, error)

    def _break(self, error: Exception) -> None:
        _log.error("waiting failed; please report this", exc_info=error)
        self._outcomes.broke(error)

    # -- trouble

    def _answered(self, lane: _Lane) -> None:
        since = lane.trouble.since
        if lane.trouble.end() and since is not None:
            _log.info("waiting: polls are answered again, after %.0f s", _now() - since)
        if len(lane.polls) > 1:
            lane.trouble.begin(_now())  # others are under way

    def _watch_over(self) -> None:
        """See to it that trouble which lasts is told in time."""
        due = min(lane.trouble.due for lane in self._lanes.values())
        if due < self._alarm_at:
            self._set_alarm(due)

    def _set_alarm(self, due: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = asyncio.get_running_loop().call_at(due, self._look_after) if due < math.inf else None

    def _look_after(self) -> None:
        for stream, lane in self._lanes.items():
            trouble, now = lane.trouble, _now()
            if trouble.since is not None and trouble.tell(now):
                _log.warning(
                    "waiting: no good answer to any %s poll for %.0f s, waits go on; the last one: %s",
                    stream.value,
                    now - trouble.since,
                    trouble.reason,
                )
        self._set_alarm(min(lane.trouble.due for lane in self._lanes.values()))


def _now() -> float:
    return asyncio.get_running_loop().time()
