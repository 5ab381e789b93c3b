"""The journal of a batch that several processes share: each step of an item is fenced by the workflow that holds it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from codegen_async.batch.commits import Committer, Work
from codegen_async.batch.items import Item, Outcome, State, Task, decode_task
from codegen_async.batch.journal import Journal
from codegen_async.batch.places import Account, account_of, as_text
from codegen_async.batch.readers import ITEM, OUTCOME, outcome_of
from codegen_async.engine.database import AwayError, Database, UnsureError
from codegen_async.errors import JournalError
from codegen_async.http.retry import Backoff

T = TypeVar("T")
L = TypeVar("L", bound="Ledger")

_AGAIN = Backoff(first=0.2, ceiling=5.0)
_NEXT = 20  # planned items of which the first is taken that nobody else is about to take
_MADE = (
    "(SELECT count(*) FROM items WHERE state IN ('sending', 'created', 'ended', 'unknown'))"
    " + (SELECT count(*) FROM attempts)"
)

_log = logging.getLogger("codegen_async")


class OvertakenError(Exception):
    """Say that a step was not taken, as another workflow holds the item by now, or it was taken before."""


class Held(NamedTuple):
    """An item that a workflow holds.

    Attributes:
        seq: its number.
        key: its idempotency key.
        holder: the workflow.
    """

    seq: int
    key: str
    holder: str


class Ledger(Journal):
    """Read and write the journal in a database; make it with `sharing`.

    Attributes:
        holders: the workflows that hold items in this process, by the numbers of the items.
    """

    def __init__(self, name: str, committer: Committer, clock: Callable[[], float]) -> None:
        nothing: Any = None  # it is no file, and no memory of sendings is shared by several
        super().__init__(Path(name), committer, clock, identity=nothing, memory=nothing)
        self.holders: dict[int, str] = {}

    async def load(self) -> None:
        """Read what is true of the batch as a whole; what was handed out before is not handed out again."""
        await super().load()
        rows = await self._rows("SELECT value FROM meta WHERE name = 'handed_out'")
        self._passed = int(rows[0][0])

    async def check_account(self, account: Account, *, adopt: bool) -> None:
        """Note where the runs of the batch are; they are there for good.

        Args:
            account: where this process makes them.
            adopt: whether its user says that a server of another address is the same.

        Raises:
            JournalError: they are elsewhere.
        """

        def work(connection: sqlite3.Connection) -> None:
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
            known = account_of(meta) or account
            if known != account and not (adopt and (known.api, known.org_id) == (account.api, account.org_id)):
                raise JournalError(str(self.path), f"is of {known}, and this is {account}; use another database")
            put = "INSERT INTO meta VALUES ('account', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            connection.execute(put, (as_text(account),))

        await self._committer.write(work)
        await self.load()

    # -- steps, each of the workflow that holds the item

    def _move(self, connection: sqlite3.Connection, seq: int, statement: str, values: Sequence[object]) -> None:
        if connection.execute(f"{statement} AND holder = ?", (*values, self.holders.get(seq))).rowcount != 1:
            raise OvertakenError

    async def enter(self, held: Held, floor: int, most_runs: int | None, *, is_claimed: bool = True) -> RunEntry | None:
        """Take an item for a workflow, to be sent or gone on with; None if it is not to be, or not by this one.

        Args:
            held: which, and by what workflow.
            floor: the id of a run that exists, or 0.
            most_runs: how many runs the batch may make; an item beyond stays planned.
            is_claimed: whether it can be sent now; else one that is planned stays so, as nothing was sent of it that
                could be looked for.
        """

        def work(connection: sqlite3.Connection) -> RunEntry | None:
            query = f"SELECT {ITEM}, state, holder, finished FROM items WHERE seq = ?"  # noqa: S608 - constants
            row = connection.execute(query, (held.seq,)).fetchone()
            if row is None or (item := self._item(row[:-3])).key != held.key:
                return None
            state, holder, finished = row[-3:]
            if state == State.PLANNED:
                made = 0 if most_runs is None else connection.execute(f"SELECT {_MADE}").fetchone()[0]
                refused = not is_claimed or (most_runs is not None and made >= most_runs)
            else:
                is_open = state in (State.SENDING, State.CREATED) and finished is None
                refused = not is_open or round_of(holder or "") > round_of(held.holder)
            if refused:
                return None
            going_on = "CASE WHEN state = 'planned' THEN 'sending' ELSE state END"
            connection.execute(
                f"UPDATE items SET state = {going_on}, holder = ?, floor = coalesce(floor, ?), error = NULL"  # noqa: S608 - a constant
                " WHERE seq = ?",
                (held.holder, floor, held.seq),
            )
            return RunEntry(
                floor if item.floor is None else item.floor, None if item.run_id is None else str(item.run_id)
            )

        return await self._committer.write(work)

    async def stands(self, held: Held) -> State | None:
        """Return where an item stands that this workflow holds; None if it does not hold it any more."""
        rows = await self._rows("SELECT state FROM items WHERE seq = ? AND holder = ?", (held.seq, held.holder))
        return State(rows[0][0]) if rows else None

    async def item(self, seq: int) -> Item | None:
        """Return an item."""
        rows = await self._rows(f"SELECT {ITEM} FROM items WHERE seq = ?", (seq,))  # noqa: S608 - a constant
        return self._item(rows[0]) if rows else None

    async def next_planned(self, but: Collection[int]) -> Item | None:
        """Return the planned item whose turn it is; None if there is none.

        Args:
            but: numbers of items that somebody else is about to take.
        """
        query = f"SELECT {ITEM} FROM items WHERE state = 'planned' ORDER BY turn, seq LIMIT ?"  # noqa: S608 - a constant
        for row in await self._rows(query, (_NEXT + len(but),)):
            if row[0] not in but:
                return self._item(row)
        return None

    async def claimed(self, held: Held) -> tuple[Item, Task] | None:
        """Return an item that a workflow holds, as it is to be sent; None if it does not hold it any more.

        Only now nobody can correct it any more, and it has the floor of its first sending.
        """
        query = f"SELECT {ITEM}, task FROM items WHERE seq = ? AND state = 'sending' AND holder = ?"  # noqa: S608 - a constant
        rows = await self._rows(query, (held.seq, held.holder))
        return (self._item(rows[0][:-1]), decode_task(rows[0][-1])) if rows else None

    async def look_again(self) -> None:
        """Let what is unknown be looked for once more, and what stands still be looked at."""
        await super().look_again()
        await self._committer.write(
            lambda connection: connection.execute(
                "UPDATE items SET finished = NULL WHERE state = 'created' AND finished IS NOT NULL"
            )
        )

    async def under_way_elsewhere(self) -> list[Held]:
        """Return the items that workflows hold, and whose runs have not come to an end."""
        query = f"SELECT {ITEM}, holder FROM items WHERE state IN ('sending', 'created') AND finished IS NULL"  # noqa: S608 - constants
        rows = await self._rows(query)
        return [Held(row[0], self._item(row[:-1]).key, row[-1] or "") for row in rows]

    async def pulse(self) -> tuple[Any, ...]:
        """Return what changes whenever something has come to an end, was added, or is to be sent again."""
        rows = await self._rows(
            "SELECT (SELECT value FROM meta WHERE name = 'finished'),"
            " (SELECT count(*) FROM items WHERE state = 'planned'),"
            " (SELECT count(*) FROM items WHERE state IN ('sending', 'created') AND finished IS NULL)"
        )
        return rows[0]

    # -- handing out: every process hands out all that comes to an end from its beginning on

    async def to_hand_out(self) -> list[tuple[int, Outcome]]:
        """Return outcomes that this process has not handed out yet, with their places in the order."""
        query = f"SELECT {OUTCOME}, finished FROM items WHERE finished > ? ORDER BY finished LIMIT 20"  # noqa: S608 - a constant
        rows = await self._rows(query, (self._passed,))
        return [(row[-1], outcome_of(row[:-1], numbered=self._numbered)) for row in rows]

    async def handed_out(self, place: int = 0, *, note: bool = True) -> None:
        """Hand out the outcomes up to this place no more; if that is noted, by no process that begins later."""
        self._passed = passed = max(self._passed, place)
        statement = "UPDATE meta SET value = ? WHERE name = 'handed_out' AND CAST(value AS BIGINT) < ?"
        if note:
            await self._committer.write(lambda connection: connection.execute(statement, (passed, passed)))

    # -- who is alive

    async def beat(self, name: str) -> None:
        """Move the counter of this worker on."""
        move = "INSERT INTO workers VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET beat = workers.beat + 1"
        await self._committer.write(lambda connection: connection.execute(move, (name,)))

    async def beats(self) -> Mapping[str, int]:
        """Return the counters of all workers."""
        return dict(await self._rows("SELECT name, beat FROM workers"))

    async def bury(self, names: Iterable[str]) -> None:
        """Forget workers that are gone."""
        rows = [(name,) for name in names]
        await self._committer.write(
            lambda connection: connection.executemany("DELETE FROM workers WHERE name = ?", rows)
        )


class RunEntry(NamedTuple):
    """What a workflow finds of its item: the id of a run that was there before, and its own run if it has one."""

    floor: int
    run: str | None


def round_of(holder: str) -> int:
    """Return how often the same key was taken up anew: `KEY`, `KEY~2`, `KEY~3`, ..."""
    _, _, number = holder.rpartition("~")
    return int(number) if number.isdecimal() and "~" in holder else 1


def round_named(key: str, number: int) -> str:
    """Return the name of the workflow that takes a key up for that time."""
    return key if number == 1 else f"{key}~{number}"


class _Patient(Committer):
    """Outlast a database that is away."""

    async def read(self, work: Work[T]) -> T:
        return await _outlast(lambda: super(_Patient, self).read(work))

    async def write(self, work: Work[T]) -> T:
        results: list[T] = []

        def noting(connection: sqlite3.Connection) -> T:
            results[:] = ()
            results.append(work(connection))
            return results[0]

        async def once() -> T:
            try:
                return await super(_Patient, self).write(noting)
            except UnsureError as error:  # to do it again would be to find it done, and to say so
                was_done = await self.read(error.was_done)
                if not (was_done and results):
                    raise
                return results[0]

        return await _outlast(once)


async def _outlast(call: Callable[[], Awaitable[T]]) -> T:
    attempt = 0
    while True:
        try:
            result = await call()
        except AwayError as error:
            attempt += 1
            _log.log(logging.WARNING if attempt == 1 else logging.DEBUG, "batch: %s; trying again", error)
        else:
            if attempt:
                _log.warning("batch: the database is back")
            return result
        await asyncio.sleep(_AGAIN.delay(attempt))


@asynccontextmanager
async def sharing(
    kind: Callable[[str, Committer, Callable[[], float]], L], database: Database, clock: Callable[[], float]
) -> AsyncGenerator[L]:
    """Open the journal in a database for this process and any others; make it if there is none.

    Args:
        kind: a class of ledgers.
        database: where it is.
        clock: returns wall-clock seconds.

    Raises:
        JournalError: it cannot be used.
    """

    def connect() -> sqlite3.Connection:
        connection = database.connect()
        try:
            database.prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    committer = _Patient(Path(database.name), connect, lambda connection: connection.close())
    await committer.open()
    try:
        ledger = kind(database.name, committer, clock)
        await ledger.load()
        yield ledger
    finally:
        await committer.aclose()
