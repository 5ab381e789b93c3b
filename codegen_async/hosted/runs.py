"""The client of any API of hosted runs that a `Dialect` describes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from codegen_async.arguments import check_key, check_patience, check_text
from codegen_async.errors import ConfigurationError, InvalidArgumentError, NotOfferedError, RunEndedError
from codegen_async.events import Observer
from codegen_async.hosted.asking import ANY_KEY, call_of
from codegen_async.hosted.calls import Calls, a_run, made, several
from codegen_async.hosted.creating import Creating, Doubt
from codegen_async.hosted.dialect import Call, Dialect, base_url_variable, check_dialect_class, phase_table
from codegen_async.hosted.keyed import KeyedCreates, Keys
from codegen_async.hosted.places import Places
from codegen_async.hosted.remote import DialectRemote, call_without_run, check_looks, schedule_of
from codegen_async.hosted.settling import OnUnknown, check_on_unknown
from codegen_async.hosted.setup import secrets_of
from codegen_async.hosted.waits import WaitCalls
from codegen_async.hosted.walk import Walk
from codegen_async.http.transport import Sender
from codegen_async.limits import Rate
from codegen_async.models import Phase, RunLike, Vocabulary
from codegen_async.polling import PollSchedule
from codegen_async.settings import Fleet, Timeouts, check_base_url, check_phases

T = TypeVar("T")
R = TypeVar("R", bound=RunLike)

_SETTLE = 60.0


class HostedRuns(WaitCalls[R, str]):
    """Start runs at an API that a dialect describes, look at them and wait for them, within its rate limits.

    Use it as `async with HostedRuns(MyDialect()) as client:`. All methods may be called concurrently. The limits hold
    if there is one client per token, so one client serves a whole application; several processes share them with
    `fleet`.

    Args:
        dialect: how the API is spoken to.
        token: the API token. Default: the environment variable that the dialect names.
        base_url: where the API is. Default: the environment variable that is called as the dialect, with `_BASE_URL`
            behind it (`ACME_BASE_URL`), else where the dialect says. http is refused except towards this machine.
        latency: seconds within which every run that is waited for is looked at again. Default 5, which is how often
            people ask by hand; 0 spends all of `share`.
        share: part of the limits that waiting may spend; the rest is left to your own calls. Default 0.8.
        rates: limits that differ from those of the dialect, by their names there: a rate, or several that hold at once.
            Default: none.
        processes: how many processes use the token at once, each through such a client: each keeps to its part of the
            stated limits. Default 1.
        timeouts: bounds of a single attempt. Default: 10 s to connect, 30 s without a byte, 60 s in all (`Timeouts()`).
        max_body: bytes an answer may have, after decompression. Default 32 MiB, a hundred times a full list page.
        proxy: an HTTP proxy to reach the server through, such as `http://user:password@proxy.example:3128`. Default:
            none; none is taken from the environment.
        settle: seconds over which a create whose answer was lost is looked for. Default 60: longer than a gateway keeps
            a request that it has given up on; or longer, where the dialect says that new runs are unseen for longer.
        phases: what status words stand for that the dialect does not know. Default: none.
        observe: called with what the client does, after the fact and on its loop: see `codegen_async.events`. Default:
            nobody is told.
        memory: a file in which it is remembered when requests were sent, so that a restart spends no second burst. One
            file for each token, on a local file system. Default: nothing is remembered.
        fleet: where all processes meet that use the token, to share its limits: `sqlite:/path` for those of one host,
            `postgresql://...`, `redis://...` or `rediss://...`, or a `Fleet`. Default: `CODEGEN_FLEET`, else this
            process is alone.
        sender: what talks to the server, for tests. The client closes it. Default: aiohttp.

    Raises:
        ConfigurationError: one of these is missing or cannot be right.
    """

    _creating: Creating[R]  # made when the client is opened
    _keyed: KeyedCreates[R, Doubt]

    def __init__(
        self,
        dialect: Dialect[R],
        token: str | None = None,
        *,
        base_url: str | None = None,
        latency: float = 5.0,
        share: float = 0.8,
        rates: Mapping[str, Rate | Sequence[Rate]] | None = None,
        processes: int = 1,
        timeouts: Timeouts | None = None,
        max_body: int = 32 * 2**20,
        proxy: str | None = None,
        settle: float | None = None,
        phases: Mapping[str, Phase | str] | None = None,
        observe: Observer | None = None,
        memory: str | os.PathLike[str] | None = None,
        fleet: str | Fleet | None = None,
        sender: Sender | None = None,
    ) -> None:
        self.dialect: Dialect[R] = dialect  # crash reporters ask for the repr of what was never made
        try:
            check_dialect_class(dialect)
            check_looks(dialect)
            secrets = secrets_of(token, proxy, dialect.token_variable, auth=dialect.auth, fleet=fleet)
        finally:
            del token, proxy, fleet  # crash reporters show the variables of functions that raise
        place = base_url or os.environ.get(base_url_variable(dialect)) or dialect.base_url
        super().__init__(
            dialect,
            secrets,
            base_url=check_base_url(place, paths_begin=""),
            words=Vocabulary(phase_table(dialect), check_phases(phases)),
            rates=rates,
            settle=max(_SETTLE, dialect.unseen_for) if settle is None else settle,
            latency=latency,
            share=share,
            processes=processes,
            timeouts=timeouts,
            max_body=max_body,
            observe=observe,
            memory=memory,
            sender=sender,
        )
        self._places = Places(self._concurrency)
        self._keys: Keys[R, Doubt] = Keys()

    def __repr__(self) -> str:
        return f"HostedRuns({type(self.dialect).__name__}, base_url={self.base_url!r})"

    @property
    def creating(self) -> Creating[R]:
        """The single steps of a create, for those who keep a journal."""
        self._linked()
        return self._creating

    # -- one run

    async def create_run(
        self,
        *,
        idempotency_key: str | None = None,
        on_unknown: OnUnknown = "raise",
        patience: float | None = None,
        **fields: Any,
    ) -> R:
        """Start a run, once, and return its first snapshot.

        Where an answer is lost, what follows depends on what the API offers: it is sent again under the same key or
        name, or looked for by its key over the client's `settle` time; or the outcome is unknown.

        Args:
            idempotency_key: what tells this create from all others, 1..128 visible ASCII characters. The same key again
                brings back the first run where the API knows keys, refuses names that are taken, or shows keys. An API
                may want a form of its own, such as a UUID. Default: a new random one, or the id of what is made first
                for the run to belong to.
            on_unknown: `raise` (default) or `retry`: whether to send the same key again where it was proven that there
                is no run.
            patience: seconds that the create may wait for its slot, and for room where as many runs go on as may. A run
                makes room when this client sees that it has ended. Default: as long as it takes.
            fields: what the dialect's `create` takes.

        Raises:
            InvalidArgumentError: an argument cannot be right; nothing was sent.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            CapacityError: as many runs go on as the plan allows, for longer than `patience`; there is no run.
            QuotaExceededError: the plan is used up; there is no run.
            CreateOutcomeUnknownError: it was sent, and nobody knows whether there is a run; has the key.
            APIError: any other failure; there is no run.
        """
        key = None if idempotency_key is None else check_key(idempotency_key)
        call_of(self.dialect, fields, ANY_KEY if key is None else key)
        unknown = check_on_unknown(on_unknown)
        seconds = check_patience(patience)
        link = self._linked()
        if key is None:
            new, run = True, await self._creating.create(None, fields, on_unknown=unknown, patience=seconds)
        else:
            run, new = await self._create_once(key, fields, unknown, seconds)
        if new:
            self.reporter.tell_phase(run, None)
        link.waiting.seen(run)
        return run

    async def _create_once(
        self, key: str, fields: Mapping[str, Any], on_unknown: OnUnknown, patience: float | None
    ) -> tuple[R, bool]:
        def doubt(doubt: Doubt) -> None:
            self._keys.doubts.setdefault(key, doubt)  # what was sent first may be the one that counts

        def make() -> Awaitable[R]:
            return self._creating.create(key, fields, on_unknown=on_unknown, patience=patience, on_doubt=doubt)

        return await self._keyed.create(key, make, safe=self._creating.is_safe(key, fields))

    async def find_run_by_key(self, idempotency_key: str) -> R | None:
        """Return the run that was created with this key, or None if the API does not show it.

        Args:
            idempotency_key: the key that `create_run` was given, or that its error carries.

        Raises:
            InvalidArgumentError: the key cannot be one.
            NotOfferedError: the API shows no keys.
            APIError: it could not be looked for.
        """
        key = check_key(idempotency_key)
        self._linked()
        self._offered(self.dialect.find(key, None), "no search for keys")
        return await self._creating.finding.find(key, None)

    async def get_run(self, run_id: str, *, max_age: float | None = None, patience: float | None = None) -> R:
        """Return a run as it is now.

        Args:
            run_id: the run.
            max_age: seconds that the answer may be old. 0 asks the server in any case. Default: an end that was seen
                within the last five minutes is not asked for again; all else is.
            patience: seconds that it may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            NotFoundError: there is no such run.
            APIError: any other failure.
        """
        name = self._check_id(run_id)
        return await self._look(name, made(self.dialect.get, name), max_age=max_age, patience=patience)

    async def list_runs(self, *, patience: float | None = None) -> AsyncGenerator[R]:
        """Yield the runs that the API lists, page after page and in its order, each once.

        Args:
            patience: seconds that each page may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: `patience` is no number of seconds.
            NotOfferedError: the API has no list.
            LimiterBusyError: a slot is further away than `patience`.
            APIError: a page could not be had.
        """
        seconds = check_patience(patience)
        link = self._linked()
        walk = Walk()
        place: str | None = None
        while True:
            call = self._offered(self.dialect.page(place), "no list of runs")
            shown = await link.calls.carry(several(call), patience=seconds)
            for run in shown.runs:
                if run is not None and walk.is_new(run.id):  # new ones push others onto the next page
                    yield link.calls.known(run)
            if shown.following is None or not walk.leads_to(shown.following):
                return
            place = shown.following

    async def cancel_run(self, run_id: str) -> R:
        """Stop a run, and return it as it is then; one that has ended already is returned as it is.

        An API may take its time: wait for the run to see it end.

        Args:
            run_id: the run.

        Raises:
            InvalidArgumentError: the id cannot be one.
            NotOfferedError: the API has no such call.
            NotFoundError: there is no such run.
            OutcomeUnknownError: it was sent, and whether it was carried out is unknown.
            APIError: any other failure.
        """
        name = self._check_id(run_id)
        link = self._linked()
        call = self._offered(made(self.dialect.cancel, name), "no way to cancel runs")
        with contextlib.suppress(RunEndedError):  # it is what was wanted
            await link.calls.carry(call)
        link.waiting.notify(name)
        return await self.get_run(name, max_age=0)

    async def reply(self, run_id: str, text: str) -> R:
        """Tell a run to go on, and return the run that does: the same, or a new one.

        Waits for the same run that begin afterwards do not take the end or the question that it had before for a new
        one.

        Args:
            run_id: the run.
            text: what it is told.

        Raises:
            InvalidArgumentError: an argument cannot be right; nothing was sent.
            NotOfferedError: the API has no such call.
            NotFoundError: there is no such run.
            RunEndedError: it cannot go on.
            OutcomeUnknownError: it was sent, and whether the run goes on is unknown.
            APIError: any other failure; the run is as it was.
        """
        name = self._check_id(run_id)
        link = self._linked()
        call = self._offered(made(self.dialect.reply, name, check_text("text", text)), "no way to reply to runs")
        run = await self._go_on(name, a_run(call))
        if run is None:
            return await self.get_run(name, max_age=0)
        run = link.calls.known(run)
        link.waiting.seen(run)
        return run

    # -- for the base

    def _offered(self, call: Call[T] | None, what: str) -> Call[T]:
        if call is None:
            raise NotOfferedError(f"{self.dialect.name} has {what}")
        return call

    def _remote(self, calls: Calls[R]) -> DialectRemote[R]:
        creating = self._creating = Creating(calls, settle=self._settle, places=self._places)
        look = partial(creating.finding.find, since=None)
        self._keyed = KeyedCreates(self._keys, look=look, settle=creating.settle, fetch=creating.fetch)
        return DialectRemote(calls)

    def without_run(self) -> Callable[[], Awaitable[object]] | None:
        """Return a look at several runs, where the API has one; see the base."""
        call = call_without_run(self.dialect)
        return None if call is None else partial(self._carry, call)

    def _schedule(self) -> PollSchedule:
        return schedule_of(self.dialect, self._rates, self._share)

    def _check_run(self, run: str | R) -> str | R:
        self._check_id(run if isinstance(run, str) else str(run.id), "run")
        return run

    def _check_id(self, run_id: str, field: str = "run_id") -> str:
        try:
            self.dialect.parts(check_text(field, run_id))
            made(self.dialect.get, run_id)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(field, run_id, error.expected) from None
        except ConfigurationError as error:
            raise InvalidArgumentError(field, run_id, f"an id of the API ({error})") from None
        return run_id
