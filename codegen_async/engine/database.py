"""The database that several processes share a batch in: an SQLite file for those of one machine, or PostgreSQL.

One database holds one batch, as one file holds one journal: the tables of a journal, which of the engine's workflows
holds each item, and who is alive. The engine's own tables stand beside them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from codegen_async.batch.schema import explain
from codegen_async.cleaning import clean
from codegen_async.errors import ConfigurationError, JournalError
from codegen_async.fleet.address import Address, masked
from codegen_async.private import NotOursError, make_private
from codegen_async.secret import Masked

_EXPECTED = "sqlite:/path or postgresql://user:password@host:port/database"
_SCHEMES = ("sqlite:", "postgresql:/", "postgres:/")
_HOW = "one is made by `batch run FILE --engine dbos`"
SUFFIX = ".dbos.db"
"""What the name of a file ends with that stands beside its prompts."""
_BUSY = 60.0  # seconds for which a commit waits for those of others
_IDLE = 10  # seconds after which a server ends a transaction whose process was stopped, so that others can go on
_SCHEMA = "codegen_async"
_LOCK = 0x43_47_41_45  # "CGAE": held while tables are made
_ALONE = "LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE"  # before any other table: else two wait for each other
_BEGIN = f"BEGIN; {_ALONE}; SELECT pg_current_xact_id()::text"

_TABLES = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS workers (name TEXT PRIMARY KEY, beat BIGINT NOT NULL)",
    """
    CREATE TABLE IF NOT EXISTS items (
        seq {serial} PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        task {bytes} NOT NULL,
        state TEXT NOT NULL DEFAULT 'planned',
        turn BIGINT NOT NULL DEFAULT 0,
        attempt BIGINT NOT NULL DEFAULT 1,
        floor BIGINT,
        likely_done BIGINT NOT NULL DEFAULT 0,
        run_id TEXT,
        created_at {real},
        ended_at {real},
        run {bytes},
        error TEXT,
        finished BIGINT UNIQUE,
        digest {bytes},
        source TEXT,
        identity TEXT,
        parent TEXT,
        life BIGINT,
        sent_at {real},
        holder TEXT
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS attempts (
        seq BIGINT NOT NULL,
        attempt BIGINT NOT NULL,
        run_id TEXT,
        created_at {real},
        ended_at {real},
        run {bytes},
        error TEXT,
        PRIMARY KEY (seq, attempt)
    )
    """,
    "CREATE INDEX IF NOT EXISTS items_by_state ON items (state, turn, seq)",
    "CREATE INDEX IF NOT EXISTS items_by_digest ON items (digest)",
    "CREATE UNIQUE INDEX IF NOT EXISTS items_by_identity ON items (coalesce(identity, name))",
)


_LATER = (("phase", "TEXT"), ("seen_at", "{real}"))
"""Columns that were added to items: a database of before has the others alone."""


class AwayError(JournalError):
    """Say that the database did not answer, or that another held it for too long: the same may work later."""


class UnsureError(AwayError):
    """Say that the database did not answer when it was to commit, so that it may have done so.

    Attributes:
        was_done: says whether it has, on a connection that is open; raises `AwayError` as long as it does not answer.
    """

    def __init__(self, name: str, reason: str, was_done: Callable[[sqlite3.Connection], bool]) -> None:
        super().__init__(name, reason)
        self.was_done = was_done


class Database(ABC):
    """Be one of these databases. The password in its URL is shown nowhere."""

    name: str
    """What messages call it."""

    @abstractmethod
    def url(self) -> str:
        """Return where the engine finds it; a secret. Blocking.

        Raises:
            ValueError: it cannot find it.
        """

    shown: str
    """Its URL without who asks, and without the password."""

    @property
    def path(self) -> Path | None:
        """The file that it is in, if it is in one."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def __str__(self) -> str:
        return self.shown

    @abstractmethod
    def connect(self) -> sqlite3.Connection:
        """Return what can be used as a connection to the file of a journal is. Blocking.

        Raises:
            JournalError: it cannot be opened; an `AwayError`, if that may pass.
        """

    @abstractmethod
    def prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables where there are none. Blocking."""

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Read from it; see `batch.readers`.

        Raises:
            JournalError: it cannot be opened, or holds no batch.
        """
        self.check_there()
        with contextlib.closing(self.connect()) as connection:
            if connection.execute(self._made).fetchone() is None:
                raise JournalError(self.name, f"holds no batch that processes share; {_HOW}")
            yield connection

    _made: str
    """A query that finds something where it holds a batch."""

    def check_there(self) -> None:  # noqa: B027 - not every one can be looked for without being opened
        """Make sure that there is something to open: to read is to make nothing.

        Raises:
            JournalError: there is not.
        """


def open_database(url: str) -> Database:
    """Return the database that a URL names; nothing is opened yet.

    Args:
        url: `sqlite:PATH`, or `postgresql://` with what libpq understands.

    Raises:
        ConfigurationError: it is no such URL, or the extra `dbos` is not installed. The message does not show it.
    """
    url = masked(url)
    with contextlib.suppress(ConfigurationError):
        address = Address(url)
        if address.scheme == "sqlite" and address.path:
            return _File(Path(address.path))
        if address.scheme in ("postgresql", "postgres") and address.path.strip("/"):
            return _Server(address)
    raise ConfigurationError(f"database: expected {_EXPECTED}, got something else (not shown here)")


def database_at(path: Path) -> Database | None:
    """Return the database that is meant where a path is asked for; None if it is a path.

    Raises:
        ConfigurationError: it is a URL that cannot be right.
    """
    text = masked(str(path))
    if text.startswith(_SCHEMES):
        return open_database(text if text.startswith("sqlite:") else text.replace(":/", "://", 1))  # as paths lose one
    return _File(path) if path.name.endswith(SUFFIX) else None


def _fill(connection: sqlite3.Connection) -> None:
    rows = (("batch", uuid.uuid4().hex[:12]), ("finished", "0"), ("handed_out", "0"), ("lives", "0"))
    connection.executemany("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", rows)


def _widen(connection: sqlite3.Connection, columns: str, real: str) -> None:
    """Add the columns that a database of before lacks; a statement tells which it has."""
    there = {name for (name,) in connection.execute(columns).fetchall()}
    for name, kind in _LATER:
        if name not in there:
            connection.execute(f"ALTER TABLE items ADD COLUMN {name} {kind.format(real=real)}")


# -- a file


class _File(Database):
    _made = "SELECT 1 FROM sqlite_master WHERE name = 'workers'"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)
        self.shown = f"sqlite:{path}"

    @property
    def path(self) -> Path:
        return self._path

    def url(self) -> str:
        from sqlalchemy import URL, make_url  # noqa: PLC0415 - comes with the engine

        path = str(self._path.resolve())
        text = URL.create("sqlite", database=path).render_as_string()
        if make_url(text).database != path:  # else the engine would make a file of another name beside this one
            raise ValueError("its version of SQLAlchemy opens no file whose name has a question mark")
        return text

    def check_there(self) -> None:
        if not self._path.is_file():
            raise JournalError(self.name, f"there is no such database; {_HOW}")

    def connect(self) -> sqlite3.Connection:
        try:
            # What is in it is for its owner alone; it is not opened for that, as others here hold locks on it.
            make_private(self._path)
            made = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY)
            made.execute("PRAGMA trusted_schema = OFF")
        except NotOursError as error:
            raise JournalError(self.name, str(error.strerror)) from None
        except OSError as error:
            raise JournalError(self.name, f"cannot be opened: {error.strerror}") from None
        except sqlite3.Error as error:
            raise explain(self._path, error) from None
        return cast("sqlite3.Connection", _FileConnection(self._path, made))

    def prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        self._check_ours(connection)
        for statement in _TABLES:
            kinds = {"serial": "INTEGER", "bytes": "BLOB", "real": "REAL"}
            connection.execute(statement.format(**kinds))
        _widen(connection, "SELECT name FROM pragma_table_info('items')", "REAL")
        _fill(connection)
        connection.execute("COMMIT")

    def _check_ours(self, connection: sqlite3.Connection) -> None:
        """Refuse to make tables among those of others: a journal that has them is taken for a planted one."""
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        shared = "SELECT 1 FROM pragma_table_info('items') WHERE name = 'holder'"
        if tables and connection.execute(shared).fetchone() is None:
            raise JournalError(
                self.name,
                "holds something else, or is the journal of a batch that one process drives, which stays one; give"
                " another path for a batch on an engine",
            )


