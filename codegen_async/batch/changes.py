"""Note in a transaction which items change, for who reads again later, and which change their state, to tell it.

Triggers of the connection's own do it, so whatever moves an item is noticed; what is rolled back takes its notes along.
"""

from __future__ import annotations

import sqlite3

Change = tuple[str, str]
"""The name of an item, and its state now."""

# Each commit has a number, which is counted before all else in it: see `overwritten`.
_NUMBER = """
PRAGMA temp_store = MEMORY;
CREATE TEMP TRIGGER item_numbered AFTER INSERT ON main.items
BEGIN
    UPDATE items SET changed = (SELECT value FROM meta WHERE name = 'commits') WHERE seq = new.seq;
END;
CREATE TEMP TRIGGER item_numbered_again
AFTER UPDATE OF name, task, state, attempt, run_id, created_at, ended_at, run, error, phase ON main.items
BEGIN
    UPDATE items SET changed = (SELECT value FROM meta WHERE name = 'commits') WHERE seq = new.seq;
END;
"""

_WATCH = """
CREATE TEMP TABLE changes (name TEXT, state TEXT);
CREATE TEMP TRIGGER item_added AFTER INSERT ON main.items
BEGIN INSERT INTO changes VALUES (new.name, new.state); END;
CREATE TEMP TRIGGER item_moved AFTER UPDATE OF state ON main.items WHEN new.state IS NOT old.state
BEGIN INSERT INTO changes VALUES (new.name, new.state); END;
"""


def number(connection: sqlite3.Connection) -> None:
    """Begin to note in each item the number of the commit that changes it."""
    connection.executescript(_NUMBER)


def watch(connection: sqlite3.Connection) -> list[Change]:
    """Begin to note changes; return where all items stand now, in order."""
    connection.executescript(_WATCH)
    return connection.execute("SELECT name, state FROM items ORDER BY seq").fetchall()


def take(connection: sqlite3.Connection) -> list[Change]:
    """Return what has been noted since the last call, in order."""
    changes = connection.execute("SELECT name, state FROM changes ORDER BY rowid").fetchall()
    if changes:
        connection.execute("DELETE FROM changes")
    return changes
