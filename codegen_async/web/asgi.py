"""What is needed of ASGI: its types, requests, answers, and to hear that the other side has left."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import anyio
import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Closing(Protocol):
    """An ASGI application whose streams can be ended: a `RunsApp`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        ...

    async def aclose(self) -> None:
        """End all streams, and what else is under way."""
        ...


Headers = Mapping[str, str]

PLAIN: Headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""The headers of every answer: what it says is of now, and is the text of others."""

_PATIENCE = 30.0  # seconds in which a body has to come: it is small, and who sends it slowly holds a task of ours


class GoneError(Exception):
    """Say that the other side left before its request was whole."""


class BodyError(Exception):
    """Say that a body is not taken.

    Attributes:
        status: what is answered.
        detail: the same in words.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


def header(scope: Scope, name: str) -> str | None:
    """Return the value of a request's header; of several, the first."""
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted), None)


def path_of(scope: Scope) -> str:
    """Return the path of a request below where the application is mounted, without the slash it begins with."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):  # some servers and frameworks have taken it off already
        path = path[len(root) :]
    return path.removeprefix("/")


def place_of(root: str, name: str) -> str:
    """Return where something is below the root of an application, fit for a header: roots may be of a request's path.

    It begins with one slash, as two would name another server.
    """
    below = root.strip("/")
    return quote(f"/{below}/{name}" if below else f"/{name}", safe="/")


async def is_yes(answer: object) -> bool:
    """Return what an `authorize` has answered.

    Raises:
        TypeError: it is neither yes nor no. An answer of a framework, say, which is to tell of a refusal, is no yes.
    """
    said: object = await answer if inspect.isawaitable(answer) else answer
    if said is None or isinstance(said, bool):
        return bool(said)
    raise TypeError(f"authorize: expected True or False, got a value of type {type(said).__name__}")


async def body_of(receive: Receive, most: int) -> bytes:
    """Return the body of a request.

    Raises:
        BodyError: it has more bytes than that, or is not whole after 30 s.
        GoneError: the other side left.
    """
    with anyio.move_on_after(_PATIENCE):
        return await _whole(receive, most)
    raise BodyError(408, f"A body has to come within {_PATIENCE:g} s.")


async def _whole(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        body += message.get("body", b"")
        if len(body) > most:
            raise BodyError(413, f"A body has at most {most} bytes.")
        if not message.get("more_body", False):
            return bytes(body)


class Reply(NamedTuple):
    """Hold a whole answer."""

    status: int
    content: bytes = b""
    headers: Headers = MappingProxyType({})

    def with_headers(self, headers: Headers) -> Reply:
        """Return it with further headers."""
        return self._replace(headers={**self.headers, **headers})

    async def send(self, send: Send, *, empty: bool = False) -> None:
        """Answer a request; `empty`: with the headers alone, as HEAD wants it."""
        length = {} if self.status == HTTPStatus.NO_CONTENT else {"content-length": str(len(self.content))}
        await _start(send, self.status, {**PLAIN, **length, **self.headers})
        await send({"type": "http.response.body", "body": b"" if empty else self.content})


def json_reply(status: int, value: object, headers: Headers | None = None) -> Reply:
    """Return an answer of JSON."""
    return Reply(status, msgspec.json.encode(value), {"content-type": "application/json", **(headers or {})})


async def stream(receive: Receive, send: Send, chunks: AsyncIterator[bytes], headers: Headers) -> None:
    """Answer a request piece by piece, as long as the other side is there.

    It is heard that the other side has left while nothing is sent: most servers tell it to nobody else.
    """
    async with anyio.create_task_group() as group:
        group.start_soon(_leave, receive, group.cancel_scope)
        try:
            await _start(send, 200, {**PLAIN, **headers})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except OSError:  # how a server may say that the other side has left
            pass
        group.cancel_scope.cancel()


async def _leave(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _start(send: Send, status: int, headers: Headers) -> None:
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
