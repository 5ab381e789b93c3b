"""The journal of a batch: what is to be done, what was begun, what came of it. It outlives every process.

An item goes planned -> sending -> created -> ended. `sending` is on the disk before the first byte of a create is
sent, and `created` after its answer; so whatever dies, an item without a run that may have one is known by its state.
From sending it can also go back to planned (it was never sent, or surely came to nothing), to rejected (refused), or to
unknown (nobody can say).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from codegen_async.batch import readers, steps
from codegen_async.batch.changes import number
from codegen_async.batch.commits import Committer
from codegen_async.batch.holder import Turn, check_not_ours
from codegen_async.batch.items import Added, Fact, Item, Outcome, State, Task, decode_task, idempotency_key
from codegen_async.batch.lease import Lease, check_system
from codegen_async.batch.ownership import note_driven, take
from codegen_async.batch.places import Account, Place, are_numbers, from_text
from codegen_async.batch.readers import ITEM, KEY, OUTCOME, PAGE, item_of, key_of, outcome_of
from codegen_async.batch.schema import Identity, check_place, close_journal, explained, open_journal
from codegen_async.batch.snapshots import encode_run, noted
from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.sendings import Memory
from codegen_async.models import Phase, RunId, RunLike

_FLOOR = "INSERT INTO meta VALUES ('floor', ?) ON CONFLICT DO NOTHING"


class Journal:
    """Read and write a journal; make it with `driving`. Times are those of its wall clock, in seconds."""

    def __init__(
        self,
        path: Path,
        committer: Committer,
        clock: Callable[[], float],
        *,
        identity: Identity,
        memory: Memory,
    ) -> None:
        self.path = path
        self.batch_id: str = ""
        self.moved: int = 0
        """Whether another file of this batch may know better (`places.OVERTAKEN`, `UNPLACED`), else 0."""
        self._committer = committer
        self._clock = clock
        self.memory: Memory = memory
        """Of sendings, see `codegen_async.hosted.sendings`."""
        self._identity = identity
        self._numbered = True  # whether the ids of its runs are numbers
        self._life = 0  # the number of this one
        self._passed = 0  # outcomes up to this place are not handed out again in this life

    async def load(self) -> None:
        """Read what is true of the batch as a whole."""
        meta = dict(await self._rows("SELECT name, value FROM meta"))
        self.batch_id = meta["batch"]
        self.moved = int(meta.get("moved", 0))
        self._numbered = are_numbers(meta)
        self._life = int(meta["lives"])

    async def watch(self, tell: Callable[[str, str], None]) -> None:
        """Call `tell` with the name and the state of every item, and from now on of each that changes."""
        await self._committer.watch(tell)

    # -- filling it

    async def add(
        self,
        tasks: Collection[tuple[str, Task] | tuple[str, Task, int | None]],
        *,
        source: str | None = None,
        folder: str | None = None,
        whole: bool = False,
    ) -> Added:
        """Plan named tasks, all or none; see `steps.Adding`. One that is there already stays as it is.

        Args:
            tasks: names and tasks, and which copy of one; iterated on the journal's thread, again where it has to be.
            source: the name of the file that they come from, whose items that it does not have any more are left out.
            folder: where that file is.
            whole: whether all are left out that were not sent and are not in the file.

        Raises:
            InvalidArgumentError: a name is taken by another task.
        """

        def work(connection: sqlite3.Connection) -> Added:
            adding = steps.Adding(connection, source, whole=whole, keys={name for name, *_ in tasks}, folder=folder)
            for name, task, *copy in tasks:
                adding.add(name, task, *copy)
            return adding.end()

        return await self._committer.write(work)

    async def release(self, names: Sequence[str]) -> None:
        """Plan items again that are rejected or unknown: a person has decided.

        Raises:
            InvalidArgumentError: there is no such item, or it is neither.
        """

        def work(connection: sqlite3.Connection) -> None:
            for name in names:
                if not steps.release(connection, name):
                    raise InvalidArgumentError("key", name, "the key of an item that is rejected or unknown")

        await self._committer.write(work)

    # -- driving it

    async def claim(self, floor: int) -> tuple[Item, Task] | None:
        """Take the planned item whose turn it is, to send it now; None if there is none.

        Args:
            floor: the id of a run that exists, or 0.
        """
        now = self._clock()

        def work(connection: sqlite3.Connection) -> tuple[Any, ...] | None:
            self._identity.check()  # what would be written to a file that is gone could be sent again
            next_one = "SELECT seq, task FROM items WHERE state = 'planned' ORDER BY turn, seq LIMIT 1"
            row = connection.execute(next_one).fetchone()
            if row is None:
                return None
            # An attempt that is sent again keeps its floor: its first sending may be the one that counts.
            connection.execute(
                "UPDATE items SET state = 'sending', floor = coalesce(floor, ?), life = ?, sent_at = ?,"
                " error = NULL WHERE seq = ?",
                (floor, self._life, now, row[0]),
            )
            connection.execute(_FLOOR, (floor,))
            return (*connection.execute(f"SELECT {ITEM} FROM items WHERE seq = ?", row[:1]).fetchone(), row[1])  # noqa: S608 - a constant

        row = await self._committer.write(work)
        with explained(self.path):
            return None if row is None else (self._item(row[:-1]), decode_task(row[-1]))

    async def created(self, seq: int, run_id: RunId) -> None:
        """Note the run of an item."""
        await self._write(
            "UPDATE items SET state = 'created', run_id = ?, created_at = ?, finished = NULL, error = NULL"
            " WHERE seq = ? AND state = 'sending'",
            (str(run_id), self._clock(), seq),
            seq,
        )

    async def near(self, floor: int) -> list[tuple[str, str]]:
        """Return the keys and runs of items whose runs have numbers near this one, where runs have numbers."""
        rows = await self._committer.read(lambda connection: readers.near(connection, floor))
        return [(key_of(self.batch_id, *row[:-1]), row[-1]) for row in rows]

    async def earlier(self, item: Item) -> str | None:
        """Return the key of an item with a run that was sent before this one; None if there is none."""
        row = await self._committer.read(lambda connection: readers.earlier(connection, item.seq))
        return None if row is None else key_of(self.batch_id, *row)

    async def later(self, item: Item, seconds: float) -> tuple[str, RunId] | None:
        """Return key and run of the newest item that was sent so much later than this one; None if there is none.

        In a later life, at that: so the order of the two does not depend on wall clocks.
        """
        row = await self._committer.read(lambda connection: readers.later(connection, item.seq, seconds))
        return None if row is None else (key_of(self.batch_id, *row[:-1]), self._id_of(row[-1]) or "")

    async def task(self, seq: int | None = None) -> Task | None:
        """Return the task of an item, or of any; None if there is none."""
        return await self._committer.read(lambda connection: readers.task_of(connection, seq))

    async def begin_at(self, floor: int) -> None:
        """Note the id of a run that existed before anything was sent."""
        await self._committer.write(lambda connection: connection.execute(_FLOOR, (floor,)))

    async def runs_by_key(self) -> dict[str, RunId | None]:
        """Return the idempotency keys of all attempts, with their runs where they are the last ones."""
        found: dict[str, RunId | None] = {}
        async for fact in self.facts():
            earlier = (idempotency_key(self.batch_id, fact.identity, attempt) for attempt in range(1, fact.attempt))
            found |= dict.fromkeys(earlier)
            found[fact.key] = fact.run_id
        return found

    async def found(self, seq: int, attempt: int, run_id: RunId) -> None:
        """Note the run of an item that was sent from another file of this batch."""
        await self._write(
            "UPDATE items SET state = 'created', attempt = ?, run_id = ?, created_at = ?, error = NULL, finished = NULL"
            ", phase = NULL, seen_at = NULL WHERE seq = ? AND state IN ('planned', 'rejected', 'created')",
            (attempt, str(run_id), self._clock(), seq),
        )

    async def settled(self) -> None:
        """Note that all that was sent from other files of this batch is known."""
        await self._committer.write(lambda connection: connection.execute("DELETE FROM meta WHERE name = 'moved'"))
        self.moved = 0

    async def give_back(self) -> None:
        """Leave the batch to the file that this one is a copy of, as nothing is sent from here."""

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT value FROM meta WHERE name = 'overtook'").fetchone()
            if (place := from_text(row and row[0], Place)) is not None:
                note_driven(self.batch_id, place)

        await self._committer.read(work)

    async def put_back(self, seq: int, *, last: bool, parent: str | None = None) -> None:
        """Plan an item again that has no run; `last`: after all others; `parent`: made for its run to belong to."""
        turn = steps.LAST_TURN if last else "turn"
        await self._write(
            f"UPDATE items SET state = 'planned', turn = {turn}, parent = coalesce(?, parent), finished = NULL,"  # noqa: S608 - constants
            " error = NULL WHERE seq = ? AND state = 'sending'",
            (parent, seq),
            seq,
        )

    async def look_again(self) -> None:
        """Take the unknown items for sent just now, and lost runs for found, since both are looked for once more."""
        await self._committer.write(steps.look_again)

    async def rejected(self, seq: int, error: str) -> None:
        """Note that an item was refused for good."""
        await self._finish(
            "UPDATE items SET state = 'rejected', parent = NULL, error = ? WHERE seq = ? AND state = 'sending'",
            (error, seq),
            seq,
        )

    async def unknown(self, seq: int, error: str, *, likely_done: bool) -> None:
        """Note that nobody can say whether an item has a run."""
        await self._finish(
            "UPDATE items SET state = 'unknown', error = ?, likely_done = ? WHERE seq = ? AND state = 'sending'",
            (error, likely_done, seq),
            seq,
        )

    async def ended(self, seq: int, run: RunLike | None, error: str | None = None) -> None:
        """Note the end of an item's run."""
        now = self._clock()
        await self._finish(
            "UPDATE items SET state = 'ended', run = ?, phase = ?, error = ?, seen_at = ?, ended_at = ?"
            " WHERE seq = ? AND state = 'created'",
            (*noted(run), error, now, now, seq),
            seq,
        )

    async def stuck(self, seq: int, run: RunLike | None, error: str) -> None:
        """Note that the run of an item does not go on by itself; the item stays created."""
        await self._finish(
            "UPDATE items SET run = ?, phase = ?, error = ?, seen_at = ? WHERE seq = ? AND state = 'created'",
            (*noted(run), error, self._clock(), seq),
            seq,
        )

    async def answered(self, seq: int, run_id: RunId) -> None:
        """Note that a run goes on that waited for a person, or that this one does in its place."""
        statement = (
            "UPDATE items SET run_id = ?, run = NULL, phase = NULL, seen_at = NULL, error = NULL, finished = NULL"
            " WHERE seq = ? AND state = 'created'"
        )
        await self._write(statement, (str(run_id), seq), seq)

    async def seen(self, phases: Mapping[int, Phase]) -> None:
        """Note where the runs of items stand that go on, by their numbers."""
        now = self._clock()
        await self._committer.write(lambda connection: steps.see(connection, phases, now))

    async def retry(self, seq: int, run: RunLike) -> None:
        """Plan another attempt for an item whose run has failed, after all other items."""
        now = self._clock()

        def work(connection: sqlite3.Connection) -> None:
            ended = "UPDATE items SET run = ?, ended_at = ? WHERE seq = ? AND state = 'created'"
            self._move(connection, seq, ended, (encode_run(run), now, seq))
            steps.attempt_again(connection, seq)

        await self._committer.write(work)

    async def try_again(self, names: Sequence[str], *, failed: bool) -> Sequence[str]:
        """Plan items once more, after all others; return their names.

        Args:
            names: of items that are rejected or unknown, that have ended without success, or whose run is not found.
            failed: also all that have ended without success.

        Raises:
            InvalidArgumentError: one of the names is of no such item.
        """
        return await self._committer.write(lambda connection: steps.try_again(connection, names, failed=failed))

    # -- reading it

    async def others_have(self, *, planned: bool = False) -> bool:  # noqa: ARG002 - there are no others
        """Return whether other processes have items that may come to this one; `planned`: items that are not sent."""
        return False

    async def has_planned(self) -> bool:
        """Return whether anything is planned."""
        return bool(await self._rows("SELECT 1 FROM items WHERE state = 'planned' LIMIT 1"))

    async def runs_made(self) -> int:
        """Return how many runs the batch has, or may have."""
        rows = await self._rows(
            "SELECT (SELECT count(*) FROM items WHERE state IN ('sending', 'created', 'ended', 'unknown'))"
            " + (SELECT count(*) FROM attempts)"
        )
        return int(rows[0][0])

    async def items(self, *states: State) -> AsyncGenerator[Item]:
        """Yield the items that are in one of these states, in order."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT {ITEM} FROM items WHERE seq > ? AND state IN ({marks}) ORDER BY seq LIMIT {PAGE}"  # noqa: S608 - constants
        last = 0
        while rows := await self._rows(query, (last, *states)):
            for row in rows:
                last = row[0]
                yield self._item(row)

    async def to_hand_out(self) -> list[tuple[int, Outcome]]:
        """Return outcomes that were not handed out yet, with their places in the order."""
        query = (
            f"SELECT {OUTCOME}, finished FROM items"  # noqa: S608 - a constant
            " WHERE finished > max(?, (SELECT value FROM meta WHERE name = 'handed_out')) ORDER BY finished LIMIT 20"
        )
        rows = await self._rows(query, (self._passed,))
        with explained(self.path):
            return [(row[-1], outcome_of(row[:-1], numbered=self._numbered)) for row in rows]

    async def handed_out(self, place: int = 0, *, note: bool = True) -> None:
        """Hand out the outcomes up to this place no more in this life; if that is noted, in no other."""
        self._passed = max(self._passed, place)
        if note:
            await self._write("UPDATE meta SET value = max(value, ?) WHERE name = 'handed_out'", (self._passed,))

    async def facts(self) -> AsyncGenerator[Fact]:
        """Yield what an audit needs to know of each item."""
        query = f"SELECT seq, name, {KEY}, state, run_id FROM items WHERE seq > ? ORDER BY seq LIMIT {PAGE}"  # noqa: S608 - a constant
        last = 0
        while rows := await self._rows(query, (last,)):
            for seq, name, parent, identity, attempt, state, run_id in rows:
                last = seq
                key = key_of(self.batch_id, parent, identity, attempt)
                yield Fact(name, identity, key, parent, State(state), attempt, self._id_of(run_id))

    async def first_floor(self) -> int | None:
        """Return the id of a run that existed before anything was sent; None if nothing was sent, or there was none."""
        rows = await self._rows("SELECT value FROM meta WHERE name = 'floor'")
        return int(rows[0][0]) if rows else None

    async def under_way(self, most: int) -> list[Outcome]:
        """Return the items whose runs go on, oldest first, so many at most."""
        query = f"SELECT {OUTCOME} FROM items WHERE state = 'created' ORDER BY turn, seq LIMIT ?"  # noqa: S608 - a constant
        rows = await self._rows(query, (most,))
        with explained(self.path):
            return [outcome_of(row, numbered=self._numbered) for row in rows]

    async def counts(self) -> dict[State, int]:
        """Return how many items are in each state."""
        return await self._committer.read(readers.counts_of)

    async def sent(self) -> Counter[bytes]:
        """Return the contents of the tasks that have a run, or may have one."""
        return await self._committer.read(readers.sent_of)

    # -- helpers

    async def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return await self._committer.read(lambda connection: connection.execute(query, values).fetchall())

    def _move(self, connection: sqlite3.Connection, seq: int, statement: str, values: Sequence[object]) -> None:  # noqa: ARG002 - of a ledger
        steps.move(connection, statement, values)

    async def _write(self, statement: str, values: Sequence[object], seq: int = 0) -> None:
        await self._committer.write(lambda connection: self._move(connection, seq, statement, values))

    async def _finish(self, statement: str, values: Sequence[object], seq: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            self._move(connection, seq, statement, values)
            steps.finish(connection, seq)

        await self._committer.write(work)

    def _id_of(self, run_id: str | None) -> RunId | None:
        return int(run_id) if self._numbered and run_id is not None else run_id

    def _item(self, row: tuple[Any, ...]) -> Item:
        return item_of(row, self.batch_id, numbered=self._numbered)


@asynccontextmanager
async def driving(
    path: Path, clock: Callable[[], float], account: Account | None = None, *, adopt: bool = False
) -> AsyncGenerator[Journal]:
    """Hold a journal for this process alone; make it if there is none.

    Args:
        path: the journal.
        clock: returns wall-clock seconds.
        account: where runs are created; None: nothing is sent, so it does not matter whose it is.
        adopt: whether the user says that it is his, and that a server of another name is the same.

    Raises:
        JournalError: another process holds it, it belongs elsewhere, or it cannot be used.
    """
    opened: list[tuple[Lease, Turn, Identity]] = []

    def connect() -> sqlite3.Connection:
        check_system(path)
        with explained(path), contextlib.ExitStack() as undoing:
            check_not_ours(path)
            check_place(path)
            lease = Lease(path.resolve())  # a journal has one lock, whatever it is called
            undoing.callback(lease.release)
            connection = open_journal(path)
            undoing.callback(close_journal, connection)
            number(connection)
            lease.guard()
            turn = Turn(path, lease.memory)
            before = turn.take(connection, lambda older: take(connection, path, account, adopt=adopt, older=older))
            lease.sign(turn.token, before)
            opened.append((lease, turn, Identity(path)))
            turn.begin()
            undoing.pop_all()
        return connection

    def disconnect(connection: sqlite3.Connection) -> None:
        lease, turn, _ = opened.pop()
        try:
            turn.end(connection)
            close_journal(connection)
        finally:
            lease.release()

    committer = Committer(path, connect, disconnect, lambda connection: opened[0][1].check(connection))  # noqa: PLW0108 - there is none yet
    await committer.open()
    try:
        ((lease, _, identity),) = opened
        journal = Journal(path, committer, clock, identity=identity, memory=lease.memory)
        await journal.load()
        yield journal
    finally:
        await committer.aclose()
