"""What the clients of all dialects share: how they are set up, opened and closed, and how they wait."""

from __future__ import annotations

import asyncio
import os
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar, cast

import anyio
from msgspec.structs import replace

from codegen_async.arguments import check_patience, check_seconds_given
from codegen_async.cleaning import clean, reason_of, shown
from codegen_async.errors import ClientClosedError, ConfigurationError, OutcomeUnknownError
from codegen_async.events import ClientClosed, ClientOpened, Observer, Reporter
from codegen_async.hosted.calls import Calls, meaning_of, own_form_of
from codegen_async.hosted.dialect import Call, Dialect
from codegen_async.hosted.link import Link
from codegen_async.hosted.run import HostedRun
from codegen_async.hosted.sendings import Memory, Sendings
from codegen_async.hosted.setup import Secrets, bus_of, check_of, check_options, divided, limits_of, replaced
from codegen_async.hosted.several import SeveralWaits
from codegen_async.hosted.snapshots import Snapshots
from codegen_async.http.transport import Sender, Transport
from codegen_async.limits import Concurrency, ConcurrencyState, LimiterState, Rate, WindowLimiter
from codegen_async.logs import show_log_if_asked
from codegen_async.models import RunId, RunLike, Vocabulary
from codegen_async.polling import PollSchedule
from codegen_async.settings import Timeouts, check_seconds, speed_of
from codegen_async.version import __version__
from codegen_async.waiting import Grace, Remote, Waiting

if TYPE_CHECKING:  # only a fleet needs it
    from codegen_async.fleet.leader import LooksState
    from codegen_async.fleet.looks import Looks
    from codegen_async.fleet.store import Bus

T = TypeVar("T")
R = TypeVar("R", bound=RunLike)
U = TypeVar("U", bound=RunLike | None)
Id = TypeVar("Id", bound=RunId)

_TO_SEND = 5.0  # seconds between a slot and the first byte, beyond what it may take to connect


