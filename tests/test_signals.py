"""Signals are heard of on any loop, also those that wake nobody who waits."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
import uvloop

from codegen_async.signals import handling_on
from tests.cli.harness import PATIENCE

Loop = Callable[[], asyncio.AbstractEventLoop]
on_each_loop = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


@on_each_loop
def test_a_signal_wakes_a_loop_that_has_nothing_else_to_do(new_loop: Loop) -> None:
    """Sent to another thread, as a signal that comes just before the loop waits: neither ends its waiting."""
    is_over = threading.Event()
    in_time: list[bool] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()

        def send() -> None:
            for _ in range(1000):  # gives way until the loop waits, which nothing tells
                time.sleep(0)
            signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
            in_time.append(is_over.wait(PATIENCE))
            loop.call_soon_threadsafe(heard.set)  # wakes the loop at last

        sender = threading.Thread(target=send)
        with handling_on(loop, lambda _: heard.set()):
            loop.call_soon(sender.start)
            await heard.wait()
        is_over.set()
        await asyncio.to_thread(sender.join)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert in_time == [True]


@on_each_loop
def test_handlers_of_others_on_the_loop_are_called_before_inside_and_after(new_loop: Loop) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        heard: list[str] = []

        async def receive(number: signal.Signals) -> None:
            told = len(heard)
            os.kill(os.getpid(), number)
            while len(heard) == told:  # noqa: ASYNC110 - no time passes, and a handler can set no event of each test
                await asyncio.sleep(0)

        loop.add_signal_handler(signal.SIGUSR1, heard.append, "first")
        await receive(signal.SIGUSR1)
        with handling_on(loop, lambda number: heard.append(number.name)):
            loop.add_signal_handler(signal.SIGUSR2, heard.append, "second")
            await receive(signal.SIGUSR1)
            await receive(signal.SIGTERM)
        await receive(signal.SIGUSR2)
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.remove_signal_handler(signal.SIGUSR2)
        return heard

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) == ["first", "first", "SIGTERM", "second"]


def test_a_handler_that_was_added_inside_stays() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        with handling_on(loop, lambda _: None):
            loop.add_signal_handler(signal.SIGUSR2, heard.set)
        os.kill(os.getpid(), signal.SIGUSR2)
        await heard.wait()
        loop.remove_signal_handler(signal.SIGUSR2)

    asyncio.run(main())
    assert signal.set_wakeup_fd(-1) == -1
