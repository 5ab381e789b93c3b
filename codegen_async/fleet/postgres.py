"""Let a fleet meet on PostgreSQL.

What is committed survives a crash, whatever the server's `synchronous_commit` says: a swap sees to that itself. Another
epoch begins where a standby takes over or a backup is played back, as both begin another timeline, and with every start
of a server that runs without `fsync`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import math
import os
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from codegen_async.errors import ConfigurationError
from codegen_async.fleet.address import Address
from codegen_async.fleet.link import Link, listening
from codegen_async.fleet.store import Reply, StoreAwayError

_TABLE = "codegen_async_fleet"
_MAKE = f"CREATE TABLE IF NOT EXISTS {_TABLE} (key text PRIMARY KEY, version bytea NOT NULL, value bytea NOT NULL)"
# Others may make it at this moment: the server finds a name taken, that of the table or of the type of its rows, or the
# entry of one of them in a catalog.
_MADE = (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation)

# Read by the statement that swaps, so of the server that swaps, whatever stands between. Fails on a standby.
_EPOCH = """(
    (SELECT system_identifier::text FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    || CASE current_setting('fsync') WHEN 'on' THEN '' ELSE '/' || extract(epoch FROM pg_postmaster_start_time()) END
)"""
_TOLD = f"extract(epoch FROM clock_timestamp())::float8, {_EPOCH}"
_FITS = f"(%(epoch)s::text IS NULL OR %(epoch)s = {_EPOCH})"
# For this transaction alone, as a pooler gives the connection to others.
_LASTING = (
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'local', true) END"
)
_READ = f"""
    SELECT board.version, board.value, {_TOLD}
    FROM (VALUES (1)) AS always LEFT JOIN {_TABLE} AS board ON key = %(key)s
"""
_REPLACE = f"""
    UPDATE {_TABLE} SET version = %(version)s, value = %(value)s
    WHERE key = %(key)s AND version = %(expected)s AND {_FITS}
    RETURNING {_TOLD}, {_LASTING}
"""
_INSERT = f"""
    INSERT INTO {_TABLE} SELECT %(key)s, %(version)s, %(value)s WHERE {_FITS}
    ON CONFLICT DO NOTHING RETURNING {_TOLD}, {_LASTING}
"""
_NOTIFY = "SELECT pg_notify(%(channel)s, piece) FROM unnest(%(pieces)s::text[]) AS piece"

_PIECE = 7800  # characters of a message; with what stands before them at most the 7,999 bytes that NOTIFY takes
_PIECES = re.compile("([0-9a-f]{16}):([0-9]{1,9}):([0-9]{1,9}):([A-Za-z0-9+/=]*)")  # of which, which, of how many, what
_QUIET = 5.0  # seconds without a message, after which the server is asked whether it is there
_REPLYING = 2.0  # seconds that it has to say so

_Row = tuple[Any, ...]
_Ending = set[asyncio.Task[_Row | None]]  # questions whose connection was cut


class PostgresStore:
    """Keep boards in the rows of a table, which is made if it is not there.

    Args:
        address: postgresql://, with all that libpq understands.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._ending: _Ending = set()
        self._link = Link(address.shown, _connector(address, self._ending), (psycopg.Error,))

    async def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
        """See `Store`."""
        given = {"key": key, "expected": expected, "version": os.urandom(8), "value": value, "epoch": epoch}
        return await self._link.use(lambda session: session.swap(given))

    async def close(self) -> None:
        """See `Store`."""
        await self._link.close()
        await _ended(self._ending)

    def __repr__(self) -> str:
        return f"PostgresStore({self._address.shown!r})"


class PostgresBus:
    """Carry messages by NOTIFY, long ones in pieces.

    Args:
        address: as for `PostgresStore`; of the server itself, as a pooler by transaction does not carry them.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._ending: _Ending = set()
        self._link = Link(address.shown, _connector(address, self._ending), (psycopg.Error,))

    async def publish(self, channel: str, message: bytes) -> None:
        """See `Bus`."""
        given = {"channel": _name(channel), "pieces": _in_pieces(message)}
        await self._link.use(lambda session: session.ask(_NOTIFY, given))

    def listen(self, channel: str) -> AsyncGenerator[bytes]:
        """See `Bus`."""

        async def subscribe(session: _Session) -> None:
            await session.ask(f"LISTEN {_name(channel)}")

        return listening(_connector(self._address, self._ending, subscribe), (psycopg.Error,))

    async def close(self) -> None:
        """See `Bus`."""
        await self._link.close()
        await _ended(self._ending)

    def __repr__(self) -> str:
        return f"PostgresBus({self._address.shown!r})"


class _Session:
    """Ask the server one thing after the other."""

    def __init__(self, driver: psycopg.AsyncConnection[_Row], ending: _Ending) -> None:
        self._driver = driver
        self._ending = ending
        self._asked: asyncio.Task[_Row | None] | None = None
        self._pieces = _Pieces()

    async def ask(self, query: str, given: Mapping[str, Any] | None = None) -> _Row | None:
        """Return the first row of the answer, if it has one."""
        # If the driver were cancelled, it would ask the server for the same, which may not answer that either.
        self._asked = asyncio.create_task(self._first(query.encode(), given))
        self._asked.add_done_callback(_take)
        return await asyncio.shield(self._asked)

    async def _first(self, query: bytes, given: Mapping[str, Any] | None) -> _Row | None:
        async with self._driver.cursor(binary=True) as cursor:
            await cursor.execute(query, given)
            return await cursor.fetchone() if cursor.description else None

    async def swap(self, given: Mapping[str, Any]) -> Reply:
        """Replace a board, or read it; makes the table if there is none."""
        try:
            return await self._swap(given)
        except psycopg.errors.UndefinedTable:
            with contextlib.suppress(*_MADE):
                await self.ask(_MAKE)
        return await self._swap(given)

    async def _swap(self, given: Mapping[str, Any]) -> Reply:
        if given["value"] is not None:
            done = await self.ask(_REPLACE if given["expected"] else _INSERT, given)
            if done is not None:
                return Reply(True, given["version"], None, done[0], done[1], math.inf)
        there = await self.ask(_READ, given)
        if there is None:
            raise StoreAwayError("an answer without a row")
        version, value, now, epoch = there
        return Reply(False, version or b"", value, now, epoch, math.inf)

    async def hear(self) -> list[bytes]:
        """See `Ear`."""
        heard = [notice async for notice in self._driver.notifies(timeout=_QUIET, stop_after=1)]
        if not heard:
            async with asyncio.timeout(_REPLYING):
                await self.ask("SELECT 1")
        whole = (self._pieces.add(notice.payload) for notice in heard)
        return [message for message in whole if message is not None]

    async def drop(self) -> None:
        """See `Connection`."""
        asked = self._asked
        if asked is None or asked.done():
            await self._driver.close()
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._driver.pgconn.socket)) as own:
            own.shutdown(
                socket.SHUT_RDWR
            )  # what is asked fails now; to close it all would leave the loop with its number
        asked.add_done_callback(lambda _: self._driver.pgconn.finish())
        self._ending.add(asked)
        asked.add_done_callback(self._ending.discard)


class _Pieces:
    """Put the pieces of messages together; those of one come one after the other."""

    def __init__(self) -> None:
        self._message = ""
        self._pieces: list[str] = []

    def add(self, piece: str) -> bytes | None:
        """Return the message that ends with this piece, None if it does not end here, or did not begin."""
        if (parts := _PIECES.fullmatch(piece)) is None:
            return None  # of somebody else
        message, index, count, text = parts.groups()
        if message != self._message:
            self._message, self._pieces = message, []
        if int(index) != len(self._pieces):
            return None  # something was lost
        self._pieces.append(text)
        return base64.b64decode("".join(self._pieces)) if len(self._pieces) == int(count) else None


def _in_pieces(message: bytes) -> list[str]:
    text = base64.b64encode(message).decode()
    pieces = [text[start : start + _PIECE] for start in range(0, max(len(text), 1), _PIECE)]
    name = os.urandom(8).hex()
    return [f"{name}:{index}:{len(pieces)}:{piece}" for index, piece in enumerate(pieces)]


def _name(channel: str) -> str:
    """Return a channel as a name that fits, of at most 63 characters and none that means anything."""
    return f"codegen_async_{hashlib.sha256(channel.encode()).hexdigest()[:40]}"


def _take(asked: asyncio.Task[Any]) -> None:
    """Take an error, if there is one, that nobody may be there to take."""
    if not asked.cancelled():
        asked.exception()


def _let_be(_: psycopg.Notify) -> None:
    pass


async def _ended(ending: _Ending) -> None:
    """See the end of what was cut off: if the loop ended before, the driver would be cancelled after all."""
    if ending:
        await asyncio.wait(ending, timeout=1.0)


def _connector(
    address: Address, ending: _Ending, begin: Callable[[_Session], Awaitable[None]] | None = None
) -> Callable[[], Awaitable[_Session]]:
    """Return what makes connections, and begins each of them by something.

    Raises:
        ConfigurationError: the URL is none for libpq.
    """
    if not _is_understood(address.url):
        raise ConfigurationError(f"fleet: expected what libpq understands, got something else after {address.shown}")

    async def connect() -> _Session:
        # Nothing is prepared: behind a pooler the next statement may be carried out by another server process.
        driver = await psycopg.AsyncConnection.connect(
            address.url, autocommit=True, prepare_threshold=None, fallback_application_name="codegen-async"
        )
        session = _Session(driver, ending)
        if begin is None:  # what a pooler hands on of messages would be kept for `notifies`, for as long as this lives
            driver.add_notify_handler(_let_be)
        try:
            if begin is not None:
                await begin(session)
        except BaseException:
            await session.drop()
            raise
        return session

    return connect


def _is_understood(url: str) -> bool:
    try:
        ports = str(conninfo_to_dict(url).get("port") or "")
    except psycopg.Error:
        return False
    return all(port.isdecimal() or not port for port in ports.split(","))