class RunClient(SeveralWaits[R, Id]):
    """Be the client of one dialect. Arguments are described where users see them, in the dialects' clients."""

    base_url: str = ""  # a set-up that fails shows in tracebacks, and those print what is there so far
    dialect: Dialect[R]
    """How the API is spoken to."""
    _of_all_organizations: Collection[str] = ("ceiling",)  # limits that a token has once

    def __init__(
        self,
        dialect: Dialect[R],
        secrets: Secrets,
        *,
        base_url: str,
        words: Vocabulary,
        rates: Mapping[str, Rate | Sequence[Rate]] | None,
        settle: float,
        latency: float,
        share: float,
        timeouts: Timeouts | None,
        max_body: int,
        observe: Observer | None,
        memory: str | os.PathLike[str] | None,
        sender: Sender | None,
        processes: int,
        ceiling: Rate | None = None,
        is_old: Callable[[R], bool] | None = None,
        end_of: Callable[[R], object | None] | None = None,
    ) -> None:
        self.dialect = dialect
        self.base_url = base_url
        check_options(share, max_body, timeouts, memory)
        self._token, self._proxy, fleet = secrets
        self._timeouts = timeouts or Timeouts()
        speed = speed_of(base_url)
        self._rates = {
            name: tuple(rate.sped_up(speed) for rate in several)
            for name, several in divided(replaced(dialect.rates, rates), processes).items()
        }
        if ceiling is not None:
            ((ceiling,),) = divided({"ceiling": (ceiling,)}, processes).values()
        self._concurrency = Concurrency(dialect.concurrency)
        self._limits = limits_of(
            self._rates,
            None if ceiling is None else ceiling.sped_up(speed),
            self._concurrency,
            fleet=fleet,
            key_of=self._key_of,
            total=self._timeouts.total,
        )
        self._limits.send_by(self._timeouts.connect + _TO_SEND)
        self._settle = check_seconds("settle", settle) / speed
        self._memory = None if memory is None else Path(memory)
        self._clock: Callable[[], float] = time.time  # another one is for tests
        self._sendings = Sendings(self._limits, self.base_url)
        self._latency = check_seconds("latency", latency) / speed
        self._share = share
        self._max_body = max_body
        self._sender = sender
        self.reporter: Reporter = Reporter(observe, self.base_url)
        """Tells the observer what happens; for those who keep a journal."""
        self._words = words
        self._is_old = is_old
        self._end_of = end_of
        self._link: Link[R] | None = None
        self._open_bus: Callable[[], Bus] | None = None if fleet is None else bus_of(fleet)
        self._check_fleet: Callable[[], None] | None = None if fleet is None else check_of(fleet)

    def _key_of(self, name: str) -> str:
        """Return what something is called where a fleet meets: a limit, or the looks."""
        from codegen_async.fleet.keys import key_of  # noqa: PLC0415 - nothing of a fleet is imported without one

        organization = "" if name in self._of_all_organizations else self._organization()
        return key_of(self.base_url, organization, self._token, name)

    @abstractmethod
    def _remote(self, calls: Calls[R]) -> Remote[R]:
        """Return what polls the server."""

    @abstractmethod
    def _schedule(self) -> PollSchedule:
        """Return a new schedule for the polls."""

    def _snapshots(self, calls: Calls[R]) -> Snapshots[R]:
        """Return what writes and reads snapshots for other processes."""
        return Snapshots(calls, HostedRun)

    def _organization(self) -> str:
        """Return whose runs they are, where the token alone does not say that."""
        return ""

    def without_run(self) -> Callable[[], Awaitable[object]] | None:
        """Return a call that needs no run, to tell whether it is the token that is refused; None if there is none.

        For those who keep a journal.
        """
        return None

    def read_id(self, text: str) -> Id:
        """Return the id of a run from how it is written in a URL or a file.

        Raises:
            InvalidArgumentError: it cannot be one of this dialect.
        """
        return cast("Id", self._check_run(cast("Id", text)))

    def recall(self, run_id: Id) -> R | None:
        """Return how a run has ended if that was seen within the last five minutes, as `get_run` does; else None."""
        return self._linked().waiting.recall(run_id)

    async def open(self) -> Self:
        """Open the client where no block fits (a notebook, the start of a framework), and return it.

        A client that was closed may be opened again, also on another loop: it still knows what it has sent.

        Raises:
            RuntimeError: it is open, or no asyncio loop is running.
            ConfigurationError: the memory or a fleet's file cannot be used, or the server does not tell what was not
                given.
            APIError: it could not be asked for that.
        """
        show_log_if_asked()
        self._check_loop()
        memory = None if self._memory is None else await asyncio.to_thread(_opened, self._memory)
        if self._check_fleet is not None:
            await asyncio.to_thread(self._check_fleet)
        self._check_loop()
        if self._sendings.process != os.getpid():  # what was drawn before a fork would be the same in all children
            self._sendings = Sendings(self._limits, self.base_url)
        self._limits.follow()
        transport = Transport(
            self._sender or self._make_sender(),
            self._limits,
            token=self._token,
            is_own=own_form_of(self.dialect),
            refused=meaning_of(self.dialect),
            reporter=self.reporter,
        )
        forget = _nothing if memory is None else self._attached(memory)
        try:
            await self._learn(transport)
            self._check_loop()
            calls = Calls(transport, self.dialect, self._words)
            waiting = self._waiting(calls)  # asks the dialect, which may stumble
            looks = None if self._open_bus is None else self._looks(self._open_bus(), calls, waiting)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await transport.aclose()
                await self._limits.aclose()
            forget()
            raise
        if looks is not None:
            looks.start()
        self._link = Link(transport, calls, waiting, forget, looks)
        self.reporter.tell(ClientOpened(self))
        return self

    def _waiting(self, calls: Calls[R]) -> Waiting[R]:
        return Waiting(
            self._remote(calls),
            self._schedule(),
            latency=self._latency,
            grace=Grace(seen=self.dialect.unseen_for),
            is_old=self._is_old,
            reporter=self.reporter,
            knows=self._words.knows,
            end_of=self._end_of,
            without_run=self.without_run(),
        )

    def _looks(self, bus: Bus, calls: Calls[R], waiting: Waiting[R]) -> Looks[R]:
        from codegen_async.fleet.looks import Looks  # noqa: PLC0415 - as above

        channel = self._key_of(f"looks:{type(self.dialect).__name__}")  # others read other things in what an API says
        return Looks(waiting.elsewhere, bus, channel, self._snapshots(calls), name=self._limits.member)

    def _attached(self, memory: Memory) -> Callable[[], None]:
        end = self._sendings.attach(memory, self._clock)

        def forget() -> None:
            end()
            memory.close()

        return forget

    async def _learn(self, transport: Transport) -> None:
        """Ask the server for what has to be known before all else; nothing, unless a dialect says otherwise."""

    def _check_loop(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "the client needs a running asyncio event loop (uvloop's is one); a program on trio can have one in a"
                " thread of its own, or through trio-asyncio"
            ) from None
        if self._link is not None and not self._link.is_over():
            raise RuntimeError(f"this {type(self).__name__} is open already; open it once, and share it")

    async def _carry(self, call: Call[T]) -> T:
        return await self._linked().calls.carry(call)

    async def _look(
        self,
        run_id: Id,
        call: Call[R | None],
        *,
        max_age: float | None,
        patience: float | None,
        enough: Callable[[R], bool] | None = None,
    ) -> R:
        """Return a run as it is now, or was `max_age` seconds ago; see `get_run` of the clients."""
        age = None if max_age is None else check_seconds_given("max_age", max_age)
        seconds = check_patience(patience)
        link = self._linked()

        async def ask() -> R:
            return await link.calls.whole(call, patience=seconds, about=run_id)

        return await link.waiting.look(run_id, ask, max_age=age, patience=seconds, enough=enough)

    async def _go_on(self, run_id: Id, call: Call[U], patience: float | None = None) -> U:
        """Tell a run to go on, and return the run that does, or None: waits do not take its old end for a new one."""
        link = self._linked()
        sent = asyncio.Event()
        try:
            run = await link.calls.carry(call, on_sent=sent.set, patience=patience)
        except (OutcomeUnknownError, asyncio.CancelledError):
            if sent.is_set():
                link.waiting.reopened(run_id)  # perhaps
            raise
        if run is None or run.id == run_id:
            link.waiting.reopened(run_id)
        return run

    async def aclose(self) -> None:
        """Close the client: waits end with ClientClosedError, connections are closed. Does nothing if it is closed."""
        if self._link is None or self._link.is_over():
            return
        link, self._link = self._linked(), None
        self.reporter.tell(ClientClosed(self))
        link.forget()
        with anyio.CancelScope(shield=True):  # also a cancelled program closes its sockets
            try:
                if link.looks is not None:
                    await link.looks.aclose()
                await link.waiting.aclose()
            finally:
                try:
                    await link.transport.aclose()
                finally:
                    await self._limits.aclose()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _make_sender(self) -> Sender:
        from codegen_async.http.sender import AiohttpSender  # noqa: PLC0415 - importing aiohttp takes 0.2 s of CPU

        return AiohttpSender(
            self.base_url,
            self._token,
            timeouts=self._timeouts,
            max_body=self._max_body,
            user_agent=f"codegen-async/{__version__}",
            proxy=self._proxy,
        )

    def _linked(self) -> Link[R]:
        if self._link is None:
            name = type(self).__name__
            raise ClientClosedError(
                f"use the client inside its block: async with {name}() as client: ...; or await its open() first"
            )
        if self._link.is_foreign():
            raise RuntimeError(
                "this client belongs to another event loop; make one per loop, or hand the call over with"
                " asyncio.run_coroutine_threadsafe"
            )
        return self._link

    def check_open(self) -> None:
        """Make sure that the client is inside its block.

        Raises:
            ClientClosedError: it is not.
        """
        self._linked()

    @property
    def number(self) -> int:
        """What tells this client from all others, also from its copies in other processes; drawn when it is opened."""
        return self._sendings.number

    @property
    def limits(self) -> dict[str, LimiterState]:
        """What the limiter of each endpoint is doing now; in a fleet, with whom it is shared."""
        states, looks = self._limits.states, self.looks
        if looks is None or looks.leader is None:
            return states
        return {endpoint: _led(state, looks.leader) for endpoint, state in states.items()}

    @property
    def concurrency(self) -> ConcurrencyState:
        """How many runs may go on at once, as far as is known, and how many do."""
        return self._concurrency.state

    @property
    def settle(self) -> float:
        """Seconds over which a create whose answer was lost is looked for."""
        return self._settle

    @property
    def timeouts(self) -> Timeouts:
        """The bounds of a single attempt."""
        return self._timeouts

    @property
    def waits(self) -> int:
        """How many runs are waited for now."""
        return 0 if self._link is None else self._link.waiting.watched

    @property
    def looks(self) -> LooksState | None:
        """Who looks at runs for whom, in a fleet that shares its looks; None outside of one, and while not open."""
        return None if self._link is None or self._link.looks is None else self._link.looks.state

    def limiter(self, endpoint: str) -> WindowLimiter:
        """Return the limiter of an endpoint, to look at or to hold.

        Raises:
            ConfigurationError: there is no such endpoint.
        """
        try:
            return self._limits[endpoint]
        except KeyError:
            known = sorted(self._limits.states.keys() - {"ceiling"})
            raise ConfigurationError(f"endpoint: expected one of {known}, got {shown(endpoint)}") from None

    def seed(self, endpoint: str, ages: Sequence[float]) -> None:
        """Count requests that were sent before this client existed, so that a restart spends no second burst.

        Args:
            endpoint: the one they were sent to.
            ages: for each, the seconds since.

        Raises:
            InvalidArgumentError: there is no such endpoint, or an age is none.
        """
        self._limits.seed(endpoint, [check_seconds_given("ages", age) for age in ages])

    @contextmanager
    def remembering(self, memory: Memory, clock: Callable[[], float]) -> Generator[None]:
        """Count what a memory tells was sent before, and note in it what is sent in the block; for keepers of one."""
        self._linked()
        forget = self._sendings.attach(memory, clock)
        try:
            yield
        finally:
            forget()


def _led(state: LimiterState, leader: str) -> LimiterState:
    if state.fleet is None:
        return state
    return replace(state, fleet=replace(state.fleet, leader=leader))


def _nothing() -> None:
    pass


def _opened(memory: Path) -> Memory:
    try:
        return Memory(memory)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"memory: {clean(str(memory))}: {clean(reason_of(exc))}") from None
