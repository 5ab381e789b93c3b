"""Send requests with aiohttp: the only user of its client, imported when a client is opened.

Two facts about aiohttp shape this module. It repeats a GET once by itself when a connection dies, so what belongs to an
attempt (slot, phase marks, the token) is in a client middleware, which runs once per attempt. And its exceptions
and answers hold the request's headers, so none of them leaves this module, not even as `__context__`; what else is
raised inside aiohttp (no memory, an interrupt) leaves without the frames of aiohttp, whose variables crash reporters
would show.
"""

from __future__ import annotations

import asyncio
import io
import os
import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, NoReturn, TypedDict, cast
from urllib.parse import unquote, urlencode, urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from codegen_async.errors import ClientClosedError
from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.limits import RATE_HEADERS, Slot
from codegen_async.secret import Masked, Secret
from codegen_async.settings import Timeouts, is_loopback

_HEADERS_KEPT = (
    "retry-after",
    "date",
    "link",
    "location",
    "content-location",
    "x-request-id",
    "request-id",
    *RATE_HEADERS,
)

# What happened, in words that hold nothing of the exception's own text. The first class that fits counts.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (aiohttp.SocketTimeoutError, "the server fell silent"),
    (TimeoutError, "no answer in time"),
    (aiohttp.ClientConnectorDNSError, "the host name cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, "the server's certificate is not trusted"),
    (aiohttp.ClientSSLError, "TLS failed"),
    (aiohttp.ServerFingerprintMismatch, "the server's certificate is not the expected one"),
    (aiohttp.ClientProxyConnectionError, "the proxy cannot be reached"),
    (aiohttp.ClientHttpProxyError, "the proxy does not let us through"),
    (aiohttp.ClientConnectorError, "the server cannot be reached"),
    (aiohttp.ServerDisconnectedError, "the server closed the connection without an answer"),
    (aiohttp.ClientConnectionResetError, "the connection was reset"),
    (aiohttp.ClientOSError, "the connection broke"),
    (aiohttp.ClientConnectionError, "the connection failed"),
    (aiohttp.ClientPayloadError, "the answer was cut short or damaged"),
    (aiohttp.InvalidURL, "the URL is not valid"),
    (aiohttp.NonHttpUrlClientError, "the URL is not valid"),
    (aiohttp.ClientResponseError, "the answer is not valid HTTP"),  # its `status` is invented: 400
    (OSError, "the connection broke"),
)


def explain(failure: BaseException) -> str:
    """Return what happened in plain words; the exception's own text may quote the request."""
    return next((reason for kind, reason in _REASONS if isinstance(failure, kind)), "the request failed")


def detail_of(failure: BaseException) -> str | None:
    """Return what the system or OpenSSL says of a connection that did not come about; neither knows the request."""
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        cause: object = failure.certificate_error
        return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else None
    if isinstance(failure, aiohttp.ClientConnectorSSLError):
        return getattr(cast("Any", failure).os_error, "reason", None)
    if isinstance(failure, aiohttp.ClientHttpProxyError):
        return f"it answered {failure.status}"
    if isinstance(failure, aiohttp.ClientConnectorDNSError) or not isinstance(failure, aiohttp.ClientConnectorError):
        return None
    return os.strerror(failure.os_error.errno) if failure.os_error.errno else None


def without_frames(failure: BaseException) -> BaseException:
    """Return what was raised without the frames it came through, and so what it was caused by or raised during.

    A cancellation keeps its own: it comes where something is awaited, and there no variable holds what is written.
    """
    ahead, seen = [failure], set[int]()
    while ahead:
        one = ahead.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if not isinstance(one, asyncio.CancelledError):
            one.__traceback__ = None
        inner = cast("BaseExceptionGroup[BaseException]", one).exceptions if isinstance(one, BaseExceptionGroup) else ()
        ahead += filter(None, (one.__cause__, one.__context__, *inner))
    return failure


