"""One call: slot, send, read, map errors, retry. What an answer means is decided in `answers`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import anyio
import msgspec

from codegen_async.errors import ConfigurationError, ConnectionFailedError, LimiterBusyError
from codegen_async.events import Held, Reporter
from codegen_async.http.answers import (
    ErrorMaker,
    NoAnswerError,
    OwnForm,
    Refused,
    Request,
    Response,
    Unreadable,
    Verdict,
    attributed,
    judge,
)
from codegen_async.http.attempts import Attempts
from codegen_async.http.retry import Backoff
from codegen_async.limits import Budget, Limits, Priority, Slot, StaleSlotError, read_budget
from codegen_async.reading import UNREADABLE
from codegen_async.secret import Secret

T = TypeVar("T")

_log = logging.getLogger("codegen_async")

_LONG_SILENCE = 60.0  # seconds; who is asked for more is told at once
_REFUSED = 400  # and above
_SERVER_ERROR = 500  # and above
_BEGUN = Response(status=200)  # what is told of a stream: senders yield its body only if it is a success


class Sender(Protocol):
    """Send requests; the seam at which tests put something else."""

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        """Send one request and return its answer.

        Every attempt that can reach the server stands inside `async with take_slot() as slot`, calls `slot.sent()` just
        before the first byte is written and `slot.answered()` when the status line is there.

        Raises:
            NoAnswerError: no status line came.
            StaleSlotError: what `slot.sent()` raised; nothing was sent.
        """
        ...

    def renew(self) -> None:
        """Trust no connection that is open now: one of them gave an answer to another question."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


@runtime_checkable
class StreamingSender(Sender, Protocol):
    """Send requests whose answers are read while they come."""

    def stream(
        self, request: Request, take_slot: Callable[[], Slot], *, silence: float
    ) -> AbstractAsyncContextManager[Response | AsyncIterator[bytes]]:
        """Send one request for server-sent events, and keep its answer open inside the block.

        Slots are taken and marked as in `send`. An answer other than success comes whole. Of a success come the pieces
        of the body, until it ends, its connection breaks, or no byte came for `silence` seconds: none of the three
        says what became of the matter.

        Raises:
            NoAnswerError: no status line came.
        """
        ...


class ForeignAnswerError(ValueError):
    """Say that a well-formed answer belongs to another question; raised by what reads the answer to a call."""


class AbsentError(ValueError):
    """Say that what was asked for is not there, as a 404 does; raised by what reads the answer to a call."""


