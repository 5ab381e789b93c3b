"""Routes for runs, as an ASGI application that any framework can mount. Knows no framework."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qs

import anyio

from codegen_async.errors import InvalidArgumentError
from codegen_async.models import RunId, RunLike
from codegen_async.web.answering import answered, json_of, only
from codegen_async.web.asgi import (
    Receive,
    Reply,
    Scope,
    Send,
    body_of,
    header,
    is_yes,
    json_reply,
    path_of,
    place_of,
    stream,
)
from codegen_async.web.feed import RunFeed
from codegen_async.web.frames import HEADERS, problem_frame
from codegen_async.web.hooks import Hooks
from codegen_async.web.problems import stated

R = TypeVar("R", bound=RunLike)

Authorize = Callable[[Scope, Any], bool | Awaitable[bool]]
"""Tell whether whoever makes a request may see a run, given the request's scope and the run's id."""

Create = Callable[[Scope, dict[str, Any], str | None], Awaitable[Any]]
"""Start a run, given the request's scope, the JSON object of its body, and its idempotency key; return the run, or JSON
that tells what became of it."""

_log = logging.getLogger("codegen_async")

_LARGEST = 2**20  # bytes of a body
_MOST_RUNS = 100  # of one stream
_LAST_CREATES = 5.0  # seconds for creates to come to their end when the application closes

_UNKNOWN = stated(404, "There is no such run.")


class RunsApp(Generic[R]):
    """Serve runs to browsers: an ASGI application, to be mounted where its paths are to be.

    - `GET /{id}`: the view of a run.
    - `GET /{id}/events`, `GET /events?run=1,2,3`: the views of runs as they change, as server-sent events; the second
      because browsers allow six connections to a host. 204 for a browser that has seen the end.
    - `POST /`, where `create` is given: JSON to what it takes; 202 and where the run is. A create is not cut off when
      its browser leaves. The header `Idempotency-Key` is handed on.
    - `POST /hooks/middesk`, or `POST /hooks/{name of the dialect}/{secret}`, where `hook_secret` is given.

    What is refused looks like what is unknown: 404. Errors are `application/problem+json`; see `problem`.

    Args:
        feed: what is shown.
        authorize: tells, given the scope of a request and the id of a run, whether it may be seen, True or False: the
            token of the client sees all runs of its organization. May be async.
        create: starts a run, given the scope of a request, the JSON object of its body, and its idempotency key or
            None. It raises PermissionError (403) for those who may start none, and keeps the keys of different users
            apart. It returns the run, or, where there is none yet, JSON. Default: there is no such route.
        hook_secret: at Middesk what events are signed with; else a part of the hook's URL that nobody can guess.
            Default: there are no hooks.

    Raises:
        ConfigurationError: `hook_secret` is empty.
    """

    def __init__(
        self,
        feed: RunFeed[R],
        *,
        authorize: Authorize,
        create: Create | None = None,
        hook_secret: str | None = None,
    ) -> None:
        self.feed: RunFeed[R] = feed
        """What is shown."""
        self._authorize = authorize
        self._create = create
        self._hooks = None if hook_secret is None else Hooks(feed.client, hook_secret)
        self._creates: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see ASGI.

        Raises:
            RuntimeError: it is no request.
        """
        if scope["type"] != "http":
            raise RuntimeError(f"these routes answer HTTP requests, and know nothing of {scope['type']}; see attach()")
        reply = await answered(self._reply(scope, receive), "web")
        if isinstance(reply, Reply):
            await reply.send(send, empty=scope["method"] == "HEAD")
        elif reply is not None:
            async with contextlib.aclosing(reply):
                await stream(receive, send, reply, HEADERS)

    def close(self) -> None:
        """End all streams, so that their connections can close; all else goes on."""
        self.feed.close()

    async def aclose(self) -> None:
        """End all streams, and let creates that are under way come to their end; after five seconds cancel them."""
        self.close()
        if self._creates:
            await asyncio.wait(self._creates, timeout=_LAST_CREATES)
        for task in self._creates:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*self._creates, return_exceptions=True)

    # -- routes

    async def _reply(self, scope: Scope, receive: Receive) -> Reply | AsyncGenerator[bytes]:
        path, method = path_of(scope), scope["method"]
        if path in ("", "/") and self._create is not None:
            return await self._post(scope, receive, self._create) if method == "POST" else only("POST")
        hook = path.removeprefix("hooks/")
        if self._hooks is not None and hook != path and self._hooks.accepts(hook):
            return self._hooks.take(scope, await body_of(receive, _LARGEST)) if method == "POST" else only("POST")
        if method not in ("GET", "HEAD"):
            return only("GET, HEAD")
        if path == "events":
            return await self._events(scope, _asked_for(scope))
        name = path.removesuffix("/events")
        if name != path:
            return await self._events(scope, [name])
        run_id = await self._allowed(scope, path)
        return _UNKNOWN.reply() if run_id is None else json_reply(200, await self.feed.latest(run_id))

    async def _events(self, scope: Scope, names: list[str]) -> Reply | AsyncGenerator[bytes]:
        if not 1 <= len(names) <= _MOST_RUNS:
            return stated(422, f"run: expected 1 to {_MOST_RUNS} runs").reply()
        ids = {name: await self._allowed(scope, name) for name in names}
        shown = [run_id for run_id in ids.values() if run_id is not None and not self.feed.is_missing(run_id)]
        if not shown:
            return _UNKNOWN.reply()
        seen = header(scope, "last-event-id")
        if self.feed.is_over(shown, seen):
            return Reply(204)
        # A browser that comes back gives up for ever at an answer of an error: the stream tells it, and it comes again.
        runs: list[RunId | R] = [await self.feed.look(shown[0])] if len(names) == 1 and seen is None else [*shown]
        if scope["method"] == "HEAD":
            return Reply(200, headers=HEADERS)
        return self._stream(runs, [self._read(name) or name for name, run_id in ids.items() if run_id not in shown])

    async def _stream(self, runs: list[RunId | R], unknown: list[RunId]) -> AsyncGenerator[bytes]:
        """Yield the events of runs, after the news that others are unknown; of refused ones nobody learns more."""
        news = b"".join(problem_frame(run_id, _UNKNOWN) for run_id in unknown)
        async with contextlib.aclosing(self.feed.stream(runs)) as chunks:
            async for chunk in chunks:
                yield chunk + news
                news = b""

    async def _post(self, scope: Scope, receive: Receive, create: Create) -> Reply:
        fields = await json_of(scope, receive, dict[str, Any], most=_LARGEST)
        try:
            made = await self._shielded(create(scope, fields, _key_of(scope)))
        except PermissionError:
            return stated(403, "You may not start runs.").reply()
        if isinstance(made, Mapping):
            return json_reply(202, cast("object", made))
        run = cast("R", made)
        self.feed.made(run)
        return json_reply(202, self.feed.view(run), {"location": place_of(scope.get("root_path", ""), str(run.id))})

    async def _shielded(self, create: Awaitable[Any]) -> Any:
        """Return what a create comes to; it goes on if whoever asked for it leaves, since it may have been sent."""

        async def carry() -> Any:
            return await create

        task = asyncio.create_task(carry())
        self._creates.add(task)
        task.add_done_callback(self._creates.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell)
            raise

    async def _allowed(self, scope: Scope, name: str) -> RunId | None:
        """Return the id of a run that may be seen, else None."""
        run_id = self._read(name)
        return run_id if run_id is not None and await is_yes(self._authorize(scope, run_id)) else None

    def _read(self, name: str) -> RunId | None:
        """Return the id of a run from how it is written in a URL, None if it cannot be one."""
        try:
            return cast("RunId", self.feed.client.read_id(name))
        except InvalidArgumentError:
            return None


def _tell(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("web: a create failed after its browser had left: %s", error)


def _asked_for(scope: Scope) -> list[str]:
    """Return the runs that a query names: `run=1,2,3`, `run=1&run=2`, each once."""
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("run", [])
    return list(dict.fromkeys(name for value in values for name in value.split(",") if name))


def _key_of(scope: Scope) -> str | None:
    """Return the idempotency key of a request; the draft of the standard has it in quotes, most have not."""
    key = header(scope, "idempotency-key")
    return key if key is None or len(key) < len('""') or not key[0] == key[-1] == '"' else key[1:-1]
