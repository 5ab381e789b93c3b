"""Carry the calls of a dialect: from a `Call` to the runs that its answer shows. Knows the transport, and no waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec

from codegen_async.cleaning import clean, shown
from codegen_async.errors import APIError, ConfigurationError, DecodeError, InvalidArgumentError
from codegen_async.hosted.dialect import Call, Dialect, Shown
from codegen_async.hosted.run import HostedRun, in_phase, sound
from codegen_async.hosted.wire import check_about
from codegen_async.http.answers import Refusal, Request, Response, Twice
from codegen_async.http.transport import AbsentError, ForeignAnswerError, Transport
from codegen_async.limits import Priority, Slot
from codegen_async.models import Phase, RunId, RunLike, Vocabulary
from codegen_async.reading import UNREADABLE
from codegen_async.recent import Recent
from codegen_async.secret import is_header

T = TypeVar("T")
R = TypeVar("R", bound=RunLike)

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MOST_SETTLING = 10_000  # runs whose words are watched until they have stood for long enough


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
        self._named = type(dialect).__name__
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
        """Send a call and return what its answer says; see `Transport.carry`.

        Raises:
            ConfigurationError: the dialect has written it so that it cannot be sent.
        """
        return await self._transport.carry(
            self._request(call),
            reader(call.read),
            priority=priority,
            slot=slot,
            renew=renew,
            on_sent=on_sent,
            patience=patience,
        )

    def _request(self, call: Call[Any]) -> Request:
        _check_call(call)
        try:
            request = call.request(self.dialect.headers)
        except Exception as problem:  # noqa: BLE001 - whatever stands in a call that is no call
            what = f"{type(problem).__name__}: {clean(str(problem))}"
            raise ConfigurationError(
                f"{self._named}: the call to {shown(call.path)} cannot be written: {what}"
            ) from None
        if wrong := self._wrong(request):
            raise ConfigurationError(f"{self._named}: the call to {shown(call.path)} cannot be sent: {wrong}")
        return request

    def _wrong(self, request: Request) -> str | None:
        limits = self._transport.limits.endpoints
        if request.endpoint not in limits:
            known = f"of {', '.join(map(clean, limits))}" if limits else "that `rates` names"
            return f"expected a limit {known}, got {shown(request.endpoint)}"
        if request.method not in _METHODS:
            return f"expected a method of {', '.join(_METHODS)}, got {shown(request.method)}"
        if not request.path.startswith("/"):
            return "expected a path that begins with a slash"
        if not all(is_header(name, value) for name, value in request.headers):
            return "expected headers of visible ASCII (not shown here)"
        return _odd_meaning(request)

    async def run(
        self,
        call: Call[R | None],
        *,
        priority: Priority = Priority.INTERACTIVE,
        slot: Slot | None = None,
        patience: float | None = None,
        about: RunId | None = None,
    ) -> R:
        """Send a call that asks for a run, and return it; `about`: the id of the run that it asks for.

        Raises:
            NotFoundError: the answer says that there is none, be it by its status or by a null.
            DecodeError: it is about another run.
        """
        asked = a_run(call).read

        def read(answer: Response) -> R:
            run = asked(answer)
            if run is None:
                raise AbsentError("the answer says that there is no such run")
            if about is not None:
                check_about(str(run.id), str(about))
            return run

        return self.known(await self.carry(call.reading(read), priority=priority, slot=slot, patience=patience))

    async def whole(
        self,
        call: Call[R | None],
        *,
        priority: Priority = Priority.INTERACTIVE,
        slot: Slot | None = None,
        patience: float | None = None,
        about: RunId | None = None,
    ) -> R:
        """Send a call that asks for a run, and where that has ended, the one that shows more of it, if there is one."""
        run = await self.run(call, priority=priority, slot=slot, patience=patience, about=about)
        more = self.full(run, call) if run.phase.is_terminal else None
        return run if more is None else await self.run(more, priority=priority, about=run.id)

    def full(self, run: R, shown_by: Call[Any]) -> Call[R | None] | None:
        """Return the call that shows more of a run than the one that has shown it, if there is one.

        Raises:
            DecodeError: the dialect stumbles over what that has shown; it costs no other run.
        """
        return self._of_one(self.dialect.full, run, shown_by.method, shown_by.path)

    def get(self, run_id: RunId) -> Call[R | None]:
        """Return the call that shows a run.

        Raises:
            DecodeError: the dialect makes none of its id.
        """
        return self._of_one(self.dialect.get, str(run_id), "GET", clean(str(run_id)))

    def _of_one(self, make: Callable[..., T], of: object, method: str, path: str) -> T:
        try:
            return made(make, of)
        except (ConfigurationError, InvalidArgumentError) as problem:
            raise DecodeError(str(problem), method=method, path=path) from None

    def known(self, run: R) -> R:
        """Return a run with the phase that its word stands for; it is running while that word may pass."""
        if self._settling.may_pass(run):
            return in_phase(run, Phase.RUNNING)
        known = in_phase(run, self._words.phase(run.status)) if isinstance(run, HostedRun) else self._words.teach(run)
        if known.phase.is_terminal:
            self.on_end(known.id)
        return known


def made(make: Callable[..., T], *given: object) -> T:
    """Return the call that a dialect makes of what it is given.

    Raises:
        InvalidArgumentError: it makes none, and says why.
        ConfigurationError: it stumbles.
    """
    try:
        return make(*given)
    except InvalidArgumentError:
        raise
    except Exception as problem:
        what = f"{type(problem).__name__}: {clean(str(problem))}"
        raise ConfigurationError(
            f"{getattr(make, '__qualname__', 'dialect')}: expected a Call, got {what}"
        ) from problem


def _odd_meaning(request: Request) -> str | None:
    meanings: list[object] = [*request.refusals.values()]
    twice = cast("object", request.twice)
    if odd := [meaning for meaning in meanings if not isinstance(meaning, Refusal)]:
        return f"expected refusals to be of Refusal, got {shown(odd[0])}"
    if not isinstance(twice, Twice | None):
        return f"expected what comes of it twice to be of Twice, got {shown(twice)}"
    return None


def meaning_of(dialect: Dialect[Any]) -> Callable[[Response], Refusal | None]:
    """Return what tells the meaning of a refusal, also of a gateway's page that the dialect does not expect."""

    def meaning(answer: Response) -> Refusal | None:
        try:
            refusal: object = dialect.refused(answer)
        except Exception:  # noqa: BLE001 - it was written for the API's own answers
            return None
        return refusal if isinstance(refusal, Refusal) else None

    return meaning


