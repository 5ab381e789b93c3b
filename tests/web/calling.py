"""Call ASGI applications as servers do, without one."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from codegen_async.web.asgi import App, Message


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Event(NamedTuple):
    name: str
    data: Any
    id: str | None


class Call:
    """One request: what is received, what is sent; the browser stays until it leaves, or its connection `breaks`.

    Its body may not be `whole`: then the rest never comes.
    """

    def __init__(
        self,
        app: App,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        breaks: bool = False,
        whole: bool = True,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        path, _, query = path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
            "state": dict(state or {}),
        }
        self._body: bytes | None = body
        self._breaks = breaks
        self._whole = whole
        self._left = asyncio.Event()
        self.sent: list[Message] = []
        self.chunks: list[bytes] = []
        self.task = asyncio.ensure_future(app(self.scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": not self._whole}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await asyncio.sleep(0)
        if self._breaks and self.sent:
            raise ConnectionResetError  # as servers may say that the browser has left
        self.sent.append(message)
        if message.get("body"):
            self.chunks.append(message["body"])

    def leave(self) -> None:
        """Let the browser leave."""
        self._left.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> Mapping[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def is_whole(self) -> bool:
        """Whether the answer has come to its end."""
        return bool(self.sent) and self.sent[-1]["type"] == "http.response.body" and not self.sent[-1].get("more_body")

    @property
    def events(self) -> list[Event]:
        """The events that came, read as browsers do."""
        return events_of(b"".join(self.chunks))

    async def answer(self) -> Answer:
        """Return the whole answer."""
        await self.task
        return Answer(self.status, self.headers, b"".join(self.chunks))


def events_of(stream: bytes) -> list[Event]:
    """Read server-sent events as the HTML standard says: LF, CR and CRLF end a line."""
    found: list[Event] = []
    name, last = "message", None
    data: list[str] = []
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append(Event(name, json.loads("\n".join(data)), last))
            name, data, last = "message", [], None
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            last = value
    return found


async def get(app: App, path: str, **headers: str) -> Answer:
    """Return the answer to a GET."""
    return await Call(app, "GET", path, headers=headers).answer()


async def post(app: App, path: str, body: object, **headers: str) -> Answer:
    """Return the answer to a POST of JSON, or of bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content_type": "application/json", **headers}
    return await Call(app, "POST", path, body=content, headers=sent).answer()


class Lifespan:
    """The life of an application, as a server begins and ends it."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self.sent: list[Message] = []
        self._asked: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        self.task = asyncio.ensure_future(app(scope, self._asked.get, self._send))

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self._answers.put_nowait(message)

    async def ask(self, what: str) -> Message:
        """Begin or end it, and return the answer."""
        self._asked.put_nowait({"type": f"lifespan.{what}"})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait((answer, self.task), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            await self.task
        return await answer
