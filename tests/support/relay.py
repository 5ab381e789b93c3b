"""A relay between a client and a server, which can cut what goes through it, or hold it back."""

import asyncio
import contextlib
import ssl
from typing import Self


class Relay:
    """Hand on all bytes between its own port and another one.

    Args:
        target: the other port, on this machine; may be changed, for connections to come.
        tls: speak TLS to clients; the server hears plain text.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.target = target
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End all connections, whatever is under way."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):
                other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
                self._open.add(other_writer)
                try:
                    await asyncio.gather(_hand_on(reader, other_writer), _hand_on(other_reader, writer))
                finally:
                    self._open.discard(other_writer)
                    other_writer.transport.abort()
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    raise ConnectionResetError  # the other half ends too
