"""What a client tells of what it does, to one observer, after the fact."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Generator, Mapping
from typing import Protocol

import msgspec

from codegen_async.cleaning import shown
from codegen_async.errors import ConfigurationError
from codegen_async.limits import LimiterState
from codegen_async.models import Phase, RunLike

_log = logging.getLogger("codegen_async")


class Attempt(msgspec.Struct, frozen=True):
    """Tell of one request that was made, or was about to be when its connection failed.

    Attributes:
        endpoint: whose limit it spent.
        method: GET or POST.
        template: its path with names for the values in it.
        number: which attempt at its call it was, from 1.
        background: whether it was made by a wait or a batch, and not by a call of the user's own.
        status: the HTTP status; None if no answer came.
        error: the class of the error that it came to (`ServerError`, `DecodeError`, `ConnectionFailedError`, ...;
            `CancelledError` if its caller left), None if it came to none.
        queued: seconds for which it stood in line for its slot.
        seconds: from the slot until the answer was whole, or was given up. Of a stream: until it began.
        size: bytes of the answer's body.
        url: where it went. Holds ids, but never the token.
    """

    endpoint: str
    method: str
    template: str
    number: int
    background: bool
    status: int | None
    error: str | None
    queued: float
    seconds: float
    size: int
    url: str


class PhaseChanged(msgspec.Struct, frozen=True):
    """Tell where a run stands that was just created, or that somebody waits for.

    Attributes:
        run: its newest snapshot.
        before: the phase that was known until now; None for a run that was just created, and when a wait begins.
    """

    run: RunLike
    before: Phase | None


class Held(msgspec.Struct, frozen=True):
    """Tell that an answer, a 429 as a rule, has closed the gate of an endpoint.

    Attributes:
        endpoint: which one.
        seconds: for how long, from now.
    """

    endpoint: str
    seconds: float


class ItemChanged(msgspec.Struct, frozen=True):
    """Tell where an item of a batch stands: each once when the batch is opened or it is added, then at every change.

    Attributes:
        key: the item's.
        state: one of `State`.
        batch: the path of the batch's journal.
    """

    key: str
    state: str
    batch: str


class Observed(Protocol):
    """Be what an observer may look at while it is open: a client."""

    @property
    def limits(self) -> Mapping[str, LimiterState]:
        """What the limiter of each endpoint is doing now."""
        ...

    @property
    def waits(self) -> int:
        """How many runs are waited for now."""
        ...


class ClientOpened(msgspec.Struct, frozen=True):
    """Tell that a client was opened.

    Attributes:
        client: it; what it shows may be looked at until it is closed.
    """

    client: Observed


class ClientClosed(msgspec.Struct, frozen=True):
    """Tell that a client was closed.

    Attributes:
        client: it.
    """

    client: Observed


Event = Attempt | PhaseChanged | Held | ItemChanged | ClientOpened | ClientClosed
"""What an observer is called with; more kinds may come."""

Observer = Callable[[Event], object]
"""A plain function. It is called on the loop of the client, so it must not block."""


class Reporter:
    """Tell the observer of a client, if it has one.

    Args:
        observe: the observer.
        base_url: where the client's requests go.

    Raises:
        ConfigurationError: the observer cannot be called, or would have to be awaited.
    """

    def __init__(self, observe: Observer | None = None, base_url: str = "") -> None:
        if not (observe is None or _is_plain(observe)):
            raise ConfigurationError(f"observe: expected a plain function of one event, got {shown(observe)}")
        self.base_url = base_url
        self._observe = observe
        self._complained = False
        self._hearing: list[Callable[[RunLike], object]] = []

    @property
    def listening(self) -> bool:
        """Whether anybody hears what is told: no event need be made for nobody."""
        return self._observe is not None

    @property
    def hears_phases(self) -> bool:
        """Whether anybody hears of phases, be it the observer or a batch."""
        return self._observe is not None or bool(self._hearing)

    @contextlib.contextmanager
    def hearing(self, hear: Callable[[RunLike], object]) -> Generator[None]:
        """Call `hear` with the newest snapshot of every run whose phase changes while the block lasts."""
        self._hearing.append(hear)
        try:
            yield
        finally:
            self._hearing.remove(hear)

    def tell_phase(self, run: RunLike, before: Phase | None) -> None:
        """Tell where a run stands now; see `PhaseChanged`."""
        for hear in self._hearing:
            hear(run)
        self.tell(PhaseChanged(run, before))

    def tell(self, event: Event) -> None:
        """Hand an event to the observer. What it raises is logged once, and never reaches what it observes."""
        if self._observe is None:
            return
        try:
            self._observe(event)
        # A plain function is no place where a task is cancelled: it has looked at something that was.
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - whatever a user's function raises
            if not self._complained:
                self._complained = True
                _log.exception("the observer has failed (further failures of it are not reported)")


def _is_plain(observe: object) -> bool:
    """Whether calling it does the work: a coroutine that nobody awaits would do nothing."""
    called = getattr(observe, "__call__", None)  # noqa: B004 - of an object with a method of this name
    return callable(observe) and not (inspect.iscoroutinefunction(observe) or inspect.iscoroutinefunction(called))
