"""Read where the items of a batch stand, as a browser is to see it. Blocking; a reader belongs to one thread.

Only what has changed since the last look is read again: each item bears the number of the commit that changed it. A
journal that does not tell that (an older one, or a database of several processes) is read as a whole.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from codegen_async.batch.holder import holder_of
from codegen_async.batch.items import State, Task, decode_task
from codegen_async.batch.labels import label_of
from codegen_async.batch.places import Place, account_of
from codegen_async.batch.readers import PAGE, Where
from codegen_async.batch.results import came_of
from codegen_async.batch.schema import explained, open_to_read
from codegen_async.batch.snapshots import Snapshot, decode_run
from codegen_async.cleaning import clean, clean_lines
from codegen_async.hosted.run import HostedRun
from codegen_async.models import Phase

_WITH_CHANGED = 6  # the schema that knows phases, and what has changed
_COLUMNS = "seq, name, state, attempt, run_id, created_at, ended_at, error, run, task"
_PULSE = "SELECT state, count(*), max(finished), max(attempt) FROM items GROUP BY state ORDER BY state"

_SHORT = 200  # characters of a text in a row of the table
_BESIDE = 200  # characters beyond, so that what begins within is known for what it is
_LONG = 100_000  # of one that is shown alone
_OURS = re.compile(r"(organizations?[/ ])\d+|\b[0-9a-f]{12}-[0-9a-f]{16}-\d+\b", re.ASCII | re.IGNORECASE)
"""What is nobody's business outside: organizations, and the keys that runs are created under."""
_OF_A_KEY = re.compile(r"-[0-9A-Fa-f]{16}-")  # begins with a sign, so it is looked for ten times as fast


class Row(NamedTuple):
    """What the table shows of an item; texts of others in it are clean."""

    seq: int
    key: str
    label: str
    run: str
    created: float | None
    ended: float | None
    attempt: int
    url: str
    pull: str
    note: str
    prompt: str


class Changes(NamedTuple):
    """What a look has shown.

    Attributes:
        rows: where items stand that are new or have changed.
        whole: whether these are all there are.
    """

    rows: Sequence[Row]
    whole: bool


class Reader:
    """Read a batch again and again.

    Args:
        where: the journal, or what stands for one.
    """

    def __init__(self, where: Where) -> None:
        self._where = where
        self._opened = contextlib.ExitStack()
        self._connection: sqlite3.Connection | None = None
        self._place: Place | None = None  # of the file that is open
        self._pulse: object = None  # changes with whatever is written
        self._commit = -1  # the last one whose changes were read
        self._known: set[int] = set()  # numbers of items that were read

    def close(self) -> None:
        """Let go of the journal."""
        self._connection = None
        self._pulse, self._commit = None, -1
        self._opened.close()

    def changes(self) -> Changes | None:
        """Return what has changed since the last call, all at the first one; None if nothing has.

        Raises:
            JournalError: it cannot be read; the next call opens it anew.
        """
        with self._reading() as connection:
            pulse = self._look(connection)
            if pulse == self._pulse:
                return None
            has_changed = self._has_changed(connection)
            meta = _meta(connection)
            commit = int(meta.get("commits", 0)) if has_changed else -1
            since = self._commit if 0 <= self._commit <= commit else -1
            rows = [*self._rows(connection, since, has_changed=has_changed)]
            known = {row.seq for row in rows}
            if since >= 0:
                known |= self._known
            (count,) = connection.execute("SELECT count(*) FROM items").fetchone()
            if since >= 0 and count != len(known):  # some were taken out
                since, rows = -1, [*self._rows(connection, -1, has_changed=has_changed)]
                known = {row.seq for row in rows}
            self._pulse, self._commit, self._known = pulse, commit, known
            return Changes(rows, since < 0)

    def driver(self) -> str | None:
        """Return what drives the batch, None if nothing does as far as can be told.

        Raises:
            JournalError: it cannot be read.
        """
        if not isinstance(self._where, Path):
            return None
        with self._reading() as connection:
            holder = holder_of(connection)
        return None if holder is None or holder.is_gone() else clean(str(holder))

    def account(self) -> str:
        """Return the API that the runs are of, empty while that is not known.

        Raises:
            JournalError: it cannot be read.
        """
        with self._reading() as connection:
            account = account_of(_meta(connection))
        return "" if account is None else clean(account.api)

    def item(self, seq: int) -> Mapping[str, Any] | None:
        """Return all that is shown of an item; None if there is none.

        Raises:
            JournalError: it cannot be read.
        """
        with self._reading() as connection:
            has_changed = self._has_changed(connection)
            query = f"SELECT {_columns(has_changed=has_changed)} FROM items WHERE seq = ?"  # noqa: S608 - constants
            values = connection.execute(query, (seq,)).fetchone()
            if values is None:
                return None
            attempts = connection.execute(
                "SELECT attempt, run_id, created_at, ended_at, run, error FROM attempts WHERE seq = ? ORDER BY attempt",
                (seq,),
            ).fetchall()
            return _detail(values, attempts)

    def keys(self, seqs: Iterable[int]) -> Mapping[int, str]:
        """Return the keys of items as they are, by number: two of them may look the same when they are clean.

        Raises:
            JournalError: it cannot be read.
        """
        with self._reading() as connection:
            found = (connection.execute("SELECT seq, name FROM items WHERE seq = ?", (seq,)).fetchone() for seq in seqs)
            return dict(filter(None, found))

    # -- helpers

    @contextlib.contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        try:
            with explained(self._where) if isinstance(self._where, Path) else contextlib.nullcontext():
                if self._connection is not None and self._is_replaced(self._where):
                    self.close()
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
        except BaseException:
            self.close()
            raise

    def _is_replaced(self, where: Where) -> bool:
        """Whether another file has taken the name of the one that is open."""
        return isinstance(where, Path) and self._place != Place.of(where)

    def _open(self) -> sqlite3.Connection:
        if isinstance(self._where, Path):
            self._place = Place.of(self._where)
            connection = open_to_read(self._where)
            self._opened.callback(connection.close)
            return connection
        return self._opened.enter_context(self._where.reading())

    def _look(self, connection: sqlite3.Connection) -> object:
        if isinstance(self._where, Path):
            return connection.execute("PRAGMA data_version").fetchone()
        return connection.execute(_PULSE).fetchall()

    def _has_changed(self, connection: sqlite3.Connection) -> bool:
        if not isinstance(self._where, Path):
            return False
        return bool(connection.execute("PRAGMA user_version").fetchone()[0] >= _WITH_CHANGED)

    def _rows(self, connection: sqlite3.Connection, since: int, *, has_changed: bool) -> Iterator[Row]:
        """Yield the items that a later commit than this one has changed; page by page, as writers have to wait."""
        news = "changed > ?" if has_changed and since >= 0 else "? < 0"
        query = (
            f"SELECT {_columns(has_changed=has_changed)} FROM items WHERE seq > ? AND {news} ORDER BY seq LIMIT {PAGE}"  # noqa: S608 - constants
        )
        last = 0
        while rows := connection.execute(query, (last, since)).fetchall():
            for values in rows:
                last = values[0]
                yield _row(values)


