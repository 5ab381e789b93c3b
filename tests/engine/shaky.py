"""A database that goes away when it is told to."""

import sqlite3
from pathlib import Path
from typing import Any

from codegen_async.engine.database import AwayError, open_database


class Shaky(type(open_database("sqlite:/anywhere"))):  # type: ignore[misc] # of a kind that only its module names
    """A file that does not answer a statement, a few times."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.moment = ""
        self.away = 0

    def go_away(self, moment: str, times: int) -> None:
        """Answer no statement that begins like this, so many times."""
        self.moment, self.away = moment, times

    def connect(self) -> sqlite3.Connection:
        connection: Any = super().connect()
        execute = connection.execute

        def shaking(statement: str, values: Any = ()) -> Any:
            if self.away > 0 and statement.startswith(self.moment):
                self.away -= 1
                raise AwayError(self.name, "did not answer")
            return execute(statement, values)

        connection.execute = shaking
        made: sqlite3.Connection = connection
        return made
