"""Put the routes for runs before an ASGI application, and a client into its state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from codegen_async.cleaning import clean, shown
from codegen_async.codegen.client import CodegenClient
from codegen_async.errors import ConfigurationError
from codegen_async.hosted.client import RunClient
from codegen_async.web.app import Authorize, Create, RunsApp
from codegen_async.web.asgi import App, Message, Receive, Scope, Send, path_of
from codegen_async.web.ending import heard_first
from codegen_async.web.feed import RunFeed

_log = logging.getLogger("codegen_async")


def attach(
    app: App,
    *,
    authorize: Authorize,
    prefix: str = "/runs",
    client: Callable[[], RunClient[Any, Any]] = CodegenClient,
    view: Callable[[Any], Mapping[str, Any]] | None = None,
    create: Create | None = None,
    hook_secret: str | None = None,
) -> App:
    """Return an ASGI application that answers below `prefix` as `RunsApp` does, and leaves all else to `app`.

    A client is opened when the application starts, before `app` itself does, and closed when it ends; `app` and its
    handlers find it in `scope["state"]["codegen"]`. The server has to speak the lifespan protocol, the application need
    not. At SIGTERM and SIGINT all streams end at once, so that the server can.

    Args:
        app: an ASGI application of any framework.
        authorize: tells, given the scope of a request and the id of a run, whether it may be seen; see `RunsApp`.
        prefix: where the routes are. Default `/runs`.
        client: makes the client: a class or a function. Default: `CodegenClient`.
        view: what browsers are shown of a run; see `RunFeed`.
        create: starts a run; see `RunsApp`.
        hook_secret: see `RunsApp`.

    Raises:
        ConfigurationError: the prefix cannot be one.
    """
    if not prefix.startswith("/") or prefix.endswith("/"):
        raise ConfigurationError(f"prefix: expected a path such as /runs, got {shown(prefix)}")

    def serve(opened: RunClient[Any, Any]) -> RunsApp[Any]:
        return RunsApp(RunFeed(opened, view=view), authorize=authorize, create=create, hook_secret=hook_secret)

    return _Attached(app, prefix, client, serve)


class _Attached:
    def __init__(
        self,
        app: App,
        prefix: str,
        client: Callable[[], RunClient[Any, Any]],
        serve: Callable[[RunClient[Any, Any]], RunsApp[Any]],
    ) -> None:
        self._app = app
        self._prefix = prefix
        self._client = client
        self._serve = serve
        self._runs: RunsApp[Any] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        path = f"/{path_of(scope)}"
        is_ours = scope["type"] == "http" and (path == self._prefix or path.startswith(f"{self._prefix}/"))
        if self._runs is not None:
            scope.setdefault("state", {})["codegen"] = self._runs.feed.client
        if not is_ours:
            await self._app(scope, receive, send)
        elif self._runs is None:
            raise RuntimeError("no client is open: the server has to speak the lifespan protocol (daphne does not)")
        else:
            root = str(scope.get("root_path", "")).rstrip("/") + self._prefix
            below = {"path": root + path[len(self._prefix) :], "root_path": root}
            await self._runs({**scope, **below}, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await receive()
        try:
            client = self._client()
            runs = self._serve(client)
            await client.open()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is told that nothing has started
            _log.error("web: cannot start: %s", error)
            await send({"type": "lifespan.startup.failed", "message": clean(str(error), 600)})
            return
        scope.setdefault("state", {})["codegen"] = client
        inner = _Inner(asked, receive, send, runs.close)
        try:
            with heard_first(runs.close):
                self._runs = runs
                await inner.live(self._app, scope)
        finally:
            self._runs = None
            try:
                await runs.aclose()
            finally:
                await client.aclose()
        await inner.end()


class _Inner:
    """The lifespan of the application inside: it begins after ours and ends before it; perhaps it knows none.

    Args:
        asked: what the server began with.
        receive: hears the server.
        send: tells the server.
        close: called when the server ends the lifespan.
    """

    def __init__(self, asked: Message, receive: Receive, send: Send, close: Callable[[], None]) -> None:
        self._asked: Message | None = asked
        self._receive = receive
        self._send = send
        self._close = close
        self._told = False  # the server, how the start went
        self._failed = False
        self._over = False
        self._last: Message = {"type": "lifespan.shutdown.complete"}

    async def live(self, app: App, scope: Scope) -> None:
        """Return when the lifespan is over."""
        try:
            await app(scope, self._hear, self._tell)
        except Exception:
            if self._told:
                raise
            _log.debug("web: the application knows no lifespan", exc_info=True)
        if not self._told:
            await self._tell({"type": "lifespan.startup.complete"})
        while not (self._over or self._failed):
            await self._hear()

    async def end(self) -> None:
        """Tell the server that all is over."""
        if not self._failed:
            await self._send(self._last)

    async def _hear(self) -> Message:
        asked, self._asked = self._asked, None
        message = await self._receive() if asked is None else asked
        if message["type"] == "lifespan.shutdown":
            self._over = True
            self._close()
        return message

    async def _tell(self, message: Message) -> None:
        kind = message["type"]
        if kind.startswith("lifespan.shutdown."):
            self._last = message  # when the client is closed as well
            return
        self._told = True
        self._failed = kind == "lifespan.startup.failed"
        await self._send(message)
