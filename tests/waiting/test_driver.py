"""The driver by itself."""

import asyncio
import math
from types import TracebackType
from typing import Any, Self, cast

import pytest

from codegen_async.limits import Budget, Slot
from codegen_async.polling import GetPoll, Poll, PollSchedule, Stream
from codegen_async.waiting.driver import Driver

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


class FreeSlot:
    waited = 0.0
    taken_at: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        pass

    def close(self) -> None:
        pass

    def sent(self) -> None:
        pass

    def answered(self) -> None:
        pass

    def rejected(self, retry_after: float | None) -> bool:  # noqa: ARG002 - a slot
        return False

    def heard(self, budget: Budget) -> None:
        pass


class AlmostDue:
    """A schedule whose poll is due in less time than a clock can tell."""

    def __init__(self) -> None:
        self.due = math.inf
        self.asked = asyncio.Event()

    def next_due(self, stream: Stream, now: float) -> float:
        if stream is Stream.LIST or self.asked.is_set():
            return math.inf
        if self.due == math.inf:
            self.due = math.nextafter(now, math.inf)
        return self.due

    def next(self, stream: Stream, now: float) -> Poll | None:
        if self.next_due(stream, now) > now:
            return None
        self.asked.set()
        return GetPoll(1)


class Remote:
    def slot(self, _: Stream) -> Slot:
        return cast("Slot", FreeSlot())

    async def get(self, *_: object) -> None:
        return None

    async def page(self, *_: object) -> None:
        return None


class Nobody:
    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


async def test_what_is_due_within_the_resolution_of_a_clock_is_asked_and_not_waited_for_without_end() -> None:
    schedule = AlmostDue()
    driver: Driver[Any] = Driver(cast("Any", Remote()), cast("PollSchedule", schedule), cast("Any", Nobody()))
    driver.drive()
    for _ in range(100):
        await asyncio.sleep(0)
    assert schedule.asked.is_set()
    await driver.aclose()
