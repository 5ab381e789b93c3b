"""What a commit of the journal costs, by how SQLite keeps it.

Each commit moves one item of a thousand, with `synchronous = FULL`. What is carried away as the one file alone after a
kill: with a write-ahead log, what was there at the last checkpoint; with a rollback journal, all that was acknowledged.

Run: python -m benchmarks.commits [--commits N] [--directory DIRECTORY]
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ITEMS = 1000
OURS = "PERSIST"
WAYS = {
    "WAL": ("WAL", ""),
    "WAL, a checkpoint each": ("WAL", "PRAGMA wal_checkpoint(TRUNCATE)"),
    "DELETE": ("DELETE", ""),
    "PERSIST": ("PERSIST", ""),
    "TRUNCATE": ("TRUNCATE", ""),
}


def measure(way: str, commits: int, directory: Path | None = None) -> tuple[list[float], int]:
    """Return how many ms each commit took, sorted, and how many of them a copy of the one file shows."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        return _measure(Path(folder) / "batch.db", *WAYS[way], commits)


def _measure(path: Path, mode: str, afterwards: str, commits: int) -> tuple[list[float], int]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE items (seq INTEGER PRIMARY KEY, state TEXT, task BLOB)")
        connection.execute("CREATE INDEX items_by_state ON items (state)")
        rows = ((seq, "planned", b"x" * 500) for seq in range(ITEMS))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
        took = [_commit(connection, seq, afterwards) for seq in range(commits)]
        return sorted(took), _alone(path)


def _commit(connection: sqlite3.Connection, seq: int, afterwards: str) -> float:
    began = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE items SET state = 'sending' WHERE seq = ?", (seq % ITEMS,))
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=500, help="of each way (default: 500)")
    parser.add_argument("--directory", type=Path, help="on the disk that is meant; default: that of temporary files")
    options = parser.parse_args(arguments)
    print(f"| kept as | ms a commit: mean | p50 | p99 | of {options.commits} commits in the file alone |")
    print("|---|---|---|---|---|")
    for way in WAYS:
        took, alone = measure(way, options.commits, options.directory)
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        print(f"| {way} | {statistics.mean(took):.2f} | {p50:.2f} | {p99:.2f} | {alone} |")


if __name__ == "__main__":
    main()
