"""What all simulated servers have in common: they listen, count, delay, break, and keep a record.

A request travels (`latency`), is counted against the rate limits on arrival, then meets a planned fault or
has its work done, and its answer travels back. A client that goes away does not stop the work.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, NamedTuple, Self, cast

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler as Next

from codegen_async import limits
from codegen_async.testing.delivery import Answer, deliver, status_sent
from codegen_async.testing.faults import Fault, Faults, Injection
from codegen_async.testing.rates import RetryAfter, Window, model, retry_after_header, worst_window
from codegen_async.testing.validation import Refusal

__all__ = ["Answer", "Handler", "Rate", "Request", "Route", "SimulatedServer", "Window", "Worst"]

Rate = tuple[int, float] | limits.Rate
"""At most so many requests in so many seconds; of a client's `Rate` the burst means nothing here."""

Handler = Callable[[web.Request, bytes], Any]
"""Do the work of one endpoint, given the request and its body, and return the JSON of a 200, an `Answer` of another
status or with headers, or raise `Refusal`."""

_UNDONE = {Fault.RESET_BEFORE, Fault.DROP_BEFORE, Fault.ERROR_BEFORE}
_LARGEST_BODY = 64 * 2**20


class Route(NamedTuple):
    """Describe an endpoint: its method, its path as aiohttp writes it (`/runs/{id}`), its name, and what serves it."""

    method: str
    path: str
    endpoint: str
    handler: Handler


class Request(NamedTuple):
    """A request that has arrived: when (server's clock), where to, and the status of the answer.

    The status is 0 until an answer is sent, and remains so if none is.
    """

    time: float
    endpoint: str
    status: int


class Worst(NamedTuple):
    """The most requests that arrived at an endpoint within one period, and the limit."""

    seen: int
    limit: int


