"""Let a fleet meet on Redis or Valkey.

A server that restarts forgets what it had not written down, and a replica that takes over never knew some of it. Both
begin another epoch, which is named by the run id of the server and by the history that it took over. With `?durable`
the run id does not count, as long as the server says that it writes down what it is told, and has no replicas.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import NoScriptError, RedisError, ResponseError

from codegen_async.cleaning import clean
from codegen_async.errors import ConfigurationError
from codegen_async.fleet.address import Address
from codegen_async.fleet.link import Link, listening
from codegen_async.fleet.store import Reply, StoreAwayError
from codegen_async.version import __version__

_log = logging.getLogger(__name__)

# KEYS: the board. ARGV: the version expected, the new one, the new value, read or write, the epoch expected or nothing,
# durable or nothing. What is read in a script is of one server and one moment, whatever stands between.
_SWAP = """
local about = redis.call('INFO', 'server', 'replication', 'persistence')
local epoch = string.match(about, 'run_id:(%w+)')
local uptime = string.match(about, 'uptime_in_seconds:(%d+)')
if not epoch then
    return redis.error_reply('tells no run_id, so nobody would know of a restart')
end
local former = string.match(about, 'master_replid2:(%w+)')
if former and string.find(former, '[^0]') then
    epoch = epoch .. '/' .. former
    uptime = 'promoted'
end
if ARGV[6] == 'durable' and string.find(about, 'aof_enabled:1') and string.find(about, 'connected_slaves:0') then
    epoch = 'durable'
    uptime = 'endless'
end
local now = redis.call('TIME')
local there = redis.call('HMGET', KEYS[1], 'version', 'value')
local version = there[1] or ''
if ARGV[4] == 'write' and version == ARGV[1] and (ARGV[5] == '' or ARGV[5] == epoch) then
    redis.call('HSET', KEYS[1], 'version', ARGV[2], 'value', ARGV[3])
    return {1, ARGV[2], false, now[1], now[2], epoch, uptime}
end
return {0, version, there[2], now[1], now[2], epoch, uptime}
"""
_DIGEST = hashlib.sha1(_SWAP.encode(), usedforsecurity=False).hexdigest()  # what the server calls it

_PORT = 6379
# The driver's own time limits lose cancellations; and its name and version it would look up on the disk.
_HOW: Any = {"protocol": 2, "socket_timeout": None, "driver_info": DriverInfo("codegen-async", __version__)}
_QUIET = 5.0  # seconds without a message, after which the server is asked whether it is there
_REPLYING = 2.0  # seconds that it has to say so
# Seconds for which a server goes on to take writes after its replicas have left it: `min-replicas-max-lag 10`, and one
# to notice.
_LEFT_ALONE = 11.0


class RedisStore:
    """Keep boards in hashes of a Redis or Valkey server, version 7 or newer.

    Args:
        address: redis:// or rediss://. `?durable` in it is the user's word that a restart loses nothing.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._durable = _is_durable(address)
        self._link = Link(address.shown, _connector(address, self._check), (RedisError,))
        self._warned = False

    async def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
        """See `Store`."""
        what = (value or b"", "read" if value is None else "write")
        given = (expected, os.urandom(8), *what, epoch or "", "durable" if self._durable else "")
        return await self._link.use(lambda connection: connection.swap(key, *given))

    async def close(self) -> None:
        """See `Store`."""
        await self._link.close()

    async def _check(self, connection: _Connection) -> None:
        """Make sure that the server keeps what it is told."""
        memory, others = await connection.about("memory"), await connection.about("replication")
        policy = memory.get("maxmemory_policy", "")
        if memory.get("maxmemory") != "0" and policy.startswith("allkeys"):
            raise StoreAwayError(f"throws away what it is told (maxmemory-policy {policy}); set noeviction")
        if others.get("role") != "master":
            raise StoreAwayError("is a replica; give the server that it copies")
        if self._durable and await connection.setting("appendfsync") not in (None, "always"):
            raise StoreAwayError("is not durable, though the URL says so; set appendonly yes and appendfsync always")
        if "min_slaves_good_slaves" not in others and others.get("connected_slaves") != "0" and not self._warned:
            self._warned = True
            _log.warning(
                "%s has replicas, and does not wait for them: when one takes over, more may be sent than is allowed;"
                " set min-replicas-to-write 1 and min-replicas-max-lag 10",
                self._address.shown,
            )

    def __repr__(self) -> str:
        return f"RedisStore({self._address.shown!r})"


class RedisBus:
    """Carry messages by PUBLISH and SUBSCRIBE.

    Args:
        address: as for `RedisStore`.
    """

    def __init__(self, address: Address) -> None:
        _is_durable(address)  # says no to what is no URL of this kind
        self._address = address
        self._link = Link(address.shown, _connector(address), (RedisError,))

    async def publish(self, channel: str, message: bytes) -> None:
        """See `Bus`."""
        await self._link.use(lambda connection: connection.ask("PUBLISH", channel, message))

    def listen(self, channel: str) -> AsyncGenerator[bytes]:
        """See `Bus`."""

        async def subscribe(connection: _Connection) -> None:
            await connection.ask("SUBSCRIBE", channel)

        return listening(_connector(self._address, subscribe), (RedisError,))

    async def close(self) -> None:
        """See `Bus`."""
        await self._link.close()

    def __repr__(self) -> str:
        return f"RedisBus({self._address.shown!r})"


