"""Serve an ASGI application from aiohttp.web. Nothing else of the package knows that server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError

from codegen_async.web.asgi import Closing, Message, Scope

_LAST = 1.0  # seconds for connections to end by themselves
_MOST = 256  # connections at once: whoever reaches the port may open them, and the process needs others of its own


def _is_of_us(record: logging.LogRecord) -> bool:
    """Whether the server complains of us: what is no HTTP is of the other side, and there may be a token in it."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError | web.RequestPayloadError)


_log = logging.getLogger("codegen_async.server")
_log.addFilter(_is_of_us)


def aiohttp_routes(app: web.Application, asgi: Closing, *, prefix: str = "/runs") -> None:
    """Let an aiohttp.web application answer below `prefix` as an ASGI application does, and end its streams in time.

    The scope of a request holds aiohttp's own in `scope["aiohttp.request"]`. aiohttp.web does not tell when a browser
    leaves: that is noticed when something is sent, within `ping` seconds.

    Args:
        app: the application, before it is run.
        asgi: what answers; it is closed when the application shuts down.
        prefix: where it answers. Default `/runs`.
    """

    async def serve(request: web.Request) -> web.StreamResponse:
        exchange = _Exchange(request)
        await asgi(exchange.scope, exchange.receive, exchange.send)
        if exchange.response is None:  # the browser has left, or its request is broken
            raise web.HTTPBadRequest
        return exchange.response

    async def close(_: web.Application) -> None:
        await asgi.aclose()

    app.router.add_route("*", prefix, serve)
    app.router.add_route("*", f"{prefix}/{{tail:.*}}", serve)
    app.on_shutdown.append(close)


@asynccontextmanager
async def served(asgi: Closing, *, host: str, port: int) -> AsyncGenerator[int]:
    """Serve an ASGI application alone while the block lasts, and yield the port.

    Args:
        asgi: what answers; it is closed at the end.
        host: the address to listen on.
        port: the port; 0 for any that is free.

    Raises:
        OSError: nothing can listen there.
    """
    app = web.Application()
    aiohttp_routes(app, asgi, prefix="")
    runner = web.AppRunner(app, access_log=None, logger=_log, shutdown_timeout=_LAST)
    await runner.setup()
    try:
        listening = await asyncio.get_running_loop().create_server(_bounded(runner.server), host, port)
        try:
            yield int(listening.sockets[0].getsockname()[1])
        finally:
            listening.close()
    finally:
        await runner.cleanup()


def _bounded(server: Any) -> Callable[[], asyncio.Protocol]:
    """Return what takes connections for a server of aiohttp, and ends them at once when it has enough."""
    return lambda: cast("asyncio.Protocol", server()) if len(server.connections) < _MOST else _Full()


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


class _Exchange:
    """A request and its answer, in the words of ASGI."""

    def __init__(self, request: web.Request) -> None:
        self.response: web.StreamResponse | None = None
        self._request = request
        self._is_read = False
        tail = request.match_info.get("tail", "")
        self.scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": f"{request.version.major}.{request.version.minor}",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.rel_url.raw_path.encode("latin-1"),
            "query_string": request.rel_url.raw_query_string.encode("latin-1"),
            "root_path": request.path[: len(request.path) - len(tail)].rstrip("/"),
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
            "client": (request.remote, 0) if request.remote else None,
            "aiohttp.request": request,
        }

    async def receive(self) -> Message:
        """Return the next part of the request, then nothing more."""
        if self._is_read:
            await asyncio.get_running_loop().create_future()
        try:
            body = await self._request.content.readany()
        except (OSError, web.RequestPayloadError):  # it has left, or sends what is no body
            return {"type": "http.disconnect"}
        self._is_read = self._request.content.at_eof()
        return {"type": "http.request", "body": body, "more_body": not self._is_read}

    async def send(self, message: Message) -> None:
        """Send a part of the answer.

        Raises:
            OSError: the other side has left.
        """
        if message["type"] == "http.response.start":
            self.response = web.StreamResponse(status=message["status"], headers=_headers(message))
            await self.response.prepare(self._request)
            return
        response: Any = self.response
        if body := message.get("body"):
            await response.write(body)
        if not message.get("more_body", False):
            await response.write_eof()


def _headers(message: Message) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
