"""What the steps of a journal do to its tables. Blocking; within a transaction that others may share."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from codegen_async.batch.items import TAKEN, TAKEN_AND_SENT, Added, State, Task, decode_task
from codegen_async.batch.snapshots import decode_run
from codegen_async.errors import InvalidArgumentError
from codegen_async.models import Phase
from codegen_async.reading import UNREADABLE

LAST_TURN = "(SELECT coalesce(max(turn), 0) + 1 FROM items WHERE state = 'planned')"
"""The turn after those of all planned items."""

_TASK = 2  # of a row

_MAY_BE_SENT = "another key, or the content it had, as the journal is a copy and this may have been sent since"

_Alike = tuple[int, str | None, str]
"""Number, source and name of one of several items of the same content."""


def digest_of(task: bytes) -> bytes:
    """Return what tells tasks of other content from this one, which is given as JSON."""
    return _digest(decode_task(task))


def phase_of(run: bytes) -> str | None:
    """Return the phase of a snapshot, which is given as JSON; None if it cannot be read."""
    try:
        phase: Phase = decode_run(run).phase
    except UNREADABLE:
        return None
    return phase.value


def _digest(task: Task) -> bytes:
    return sha256(task.content()).digest()[:16]


# -- adding


class Adding:
    """Add tasks to a journal, each where it belongs.

    A task with a key is the item of that key. One without is the item of the same content, wherever its line is now;
    of several with the same content, each is an item of its own. Where a file gives keys that it did not give before,
    or none any more, content decides as well.

    Args:
        source: the name of the file that they come from; None for a program.
        folder: where that file is. One of the same name that is elsewhere is another.
        whole: whether the file is all that is to be done, so that it does not matter where items came from.
        keys: all that the file gives.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        source: str | None,
        *,
        whole: bool,
        keys: Collection[str] = (),
        folder: str | None = None,
    ) -> None:
        self._keys = keys
        self._connection = connection
        self._source = source
        self._folder = folder
        self._whole = whole
        self._copies: Counter[bytes] = Counter()
        self._alike: dict[tuple[bytes, bool], list[_Alike]] = {}
        self._taken: Counter[tuple[str, str]] = Counter()
        self._seen: set[int] = set()
        self._new: list[str] = []
        self._corrected: list[str] = []

    def add(self, name: str, task: Task, copy: int | None = None) -> None:
        """Add a task, or find that it is there.

        Args:
            name: its key; one that begins with `#` only says what to call it if it is new.
            task: what to create.
            copy: which one of those without keys it is that have the same content, from 1. Default: the next.

        Raises:
            InvalidArgumentError: the key is that of another task, which may have a run.
        """
        if name.startswith("#"):
            self._add_by_content(name, task, copy)
        else:
            self._add_by_key(name, task)

    def _add_by_key(self, name: str, task: Task) -> None:
        row = self._connection.execute("SELECT seq, state, task, source FROM items WHERE name = ?", (name,)).fetchone()
        if row is None:
            self._insert_or_name(name, task)
        elif decode_task(row[_TASK]).content() == task.content():
            self._keep(row[0], task)
        elif row[1] in (State.PLANNED, State.REJECTED) and self._may_be_sent():
            raise InvalidArgumentError("key", name, _MAY_BE_SENT)
        elif row[1] == State.REJECTED or (row[1] == State.PLANNED and self._may_edit(row[3])):
            self._correct(row[0], name, task)
        else:
            raise InvalidArgumentError("key", name, TAKEN if row[1] == State.PLANNED else TAKEN_AND_SENT)

    def _may_be_sent(self) -> bool:
        """Whether what is planned here may have been sent from another file of the batch."""
        return self._connection.execute("SELECT 1 FROM meta WHERE name = 'moved'").fetchone() is not None

    def _insert_or_name(self, name: str, task: Task) -> None:
        """Add a task with a new key, unless it is that of an item to which the file gave no key before."""
        digest = _digest(task)
        alike = self._of_content(digest, keyed=False)
        for place in range(self._copies[digest], len(alike)):  # those before are lines without a key
            seq, source, _ = alike[place]
            if seq not in self._seen and self._may_edit(source):
                del alike[place]
                self._connection.execute(
                    "UPDATE items SET name = ?, identity = coalesce(identity, name) WHERE seq = ?", (name, seq)
                )
                self._keep(seq, task)
                return
        self._insert(name, task)

    def _of_content(self, digest: bytes, *, keyed: bool) -> list[_Alike]:
        """Return the items of this content; first those that were sent, as these are not withdrawn.

        They are read once, as there may be thousands.
        """
        if (digest, keyed) not in self._alike:
            self._alike[digest, keyed] = self._connection.execute(
                f"SELECT seq, source, name FROM items WHERE digest = ? AND name {'NOT ' if keyed else ''}LIKE '#%'"  # noqa: S608 - constants
                " ORDER BY state IN ('planned', 'rejected'), seq",
                (digest,),
            ).fetchall()
        return self._alike[digest, keyed]

    def _may_edit(self, source: str | None) -> bool:
        """Whether what a file says now counts for an item that came from there."""
        return self._source is not None and (self._whole or source is not None)

    def _add_by_content(self, name: str, task: Task, copy: int | None) -> None:
        digest = _digest(task)
        if copy is None:
            self._copies[digest] += 1
            copy = self._copies[digest]
        alike = self._of_content(digest, keyed=False)
        known = alike[copy - 1][0] if copy <= len(alike) else self._without_its_key(digest)
        if known is not None:
            self._keep(known, task)
            return
        identity = self._free("coalesce(identity, name)", f"#{digest.hex()}")
        free = self._free("name", name)
        alike.append((self._insert(free, task, identity), self._source, free))

    def _without_its_key(self, digest: bytes) -> int | None:
        """Return an item whose key the file does not give any more."""
        keyed = self._of_content(digest, keyed=True)
        while keyed:
            seq, source, name = keyed.pop(0)
            if seq not in self._seen and self._may_edit(source) and name not in self._keys:
                return seq
        return None

    def _free(self, column: str, name: str) -> str:
        """Return a name like this one that no item has in a column; the first is the name itself."""
        query = f"SELECT 1 FROM items WHERE {column} = ?"  # noqa: S608 - constants
        while True:
            self._taken[column, name] += 1
            number = self._taken[column, name]
            free = name if number == 1 else f"{name}~{number}"
            if not self._connection.execute(query, (free,)).fetchone():
                return free

    def _insert(self, name: str, task: Task, identity: str | None = None) -> int:
        # Not as a database would count: what one adds in vain may leave a gap there, and places would be others.
        (seq,) = self._connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM items").fetchone()
        self._connection.execute(
            "INSERT INTO items (seq, name, task, digest, source, identity) VALUES (?, ?, ?, ?, ?, ?)",
            (seq, name, task.encode(), _digest(task), self._source, identity),
        )
        self._seen.add(seq)
        self._new.append(name)
        return int(seq)

    def _keep(self, seq: int, task: Task) -> None:
        self._seen.add(seq)
        content = task.encode()  # other than before where its file was moved, or says more of it
        self._connection.execute("UPDATE items SET task = ? WHERE seq = ? AND task <> ?", (content, seq, content))
        if self._source is not None:
            self._connection.execute("UPDATE items SET source = ? WHERE seq = ?", (self._source, seq))

    def _correct(self, seq: int, name: str, task: Task) -> None:
        self._seen.add(seq)
        self._corrected.append(name)
        self._connection.execute(
            "UPDATE items SET task = ?, digest = ?, source = ?, state = 'planned', parent = NULL, error = NULL,"
            " finished = NULL"
            " WHERE seq = ?",
            (task.encode(), _digest(task), self._source, seq),
        )

    def end(self) -> Added:
        """Leave out what was never sent and is not in the file any more; return what was done.

        Raises:
            InvalidArgumentError: the file has nothing at all; most likely who was to write it has failed.
        """
        withdrawn = [] if self._source is None else self._withdraw()
        if withdrawn and not self._seen:
            expected = f"at least one, as {len(withdrawn)} that were not sent would be left out"
            raise InvalidArgumentError(f"{self._source}, prompts", "none", expected)
        return Added(
            new=tuple(self._new),
            corrected=tuple(self._corrected),
            withdrawn=tuple(withdrawn),
            known=len(self._seen) - len(self._new) - len(self._corrected),
            equal=sum(count - 1 for count in self._copies.values()),
        )

    def _withdraw(self) -> list[str]:
        rows = self._connection.execute(
            "SELECT seq, name, task FROM items WHERE state IN ('planned', 'rejected') AND attempt = 1"
            " AND (? = 1 OR source = ?) ORDER BY seq",
            (int(self._whole), self._source),
        ).fetchall()
        gone = [(seq, name) for seq, name, task in rows if seq not in self._seen and not self._is_of_another(task)]
        self._connection.executemany("DELETE FROM items WHERE seq = ?", [(seq,) for seq, _ in gone])
        return [name for _, name in gone]

    def _is_of_another(self, task: bytes) -> bool:
        """Whether a task of a file of this name is of another one, which still is where it was."""
        folder = None if self._whole else decode_task(task).folder
        if None in (folder, self._folder):
            return False
        there, here = (Path(str(each), str(self._source)) for each in (folder, self._folder))
        try:
            return not there.samefile(here)
        except OSError:  # it was moved here; or this one is gone, as it was read before
            return there.exists()