class Transport:
    """Carry calls: each waits for its slot, is sent, and is repeated where that is safe.

    Args:
        sender: what talks to the server.
        limits: the limiter of each endpoint.
        token: shown by no message and no log from now on, whatever the server sends back.
        is_own: tells the API's own refusals from those of gateways. Default: all are its own.
        refused: tells what a refusal means where its status does not. Default: the status does.
        attempts: how often a call is tried in all. Default 4.
        backoff: the delays between attempts.
        reporter: hears of every attempt. Default: nobody does.
    """

    def __init__(
        self,
        sender: Sender,
        limits: Limits,
        *,
        token: Secret,
        is_own: OwnForm | None = None,
        refused: Refused | None = None,
        attempts: int = 4,
        backoff: Backoff | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.limits = limits
        self._is_own = is_own or _anybodys
        self._refused = refused
        self._sender = sender
        self._token = token
        token.hide_everywhere()
        self._attempts = attempts
        self._backoff = backoff or Backoff()
        self._reporter = reporter or Reporter()

    def call(
        self,
        request: Request,
        decode: Callable[[bytes], T],
        *,
        priority: Priority = Priority.INTERACTIVE,
        slot: Slot | None = None,
        renew: bool = True,
        on_sent: Callable[[], None] | None = None,
        patience: float | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Do as `carry` does, where all that matters of the answer is its body."""

        def read(answer: Response) -> T:
            return decode(answer.body)

        return self.carry(request, read, priority=priority, slot=slot, renew=renew, on_sent=on_sent, patience=patience)

    async def carry(
        self,
        request: Request,
        read: Callable[[Response], T],
        *,
        priority: Priority = Priority.INTERACTIVE,
        slot: Slot | None = None,
        renew: bool = True,
        on_sent: Callable[[], None] | None = None,
        patience: float | None = None,
    ) -> T:
        """Send a request until it has an answer, and return what that says.

        Args:
            request: what to send.
            read: turns the answer into the result; may raise what msgspec raises, `ForeignAnswerError` or
                `AbsentError`.
            priority: whether somebody waits for it.
            slot: a slot that the caller holds. Such a call is a poll and tried once, since its caller has a schedule.
            renew: whether another slot may take the place of one that has grown too old.
            on_sent: called when an attempt may reach the server from now on; a call that is cancelled before has not.
            patience: seconds that an attempt may wait for its slot. Default: as long as it takes.

        Raises:
            LimiterBusyError: a slot is further away than that.
            StatusError: the server refused.
            DecodeError: the answer cannot be read.
            ConnectionFailedError, RequestTimeoutError: no answer came.
            OutcomeUnknownError: it was sent and may have been carried out, and sending it again is not safe.
            StaleSlotError: the slot has grown too old, and is not to be renewed; nothing was sent.
        """
        attempt = excused = 0
        told = Attempts.of(self._reporter, request, background=slot is not None or priority is Priority.BACKGROUND)
        while True:
            attempt += 1
            if patience is not None:
                await self.limits.look(request.endpoint)
                self._check_patience(request.endpoint, priority, patience)
            slots = _Slots(
                self.limits, request.endpoint, priority, held=slot, renew=renew, on_sent=on_sent, attempts=told
            )
            outcome = await self._attempt(request, slots)
            excused += slots.excused
            verdict = judge(request, outcome)
            make_error = ErrorMaker(request, attempt, self._token)
            if isinstance(outcome, NoAnswerError):
                error = make_error.no_answer(outcome)
            elif verdict is Verdict.DONE:
                result = self._read(outcome, read)
                if not isinstance(result, Unreadable):
                    slots.over(outcome)
                    return result
                verdict = judge(request, result)
                error = make_error.unreadable(outcome, result)
            else:
                error = make_error.status(outcome)
            slots.over(outcome, type(error))
            if verdict is not Verdict.RETRY or slot is not None or attempt - excused >= self._attempts:
                raise error
            delay = self._delay(outcome, attempt - excused)
            wait = self.limits.expected_wait(request.endpoint, priority)
            if anyio.current_time() + max(delay, wait) >= anyio.current_effective_deadline():
                raise error  # the caller's time would be over before the next attempt
            await asyncio.sleep(delay)

    @asynccontextmanager
    async def stream(self, request: Request, *, silence: float) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Send a GET for server-sent events, once, and yield what comes of the body; see `StreamingSender`.

        Args:
            request: what to send.
            silence: seconds without a byte after which the stream is taken to have ended.

        Raises:
            StatusError: the server refused.
            ConnectionFailedError, RequestTimeoutError: no answer came.
            ConfigurationError: the sender cannot stream.
        """
        if not isinstance(self._sender, StreamingSender):
            raise ConfigurationError(f"sender: {type(self._sender).__name__} cannot stream")
        told = Attempts.of(self._reporter, request, background=False)
        slots = _Slots(self.limits, request.endpoint, Priority.INTERACTIVE, attempts=told)
        make_error = ErrorMaker(request, 1, self._token)
        try:
            async with self._sender.stream(request, slots.take, silence=silence) as answer:
                if isinstance(answer, Response):
                    refusal = make_error.status(self._heed(request, slots, answer))
                    slots.over(answer, type(refusal))
                    raise refusal
                slots.over(_BEGUN)
                yield answer
        except NoAnswerError as failure:
            error = make_error.no_answer(failure)
            slots.over(failure, type(error))
        else:
            return
        raise error  # out here, as the traceback of the failure shows the inside of the sender

    async def aclose(self) -> None:
        """Close the sender."""
        await self._sender.aclose()

    async def _attempt(self, request: Request, slots: _Slots) -> Response | NoAnswerError:
        while True:
            await asyncio.sleep(0)  # a sender may answer at once, and whoever calls in a loop must not keep the loop
            try:
                response = await self._sender.send(request, slots.take)
            except StaleSlotError:
                if not slots.renew:
                    raise
                slots.last = None  # nothing was sent; with another slot
            except NoAnswerError as failure:
                return failure.with_traceback(None)
            except asyncio.CancelledError as cancelled:
                slots.over(None, type(cancelled))
                raise
            else:
                return self._heed(request, slots, response)

    def _check_patience(self, endpoint: str, priority: Priority, patience: float) -> None:
        wait = self.limits.expected_wait(endpoint, priority)
        if wait > patience:
            raise LimiterBusyError(endpoint, wait, patience)

    def _heed(self, request: Request, slots: _Slots, response: Response) -> Response:
        """Do what an answer asks of everybody, and return it with what its form tells."""
        response = attributed(response, self._is_own, self._refused, request.refusals)
        held = slots.heed(response)
        if held:
            self._reporter.tell(Held(request.endpoint, held))
        return response

    def _read(self, response: Response, read: Callable[[Response], T]) -> T | Unreadable:
        if response.problem is not None:
            return Unreadable(response.problem, passing=not response.too_large, of_the_road=not response.too_large)
        try:
            return read(response)
        except AbsentError as exc:
            return Unreadable(str(exc), passing=False, absent=True)
        except ForeignAnswerError as exc:
            self._sender.renew()
            return Unreadable(str(exc))
        except msgspec.ValidationError as exc:
            return Unreadable(str(exc), passing=False)  # whole, and yet not what was promised: it would come again
        except UNREADABLE as exc:
            return Unreadable(f"not JSON: {exc}", of_the_road=True)

    def _delay(self, outcome: Response | NoAnswerError, attempt: int) -> float:
        if isinstance(outcome, NoAnswerError):
            return self._backoff.delay(attempt)
        if outcome.rate_limited:
            return 0.0  # the limiter's gate is closed for as long as it takes
        return self._backoff.delay(attempt, retry_after=outcome.retry_after or None)  # 0 does not say when


def _anybodys(_status: int, _said: dict[str, Any]) -> bool:
    return True


class _Slots:
    """Give out the slots for the attempts that a sender makes at one request."""

    def __init__(
        self,
        limits: Limits,
        endpoint: str,
        priority: Priority,
        *,
        held: Slot | None = None,
        renew: bool = True,
        on_sent: Callable[[], None] | None = None,
        attempts: Attempts | None = None,
    ) -> None:
        self._limits = limits
        self._endpoint = endpoint
        self._priority = priority
        self._held = held
        self.renew = renew
        self._on_sent = on_sent
        self._attempts = attempts
        self.last: Slot | None = None
        self.excused = False
        """Whether the last answer was a 429 that is not the caller's fault; see `Slot.rejected`."""

    def take(self) -> Slot:
        if self.last is not None:  # the connection of the attempt before died, and the sender makes another
            self.over(None, ConnectionFailedError)
        slot = self._held or self._limits.slot(self._endpoint, self._priority)
        self._held = None  # good for one attempt
        self.last = slot
        return slot if self._on_sent is None else _TellingSlot(slot, self._on_sent)

    def heed(self, response: Response) -> float:
        """Keep to the budget that the answer tells of, and stop everybody if it says that there were too many requests.

        So does a server error that says when the server will be back.

        Returns:
            Seconds for which the gate is closed, if this answer has closed it; else 0.
        """
        budget = read_budget(response.headers)
        if budget is not None and self.last is not None:
            self.last.heard(budget)
        if response.status < _REFUSED:
            return 0.0
        limiter = self._limits[self._endpoint]
        held_before = limiter.state.held_for
        asked = response.retry_after
        if response.rate_limited and self.last is not None:
            if asked is None and budget is not None and not budget.remaining:
                asked = budget.reset
            self.excused = self.last.rejected(asked)
        elif response.status >= _SERVER_ERROR and asked:
            limiter.hold(asked)
        held = limiter.state.held_for
        if held > _LONG_SILENCE and asked and held > held_before + 1.0:
            _log.warning(
                "%s: the server answers %d and asks for %.0f s of silence; calls wait for so long",
                self._endpoint,
                response.status,
                asked,
            )
        return held if held > held_before else 0.0

    def over(self, outcome: Response | NoAnswerError | None, error: type[BaseException] | None = None) -> None:
        """Tell that the last attempt is over, and what it came to."""
        if self._attempts is not None:
            response = outcome if isinstance(outcome, Response) else None
            self._attempts.over(self.last, response, None if error is None else error.__name__)


class _TellingSlot:
    """A slot that tells when its request is sent."""

    def __init__(self, slot: Slot, on_sent: Callable[[], None]) -> None:
        self._slot = slot
        self._on_sent = on_sent

    @property
    def waited(self) -> float:
        return self._slot.waited

    @property
    def taken_at(self) -> float | None:
        return self._slot.taken_at

    async def __aenter__(self) -> Self:
        await self._slot.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._slot.__aexit__(exc_type, exc, tb)

    def close(self) -> None:
        self._slot.close()

    def sent(self) -> None:
        self._slot.sent()
        self._on_sent()

    def answered(self) -> None:
        self._slot.answered()

    def heard(self, budget: Budget) -> None:
        self._slot.heard(budget)

    def rejected(self, retry_after: float | None) -> bool:
        return self._slot.rejected(retry_after)
