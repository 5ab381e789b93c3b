"""Write what became of a batch to a file. Blocking."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import msgspec

from codegen_async.batch.items import Outcome
from codegen_async.errors import InvalidArgumentError

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an export."""

    index: int
    key: str
    state: str
    status: str | None
    run_id: int | None
    attempts: int
    seconds: float | None
    web_url: str | None
    pull_requests: tuple[str, ...]
    summary: str | None
    result: str | None
    error: str | None


def export(outcomes: Iterable[Outcome], path: Path) -> int:
    """Write outcomes to a `.csv` or `.jsonl` file and return how many they were.

    The file appears when it is complete, with mode 0600. In CSV, text that a spreadsheet would take for a formula
    begins with an apostrophe, and pull requests are separated by line breaks.

    Raises:
        InvalidArgumentError: the file is neither, or cannot be written.
    """
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise InvalidArgumentError("path", str(path), "a .csv or .jsonl file")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    except OSError as exc:
        raise InvalidArgumentError("path", str(path), f"a file that can be written ({exc.strerror})") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            count = write(map(_row, outcomes), file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    return count


def _row(outcome: Outcome) -> _Row:
    run = outcome.run
    requests = () if run is None else run.github_pull_requests or ()
    return _Row(
        index=outcome.index,
        key=outcome.key,
        state=outcome.state,
        status=None if run is None else run.status,
        run_id=outcome.run_id,
        attempts=outcome.attempts,
        seconds=outcome.seconds,
        web_url=None if run is None else run.web_url,
        pull_requests=tuple(request.url for request in requests if request.url),
        summary=None if run is None else run.summary,
        result=None if run is None else run.result,
        error=outcome.error,
    )


def _write_csv(rows: Iterable[_Row], file: IO[str]) -> int:
    writer = csv.writer(file)
    writer.writerow(_Row.__struct_fields__)
    count = 0
    for row in rows:
        fields = {**msgspec.structs.asdict(row), "pull_requests": "\n".join(row.pull_requests)}
        writer.writerow(map(_cell, fields.values()))
        count += 1
    return count


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _write_json_lines(rows: Iterable[_Row], file: IO[str]) -> int:
    count = 0
    for row in rows:
        file.write(msgspec.json.encode(row).decode() + "\n")
        count += 1
    return count


_WRITERS: dict[str, Callable[[Iterable[_Row], IO[str]], int]] = {".csv": _write_csv, ".jsonl": _write_json_lines}
