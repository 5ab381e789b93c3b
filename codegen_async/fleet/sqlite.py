"""Let the processes of one host meet in an SQLite file.

Its clock is the one of the host that counts since it was started, which is the same for all processes and never jumps.
What a process has committed survives its end; only if the host itself ends may something be lost, and that begins
another epoch, as a file does that was made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from codegen_async.cleaning import clean, reason_of
from codegen_async.errors import ConfigurationError
from codegen_async.fleet.address import Address
from codegen_async.fleet.store import Reply, StoreAwayError
from codegen_async.posix import boot_id
from codegen_async.private import check_private, make_private, sync_folders

T = TypeVar("T")
_Place = tuple[str, int]  # of an epoch, the last message

_APPLICATION = 0x63676166  # how SQLite files say whose they are
_TABLES = (
    "CREATE TABLE file (id TEXT NOT NULL, boot TEXT NOT NULL)",
    "CREATE TABLE board (key TEXT PRIMARY KEY, version BLOB NOT NULL, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, at REAL NOT NULL, body BLOB)",
    f"PRAGMA application_id = {_APPLICATION}",
)
_TOGETHER = ("", "-wal", "-shm")  # the file, and what SQLite keeps beside it while it is open
_BESIDE = (*_TOGETHER, "-journal")  # and all that it believes

_ANSWERING = 1.0  # seconds; a transaction takes 0.03 ms
_LOCKED = 0.5  # seconds to wait for others, who need as long
_LOOKING = 0.25  # seconds between looks for messages
_KEPT = 10.0  # seconds for which a message is there to be found

# File systems that other hosts use too, the last of them by FUSE. Locks do not reach that far, nor does a clock.
_SHARED = frozenset(
    """
    9p afs beegfs ceph cifs coda davfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 smb3 smbfs vboxsf virtiofs
    gcsfuse grpcfuse juicefs rclone s3fs sshfs
    """.split()  # noqa: SIM905 - as a list it is three times as long
)
_VOLATILE = ("ramfs", "tmpfs")  # empty when a host starts

_opening = threading.Lock()  # to close a file lets go of all locks that this process has on it, also those of SQLite
_open: set[_Database] = set()  # by whoever holds `_opening`


class SqliteStore:
    """Keep boards in a file, for the processes of one host and one user.

    Args:
        address: sqlite:/path; the file is made if it is not there, its folder is not.
    """

    def __init__(self, address: Address) -> None:
        self._file = _File(address)

    async def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
        """See `Store`."""
        return await self._file.use(lambda database: database.swap(key, expected, value, epoch))

    async def close(self) -> None:
        """See `Store`."""
        await self._file.close()

    def __repr__(self) -> str:
        return f"SqliteStore({self._file.shown!r})"


class SqliteBus:
    """Carry messages in a table, which listeners look at every 0.25 s.

    Args:
        address: as for `SqliteStore`.
    """

    def __init__(self, address: Address) -> None:
        self._file = _File(address)

    async def publish(self, channel: str, message: bytes) -> None:
        """See `Bus`."""
        await self._file.use(lambda database: database.publish(channel, message))

    async def listen(self, channel: str) -> AsyncGenerator[bytes]:
        """See `Bus`."""
        place: _Place | None = None
        while True:
            try:
                place, heard = await self._file.use(partial(_Database.hear, channel=channel, after=place))
            except StoreAwayError:
                heard = []
            for message in heard:
                yield message
            await asyncio.sleep(_LOOKING)

    async def close(self) -> None:
        """See `Bus`."""
        await self._file.close()

    def __repr__(self) -> str:
        return f"SqliteBus({self._file.shown!r})"


class _File:
    """Use a file on a thread of its own, which is made when it is needed.

    Raises:
        ConfigurationError: the path is not absolute.
    """

    def __init__(self, address: Address) -> None:
        if not Path(address.path).is_absolute():  # else each process could mean another file
            raise ConfigurationError(f"fleet: expected an absolute path, sqlite:/path, got {address.shown}")
        self.shown = address.shown
        self._path = Path(address.path)
        self._thread: ThreadPoolExecutor | None = None
        self._database: _Database | None = None

    async def use(self, work: Callable[[_Database], T]) -> T:
        """Return what `work` returns.

        Raises:
            StoreAwayError: the file cannot be used, or it took longer than 1 s.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="codegen-fleet")
        try:
            async with asyncio.timeout(_ANSWERING):  # what has not begun by then does not begin
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._carry_out, work)
        except TimeoutError:
            problem = "no answer in time"
        except OSError as exc:
            problem = reason_of(exc)
        except sqlite3.Error as exc:
            problem = str(exc)
        raise StoreAwayError(f"{self.shown}: {clean(problem)}")

    async def close(self) -> None:
        """Close the file, once what is under way is done."""
        thread, self._thread = self._thread, None
        if thread is not None:
            closed = asyncio.wrap_future(thread.submit(self._drop))
            thread.shutdown(wait=False)
            await asyncio.wait({closed}, timeout=_ANSWERING)

    # -- on the thread

    def _carry_out(self, work: Callable[[_Database], T]) -> T:
        try:
            if self._database is None or self._database.is_closed:
                self._database = _Database(self._path)
            with self._database.lock:
                self._database.check()
                return work(self._database)
        except (OSError, sqlite3.Error):
            self._drop()
            raise

    def _drop(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()


class _Database:
    """Be an open file, unless the process was forked since.

    Attributes:
        lock: held by who uses it.
        is_closed: whether it was closed.
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.is_closed: bool = False
        self._path = path
        boot = _boot()
        with _opening:
            _prepare(path)
            self._connection = sqlite3.connect(path, timeout=_LOCKED, isolation_level=None, check_same_thread=False)
            try:
                _begin(self._connection, boot)
                self._numbers = _numbers(path)
                ((name, made_in),) = self._connection.execute("SELECT id, boot FROM file")
            except BaseException:
                self._connection.close()
                raise
            _open.add(self)
        self._epoch = f"{boot}/{name}"
        self._forgets_nothing = made_in == boot and _kind(path.parent) not in _VOLATILE

    def check(self) -> None:
        """Make sure that these are the files that others will find.

        Raises:
            FileNotFoundError: they are not.
        """
        if _numbers(self._path) != self._numbers:
            raise FileNotFoundError(errno.ENOENT, "another file has taken its place")

    def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
        """See `Store`."""
        if value is None:
            return self._read(key)
        self._connection.execute("BEGIN IMMEDIATE")
        there = self._read(key)
        if there.version != expected or epoch not in (None, there.epoch):
            self._connection.execute("ROLLBACK")
            return there
        version = os.urandom(8)
        self._connection.execute("INSERT OR REPLACE INTO board VALUES (?, ?, ?)", (key, version, value))
        self._connection.execute("COMMIT")
        return msgspec.structs.replace(there, swapped=True, version=version, value=None)

    def _read(self, key: str) -> Reply:
        row = self._connection.execute("SELECT version, value FROM board WHERE key = ?", (key,)).fetchone()
        version, value = row or (b"", None)
        now = time.monotonic()
        # What is forgotten by a host that starts is forgotten by now; a file that is newer has nothing to forget.
        return Reply(False, version, value, now, self._epoch, math.inf if self._forgets_nothing else now)

    def publish(self, channel: str, message: bytes) -> None:
        """Add a message, and remove old ones."""
        now = time.monotonic()
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("DELETE FROM message WHERE at NOT BETWEEN ? AND ?", (now - _KEPT, now))
        self._connection.execute("INSERT INTO message (channel, at, body) VALUES (?, ?, ?)", (channel, now, message))
        self._connection.execute("COMMIT")

    def hear(self, channel: str, after: _Place | None) -> tuple[_Place, list[bytes]]:
        """Return the messages after a place, and where to go on; of none, nothing but where to begin."""
        if after is None or after[0] != self._epoch:
            (last,) = self._connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
            return (self._epoch, last), []
        query = "SELECT id, body FROM message WHERE channel = ? AND id > ? ORDER BY id"
        found = self._connection.execute(query, (channel, after[1])).fetchall()
        return (self._epoch, found[-1][0] if found else after[1]), [body for _, body in found]

    def close(self) -> None:
        """Close it; what was not committed never was."""
        with _opening:
            self.let_go()

    def let_go(self) -> None:
        """Close it, for who holds `_opening`."""
        self.is_closed = True
        self._connection.close()
        _open.discard(self)


class _Forking:
    """Let go of all files while a process is forked; who needs them opens them again.

    A child would believe that it has the locks of its parent, and go on with a journal that others remove.
    """

    def __init__(self) -> None:
        self._locked: list[threading.Lock] = []

    def before(self) -> None:
        """Close what is open, once it is not in use, and let nobody open anything."""
        _opening.acquire()
        for database in [*_open]:
            database.lock.acquire()
            self._locked.append(database.lock)
            database.let_go()

    def after(self) -> None:
        """Go on, in the parent and in the child."""
        while self._locked:
            self._locked.pop().release()
        _opening.release()


if sys.platform != "win32":
    _forking = _Forking()
    os.register_at_fork(before=_forking.before, after_in_parent=_forking.after, after_in_child=_forking.after)


def _prepare(path: Path) -> None:
    """Make the file, for its owner only, if there is none.

    Raises:
        OSError: it cannot be made, or is not ours alone, or other hosts may use it too.
    """
    if problem := _network(path):
        raise OSError(errno.EINVAL, problem)
    for name in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            check_private(Path(f"{path}{name}"))
    if make_private(path):
        sync_folders(path)


def check_place(address: Address) -> None:
    """Make sure that a file can be there, before anybody waits for it.

    Raises:
        ConfigurationError: it never can, as things stand.
    """
    path = Path(address.path)
    try:
        problem = _problem(path)
    except OSError as exc:
        problem = reason_of(exc)
    if problem:
        raise ConfigurationError(f"fleet: {address.shown} {clean(problem)}")


def _problem(path: Path) -> str:
    if path.is_dir():
        return "is a folder; give the path of a file in it"
    if not path.parent.is_dir():
        return f"cannot be made: there is no folder {path.parent}"
    if problem := _network(path):
        return problem
    if not os.access(path if path.exists() else path.parent, os.R_OK | os.W_OK):
        return "may not be read and written by this user; take another path, or change whose it is"
    return ""


def _network(path: Path) -> str:
    kind = _kind(path.parent)
    return f"lies on a network file system ({kind}); take a path on a disk of this host" if kind in _SHARED else ""


def _begin(connection: sqlite3.Connection, boot: str) -> None:
    """Make the tables, if there are none.

    Raises:
        OSError: the file belongs to another program.
        sqlite3.Error: it cannot be used.
    """
    _check_ours(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a file that has been used is there for ever
    connection.execute("BEGIN IMMEDIATE")
    if not _check_ours(connection):
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO file VALUES (?, ?)", (os.urandom(8).hex(), boot))
    connection.execute("COMMIT")
    connection.execute("PRAGMA synchronous = NORMAL")  # the end of a process loses nothing


def _check_ours(connection: sqlite3.Connection) -> bool:
    """Return whether the file has our tables; False: it has none at all."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()  # written down with the tables
    if tables and application != _APPLICATION:
        raise OSError(errno.EINVAL, "is the database of another program; give another path")
    return bool(tables)


def _numbers(path: Path) -> list[tuple[int, int]]:
    """Return what tells the file, and those beside it that are there while it is open, from all others."""
    found = [Path(f"{path}{name}").stat() for name in _TOGETHER]
    return [(each.st_dev, each.st_ino) for each in found]


def _boot() -> str:
    """Return a name for the time since the host was started.

    Raises:
        OSError: it does not tell.
    """
    asked = {"linux": boot_id, "darwin": _boot_of_macos}.get(sys.platform)
    if name := asked and asked():
        return name
    raise OSError(errno.ENOSYS, "cannot be used on this system, which does not tell when it was started")


def _boot_of_macos() -> str:
    command = ("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
    return subprocess.run(command, capture_output=True, check=False, text=True).stdout.strip()  # noqa: S603 - a constant


def _kind(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the kind of a file system, empty if the host does not tell."""
    if not mounts.exists():
        return ""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.read_text(errors="replace").splitlines():
        about, _, system = line.partition(" - ")
        if about.split()[2] == number:
            return system.split()[0].removeprefix("fuse.")
    return ""