# -- once more


def plan_again(connection: sqlite3.Connection, name: str) -> None:
    """Plan an item once more that came to nothing.

    Raises:
        InvalidArgumentError: it is under way, ended well, or is not there.
    """
    row = connection.execute("SELECT seq, state, run, finished FROM items WHERE name = ?", (name,)).fetchone()
    seq, state, run, finished = row or (0, "", None, None)
    lost = state == State.CREATED and run is None and finished is not None
    if state in (State.REJECTED, State.UNKNOWN):
        release(connection, name)
    elif lost or (state == State.ENDED and not _succeeded(run)):
        attempt_again(connection, seq)
    else:
        expected = "the key of an item that is rejected or unknown, or whose run has failed or is not found"
        raise InvalidArgumentError("key", name, expected)


def look_again(connection: sqlite3.Connection) -> None:
    """Take the unknown items for sent just now, and those whose run was not found for ones whose run goes on."""
    connection.execute("UPDATE items SET state = 'sending', error = NULL, finished = NULL WHERE state = 'unknown'")
    connection.execute(
        "UPDATE items SET error = NULL, finished = NULL WHERE state = 'created' AND run IS NULL AND error IS NOT NULL"
    )


def release(connection: sqlite3.Connection, name: str) -> bool:
    """Plan an item that is rejected or unknown; return whether it was."""
    done = connection.execute(
        "UPDATE items SET state = 'planned', likely_done = 0, error = NULL, finished = NULL"
        " WHERE name = ? AND state IN ('rejected', 'unknown')",
        (name,),
    )
    return bool(done.rowcount)


