"""Create each run once, by what its API offers.

What a create of which no answer came leads to follows from `Call.twice`:

- SAME: the server knows the key. The transport sends it again, as it would a read.
- REFUSED: the run's name was chosen by us. It is sent again, and where the server says that the name is taken, the run
  is there and is looked up.
- ANOTHER, and the API shows keys (`Dialect.find`): the run is looked for, several times over the settle time, as it is
  where the server says that it is there (`Refusal.EXISTS`). It is sent again only if the caller wants that, and the
  last look proves that there is none: it missed the run, but showed one that was created before it and one that was
  created after it.
- ANOTHER, and no keys are shown: nobody knows, and a person decides.

Where an API shows no key of ours, and does show what its runs belong to, such a parent is made for the run alone
(`Dialect.parent`), and its id is the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from codegen_async.errors import (
    PASSING,
    REFUSALS,
    AlreadyExistsError,
    APIError,
    CapacityError,
    CreateOutcomeUnknownError,
    DecodeError,
    OutcomeUnknownError,
    QuotaExceededError,
    RedirectedError,
    own_copy,
)
from codegen_async.hosted.calls import Calls, a_new_run, a_parent
from codegen_async.hosted.dialect import Call
from codegen_async.hosted.finding import Finding
from codegen_async.hosted.places import Places
from codegen_async.hosted.settling import OnUnknown, noting_cancellation, settle
from codegen_async.http.answers import Twice
from codegen_async.http.retry import Backoff
from codegen_async.limits import Priority, Slot
from codegen_async.models import RunId, RunLike
from codegen_async.recent import Recent

R = TypeVar("R", bound=RunLike)

OF_NO_RUN = (*PASSING, *REFUSALS, RedirectedError, QuotaExceededError)
"""What an answer to a create says that is not about its run: whether an earlier one was carried out stays unknown."""

_SENDS = 4
_MADE = 1000  # creates that are remembered, as controls of later searches


class _Made(NamedTuple):
    """A create whose run is known, and when it was sent."""

    key: str
    number: int
    at: float


class Doubt(NamedTuple):
    """A create whose outcome is unknown."""

    key: str
    number: int  # grows with each create
    sent: float | None  # when it was first sent; None where nobody knows
    unknown: OutcomeUnknownError
    before: str | None = None  # the key of a run that was created before, in a former life of a journal
    after: str | None = None  # the key of one that was created after the life in which this was sent


class Creating(Generic[R]):
    """Create runs of one dialect.

    Args:
        calls: carries the calls.
        settle: seconds until a create that nobody has seen is taken not to have happened.
        places: of runs that go on.
    """

    def __init__(self, calls: Calls[R], *, settle: float, places: Places) -> None:
        self._calls = calls
        self.places: Places = places
        """Of runs that go on."""
        self.finding: Finding[R] = Finding(calls)
        """Looks for runs by their keys."""
        calls.on_end = places.free
        self._dialect = calls.dialect
        self._settle = settle
        self._backoff = Backoff()
        self._numbers = itertools.count()
        self._made: Recent[str, _Made] = Recent(_MADE)
        self._attempted: Recent[str, _Made] = Recent(_MADE)  # the first attempts under keys
        self.begun: int = -1
        """The number of the newest create whose run is known."""

    async def create(
        self,
        key: str | None,
        fields: Mapping[str, Any],
        *,
        on_unknown: OnUnknown = "raise",
        patience: float | None = None,
        on_doubt: Callable[[Doubt], None] | None = None,
    ) -> R:
        """Create a run once, and return it; see `HostedRuns.create_run`.

        Args:
            key: its key, under which nothing was created before. None: a new one.
            fields: what the dialect's `create` takes.
            on_unknown: whether to send it again where it is proven that there is no run.
            patience: seconds that each request may wait for its slot, and for room, until one was sent.
            on_doubt: called where it ends so that nobody knows whether there is a run.
        """
        if key is None:
            key = await self._new_key(fields, patience)
        sent = asyncio.Event()
        first, number = _now(), next(self._numbers)
        doubt = Doubt(key, number, first, _never_heard_of(self._dialect.create(key, fields)))
        tell = on_doubt or _nobody
        try:
            with noting_cancellation(self._dialect.name, key, sent.is_set):
                return await self._create(doubt, fields, on_unknown, sent, patience)
        except CreateOutcomeUnknownError as unknown:
            tell(doubt._replace(unknown=unknown))
            raise
        except asyncio.CancelledError:
            if sent.is_set():
                tell(doubt)
            raise

    async def _new_key(self, fields: Mapping[str, Any], patience: float | None) -> str:
        parent = self._dialect.parent(fields)
        if parent is None:
            return uuid.uuid4().hex
        return await self._calls.carry(_again(parent), patience=patience)

    async def _create(
        self,
        doubt: Doubt,
        fields: Mapping[str, Any],
        on_unknown: OnUnknown,
        sent: asyncio.Event,
        patience: float | None,
    ) -> R:
        key, first = doubt.key, _now()
        call = self._dialect.create(key, fields)
        sends = 0
        unknown: OutcomeUnknownError | None = None
        while True:
            sends += 1
            try:
                run = await self._send(call, sent, patience)
            except AlreadyExistsError as error:
                if not self.finding.finds(key):
                    raise
                return await self._named(doubt._replace(unknown=_unknown_of(error)))
            except (OutcomeUnknownError, *OF_NO_RUN) as error:
                unknown = self._unknown(call, error, sent=sent.is_set(), before=unknown)
                patience = None  # from now on, to say that nothing was sent would be wrong
            except DecodeError as error:  # of one that may be sent again, the transport says no more
                unknown = _unknown_of(error)
            else:
                return self._known(run, _Made(key, doubt.number, first))
            if call.twice is Twice.REFUSED and sends < _SENDS and not unknown.likely_done:
                await asyncio.sleep(self._backoff.delay(sends))
                continue
            found, proven = await self._settled(doubt._replace(unknown=unknown))
            if found is not None:
                return self._going_on(found)
            again = call.twice not in (Twice.REFUSED, Twice.SAME) and on_unknown == "retry" and sends < _SENDS
            if not (again and proven) or unknown.likely_done:
                raise self._unsettled(key, unknown)
            unknown = None

    async def _send(self, call: Call[R], sent: asyncio.Event, patience: float | None) -> R:
        """Send a create when there is room for one more run; wait where the server says that there is none.

        Raises:
            CapacityError: there was none for as long as the caller's patience.
        """
        until = None if patience is None else _now() + patience
        refusal = CapacityError("as many runs go on as may", method=call.method, path=call.path)
        while True:
            try:
                async with asyncio.timeout_at(until):
                    permit = await self.places.take()
            except TimeoutError:
                raise refusal from None
            try:
                run = await self._calls.carry(a_new_run(call), on_sent=sent.set, patience=patience)
            except CapacityError as error:
                permit.full()
                refusal = error
            except BaseException:
                permit.release()
                raise
            else:
                self.places.keep(run.id, permit)
                return run

    def _going_on(self, run: R) -> R:
        """Return a run that was found, with a place if it goes on."""
        if not run.phase.is_terminal:
            self.places.keep(run.id)
        return run

    def _known(self, run: R, made: _Made) -> R:
        self._made[made.key] = made
        self.begun = max(made.number, self.begun)
        return self._calls.known(run)

    # -- single steps, for those who keep a journal

    @property
    def settle_time(self) -> float:
        """Seconds until a create that nobody has seen is taken not to have happened."""
        return self._settle

    def slot(self, limit: str) -> Slot:
        """Return a slot for one `attempt` that spends that limit."""
        return self._calls.slot(limit, Priority.BACKGROUND)

    async def parent(self, fields: Mapping[str, Any]) -> str:
        """Make what a run is to belong to, and return its id, which is the key of the create.

        Raises:
            APIError: it could not be made.
        """
        parent = self._dialect.parent(fields)
        if parent is None:
            raise AssertionError("runs of this dialect belong to nothing")
        return await self._calls.carry(_again(parent), priority=Priority.BACKGROUND)

    async def attempt(self, key: str, fields: Mapping[str, Any], slot: Slot | None = None) -> R:
        """Make one attempt at a create; without a slot, with as many as the transport makes.

        Raises:
            OutcomeUnknownError: it was sent, and whether there is a run now is unknown.
            StaleSlotError: the slot has grown too old; nothing was sent.
            APIError: any other failure; there is no run.
        """
        call = self._dialect.create(key, fields)
        made = _Made(key, next(self._numbers), _now())
        self._attempted.setdefault(key, made)
        sent = asyncio.Event()
        try:
            run = await self._calls.carry(
                a_new_run(call), priority=Priority.BACKGROUND, slot=slot, renew=slot is None, on_sent=sent.set
            )
        except AlreadyExistsError as error:
            if not self.finding.finds(key):
                raise
            raise _unknown_of(error) from None
        except (OutcomeUnknownError, *PASSING) as error:
            raise self._unknown(call, error, sent=sent.is_set()) from None
        except DecodeError as error:  # of one that may be sent again, the transport says no more
            raise _unknown_of(error) from None
        return self._known(run, made)

    def doubt(self, key: str, fields: Mapping[str, Any], *, before: str | None, after: str | None) -> Doubt:
        """Return what is known of an attempt that is over.

        Args:
            key: its key.
            fields: what was sent, or would be.
            before: the key of a run that was created before, in a former life of the journal.
            after: the key of a run that was created after the life in which it was sent had ended.
        """
        attempt = self._attempted.get(key)
        number, sent = (-1, None) if attempt is None else (attempt.number, attempt.at)
        return Doubt(key, number, sent, _never_heard_of(self._dialect.create(key, fields)), before, after)

    def moment(self) -> int:
        """Return the number of this moment; those of later creates are larger."""
        return next(self._numbers)

    def forget(self, key: str) -> None:
        """Take a key for one that was never sent, as it is proven that there is no run."""
        self._attempted.pop(key, None)

    async def look(self, question: Doubt, *, each_decides: bool) -> tuple[R | None, bool]:
        """Look over the settle time; return the run, or None and whether it is proven that there is none.

        Args:
            question: the create.
            each_decides: whether any of the looks may prove it, as that time was over before.
        """
        return await self._settled(question, each_decides=each_decides)

    async def decide(self, question: Doubt) -> tuple[R | None, bool]:
        """Look once; return as `look` does.

        Raises:
            APIError: it could not be looked for.
        """
        if not self.finding.finds(question.key):
            return None, False
        found = await self.finding.find(question.key, _since(question.sent))
        return (found, True) if found is not None else (None, await self._is_control_shown(question))

    # -- looking

    def is_safe(self, key: str, fields: Mapping[str, Any]) -> bool:
        """Whether the API makes it safe to send a key again, whatever became of it before."""
        return self._dialect.create(key, fields).twice in (Twice.SAME, Twice.REFUSED)

    async def settle(self, doubt: Doubt) -> R | None:
        """Look for the run of a create that was given up; return it, or None where it is proven that there is none.

        Raises:
            CreateOutcomeUnknownError: neither.
        """
        found, proven = await self._settled(doubt)
        if found is None and (not proven or doubt.unknown.likely_done):
            raise self._unsettled(doubt.key, doubt.unknown)
        return found

    async def fetch(self, run_id: RunId) -> R:
        """Return a run as it is now.

        Raises:
            NotFoundError: there is none, or it is not shown yet.
            APIError: any other failure.
        """
        return await self._calls.run(self._calls.get(run_id), about=run_id)

    def _unknown(
        self, call: Call[R], error: APIError, *, sent: bool, before: OutcomeUnknownError | None = None
    ) -> OutcomeUnknownError:
        """Return what an attempt that failed leaves unknown; raises the failure itself if that is nothing.

        Args:
            call: the create.
            error: how it failed.
            sent: whether it was sent.
            before: what an attempt before this one has left unknown, of which this one tells nothing.
        """
        if isinstance(error, OutcomeUnknownError):
            return error
        if before is not None:
            return before
        if not (sent and call.twice is Twice.SAME and isinstance(error, PASSING)):
            raise own_copy(error)  # the transport proves of all others that nothing was done
        return OutcomeUnknownError(
            f"sent, but whether it was carried out is unknown: {error.reason}",
            method=error.method,
            path=error.path,
            status=error.status,
            request_id=error.request_id,
            attempts=error.attempts,
        )

    def _unsettled(self, key: str, unknown: OutcomeUnknownError) -> CreateOutcomeUnknownError:
        return CreateOutcomeUnknownError.of(unknown, key, searched=self.finding.finds(key))

    async def _named(self, question: Doubt) -> R:
        """Return the run of a name that is taken: it may show a while after the server refuses its name."""
        found, _ = await self._settled(question)
        if found is None:
            raise self._unsettled(question.key, question.unknown)
        return self._going_on(found)

    async def _settled(self, question: Doubt, *, each_decides: bool = False) -> tuple[R | None, bool]:
        """Look for a run over the settle time; return it, or None and whether it is proven that there is none."""
        if not self.finding.finds(question.key):
            return None, False

        async def look() -> tuple[R | None, bool] | None:
            found, proven = (
                await decide() if each_decides else (await self.finding.find(question.key, _since(question.sent)), True)
            )
            return (found, proven) if found is not None or (each_decides and proven) else None

        async def decide() -> tuple[R | None, bool]:
            return await self.decide(question)

        with contextlib.suppress(APIError):
            return await settle(look, self._settle, decide)
        return None, False

    async def _is_control_shown(self, question: Doubt) -> bool:
        """Whether a search shows runs that were created just before and after, so that it would show this one."""
        before = [made for made in self._made.values() if made.number < question.number]
        after = [made for made in self._made.values() if made.number > question.number]
        controls = [_control(before, question.before), _control(after, question.after)]
        for key, at in controls:
            if key is None:
                return False
            if await self.finding.find(key, _since(at)) is None:
                return False
        return await self.finding.find(question.key, _since(question.sent)) is None


def _again(parent: Call[str]) -> Call[str]:
    """Return a call that is repeated where no answer comes: an empty parent more does no harm."""
    return msgspec.structs.replace(a_parent(parent), twice=Twice.SAME)


def _control(made: Sequence[_Made], other: str | None) -> tuple[str | None, float | None]:
    """Return the key of the newest of these creates, and when it was sent; of another life's where there is none."""
    return (made[-1].key, made[-1].at) if made else (other, None)


def _never_heard_of(call: Call[Any]) -> OutcomeUnknownError:
    return OutcomeUnknownError("the create was cancelled", method=call.method, path=call.path)


def _nobody(_: Doubt) -> None:
    pass


def _unknown_of(error: AlreadyExistsError | DecodeError) -> OutcomeUnknownError:
    """Return what is known after an answer that says that there is a run, but not which."""
    unknown = OutcomeUnknownError(error.reason, method=error.method, path=error.path, status=error.status)
    unknown.likely_done = True
    return unknown


def _since(moment: float | None) -> float | None:
    return None if moment is None else _now() - moment


def _now() -> float:
    return asyncio.get_running_loop().time()