class _Connection:
    """Ask the server one thing after the other."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver  # whose types are not written down
        self._reading: asyncio.Task[Any] | None = None

    async def ask(self, *command: str | bytes | int) -> Any:
        """Return the answer to a command."""
        await self._driver.send_command(*command)
        return await self._driver.read_response()

    async def swap(self, key: str, *given: str | bytes) -> Reply:
        """Carry out the script."""
        try:
            answer = await self.ask("EVALSHA", _DIGEST, 1, key, *given)
        except NoScriptError:  # the server has just started
            answer = await self.ask("EVAL", _SWAP, 1, key, *given)
        return _reply(answer)

    async def about(self, section: str) -> dict[str, str]:
        """Return what the server tells of itself."""
        text: bytes = await self.ask("INFO", section)
        pairs = (line.partition(":") for line in text.decode(errors="replace").splitlines())
        return {name: value for name, _, value in pairs}

    async def setting(self, name: str) -> str | None:
        """Return a setting of the server, None where it does not tell."""
        try:
            answer: list[bytes] = await self.ask("CONFIG", "GET", name)
        except ResponseError:  # not for every user
            return None
        return answer[1].decode() if len(answer) > 1 else None

    async def hear(self) -> list[bytes]:
        """See `Ear`."""
        for patience in (_QUIET, _REPLYING):
            if self._reading is None:
                self._reading = asyncio.create_task(self._driver.read_response())
                self._reading.add_done_callback(_take)
            # To give a read up could leave half an answer to the next one.
            await asyncio.wait({self._reading}, timeout=patience)
            if self._reading.done():
                reading, self._reading = self._reading, None
                kind, *_, content = cast("list[bytes]", reading.result())
                return [content] if kind == b"message" else []
            await self._driver.send_command("PING")
        raise StoreAwayError("no answer in time")

    async def drop(self) -> None:
        """See `Connection`."""
        if self._reading is not None:
            self._reading.cancel()
        await self._driver.disconnect(nowait=True)


def _take(reading: asyncio.Task[Any]) -> None:
    """Take an error, if there is one, that nobody may be there to take."""
    if not reading.cancelled():
        reading.exception()


def _reply(answer: Any) -> Reply:
    swapped, version, value, seconds, microseconds, epoch, uptime = answer
    return Reply(
        swapped=bool(swapped),
        version=version,
        value=value,
        now=int(seconds) + int(microseconds) / 1e6,
        epoch=epoch.decode(),
        uptime={b"promoted": -_LEFT_ALONE, b"endless": math.inf}.get(uptime) or float(uptime),
    )


def _connector(
    address: Address, begin: Callable[[_Connection], Awaitable[None]] | None = None
) -> Callable[[], Awaitable[_Connection]]:
    """Return what makes connections, and begins each of them by something."""
    server = _server(address)
    driver = SSLConnection if address.scheme == "rediss" else Connection

    async def connect() -> _Connection:
        plain: Any = driver(**server, **_HOW, retry=Retry(NoBackoff(), 0), retry_on_error=[])
        connection = _Connection(plain)
        try:
            await plain.connect()
            if begin is not None:
                await begin(connection)
        except BaseException:
            await connection.drop()
            raise
        return connection

    return connect


def _server(address: Address) -> dict[str, Any]:
    """Return where the server is, as the driver wants to be told.

    Raises:
        ConfigurationError: the URL lacks something, or has too much.
    """
    number = address.path.strip("/") or "0"
    try:
        place = urlsplit(f"//{address.place}")
        port = _PORT if place.port is None else place.port
    except ValueError:
        port, place = 0, urlsplit("")
    if not port:
        raise ConfigurationError(f"fleet: expected a host, and a port in 1..65535, got {address.shown}")
    if not place.hostname or not (number.isascii() and number.isdigit()):
        raise ConfigurationError(f"fleet: expected {address.scheme}://host:port/number, got {address.shown}")
    if unknown := sorted(address.options.keys() - {"durable"}):
        raise ConfigurationError(f"fleet: expected no option but durable, got {clean(unknown[0])}")
    secure = {"ssl_cert_reqs": "required", "ssl_check_hostname": True} if address.scheme == "rediss" else {}
    user = {"username": address.user, "password": address.password}
    return {"host": place.hostname, "port": port, "db": int(number), **user, **secure}


def _is_durable(address: Address) -> bool:
    """Return whether the user says that the server loses nothing.

    Raises:
        ConfigurationError: he says something else.
    """
    given = address.options.get("durable", "false")
    if given not in ("", "true", "false"):
        raise ConfigurationError("fleet: expected durable=true or durable=false in the URL, got another value")
    return given != "false"