def own_form_of(dialect: Dialect[Any]) -> Callable[[int, Mapping[str, Any]], bool]:
    """Return what tells the API's own refusals; one that the dialect stumbles over is none."""

    def is_own(status: int, said: Mapping[str, Any]) -> bool:
        try:
            return bool(dialect.is_own(status, said))
        except Exception:  # noqa: BLE001 - the same
            return False

    return is_own


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
    """Return a reader that fails as the transport expects, whatever it stumbles over: the answer may be of a create."""

    def guarded(answer: Response) -> Any:
        try:
            return read(answer)
        except (*UNREADABLE, APIError, AbsentError, ForeignAnswerError):
            raise
        except Exception as exc:  # noqa: BLE001 - an assertion, a `next` that finds nothing
            raise msgspec.ValidationError(f"not as promised: {type(exc).__name__}: {exc}") from None

    return guarded


def a_run(call: Call[T]) -> Call[T]:
    """Return the same call; what it reads as must be a run, or None."""
    return _checked(call, lambda run: None if run is None else _a_run_of(run))


def a_find(call: Call[T]) -> Call[T]:
    """Return the same call; what it reads as must be a run, None, or a call to look further."""
    return _checked(call, _a_run_or_further)


def a_new_run(call: Call[T]) -> Call[T]:
    """Return the same call; what it reads as must be a run."""
    return _checked(call, _a_run_of)


def a_parent(call: Call[str]) -> Call[str]:
    """Return the same call; what it reads as must be an id."""
    return _checked(call, _an_id)


def several(call: Call[Shown[R]]) -> Call[Shown[R]]:
    """Return the same call; what it reads as must be runs."""
    return _checked(call, _shown_of)


def _checked(call: Call[T], check: Callable[[Any], Any]) -> Call[T]:
    _check_call(call)

    def read(answer: Response) -> T:
        checked: T = check(call.read(answer))
        return checked

    return call.reading(read)


def _shown_of(seen: object) -> Shown[Any]:
    if not isinstance(seen, Shown):
        raise TypeError(f"it reads as {type(seen).__name__}, and not as Shown")
    shows: Any = cast("Any", seen)
    runs, place, sure = shows.runs, shows.following, shows.sure
    if isinstance(place, bool) or not isinstance(place, str | int | None):
        raise TypeError(f"expected a text or None for what follows, got {shown(place)}")
    taken = tuple(None if run is None else _a_run_of(run) for run in runs)  # at once: it may be a generator
    return Shown(runs=taken, following=None if place in (None, "") else str(place), sure=sure)


def _check_call(call: object) -> None:
    if not isinstance(call, Call):
        raise ConfigurationError(f"dialect: expected a Call, got {shown(call)}")


def _a_run_of(run: Any) -> Any:
    """Return what a reader returns, if it is a run: what is no id or word would be stumbled over later."""
    name, status = getattr(run, "id", None), getattr(run, "status", None)
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise TypeError(f"expected a run with an id, got {type(run).__name__} with {shown(name)}")
    if not isinstance(status, str | None):
        raise TypeError(f"expected a text for the status of run {shown(name)}, got {shown(status)}")
    return sound(run) if isinstance(run, HostedRun) else run


def _a_run_or_further(found: Any) -> Any:
    if found is not None and not isinstance(found, Call):
        return _a_run_of(found)
    return cast("Any", found)


def _an_id(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected an id, got {shown(value)}")
    return value
