"""A database that goes away when it is told to."""

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg

from codegen_async.engine.database import AwayError, open_database
from codegen_async.errors import JournalError
from codegen_async.fleet.address import Address


class Shaky(type(open_database("sqlite:/anywhere"))):  # type: ignore[misc] # of a kind that only its module names
    """A file that does not answer a statement, a few times."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.moment = ""
        self.away = 0
        self.error: type[JournalError] = AwayError

    def go_away(self, moment: str, times: int, error: type[JournalError] = AwayError) -> None:
        """Answer no statement that begins like this, so many times."""
        self.moment, self.away, self.error = moment, times, error

    def connect(self) -> sqlite3.Connection:
        connection: Any = super().connect()
        execute = connection.execute

        def shaking(statement: str, values: Any = ()) -> Any:
            if self.away > 0 and statement.startswith(self.moment):
                self.away -= 1
                raise self.error(self.name, "did not answer")
            return execute(statement, values)

        connection.execute = shaking
        made: sqlite3.Connection = connection
        return made


class Unsure(type(open_database("postgresql://anywhere/any"))):  # type: ignore[misc] # as above
    """A database on a server that goes away when it is to commit."""

    def __init__(self, url: str) -> None:
        super().__init__(Address(url))
        self.away = 0
        self.is_done = True
        driver: Any = psycopg

        def connect(*arguments: Any, **settings: Any) -> Any:
            connection = driver.connect(*arguments, **settings)
            execute = connection.execute

            def shaking(statement: str, *values: Any) -> Any:
                if statement != "COMMIT" or self.away == 0:
                    return execute(statement, *values)
                self.away -= 1
                if self.is_done:
                    execute(statement, *values)
                connection.close()
                raise driver.OperationalError("the connection is lost")

            connection.execute = shaking
            return connection

        self._psycopg: Any = SimpleNamespace(**{**vars(driver), "connect": connect})

    def go_away(self, times: int, *, done: bool) -> None:
        """Answer so many commits not; `done`: they are done."""
        self.away, self.is_done = times, done