class AiohttpSender:
    """Send requests over HTTP/1.1; a `Sender`. Made inside a running event loop.

    Safe by default: no redirects, no cookies, no settings from the environment, a cap on the size of an answer. What
    must not be sent twice has connections of its own that are closed after use, since a kept one that the server closes
    meanwhile leaves it unknown whether the request arrived.

    Args:
        base_url: where the API is, checked by `settings.check_base_url`.
        token: sent in the headers that it knows.
        timeouts: bounds of one attempt.
        max_body: bytes an answer may have, after decompression.
        user_agent: how the client names itself.
        proxy: the URL of a proxy, checked by `settings.check_proxy`; a server on this machine is reached without it.
    """

    def __init__(
        self,
        base_url: str,
        token: Secret,
        *,
        timeouts: Timeouts,
        max_body: int,
        user_agent: str,
        proxy: Secret | None = None,
    ) -> None:
        self._base_url = base_url
        self._where = urlsplit(base_url).netloc
        self._token = token
        self._timeouts = timeouts
        self._max_body = max_body
        self._user_agent = user_agent
        self._way: _Way = {} if proxy is None or is_loopback(urlsplit(base_url).hostname or "") else _way_through(proxy)
        self._reads = self._open(keep=True)
        self._writes = self._open(keep=False)
        self._retired: list[_Pool] = []

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        """Send one request; see `Sender`."""
        pool = self._reads if request.repeatable else self._writes
        pool.check_open()
        pool.users += 1
        try:
            outcome = await self._send(pool, request, take_slot)
        finally:
            pool.users -= 1
            if self._retired:
                await self._close_retired()
        if isinstance(outcome, NoAnswerError):
            raise outcome
        return outcome

    @asynccontextmanager
    async def stream(
        self, request: Request, take_slot: Callable[[], Slot], *, silence: float
    ) -> AsyncGenerator[Response | AsyncIterator[bytes]]:
        """Send one request for server-sent events; see `StreamingSender`."""
        pool = self._reads
        pool.check_open()
        pool.users += 1
        try:
            async with AsyncExitStack() as stack:
                answer = await self._open_stream(stack, pool, request, take_slot, silence)
                if isinstance(answer, NoAnswerError):
                    raise answer
                yield answer
        finally:
            pool.users -= 1
            if self._retired:
                await self._close_retired()

    def renew(self) -> None:
        """Trust no kept connection; requests under way end on theirs."""
        self._retired.append(self._reads)
        self._reads = self._open(keep=True)

    async def aclose(self) -> None:
        """Close all connections."""
        async with AsyncExitStack() as stack:  # one that fails or is cancelled keeps none of the others open
            for pool in (self._reads, self._writes, *self._retired):
                stack.push_async_callback(pool.session.close)

    def _open(self, *, keep: bool) -> _Pool:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=not keep),  # the limiter bounds what is in flight
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            timeout=aiohttp.ClientTimeout(
                total=None,  # would count the wait for a slot as well
                connect=self._timeouts.connect,  # with the resolution of the name
                sock_read=self._timeouts.read,
            ),
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
        )
        return _Pool(session)

    async def _close_retired(self) -> None:
        for pool in [pool for pool in self._retired if not pool.users]:
            await pool.session.close()
            self._retired = [other for other in self._retired if other is not pool]

    async def _send(self, pool: _Pool, request: Request, take_slot: Callable[[], Slot]) -> Response | NoAnswerError:
        exchange = _Exchange(pool, take_slot, self._token, self._timeouts.total, once=not request.repeatable)
        try:
            async with (
                asyncio.timeout(None) as exchange.patience,
                pool.session.request(
                    request.method,
                    self._url(request),
                    data=None if request.body is None else io.BytesIO(request.body),  # aiohttp warns of large bytes
                    headers=_headers(request),
                    allow_redirects=False,
                    middlewares=(exchange,),
                    **self._way,
                ) as answer,
            ):
                return await exchange.read(answer, self._max_body)
        except (aiohttp.ClientError, OSError) as exc:  # TimeoutError is an OSError
            return exchange.failed(exc, self._where)
        except BaseException as exc:  # noqa: BLE001 - raised again
            failure = without_frames(exc)
        raise failure  # out here, as it would get the error that it is as its context

    async def _open_stream(
        self,
        stack: AsyncExitStack,
        pool: _Pool,
        request: Request,
        take_slot: Callable[[], Slot],
        silence: float,
    ) -> Response | AsyncIterator[bytes] | NoAnswerError:
        exchange = _Exchange(pool, take_slot, self._token, self._timeouts.total)
        try:
            async with asyncio.timeout(None) as exchange.patience:  # for the head; a body takes as long as the run
                answer = await stack.enter_async_context(
                    pool.session.get(
                        self._url(request),
                        headers={**dict(request.headers), "Accept": "text/event-stream"},
                        timeout=aiohttp.ClientTimeout(total=None, connect=self._timeouts.connect, sock_read=silence),
                        allow_redirects=False,
                        middlewares=(exchange,),
                        **self._way,
                    )
                )
                if answer.status // 100 != 2:  # noqa: PLR2004 - 2xx
                    return await exchange.read(answer, self._max_body)
        except (aiohttp.ClientError, OSError) as exc:
            return exchange.failed(exc, self._where)
        except BaseException as exc:  # noqa: BLE001 - raised again
            failure = without_frames(exc)
        else:
            return await stack.enter_async_context(aclosing(_pieces(answer)))
        raise failure

    def _url(self, request: Request) -> URL:
        query = f"?{urlencode(request.query)}" if request.query else ""
        return URL(f"{self._base_url}{request.path}{query}", encoded=True)