class SimulatedServer(ABC):
    """Serve HTTP on 127.0.0.1 while the `async with` block lasts, on the loop of the caller.

    The base of servers for the tests of any dialect: a subclass says which `routes` there are; limits, faults, delays
    and the record come with it. Make it where the loop runs. Everything random comes from `seed`.

    Args:
        rates: the limit of each endpoint by name, or several that hold at once; "ceiling" is across all endpoints. An
            endpoint that has none is not limited. A name that no route bears is a `ValueError`: nothing would count.
        window: how requests are counted. Default: over a sliding window, the strictest of the exact ways.
        count_rejected: a rejected request uses the limit up like any other.
        retry_after: whether, and how, to tell in a header of each 429 how many seconds to wait; True: rounded up.
        latency: least and most that a request takes to arrive, and again its answer, in seconds.
        speed: how many times faster the server's clock is than the loop's.
        token: the token that the server accepts; a bearer token, unless `is_authorized` says otherwise.
        seed: of jitter, random faults and the phase of windows.
        port: where to listen; 0 for a free port.
    """

    def __init__(
        self,
        *,
        rates: Mapping[str, Rate | Sequence[limits.Rate]] | None = None,
        window: Window = "sliding",
        count_rejected: bool = False,
        retry_after: bool | RetryAfter = False,
        latency: tuple[float, float] = (0.0, 0.0),
        speed: float = 1.0,
        token: str = "simulated",  # noqa: S107 - opens nothing but a simulation
        seed: int = 0,
        port: int = 0,
    ) -> None:
        self.url: str = ""
        """The base URL, without a slash at the end; empty until the server listens."""
        self.token = token
        pairs = {name: _pairs(rate) for name, rate in (rates or {}).items()}
        self.rates: dict[str, tuple[int, float]] = {name: several[0] for name, several in pairs.items()}
        """Limit and period in seconds of each endpoint; of several, the first."""
        self.faults: Faults = Faults(seed)
        """What is to go wrong."""
        self.requests: list[Request] = []
        """All requests in the order of arrival; what came to no endpoint is "unrouted"."""
        self.violations: int = 0
        """How many requests the limits have rejected."""
        self._retry_after: RetryAfter | None = "up" if retry_after is True else retry_after or None
        self._latency = latency
        self._port = port
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._jitter = random.Random(f"{seed}:jitter")
        self._arrivals: defaultdict[str, list[float]] = defaultdict(list)
        phase = random.Random(f"{seed}:phase")
        self._models = {
            name: [
                model(window, limit, period, count_rejected=count_rejected, phase=phase.random() * period)
                for limit, period in several
            ]
            for name, several in pairs.items()
        }
        self._epoch = datetime.now(UTC) - timedelta(seconds=self.now())
        # What is still open at the end is cut off.
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.01)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            # A connection that finds the queue full is tried again a second later, by the kernel's clock.
            await web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096).start()
        except BaseException:  # the port is taken, say
            await self._runner.cleanup()
            raise
        host, port = self._runner.addresses[0]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def now(self) -> float:
        """Return the time of the server's clock in seconds."""
        return self._loop.time() * self._speed

    def worst(self, endpoint: str) -> Worst:
        """Return the fullest period of an endpoint ("ceiling": of all), rejected requests included.

        Raises:
            KeyError: the endpoint has no limit.
        """
        limit, period = self.rates[endpoint]
        return Worst(worst_window(self._arrivals[endpoint], period), limit)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point a client here, also one in another process; what they say ends with the server."""
        speed = {} if self._speed == 1.0 else {"CODEGEN_ASYNC_SPEED": f"{self._speed:g}@{self.url}"}
        return {**self.variables(), **speed}

    # -- what a server says of its own

    @abstractmethod
    def routes(self) -> list[Route]:
        """Return the endpoints."""

    def variables(self) -> dict[str, str]:
        """Return the variables that lead a client here. Default: none."""
        return {}

    def date(self) -> datetime:
        """Return the date that the server's clock shows, in UTC. Default: it began at the machine's date."""
        return self._epoch + timedelta(seconds=self.now())

    def is_authorized(self, request: web.Request) -> bool:
        """Whether a request bears the token. Default: as a bearer token."""
        return request.headers.get(hdrs.AUTHORIZATION) == f"Bearer {self.token}"

    def problem(self, reason: str) -> Mapping[str, Any]:
        """Say what is wrong with a request that came to no endpoint. Default: as frameworks do, in `detail`."""
        return {"detail": reason}

    def refusal(self, status: int) -> Refusal:
        """Return the answer to a wrong token (401), to too many requests (429), or another refusal in the same form."""
        return Refusal(status, self.problem(HTTPStatus(status).phrase))

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._unrouted])
        routes = self.routes()
        if unspent := self.rates.keys() - {route.endpoint for route in routes} - {"ceiling"}:
            names = sorted({route.endpoint for route in routes})
            raise ValueError(f"rates: expected endpoints of routes, which are {names}, got {sorted(unspent)}")
        for method, path, endpoint, handler in routes:
            app.router.add_route(method, path, self._serving(endpoint, handler))
        return app

    @web.middleware
    async def _unrouted(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Answer an unknown path, a method that a path does not have, or a body that is too large."""
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed, web.HTTPRequestEntityTooLarge) as error:
            self.requests.append(Request(self.now(), "unrouted", error.status))
            allow = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
            return self._answer(error.status, self.problem(error.reason), allow).response()

    def _serving(
        self, endpoint: str, handler: Handler
    ) -> Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            await self._travel()
            number = len(self.requests)
            self.requests.append(Request(self.now(), endpoint, 0))
            answer, injection = self._work(request, endpoint, handler, body)
            await self._travel()
            status = status_sent(answer, injection)
            self.requests[number] = self.requests[number]._replace(status=status)
            return await deliver(request, answer, injection)

        return serve

    async def _travel(self) -> None:
        low, high = self._latency
        if high > 0:
            await asyncio.sleep(self._jitter.uniform(low, high))

    def _work(
        self, request: web.Request, endpoint: str, handler: Handler, body: bytes
    ) -> tuple[Answer, Injection | None]:
        injection = None
        try:
            if not self.is_authorized(request):
                raise self.refusal(401)
            self._count(endpoint)
            injection = self.faults.take(endpoint)
            payload = self._perform(injection, handler, request, body)
        except Refusal as refusal:
            return self._answer(refusal.status, refusal.payload, refusal.headers), injection
        if isinstance(payload, Answer):
            return self._answer(payload.status, payload.payload, payload.headers), injection
        return self._answer(200, payload, {}), injection

    def _answer(self, status: int, payload: Any, headers: Mapping[str, str]) -> Answer:
        date = format_datetime(self.date(), usegmt=True)
        return Answer(status, payload, {hdrs.DATE: date, **headers})

    def _count(self, endpoint: str) -> None:
        now = self.now()
        waits: list[float] = []
        for name in (endpoint, "ceiling"):
            self._arrivals[name].append(now)
            told = [each.hit(now) for each in self._models.get(name, ())]
            waits += [wait for wait in told if wait is not None]
        if waits:
            self.violations += 1
            raise self._too_many(self._hint(max(waits) / self._speed))

    def _hint(self, seconds: float) -> str | None:
        return None if self._retry_after is None else retry_after_header(self._retry_after, seconds, self.date())

    def _perform(self, injection: Injection | None, handler: Handler, request: web.Request, body: bytes) -> Any:
        if injection is not None and injection.fault is Fault.RATE_LIMITED:
            raise self._too_many(injection.retry_after)
        if injection is not None and injection.fault is Fault.REFUSED:
            raise self.refusal(injection.status)
        undone = injection is not None and injection.fault in _UNDONE
        return {} if undone else handler(request, body)

    def _too_many(self, retry_after: float | str | None) -> Refusal:
        refusal = self.refusal(429)
        if retry_after is not None:
            refusal.headers[hdrs.RETRY_AFTER] = str(retry_after)
        return refusal


def _pairs(rate: Rate | Sequence[limits.Rate]) -> list[tuple[int, float]]:
    if isinstance(rate, limits.Rate):
        return [(rate.limit, rate.period)]
    several = [each for each in rate if isinstance(each, limits.Rate)]
    return [(each.limit, each.period) for each in several] or [cast("tuple[int, float]", rate)]