def attempt_again(connection: sqlite3.Connection, seq: int) -> None:
    """Plan another attempt of an item, after all others, and keep the one before."""
    connection.execute(
        "INSERT INTO attempts SELECT seq, attempt, run_id, created_at, ended_at, run, error FROM items WHERE seq = ?",
        (seq,),
    )
    connection.execute(
        f"UPDATE items SET state = 'planned', turn = {LAST_TURN}, attempt = attempt + 1, floor = NULL, life = NULL,"  # noqa: S608 - constants
        " sent_at = NULL, parent = NULL, run_id = NULL, created_at = NULL, ended_at = NULL, likely_done = 0,"
        " run = NULL, phase = NULL, seen_at = NULL, error = NULL, finished = NULL WHERE seq = ?",
        (seq,),
    )


def ended_badly(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """Return the numbers and names of items that have ended without success."""
    rows = connection.execute("SELECT seq, name, run FROM items WHERE state = 'ended' ORDER BY seq")
    return [(seq, name) for seq, name, run in rows if not _succeeded(run)]


def try_again(connection: sqlite3.Connection, names: Sequence[str], *, failed: bool) -> Sequence[str]:
    """Plan items once more, and with `failed` also all that have ended without success; return the names of all.

    Raises:
        InvalidArgumentError: one is under way, ended well, or is not there.
    """
    for name in names:
        plan_again(connection, name)
    again = ended_badly(connection) if failed else []
    for seq, _ in again:
        attempt_again(connection, seq)
    return tuple(dict.fromkeys((*names, *(name for _, name in again))))


def _succeeded(run: bytes | None) -> bool:
    return run is not None and decode_run(run).phase is Phase.SUCCEEDED


def finish(connection: sqlite3.Connection, seq: int) -> None:
    """Give an item the next place in the order in which outcomes are handed out."""
    connection.execute("UPDATE meta SET value = CAST(value AS BIGINT) + 1 WHERE name = 'finished'")
    last = "(SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'finished')"
    connection.execute(f"UPDATE items SET finished = {last} WHERE seq = ?", (seq,))  # noqa: S608 - a constant


def see(connection: sqlite3.Connection, phases: Mapping[int, Phase], now: float) -> None:
    """Note where the runs of items stand that go on, by their numbers."""
    statement = (
        "UPDATE items SET phase = ?, seen_at = ? WHERE seq = ? AND state = 'created' AND coalesce(phase, '') <> ?"
    )
    connection.executemany(statement, [(phase.value, now, seq, phase.value) for seq, phase in phases.items()])


def move(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> None:
    """Take a step of one item."""
    if connection.execute(statement, values).rowcount != 1:
        raise AssertionError(f"the journal does not allow this step: {statement}")