def _columns(*, has_changed: bool) -> str:
    return f"{_COLUMNS}, {'phase, seen_at' if has_changed else 'NULL, NULL'}"


def _meta(connection: sqlite3.Connection) -> dict[str, Any]:
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def _row(values: Sequence[Any]) -> Row:
    seq, name, state, attempt, run_id, created, ended, error, content, task, phase, _ = values
    run = None if content is None else decode_run(content)
    seen = Phase(phase) if phase else None if run is None else run.phase
    urls, summary, result = came_of(run)
    asked = decode_task(task)
    return Row(
        seq=seq,
        key=clean(name),
        label=label_of(State(state), seen, error),
        run="" if run_id is None else clean(str(run_id)),
        created=created,
        ended=ended,
        attempt=attempt,
        url=_link(None if run is None else run.web_url),
        pull=next((link for url in urls if (link := _link(url))), ""),
        note=_said(_error(error, run) or summary or result or "", asked, _SHORT),
        prompt=_said(_asked(asked), asked, _SHORT),
    )


def _detail(values: Sequence[Any], attempts: Sequence[Sequence[Any]]) -> Mapping[str, Any]:
    row = _row(values)
    error, content, task, phase, seen_at = values[7:]
    task = decode_task(task)
    run = None if content is None else decode_run(content)
    urls, summary, result = came_of(run)
    before = [
        {
            "attempt": attempt,
            "run": "" if run_id is None else clean(str(run_id)),
            "created": created,
            "ended": ended,
            "error": _said(_error(failed, None if seen is None else decode_run(seen)) or "", task, _SHORT),
        }
        for attempt, run_id, created, ended, seen, failed in attempts
    ]
    return {
        **row._asdict(),
        "phase": phase,
        "seen": seen_at,
        "prompt": _text(_asked(task), task),
        "summary": _text(summary, task),
        "result": _text(result, task),
        "error": _text(_error(error, run), task),
        "pulls": [link for url in urls if (link := _link(url))],
        "before": before,
    }


def _error(error: str | None, run: Snapshot | None) -> str | None:
    return error or (run.error if isinstance(run, HostedRun) else None)


def _asked(task: Task) -> str:
    """Return what was asked for; at other APIs its fields, without what was only to be stored."""
    if task.fields is None:
        return task.prompt
    fields = {name: value for name, value in task.fields.items() if name != "metadata"}
    told = [value for value in fields.values() if isinstance(value, str)]
    return told[0] if len(fields) == len(told) == 1 else msgspec.json.encode(fields).decode()


def _link(url: str | None) -> str:
    """Return an address that may be followed, else nothing."""
    if url is None or clean(url, len(url) + 1) != url:
        return ""
    try:
        return url if url.startswith("https://") and urlsplit(url).netloc else ""
    except ValueError:
        return ""


def _said(text: str, task: Task, most: int) -> str:
    return clean(_private(text[: most + _BESIDE], task), most)


def _text(text: str | None, task: Task) -> str:
    return clean_lines(_private((text or "")[:_LONG], task))


def _private(text: str, task: Task) -> str:
    """Return a text without what is of this machine and account alone."""
    for folder in (task.folder or "", _home()):
        if folder.strip("/"):
            text = text.replace(f"{folder.rstrip('/')}/", "")
    if "organization" not in text.lower() and not _OF_A_KEY.search(text):
        return text
    return _OURS.sub(lambda found: f"{found[1] or ''}...", text)


@functools.cache
def _home() -> str:
    with contextlib.suppress(RuntimeError):  # a user without an entry in the passwd file has none
        return str(Path.home())
    return ""