def _headers(request: Request) -> dict[str, str] | None:
    """Return what the request brings along; nothing of the token, which is put in for each attempt."""
    if request.body is None:
        return dict(request.headers) or None
    return {"Content-Type": "application/json", **dict(request.headers)}


class _Way(TypedDict, total=False):
    """Say through which proxy a request goes, and what the proxy wants to see."""

    proxy: URL
    proxy_headers: dict[str, str]


def _way_through(proxy: Secret) -> _Way:
    parts = urlsplit(proxy.reveal())
    port = "" if parts.port is None else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    way = _Way(proxy=URL(f"{parts.scheme}://{host}{port}"))
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        way["proxy_headers"] = {"Proxy-Authorization": Masked(f"Basic {b64encode(user.encode()).decode()}")}
    return way


class _Pool:
    """A session and the number of requests on it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.users = 0

    def check_open(self) -> None:
        """Raise ClientClosedError if the client was closed."""
        if self.session.closed:
            raise ClientClosedError("the client was closed while this call was under way")


class _Request(aiohttp.ClientRequest):
    """A request that says when it has its connection; the public signals of a session would cost a tenth of a call."""

    exchange: _Exchange

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        self.exchange.connected()
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write the body; aiohttp does it in a task of its own, whose failure asyncio may log."""
        try:
            return await super().write_bytes(writer, conn, content_length)
        except BaseException as exc:  # noqa: BLE001 - raised again
            failure = without_frames(exc)
        raise failure


class _Exchange:
    """One request and the attempts made at it. As an aiohttp middleware it is called once per attempt.

    aiohttp makes a second one by itself where a connection dies without an answer, if the method is one that HTTP says
    may be repeated, be it a PUT. Whether it may be is known here: `once`.
    """

    patience: asyncio.Timeout

    def __init__(
        self, pool: _Pool, take_slot: Callable[[], Slot], token: Secret, total: float, *, once: bool = False
    ) -> None:
        self._pool = pool
        self._take_slot = take_slot
        self._token = token
        self._total = total
        self._slot: Slot | None = None
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self.sent = False
        self._once = once
        self._failure: aiohttp.ClientError | None = None  # of the first attempt

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._once and self._failure is not None:
            raise self._failure
        if self._slot is not None:
            self._wait_at_most(None)  # aiohttp's second attempt may have to wait for a slot as the first did
        async with self._take_slot() as slot:
            self._pool.check_open()
            self._slot = slot
            self._wait_at_most(asyncio.get_running_loop().time() + self._total)
            request.headers.update(self._token.headers)
            cast("_Request", request).exchange = self
            try:
                response = await handler(request)
            except aiohttp.ClientError as exc:
                self._failure = exc
                raise
            slot.answered()
            if not self.sent:
                raise RuntimeError("aiohttp has sent a request without _Request.send: phases are not known")
        return response

    def connected(self) -> None:
        """Note that from now on bytes may reach the server; the slot may refuse."""
        if self._slot is not None:
            self._slot.sent()
        self.sent = True

    async def read(self, answer: aiohttp.ClientResponse, at_most: int) -> Response:
        """Read the body and return what came."""
        self._status = answer.status
        self._headers = {name: answer.headers[name] for name in _HEADERS_KEPT if name in answer.headers}
        if "link" in self._headers:  # a list, which may come in several lines
            self._headers["link"] = ", ".join(answer.headers.getall("link"))
        size = 0
        async for chunk in answer.content.iter_any():
            self._body.append(chunk)
            size += len(chunk)
            if size > at_most:
                return self._response(f"the answer is larger than {at_most} bytes", too_large=True)
        return self._response()

    def failed(self, failure: BaseException, where: str) -> Response | NoAnswerError:
        """Return what came before it failed, or that nothing did."""
        if self._status:
            return self._response(explain(failure))
        timed_out = isinstance(failure, TimeoutError)
        return NoAnswerError(
            explain(failure), sent=self.sent, timed_out=timed_out, where=where, detail=detail_of(failure)
        )

    def _response(self, problem: str | None = None, *, too_large: bool = False) -> Response:
        body = b"".join(self._body)
        return Response(status=self._status, headers=self._headers, body=body, problem=problem, too_large=too_large)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an exchange cannot be copied")  # aioresponses would try, with the whole event loop

    def _wait_at_most(self, until: float | None) -> None:
        if not self.patience.expired():  # else the task is about to be cancelled, and it cannot be rescheduled
            self.patience.reschedule(until)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """Yield the body as it comes; what ends it makes no difference."""
    try:
        async for piece in answer.content.iter_any():
            yield piece
    except (aiohttp.ClientError, OSError):
        return
