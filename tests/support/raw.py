"""A server that says what the test tells it to, byte by byte."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Self

_LINGER_ZERO = struct.pack("ii", 1, 0)  # close() then sends RST instead of FIN


class Connection:
    """One connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[bytes]) -> None:
        self.reader = reader
        self.writer = writer
        self._requests = requests
        self.sent = 0
        """Bytes that the client has taken, or that are on their way to it."""

    async def request(self) -> bytes:
        """Read one request, with its body, and note it.

        Raises:
            ConnectionError: the client went away instead.
        """
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower()[:15] == b"content-length:"), 0)
            request = head + await self.reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise ConnectionResetError from None
        self._requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()
        self.sent += len(data)

    async def silence(self) -> None:
        """Say nothing until the client goes away."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """End the connection with RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.writer.transport.abort()


Script = Callable[[Connection], Awaitable[None]]


class RawServer:
    """Serve on 127.0.0.1 while the `async with` block lasts.

    Args:
        script: what to do with each connection; it is closed in the end.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[Connection] = []
        self.requests: list[bytes] = []
        """Each request, head and body, in the order of arrival."""
        self.port = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self.requests)
        self.connections.append(connection)
        try:
            with contextlib.suppress(ConnectionError):
                await self._script(connection)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    """Return a correct answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def saying(*answers: bytes) -> Script:
    """Answer the requests of each connection with these bytes, one after another, then close it."""

    async def script(connection: Connection) -> None:
        for data in answers:
            await connection.request()
            await connection.send(data)

    return script


def keeping(*answers: bytes) -> Script:
    """Do the same, but keep the connection open in the end."""

    async def script(connection: Connection) -> None:
        await saying(*answers)(connection)
        await connection.silence()

    return script


def resetting(*answers: bytes) -> Script:
    """Do the same, but reset the connection in the end."""

    async def script(connection: Connection) -> None:
        await saying(*answers)(connection)
        connection.reset()

    return script
