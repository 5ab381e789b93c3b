"""Who answers which interrupt: each is answered once, however often the server shows it.

A read may show an interrupt after it was answered, for a while: the vendor promises nothing else. Ids tell: what was
answered, or what somebody is answering, is not asked again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import anyio

from codegen_async.arguments import check_json_object
from codegen_async.cleaning import clean
from codegen_async.errors import InvalidArgumentError, OutcomeUnknownError, RunBlockedError, WaitTimeoutError
from codegen_async.middesk.free import Interrupt
from codegen_async.middesk.models import MiddeskRun
from codegen_async.models import Phase
from codegen_async.recent import Recent

_log = logging.getLogger("codegen_async")

InterruptHandler: TypeAlias = Callable[[MiddeskRun, Sequence[Interrupt]], Awaitable[Mapping[str, Any] | None]]
"""Answers interrupts: gets a run and its new interrupts, returns inputs by interrupt id, or None to answer none."""

SETTLED = 300.0
"""Seconds after an answer from which on an interrupt that is still shown is no old news: the run does not go on."""

_REMEMBERED = 100_000  # answers: 36 MB at most


class InterruptBook:
    """Remember which interrupts were answered, and which somebody is answering."""

    def __init__(self) -> None:
        self._answered: Recent[tuple[str, str], float] = Recent(_REMEMBERED)
        self._claimed: set[tuple[str, str]] = set()

    def open(self, run: MiddeskRun) -> dict[str, Interrupt]:
        """Return the interrupts of a snapshot, by id, that nobody has answered and nobody is answering."""
        return {one.id: one for one in run.interrupts if one.id and self._is_open((run.id, one.id))}

    def _is_open(self, key: tuple[str, str]) -> bool:
        return key not in self._claimed and key not in self._answered

    def is_old(self, run: MiddeskRun) -> bool:
        """Whether a snapshot shows a block that nobody needs to see to: somebody does, or did lately."""
        if run.phase is not Phase.BLOCKED or not run.interrupts:
            return False
        lately = asyncio.get_running_loop().time() - SETTLED
        keys = [(run.id, interrupt.id) for interrupt in run.interrupts]
        return all(key in self._claimed or self._answered.get(key, -math.inf) > lately for key in keys)

    @contextmanager
    def claim(self, run_id: str, interrupt_ids: Collection[str]) -> Generator[None]:
        """Keep others from answering these interrupts."""
        keys = {(run_id, interrupt_id) for interrupt_id in interrupt_ids}
        self._claimed |= keys
        try:
            yield
        finally:
            self._claimed -= keys

    def answer(self, run_id: str, interrupt_id: str) -> None:
        """Note that an answer is on its way or was given."""
        self._answered[run_id, interrupt_id] = asyncio.get_running_loop().time()

    def withdraw(self, run_id: str, interrupt_id: str) -> None:
        """Note that an answer was not given after all."""
        self._answered.pop((run_id, interrupt_id), None)


class Answering:
    """Have the handler of one wait answer what its run asks.

    Args:
        book: what is known of all waits.
        handler: whom to ask, if anybody.
        patience: seconds it may take for one round, None for any time.
        resume: sends an answer: run id, interrupt id, input.
    """

    def __init__(
        self,
        book: InterruptBook,
        handler: InterruptHandler | None,
        patience: float | None,
        resume: Callable[[str, str, Any], Awaitable[object]],
    ) -> None:
        self._book = book
        self._handler = handler
        self._patience = patience
        self._resume = resume
        self._left: set[str] = set()

    async def __call__(self, run: MiddeskRun) -> None:
        """See to a blocked run, so that it goes on.

        Raises:
            RunBlockedError: nobody answers.
            WaitTimeoutError: the handler takes too long.
            APIError: an answer could not be given.
        """
        asked = self._book.open(run)
        new = [interrupt for interrupt in asked.values() if interrupt.id not in self._left]
        if self._handler is None:
            raise _blocked(run, "needs a person")
        if not new:
            if self._book.is_old(run):
                return  # another wait is at it
            raise _blocked(run, "needs a person" if asked else "still asks what was answered")
        with self._book.claim(run.id, asked):
            answers = _checked(await self._ask(self._handler, run, new), asked)
            if not answers:
                raise _blocked(run, "was left unanswered")
            for interrupt_id in answers:
                self._book.answer(run.id, interrupt_id)
        self._left |= asked.keys() - answers.keys()
        await _to_the_end(self._send(run.id, answers))

    async def _ask(
        self, handler: InterruptHandler, run: MiddeskRun, new: Sequence[Interrupt]
    ) -> Mapping[str, Any] | None:
        patience = asyncio.timeout(self._patience)
        try:
            async with patience:
                return await handler(run, new)
        except TimeoutError:
            if not patience.expired():
                raise  # the handler's own
            message = f"run {run.id} is interrupted, and was not answered within {self._patience:g} s"
            raise WaitTimeoutError(message, run_id=run.id, run=run) from None

    async def _send(self, run_id: str, answers: Mapping[str, Any]) -> None:
        waiting = dict(answers)
        try:
            for interrupt_id, value in answers.items():
                del waiting[interrupt_id]
                await self._give(run_id, interrupt_id, value)
        finally:
            for interrupt_id in waiting:
                self._book.withdraw(run_id, interrupt_id)

    async def _give(self, run_id: str, interrupt_id: str, value: object) -> None:
        try:
            await self._resume(run_id, interrupt_id, value)
        except OutcomeUnknownError as unknown:
            # Not sent again. If it was carried out, the run goes on; if not, it still asks when the answer has settled.
            _log.warning("middesk: an answer to run %s may be lost: %s", run_id, unknown)
        except Exception:
            self._book.withdraw(run_id, interrupt_id)
            raise


def _checked(answers: Mapping[str, Any] | None, asked: Collection[str]) -> dict[str, Any]:
    if answers is None:
        return {}
    given = check_json_object("on_blocked", answers)
    if not set(asked) >= given.keys():
        raise InvalidArgumentError("on_blocked", list(given), f"answers to some of {list(asked)}")
    return given


def _blocked(run: MiddeskRun, why: str) -> RunBlockedError:
    asked = clean("; ".join(one.label or one.id for one in run.interrupts))
    return RunBlockedError(f"run {run.id} {why} ({asked or 'no interrupts shown'})", run_id=run.id, run=run)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do the work, also if the task is cancelled meanwhile: an answer that a person gave is not lost halfway.

    The cancellation goes on when the work is done. A second one cuts it short.
    """
    task = asyncio.create_task(work)
    with anyio.CancelScope(shield=True):
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # nobody is left to raise it to
            raise
        finally:
            task.cancel()
    task.result()
