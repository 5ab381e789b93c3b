"""Group commit: writes that arrive while a commit is under way go together into the next one."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from codegen_async.batch import changes
from codegen_async.batch.changes import Change
from codegen_async.batch.ending import until_done
from codegen_async.batch.schema import explain, explained
from codegen_async.errors import ClientClosedError, JournalError

T = TypeVar("T")

Work = Callable[[sqlite3.Connection], T]


class Committer:
    """Use a database on a thread of its own. Belongs to the loop that it is made on.

    A commit takes a millisecond or more, however much is in it: one transaction for all who wait makes thousands of
    writes per second out of hundreds.

    Args:
        path: the database, for messages.
        connect, disconnect: open and close it, on the thread.
        check: called in every transaction before all else; what it raises ends the transaction, and what it returns is
            called once that is committed. Default: nothing.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], sqlite3.Connection],
        disconnect: Callable[[sqlite3.Connection], None],
        check: Work[Callable[[], None]] = lambda _: lambda: None,
    ) -> None:
        self._path = path
        self._connect = connect
        self._disconnect = disconnect
        self._check = check
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="codegen-journal")
        self._queue: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._busy = False
        self._ended = False
        self._connection: sqlite3.Connection | None = None
        self._tell: Callable[[str, str], None] | None = None

    async def open(self) -> None:
        """Connect.

        Raises:
            JournalError: it cannot be opened.
        """
        try:
            await self._loop.run_in_executor(self._thread, self._open)
        except BaseException:
            await self.aclose()  # after a cancellation it may be open all the same
            raise

    async def aclose(self) -> None:
        """Disconnect, once all writes are committed; also those whose callers were cancelled.

        A cancellation is raised when that is done, however many come: what stays open stays locked.
        """
        if self._queue:
            self._begin()  # behind what is under way: there is one thread
        self._ended = True
        closed = self._loop.run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)
        await until_done(closed)
        closed.result()

    async def watch(self, tell: Callable[[str, str], None]) -> None:
        """Call `tell` with the name and the state of every item, and from now on of each that changes."""
        items = await self.read(changes.watch)
        self._tell = tell
        for name, state in items:
            tell(name, state)

    async def read(self, work: Work[T]) -> T:
        """Return what `work` reads. It sees all writes that were committed before.

        Raises:
            ClientClosedError: it was closed.
            JournalError: the file cannot be read.
        """
        self._check_open()
        return await self._loop.run_in_executor(self._thread, self._read, work)

    async def write(self, work: Work[T]) -> T:
        """Return what `work` returns, once what it wrote is safely on the disk.

        A caller that is cancelled does not take its write back.

        Raises:
            JournalError: the transaction could not be committed; nothing of it is in the file.
            ClientClosedError: it was closed.
            CodegenAsyncError: what `work` raised; nothing of its own is in the file, other work is not touched.
        """
        self._check_open()
        done: asyncio.Future[T] = self._loop.create_future()
        self._queue.append((work, done))
        if not self._busy:
            self._begin()
        return await done

    def _check_open(self) -> None:
        if self._ended:
            raise ClientClosedError("the block of this batch has ended; open it again")

    def _begin(self) -> None:
        group, self._queue = self._queue, []
        self._busy = True
        # Not a task: when a program ends, all tasks are cancelled, and this must not be.
        committed = self._loop.run_in_executor(self._thread, self._commit, [work for work, _ in group])
        committed.add_done_callback(lambda outcome: self._end([done for _, done in group], *outcome.result()))

    def _end(self, group: Sequence[asyncio.Future[Any]], results: Sequence[Any], changed: Sequence[Change]) -> None:
        for done, result in zip(group, results, strict=True):
            if done.done():
                continue  # its caller was cancelled
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)
        self._busy = False
        if self._queue:
            self._begin()
        if self._tell is not None:
            for name, state in changed:
                self._tell(name, state)

    # -- on the thread

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise AssertionError("the journal is not open")
        return self._connection

    def _open(self) -> None:
        self._connection = self._connect()

    def _close(self) -> None:
        if self._connection is not None:
            self._disconnect(self._connection)

    def _read(self, work: Work[T]) -> T:
        with explained(self._path):
            return work(self._opened)

    def _commit(self, group: Sequence[Work[Any]]) -> tuple[Sequence[Any], Sequence[Change]]:
        connection = self._opened
        try:
            connection.execute("BEGIN IMMEDIATE")
            committed = self._check(connection)
            results = [_carry_out(work, connection) for work in group]
            changed = [] if self._tell is None else changes.take(connection)
            connection.execute("COMMIT")
            committed()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            with contextlib.suppress(sqlite3.Error, JournalError):  # it may be done already
                connection.execute("ROLLBACK")
            return [explain(self._path, exc) if isinstance(exc, sqlite3.Error) else exc for _ in group], ()
        return results, changed


def _carry_out(work: Work[T], connection: sqlite3.Connection) -> T | Exception:
    connection.execute("SAVEPOINT work")
    result: T | Exception
    try:
        result = work(connection)
    except sqlite3.Error:
        raise  # what the file has or has not is not known: nobody's work is done
    except Exception as exc:  # noqa: BLE001 - it belongs to who asked for it, and to nobody else
        connection.execute("ROLLBACK TO work")
        result = exc
    connection.execute("RELEASE work")
    return result
