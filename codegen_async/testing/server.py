"""What all simulated servers have in common: they listen, count, delay, break, and keep a record.

A request travels (`latency`), is counted against the rate limits on arrival, then meets a planned fault or
has its work done, and its answer travels back. A client that goes away does not stop the work.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, NamedTuple, Self

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler as Next

from codegen_async import limits
from codegen_async.testing.delivery import Answer, deliver, status_sent
from codegen_async.testing.faults import Fault, Faults, Injection
from codegen_async.testing.rates import RetryAfter, Window, model, retry_after_header, worst_window
from codegen_async.testing.validation import Refusal

__all__ = ["Handler", "Rate", "Request", "SimulatedServer", "Window", "Worst"]

Rate = tuple[int, float] | limits.Rate
"""At most so many requests in so many seconds; of a client's `Rate` the burst means nothing here."""

Handler = Callable[[web.Request, bytes], Mapping[str, Any]]
"""Do the work of one endpoint and return the payload of the answer, or raise `Refusal`."""

_UNDONE = {Fault.RESET_BEFORE, Fault.DROP_BEFORE, Fault.ERROR_BEFORE}
_LARGEST_BODY = 64 * 2**20


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

    Make it where that loop runs. Everything random comes from `seed`.

    Args:
        rates: limit of each endpoint by name; "ceiling" is one across all endpoints. An endpoint that has
            none is not limited.
        window: how requests are counted.
        count_rejected: a rejected request uses the limit up like any other.
        retry_after: whether, and how, to tell in a header of each 429 how many seconds to wait; True: rounded up.
        latency: least and most that a request takes to arrive, and again its answer, in seconds.
        speed: how many times faster the server's clock is than the loop's.
        token: the bearer token that the server accepts.
        seed: of jitter, random faults and the phase of windows.
        port: where to listen; 0 for a free port.
    """

    def __init__(
        self,
        *,
        rates: Mapping[str, Rate],
        window: Window,
        count_rejected: bool,
        retry_after: bool | RetryAfter,
        latency: tuple[float, float],
        speed: float,
        token: str,
        seed: int,
        port: int,
    ) -> None:
        self.url: str = ""
        """The base URL, without a slash at the end; empty until the server listens."""
        self.token = token
        self.rates: dict[str, tuple[int, float]] = {name: _pair(rate) for name, rate in rates.items()}
        """Limit and period in seconds of each endpoint."""
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
            name: model(window, limit, period, count_rejected=count_rejected, phase=phase.random() * period)
            for name, (limit, period) in self.rates.items()
        }
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
        return {**self._variables(), **speed}

    @abstractmethod
    def _variables(self) -> dict[str, str]:
        """Return the dialect's own variables."""

    @abstractmethod
    def _routes(self) -> list[tuple[str, str, str, Handler]]:
        """Return method, path, name and handler of each endpoint."""

    @abstractmethod
    def _date(self) -> datetime:
        """Return the date that the server's clock shows, in UTC."""

    @abstractmethod
    def _refusal(self, status: int) -> Refusal:
        """Return the answer to a wrong token (401), to too many requests (429), or another refusal in the same form."""

    @abstractmethod
    def _problem(self, status: int, reason: str) -> Mapping[str, Any]:
        """Return what the answer to a request says that came to no endpoint."""

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._unrouted])
        for method, path, endpoint, handler in self._routes():
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
            return self._answer(error.status, self._problem(error.status, error.reason), allow).response()

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
            self._authenticate(request)
            self._count(endpoint)
            injection = self.faults.take(endpoint)
            payload = self._perform(injection, handler, request, body)
        except Refusal as refusal:
            return self._answer(refusal.status, refusal.payload, refusal.headers), injection
        return self._answer(200, payload, {}), injection

    def _answer(self, status: int, payload: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        date = format_datetime(self._date(), usegmt=True)
        return Answer(status, payload, {hdrs.DATE: date, **headers})

    def _authenticate(self, request: web.Request) -> None:
        if request.headers.get(hdrs.AUTHORIZATION) != f"Bearer {self.token}":
            raise self._refusal(401)

    def _count(self, endpoint: str) -> None:
        now = self.now()
        waits: list[float] = []
        for name in (endpoint, "ceiling"):
            self._arrivals[name].append(now)
            wait = self._models[name].hit(now) if name in self._models else None
            if wait is not None:
                waits.append(wait)
        if waits:
            self.violations += 1
            raise self._too_many(self._hint(max(waits) / self._speed))

    def _hint(self, seconds: float) -> str | None:
        return None if self._retry_after is None else retry_after_header(self._retry_after, seconds, self._date())

    def _perform(
        self, injection: Injection | None, handler: Handler, request: web.Request, body: bytes
    ) -> Mapping[str, Any]:
        if injection is not None and injection.fault is Fault.RATE_LIMITED:
            raise self._too_many(injection.retry_after)
        if injection is not None and injection.fault is Fault.REFUSED:
            raise self._refusal(injection.status)
        undone = injection is not None and injection.fault in _UNDONE
        return {} if undone else handler(request, body)

    def _too_many(self, retry_after: float | str | None) -> Refusal:
        refusal = self._refusal(429)
        if retry_after is not None:
            refusal.headers[hdrs.RETRY_AFTER] = str(retry_after)
        return refusal


def _pair(rate: Rate) -> tuple[int, float]:
    return (rate.limit, rate.period) if isinstance(rate, limits.Rate) else rate
