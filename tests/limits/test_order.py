"""Who is served when, what waiting costs, and that nobody's leaving loses a slot."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVarTuple, Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen_async.limits import Priority, Rate, WindowLimiter
from codegen_async.testing.clock import VirtualLoop
from tests.limits.simulation import on_virtual_clock, run

Ts = TypeVarTuple("Ts")
I, B = Priority.INTERACTIVE, Priority.BACKGROUND  # noqa: E741 - reads as a line of people


class Line:
    """Callers of a limiter. Each request is answered at once; `served` has the names in the order of their turns."""

    def __init__(self, limiter: WindowLimiter) -> None:
        self.limiter = limiter
        self.served: list[str] = []
        self.callers: list[asyncio.Task[None]] = []

    def join(self, *names: str) -> list[asyncio.Task[None]]:
        """Let callers come in this order; the first letter of a name is the priority, I or B."""
        newcomers = [asyncio.create_task(self._call(name)) for name in names]
        self.callers += newcomers
        return newcomers

    async def _call(self, name: str) -> None:
        async with self.limiter.slot(I if name[0] == "I" else B) as slot:
            self.served.append(name)
            slot.sent()
            slot.answered()

    async def drain(self) -> list[str]:
        """Wait until everybody was served or has left."""
        await asyncio.gather(*self.callers, return_exceptions=True)
        return self.served


async def busy_line(limit: int = 1) -> Line:
    """Return a line before which all slots have just been used."""
    line = Line(WindowLimiter(Rate(limit, 10.0)))
    line.join(*["I"] * limit)
    await line.drain()
    line.served.clear()
    return line


async def a_tick() -> None:
    await asyncio.sleep(0)


@on_virtual_clock
async def test_callers_of_one_priority_are_served_in_the_order_in_which_they_came() -> None:
    line = await busy_line(limit=3)
    names = [f"I{number}" for number in range(50)]
    line.join(*names)
    await a_tick()
    assert await line.drain() == names


@on_virtual_clock
async def test_interactive_calls_come_before_background_calls_that_came_earlier() -> None:
    line = await busy_line()
    line.join("B1", "B2", "I1", "I2")
    await a_tick()
    assert await line.drain() == ["I1", "I2", "B1", "B2"]


@on_virtual_clock
async def test_four_interactive_calls_pass_a_background_call_and_no_more() -> None:
    line = await busy_line()
    line.join("B1", "B2", *[f"I{number}" for number in range(10)])
    await a_tick()
    assert await line.drain() == ["I0", "I1", "I2", "I3", "B1", "I4", "I5", "I6", "I7", "B2", "I8", "I9"]


@on_virtual_clock
async def test_every_background_call_is_passed_by_four_whatever_happened_before_it_came() -> None:
    line = await busy_line()
    line.join("B1", "I1", "I2")
    await a_tick()
    await line.drain()
    line.join("B2", *[f"I{number}" for number in range(3, 9)])
    await a_tick()
    assert await line.drain() == ["I1", "I2", "B1", "I3", "I4", "I5", "I6", "B2", "I7", "I8"]


@given(st.lists(st.sampled_from("IB") | st.integers(0, 30), max_size=80), st.integers(1, 5))
def test_whoever_comes_and_goes_the_rest_is_served_in_order(events: list[str | int], limit: int) -> None:
    """A letter: somebody comes. A number: that much later, that one of those who wait leaves."""

    async def main() -> None:
        line = await busy_line(limit)
        waiting: dict[str, asyncio.Task[None]] = {}
        left = set[str]()
        for place, event in enumerate(events):
            if isinstance(event, str):
                name = f"{event}{place:02}"
                (waiting[name],) = line.join(name)
            else:
                await asyncio.sleep(event / 3)
                still = [name for name, caller in waiting.items() if not caller.done()]
                if event < len(still):
                    left.add(still[event])
                    waiting[still[event]].cancel()
        await a_tick()
        served = await line.drain()
        for letter in "IB":
            assert [name for name in served if name[0] == letter] == sorted(
                name for name in waiting if name[0] == letter and name not in left
            )
        await asyncio.sleep(20.0)
        assert line.limiter.available == limit

    run(main())


@on_virtual_clock
async def test_nobody_overtakes_a_slot_that_was_handed_over() -> None:
    limiter = WindowLimiter(Rate(1, 10.0))
    line = Line(limiter)
    async with limiter.slot():
        line.join("B1")
        await a_tick()
    # B1 has its slot and has not run yet; whoever comes in this moment is too late.
    line.join("I1")
    await asyncio.sleep(11.0)
    assert await line.drain() == ["B1", "I1"]


class BusyLoop(VirtualLoop):
    """A loop whose callbacks can take time."""

    def __init__(self) -> None:
        super().__init__()
        self._worked = 0.0

    def time(self) -> float:
        return super().time() + self._worked

    def work(self, seconds: float) -> None:
        self._worked += seconds


def test_nobody_overtakes_those_whose_turn_came_while_the_loop_was_busy() -> None:
    loop = BusyLoop()

    async def main() -> None:
        line = await busy_line()
        line.join("I1")
        await a_tick()
        loop.work(11.0)
        line.join("I2")  # runs before the timer that the work has delayed
        assert await line.drain() == ["I1", "I2"]

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("successors", [0, 1, 3])
@on_virtual_clock
async def test_a_slot_handed_to_a_caller_who_leaves_in_that_moment_goes_on(successors: int) -> None:
    limiter = WindowLimiter(Rate(1, 10.0))
    line = Line(limiter)
    async with limiter.slot():
        (leaver,) = line.join("I0")
        names = [f"I{number}" for number in range(1, successors + 1)]
        line.join(*names)
        await a_tick()
    leaver.cancel()
    await a_tick()
    await a_tick()
    assert leaver.cancelled()
    assert line.served == names[:1]
    assert limiter.available == (0 if successors else 1)
    assert await line.drain() == names


@pytest.mark.parametrize("successors", [0, 1, 3])
@on_virtual_clock
async def test_a_slot_that_comes_just_after_a_caller_has_left_goes_to_the_next(successors: int) -> None:
    limiter = WindowLimiter(Rate(1, 10.0))
    line = Line(limiter)
    names = [f"I{number}" for number in range(1, successors + 1)]
    async with limiter.slot():
        (leaver,) = line.join("I0")
        line.join(*names)
        await a_tick()
        leaver.cancel()  # and has not run yet when the slot is given back
    await a_tick()
    assert line.served == names[:1]
    assert limiter.available == (0 if successors else 1)
    assert await line.drain() == names


class CountingLoop(VirtualLoop):
    """Count the callbacks that come to run, and the timers that are set."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks = 0
        self.timers = 0

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.callbacks += 1
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        def fire() -> None:
            self.callbacks += 1
            callback(*args)

        self.timers += 1
        return super().call_at(when, fire, context=context)

    async def during(self, seconds: float) -> int:
        """Return how many callbacks run in that time, besides the two of this sleep."""
        before = self.callbacks
        await asyncio.sleep(seconds)
        return self.callbacks - before - 2

    def test(self, main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=lambda: self) as runner:
            runner.run(main)


