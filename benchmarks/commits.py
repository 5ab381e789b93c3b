"""What a commit of the journal costs, by how SQLite keeps it: `python -m benchmarks.commits [DIRECTORY]`.

Each commit moves one item of a thousand, with `synchronous = FULL`. What is carried away as the one file alone after a
kill: with a write-ahead log, what was there at the last checkpoint; with a rollback journal, all that was acknowledged.
"""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

COMMITS = 500
ITEMS = 1000
WAYS = {
    "WAL": ("WAL", ""),
    "WAL, a checkpoint each": ("WAL", "PRAGMA wal_checkpoint(TRUNCATE)"),
    "DELETE": ("DELETE", ""),
    "PERSIST": ("PERSIST", ""),
    "TRUNCATE": ("TRUNCATE", ""),
}


def measure(path: Path, mode: str, afterwards: str) -> tuple[list[float], int]:
    """Return how many ms each commit took, and how many of them a copy of the one file shows."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE items (seq INTEGER PRIMARY KEY, state TEXT, task BLOB)")
        connection.execute("CREATE INDEX items_by_state ON items (state)")
        rows = ((seq, "planned", b"x" * 500) for seq in range(ITEMS))
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
        took = [_commit(connection, seq, afterwards) for seq in range(COMMITS)]
        return sorted(took), _alone(path)


def _commit(connection: sqlite3.Connection, seq: int, afterwards: str) -> float:
    began = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE items SET state = 'sending' WHERE seq = ?", (seq,))
    connection.execute("COMMIT")
    connection.execute(afterwards).fetchall()
    return (time.perf_counter() - began) * 1000


def _alone(path: Path) -> int:
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as connection, contextlib.suppress(sqlite3.Error):
        shown: int = connection.execute("SELECT count(*) FROM items WHERE state = 'sending'").fetchone()[0]
        return shown
    return 0


def main(directory: str | None) -> None:
    """Print the table."""
    print("| kept as | ms a commit: mean | p50 | p99 | of 500 commits in the file alone |")
    print("|---|---|---|---|---|")
    for name, (mode, afterwards) in WAYS.items():
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            took, alone = measure(Path(folder) / "batch.db", mode, afterwards)
        p50, p99 = took[COMMITS // 2], took[COMMITS * 99 // 100]
        print(f"| {name} | {statistics.mean(took):.2f} | {p50:.2f} | {p99:.2f} | {alone} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
