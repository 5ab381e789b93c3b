"""Carry the calls of a dialect: from a `Call` to the runs that its answer shows. Knows the transport, and no waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from codegen_async.hosted.dialect import Call, Dialect
from codegen_async.hosted.run import HostedRun, in_phase
from codegen_async.http.answers import Refusal, Response
from codegen_async.http.transport import AbsentError, ForeignAnswerError, Transport
from codegen_async.limits import Priority, Slot
from codegen_async.models import Phase, RunId, RunLike, Vocabulary
from codegen_async.reading import UNREADABLE
from codegen_async.recent import Recent

T = TypeVar("T")
R = TypeVar("R", bound=RunLike)

_MOST_SETTLING = 10_000  # runs whose words are watched until they have stood for long enough

_NOT_AS_PROMISED = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)
"""What reading raises where fields are missing or of another kind."""


class Calls(Generic[R]):
    """Send the calls of one dialect.

    Args:
        transport: carries them.
        dialect: wrote them.
        words: what status words stand for.
    """

    def __init__(self, transport: Transport, dialect: Dialect[R], words: Vocabulary) -> None:
        self._transport = transport
        self.dialect = dialect
        self._words = words
        self._settling = _Settling(dialect.settles)
        self.on_end: Callable[[RunId], None] = _nobody
        """Called with each run that is seen to have ended, every time."""

    def slot(self, limit: str, priority: Priority) -> Slot:
        """Return a slot for a call that spends that limit."""
        return self._transport.limits.slot(limit, priority)

    async def carry(
        self,
        call: Call[T],
        *,
        priority: Priority = Priority.INTERACTIVE,
        slot: Slot | None = None,
        renew: bool = True,
        on_sent: Callable[[], None] | None = None,
        patience: float | None = None,
    ) -> T:
        """Send a call and return what its answer says; see `Transport.carry`."""
        return await self._transport.carry(
            call.request(self.dialect.headers),
            reader(call.read),
            priority=priority,
            slot=slot,
            renew=renew,
            on_sent=on_sent,
            patience=patience,
        )

    async def run(
        self,
        call: Call[R | None],
        *,
        priority: Priority = Priority.INTERACTIVE,
        slot: Slot | None = None,
        patience: float | None = None,
    ) -> R:
        """Send a call that asks for a run, and return it.

        Raises:
            NotFoundError: the answer says that there is none, be it by its status or by a null.
        """

        def read(answer: Response) -> R:
            run = call.read(answer)
            if run is None:
                raise AbsentError("the answer says that there is no such run")
            return run

        return self.known(await self.carry(call.reading(read), priority=priority, slot=slot, patience=patience))

    async def whole(
        self,
        call: Call[R | None],
        *,
        priority: Priority = Priority.INTERACTIVE,
        slot: Slot | None = None,
        patience: float | None = None,
    ) -> R:
        """Send a call that asks for a run, and where that has ended, the one that shows more of it, if there is one."""
        run = await self.run(call, priority=priority, slot=slot, patience=patience)
        more = self.dialect.full(run) if run.phase.is_terminal else None
        return run if more is None else await self.run(more, priority=priority)

    def known(self, run: R) -> R:
        """Return a run with the phase that its word stands for; it is running while that word may pass."""
        if self._settling.may_pass(run):
            return in_phase(run, Phase.RUNNING)
        known = in_phase(run, self._words.phase(run.status)) if isinstance(run, HostedRun) else self._words.teach(run)
        if known.phase.is_terminal:
            self.on_end(known.id)
        return known


def meaning_of(dialect: Dialect[Any]) -> Callable[[Response], Refusal | None]:
    """Return what tells the meaning of a refusal, also of a gateway's page that the dialect does not expect."""

    def meaning(answer: Response) -> Refusal | None:
        try:
            return dialect.refused(answer)
        except (*UNREADABLE, *_NOT_AS_PROMISED):
            return None

    return meaning


def _nobody(_: RunId) -> None:
    pass


class _Word(NamedTuple):
    status: str
    since: float


class _Settling:
    """Tell which words have not stood for long enough to be believed.

    Args:
        seconds: how long a word must stand, by words.
    """

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._seconds = {word.strip().upper(): most for word, most in seconds.items()}
        self._seen: Recent[RunId, _Word] = Recent(_MOST_SETTLING)

    def may_pass(self, run: RunLike) -> bool:
        """Whether the word of a run may be passing; `run` is the newest that was seen of it."""
        if not self._seconds:
            return False
        word = (run.status or "").strip().upper()
        seconds = self._seconds.get(word)
        if seconds is None:
            self._seen.pop(run.id, None)
            return False
        now = asyncio.get_running_loop().time()
        seen = self._seen.get(run.id)
        if seen is None or seen.status != word:
            self._seen[run.id] = seen = _Word(word, now)
        return now - seen.since < seconds


def reader(read: Callable[[Response], T]) -> Callable[[Response], T]:
    """Return a reader that fails as the transport expects, whatever it stumbles over."""

    def guarded(answer: Response) -> Any:
        try:
            return read(answer)
        except (*UNREADABLE, AbsentError, ForeignAnswerError):
            raise
        except _NOT_AS_PROMISED as exc:
            raise msgspec.ValidationError(f"not as promised: {type(exc).__name__}: {exc}") from None

    return guarded
