"""Do something at a given turn of a loop, or while a journal's thread is at work."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import pytest

from codegen_async.batch.commits import Committer
from codegen_async.testing.clock import VirtualLoop

T = TypeVar("T")


class TurningLoop(VirtualLoop):
    """A virtual loop that counts its turns, and calls at the beginning of one what it was given for it."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        self.hooks: dict[int, Callable[[], object]] = {}

    def _run_once(self) -> None:
        if (hook := self.hooks.pop(self.turn, None)) is not None:
            hook()
        self.turn += 1
        super()._run_once()  # type: ignore[misc]  # the stubs do not know it


class Stepped(Coroutine[Any, Any, T]):
    """A coroutine that calls `at` with a number whenever it begins to wait: on any loop the same numbers."""

    def __init__(self, work: Coroutine[Any, Any, T], at: Callable[[int], None]) -> None:
        self._work = work
        self._at = at
        self._steps = 0

    def send(self, value: Any) -> Any:
        return self._stepped(self._work.send(value))

    def throw(self, *error: Any) -> Any:
        return self._stepped(self._work.throw(*error))

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise AssertionError("make a task of it")

    def _stepped(self, waiting: Any) -> Any:
        self._at(self._steps)
        self._steps += 1
        return waiting


class HeldThread:
    """Call something on the loop while a journal's thread is at its work number `job`, and hold it there meanwhile.

    Args:
        job: which piece of work, from 0: opening, reading, committing, closing.
        after: hold it when the work is done but nobody knows it yet, else before it begins.
        then: called on the loop; calls what it is given when the thread may go on.
    """

    def __init__(self, job: int, *, after: bool, then: Callable[[Callable[[], None]], None]) -> None:
        self.jobs = 0
        self._job = job
        self._after = after
        self._then = then

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hold the threads of all journals that are opened from now on."""
        for name in ("_open", "_read", "_commit", "_close"):
            monkeypatch.setattr(Committer, name, self._holding(getattr(Committer, name)))

    def _holding(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def held(committer: Committer, *given: Any) -> Any:
            job = self.jobs
            self.jobs += 1
            if job != self._job:
                return work(committer, *given)
            if not self._after:
                self._hold(committer)
            try:
                return work(committer, *given)
            finally:
                if self._after:
                    self._hold(committer)

        return held

    def _hold(self, committer: Committer) -> None:
        released = threading.Event()
        committer._loop.call_soon_threadsafe(self._then, released.set)
        assert released.wait(60)


def repeat(call: Callable[[], object], times: int, then: Callable[[], object], apart: int = 2) -> None:
    """Make a call so many times, some turns of the loop apart, then another one."""
    loop = asyncio.get_running_loop()

    def turn(number: int) -> None:
        if number == times * apart:
            then()
            return
        if number % apart == 0:
            call()
        loop.call_soon(turn, number + 1)

    turn(0)
