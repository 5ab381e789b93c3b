"""Any event loop will do, and whatever raises on it, no turn is lost."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import TypeVarTuple, Unpack

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.limits import Priority, Rate, WindowLimiter
from codegen_async.testing.clock import VirtualLoop

Ts = TypeVarTuple("Ts")


class CoarseLoop(asyncio.SelectorEventLoop):
    """Know whole milliseconds only; a timer of less is a plain handle, which does not know its time."""

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        milliseconds = round((when - self.time()) * 1000)
        if milliseconds <= 0:
            return self.call_soon(callback, *args, context=context)
        return super().call_at(self.time() + milliseconds / 1000, callback, *args, context=context)


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, CoarseLoop, uvloop.new_event_loop])
def test_two_thousand_callers_pass_at_a_thousand_per_second(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        limiter = WindowLimiter(Rate(50, 0.05), margin=0.001, lateness=0.0)
        dice = random.Random(7)
        passed = 0

        async def call(comes_after: float, takes: float) -> None:
            nonlocal passed
            await asyncio.sleep(comes_after)
            async with limiter.slot() as slot:
                slot.sent()
                await asyncio.sleep(takes)
                slot.answered()
                passed += 1

        async with asyncio.timeout(60.0), asyncio.TaskGroup() as group:
            for _ in range(2000):
                group.create_task(call(dice.random() * 1.5, dice.random() * 0.003))
        assert passed == 2000
        assert limiter.state.in_flight == limiter.queue_length == 0

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


class BrokenError(Exception):
    """What a loop raises that is out of order."""


class BrokenLoop(VirtualLoop):
    """Refuse a timer now and then, when asked to."""

    def __init__(self, dice: random.Random, share: float) -> None:
        super().__init__()
        self._dice = dice
        self.share = 0.0
        self._broken_share = share

    def break_down(self, *, broken: bool) -> None:
        self.share = self._broken_share if broken else 0.0

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if getattr(callback, "__name__", "") == "_wake" and self._dice.random() < self.share:
            raise BrokenError
        return super().call_at(when, callback, *args, context=context)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.1, 0.5, 1.0]))
def test_no_turn_is_lost_whatever_raises(seed: int, limit: int, share: float) -> None:
    """Callers come, leave, and meet errors of the loop, of what hears of them, and of their own, at any point."""
    dice = random.Random(seed)
    loop = BrokenLoop(dice, share)

    async def main() -> None:
        limiter = WindowLimiter(Rate(limit, 10.0), lateness=0.0)
        heard = 0

        def hear(_: Priority) -> None:
            nonlocal heard
            heard += 1
            if dice.random() < share / 4:
                raise BrokenError

        limiter.on_queued.append(hear)

        async def call() -> None:
            with suppress(BrokenError):
                async with limiter.slot(dice.choice(list(Priority))) as slot:
                    if dice.random() < 0.2:
                        raise BrokenError
                    slot.sent()
                    await asyncio.sleep(dice.random())
                    if dice.random() < 0.2:
                        raise BrokenError
                    slot.answered()

        loop.set_exception_handler(lambda *_: None)
        loop.break_down(broken=True)
        callers = []
        for _ in range(30):
            callers.append(asyncio.create_task(call()))
            if dice.random() < 0.5:
                dice.choice(callers).cancel()
            await asyncio.sleep(dice.random() * 3)
        loop.break_down(broken=False)
        await call()  # whose coming wakes those whose timer was refused
        await asyncio.wait(callers, timeout=1000.0)
        assert all(caller.done() for caller in callers)
        await asyncio.sleep(11.0)
        state = limiter.state
        assert (state.available, state.in_flight, state.cooling, state.queue_length) == (limit, 0, 0, 0)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