class _FileConnection:
    """Use a file that others write to as well."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        if statement == "ROLLBACK" and not self._connection.in_transaction:
            return self._connection.cursor()  # SQLite has done it by itself
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise AwayError(str(self._path), f"is held by another process for more than {_BUSY:g} s") from None
            raise explain(self._path, error) from None

    def executemany(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        for row in rows:
            self.execute(statement, row)

    def close(self) -> None:
        self._connection.close()


# -- a server


class _Server(Database):
    _made = f"SELECT 1 FROM pg_namespace WHERE nspname = '{_SCHEMA}'"  # noqa: S608 - a constant

    def __init__(self, address: Address) -> None:
        self._address = address  # as long as it lives, its password is hidden
        self.name = f"{address.place}{address.path}"
        self.shown = address.shown
        try:
            import psycopg  # noqa: PLC0415 - only for those who use it
        except ImportError:
            raise ConfigurationError("a batch in PostgreSQL needs: pip install 'codegen-async[dbos]'") from None
        self._psycopg = psycopg

    def url(self) -> str:
        url, place = self._address.url, self._address.place
        if "," not in place:
            return url
        hosts = "&".join(f"host={one}" for one in place.split(","))  # SQLAlchemy finds several among the options alone
        return Masked(f"{url.replace(f'{place}/', '/', 1)}{'&' if '?' in url else '?'}{hosts}")

    def connect(self) -> sqlite3.Connection:
        connection = _ServerConnection(self._psycopg, self._address.url, self.name)
        connection.open()
        return cast("sqlite3.Connection", connection)

    def prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        connection.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
        kinds = {"serial": "BIGINT GENERATED BY DEFAULT AS IDENTITY", "bytes": "BYTEA", "real": "DOUBLE PRECISION"}
        meta, *others = (statement.format(**kinds) for statement in _TABLES)
        connection.execute(meta)
        connection.execute(_ALONE)  # as each commit does: an index, even one that is there, locks its table
        for statement in others:
            connection.execute(statement)
        columns = f"SELECT column_name FROM information_schema.columns WHERE table_schema = '{_SCHEMA}'"  # noqa: S608 - a constant
        _widen(connection, f"{columns} AND table_name = 'items'", "DOUBLE PRECISION")
        _fill(connection)
        connection.execute("COMMIT")


class _ServerConnection:
    """Use a connection to PostgreSQL as one to SQLite: one writer at a time, and placeholders of another form.

    What breaks is opened anew by the next transaction.
    """

    def __init__(self, psycopg: Any, url: str, name: str) -> None:
        self._psycopg = psycopg
        self._url = url
        self._name = name
        self._connection: Any = None
        self._lost: str = "has closed the connection"
        self._transaction: str | None = None  # the id of the one that is open

    def open(self) -> None:
        options = f"-c search_path={_SCHEMA} -c idle_in_transaction_session_timeout={_IDLE}s -c lock_timeout={_BUSY:g}s"
        settings = {"autocommit": True, "prepare_threshold": None, "connect_timeout": 10, "options": options}
        try:
            self._connection = self._psycopg.connect(self._url, **settings)
        except self._psycopg.Error as error:
            raise AwayError(self._name, f"cannot be reached: {reason_of_database(error)}") from None

    def execute(self, statement: str, values: Sequence[object] = ()) -> Any:
        if self._connection is None:
            if statement == "ROLLBACK":
                return None  # went with the connection
            if statement.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT")):
                raise AwayError(self._name, self._lost)
            self.open()
        connection: Any = self._connection
        try:
            if statement == "BEGIN IMMEDIATE":
                return self._begin()
            written = statement.replace("%", "%%").replace("?", "%s")
            return connection.execute(written, [int(one) if isinstance(one, bool) else one for one in values])
        except self._psycopg.Error as error:
            failed = self._failed(error)
            if statement == "COMMIT" and self._transaction is not None and isinstance(failed, AwayError):
                raise UnsureError(self._name, self._lost, _committed(self._transaction)) from None
            raise failed from None

    def _begin(self) -> Any:
        begun = self._connection.execute(_BEGIN)
        while begun.nextset():
            pass
        (self._transaction,) = begun.fetchone()
        return begun

    def _failed(self, error: Exception) -> JournalError:
        # The server cuts off who stands still in a transaction, and of that the driver makes an error of another kind.
        if self._connection.closed or isinstance(error, self._psycopg.OperationalError | self._psycopg.InterfaceError):
            self.close()
            self._lost = f"did not answer: {reason_of_database(error)}"
            return AwayError(self._name, self._lost)
        return JournalError(self._name, f"cannot be used: {reason_of_database(error)}")

    def executemany(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        for row in rows:
            self.execute(statement, row)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(self._psycopg.Error):
                self._connection.close()
            self._connection = None


def _committed(transaction: str) -> Callable[[sqlite3.Connection], bool]:
    """Return what says whether a transaction was committed, once it is over."""

    def was_done(connection: sqlite3.Connection) -> bool:
        connection.execute("BEGIN IMMEDIATE")  # after it, if it is not over yet
        try:
            (status,) = connection.execute("SELECT pg_xact_status(?::xid8)", (transaction,)).fetchone()
        finally:
            connection.execute("ROLLBACK")
        return bool(status == "committed")

    return was_done


def reason_of_database(error: object) -> str:
    """Return what an error of a driver says, on one line."""
    return clean(" ".join(str(error).split()), 200) or type(error).__name__