@pytest.mark.parametrize("waiters", [1, 1000])
def test_nobody_wakes_before_its_turn(waiters: int) -> None:
    loop = CountingLoop()

    async def main() -> None:
        line = await busy_line(limit=5)
        line.join(*["I"] * waiters)
        await a_tick()
        assert await loop.during(9.9) == 0
        at_their_turn = await loop.during(0.2)
        assert len(line.served) == min(waiters, 5)
        assert at_their_turn <= 2 + 2 * len(line.served)

    loop.test(main())


def test_all_who_wait_share_one_timer() -> None:
    loop = CountingLoop()

    async def main() -> None:
        line = await busy_line(limit=5)
        before = loop.timers
        line.join(*["I"] * 1000)
        await a_tick()
        assert line.limiter.queue_length == 1000
        assert loop.timers == before + 1

    loop.test(main())


def test_an_idle_limiter_has_no_timer() -> None:
    loop = CountingLoop()

    async def main() -> None:
        line = await busy_line()
        assert await loop.during(1000.0) == 0
        line.join("I1")
        await line.drain()
        assert await loop.during(1000.0) == 0

    loop.test(main())


def test_the_last_one_who_leaves_the_line_puts_out_the_timer() -> None:
    loop = CountingLoop()

    async def main() -> None:
        line = await busy_line()
        leavers = line.join("I1", "B1")
        await a_tick()
        for leaver in leavers:
            leaver.cancel()
        await line.drain()
        assert await loop.during(1000.0) == 0

    loop.test(main())


@pytest.mark.slow
def test_of_a_hundred_thousand_waiters_half_leave_and_all_others_are_served_in_order() -> None:
    async def main() -> None:
        limiter = WindowLimiter(Rate(1000, 1.0))
        line = Line(limiter)
        names = [f"I{number}" for number in range(100_000)]
        async with limiter.slot():
            limiter.hold(5.0)
            callers = line.join(*names)
            await a_tick()
            assert limiter.queue_length == 100_000
            for caller in callers[::2]:
                caller.cancel()
            await a_tick()
            assert limiter.queue_length == 50_000
        assert await line.drain() == names[1::2]
        await asyncio.sleep(2.0)
        assert limiter.available == 1000

    run(main())
