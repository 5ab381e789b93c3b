"""A proxy that breaks connections at a chosen byte."""

import asyncio
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

from tests.support.raw import Connection, RawServer

When = Literal["request", "answer"]
How = Literal["close", "reset", "hang", "corrupt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """How a connection is to break.

    Attributes:
        when: while the request goes up or while the answer comes down.
        after: bytes of that direction that are let through.
        how: say good-bye, reset, or fall silent. "corrupt" lets the connection live, but turns the next byte over.
    """

    when: When
    after: int
    how: How


class ChaosProxy:
    """Stand between a client and a server on loopback while the `async with` block lasts.

    Args:
        target: URL of the server.
        breaks: what is to happen to the first connections, one after another; all others work, as does one with None.
    """

    def __init__(self, target: str, *breaks: Break | None) -> None:
        self._host, self._port = urlsplit(target).hostname, urlsplit(target).port
        self._breaks = iter(breaks)
        self._raw = RawServer(self._connected)
        self.connections = 0

    @property
    def url(self) -> str:
        """Where clients are to connect."""
        return self._raw.url

    async def __aenter__(self) -> Self:
        await self._raw.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._raw.__aexit__()

    async def _connected(self, client: Connection) -> None:
        plan = next(self._breaks, None)
        self.connections += 1
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            up = asyncio.create_task(_copy(client.reader, writer, plan if plan and plan.when == "request" else None))
            down = asyncio.create_task(_copy(reader, client.writer, plan if plan and plan.when == "answer" else None))
            done, rest = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            if plan is not None and any(task.exception() is None and task.result() for task in done):
                await _break(plan, client)
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: Break | None) -> bool:
    """Pass bytes on until the end, or until the connection is to break: then return True."""
    passed = 0
    while data := await reader.read(65536):
        if plan is not None and passed <= plan.after < passed + len(data):
            keep = plan.after - passed
            if plan.how == "corrupt":
                data = data[:keep] + bytes([data[keep] ^ 0x15]) + data[keep + 1 :]
            else:
                writer.write(data[:keep])
                await writer.drain()
                return True
        passed += len(data)
        writer.write(data)
        await writer.drain()
    return False


async def _break(plan: Break, client: Connection) -> None:
    if plan.how == "reset":
        client.reset()
    elif plan.how == "hang":
        await client.silence()
