"""The dashboard as an ASGI application, to be mounted anywhere or served by `codegen-async`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Self
from urllib.parse import parse_qs

import msgspec

from codegen_async.errors import JournalError
from codegen_async.web.answering import answered, json_of, only
from codegen_async.web.asgi import (
    Message,
    Receive,
    Reply,
    Scope,
    Send,
    is_yes,
    json_reply,
    path_of,
    place_of,
    stream,
)
from codegen_async.web.dashboard import batches
from codegen_async.web.dashboard.door import HEADERS, is_of_us
from codegen_async.web.dashboard.files import FILES
from codegen_async.web.dashboard.following import Following
from codegen_async.web.dashboard.rows import Reader, Row
from codegen_async.web.ending import heard_first
from codegen_async.web.frames import HEADERS as STREAM
from codegen_async.web.problems import stated

Allow = Callable[[Scope], bool | Awaitable[bool]]
"""Tell whether whoever makes a request may see the batch, and do with it what can be done."""

_ITEM = re.compile("items/([0-9]{1,18})(/log)?")
_STALLED = 60.0  # seconds
_LARGEST = 64 * 1024  # bytes of a body: the numbers of 5,000 items
_READING = ("GET", "HEAD")
_UNKNOWN = stated(404, "There is nothing here.")
_REFUSED = stated(403, "You may not see this.")
_UNREADABLE = stated(503, "The journal cannot be read.", wait=1)

_log = logging.getLogger("codegen_async")


class _Wish(msgspec.Struct):
    """The body of an action.

    Attributes:
        items: numbers of items, each with the attempt that is meant: one that has moved on since is left alone.
        most: most items under way, None for no such bound.
        text: what runs are told that wait for a person.
    """

    items: list[tuple[int, int]] = []
    most: int | None = None
    text: str = ""


class Dashboard:
    """Show a batch to browsers, and let them act on it: an ASGI application, to be mounted where its paths are to be.

    Everybody who may see it sees prompts and results; with a batch (and not only its journal) he may also pause it, and
    have other attempts made. Let `async with` be around the life of the application: servers wait for open connections,
    and so what asks them to end has to end its streams. Elsewhere close it with `aclose`.

    Args:
        source: a batch that is open, or the path of the journal of one that another process drives.
        authorize: tells, given the scope of a request, whether it may be answered: True or False. May be async.
        clock: returns wall-clock seconds. Default: `time.time`; that of the batch, if it was given another.
        speed: how many times faster than life the loop's clock runs; for simulations. Default 1.

    Raises:
        InvalidArgumentError: the source cannot be one.
    """

    def __init__(
        self,
        source: batches.Source,
        *,
        authorize: Allow,
        clock: Callable[[], float] = time.time,
        speed: float = 1.0,
    ) -> None:
        self._authorize = authorize
        self._shown = batches.shown(source, clock, speed=speed)
        self._speed = speed
        self._hearing = contextlib.ExitStack()
        self._following = Following(Reader(self._shown.where), self._shown.learn, self._shown.head, speed=speed)

    async def __aenter__(self) -> Self:
        """Begin to read the batch, and to hear SIGTERM and SIGINT, at which all streams end, so that the server can."""
        self._hearing.enter_context(heard_first(self._following.close))
        self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        self._hearing.close()
        await self.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see ASGI.

        Raises:
            RuntimeError: it is no request.
        """
        if scope["type"] != "http":
            raise RuntimeError(f"a dashboard answers HTTP requests, and knows nothing of {scope['type']}")
        reply = await answered(self._reply(scope, receive), "dashboard")
        if isinstance(reply, Reply):
            await reply.with_headers(HEADERS).send(send, empty=scope["method"] == "HEAD")
        elif reply is not None:
            try:
                async with contextlib.aclosing(reply):
                    await stream(receive, self._in_time(send), reply, {**HEADERS, **STREAM})
            finally:
                self._following.leave()

    def begin(self) -> None:
        """Begin to read the batch, so that whoever opens the page first waits less; else that begins when one does."""
        self._following.begin()

    async def aclose(self) -> None:
        """End all streams, and let go of the journal."""
        await self._following.aclose()

    def _in_time(self, send: Send) -> Send:
        """Return what sends, and takes a browser for gone that takes nothing for a minute: others want its place."""

        async def in_time(message: Message) -> None:
            async with asyncio.timeout(_STALLED * self._speed):
                await send(message)

        return in_time

    # -- routes

    async def _reply(self, scope: Scope, receive: Receive) -> Reply | AsyncGenerator[bytes]:
        try:
            return await self._route(scope, receive)
        except JournalError as error:
            _log.warning("dashboard: %s", error)
            return _UNREADABLE.reply()

    async def _route(self, scope: Scope, receive: Receive) -> Reply | AsyncGenerator[bytes]:
        path, method = path_of(scope), scope["method"]
        if path in FILES:
            self.begin()
            return _file(path, scope) if method in _READING else only("GET, HEAD")
        if not await self._may(scope):
            return _REFUSED.reply()
        call = path.removeprefix("api/")
        if call != path and call in self._shown.actions:
            return await self._act(call, scope, receive) if method == "POST" else only("POST")
        return _UNKNOWN.reply() if call == path or method not in _READING else await self._show(call, scope)

    async def _may(self, scope: Scope) -> bool:
        if scope["method"] not in _READING and not is_of_us(scope):
            return False
        return await is_yes(self._authorize(scope))

    async def _show(self, call: str, scope: Scope) -> Reply | AsyncGenerator[bytes]:
        if call == "snapshot":
            content = await self._following.snapshot()
            return Reply(200, content, {"content-type": "application/json", "content-encoding": "gzip"})
        if call == "time":
            return json_reply(200, {"now": self._shown.clock(), "speed": self._speed})
        version = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("after", [""])[0]
        if call == "news":
            return Reply(200, await self._following.news(version), STREAM)
        if call == "events" and scope["method"] == "GET":
            if not self._following.join():
                return stated(503, "Too many are watching.", wait=30).reply()
            return self._following.stream(version)
        found = _ITEM.fullmatch(call)
        return _UNKNOWN.reply() if found is None else await self._item(int(found[1]), log=found[2] is not None)

    async def _item(self, seq: int, *, log: bool) -> Reply:
        if log:
            row = (await self._following.rows()).get(seq)
            shown: object = None if row is None else await self._shown.log(row)
        else:
            shown = await self._following.aside(lambda reader: reader.item(seq))
        return _UNKNOWN.reply() if shown is None else json_reply(200, shown)

    async def _act(self, action: str, scope: Scope, receive: Receive) -> Reply:
        wish = await json_of(scope, receive, _Wish, most=_LARGEST)
        rows: Mapping[str, Row] = await self._meant(wish) if wish.items else {}
        done = await self._shown.act(action, rows, {"most": wish.most, "text": wish.text})
        return json_reply(200, {"done": done})

    async def _meant(self, wish: _Wish) -> Mapping[str, Row]:
        """Return the items that a browser means, by key, where they still stand in the attempt that it has seen."""
        rows = await self._following.rows()
        meant = {seq: rows[seq] for seq, attempt in wish.items if seq in rows and rows[seq].attempt == attempt}
        keys = await self._following.aside(lambda reader: reader.keys(meant))
        return {key: meant[seq] for seq, key in keys.items()}


def _file(path: str, scope: Scope) -> Reply:
    if not path and not str(scope["path"]).endswith("/"):  # what the page asks for is named from where it is
        return Reply(308, headers={"location": place_of(scope.get("root_path", "") or scope["path"], "")})
    return FILES[path]
