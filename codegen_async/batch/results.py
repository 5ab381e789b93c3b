"""Write what became of a batch to a file. Blocking."""

from __future__ import annotations

import contextlib
import csv
import errno
import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from codegen_async.batch.items import Outcome
from codegen_async.batch.snapshots import Snapshot
from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.run import HostedRun
from codegen_async.models import RunId
from codegen_async.private import replacing

FORMATS = ("csv", "tsv", "jsonl", "json")

_FORMULA_STARTS = tuple("=+-@\N{MINUS SIGN}")
_UNSEEN = ("\u115f", "\u1160", "\u2800", "\u3164", "\uffa0")  # letters and symbols that look like nothing


class Writable(Protocol):
    """What text can be written to."""

    def write(self, text: str, /) -> object:
        """Take in a text."""
        ...


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """What every line of an export has."""

    index: int
    key: str
    state: str
    status: str | None
    run_id: RunId | None
    attempts: int
    created_at: str | None
    ended_at: str | None
    duration: float | None
    web_url: str | None
    pull_requests: tuple[str, ...]
    summary: str | None
    result: str | None
    error: str | None
    prompt: str
    metadata: Mapping[str, Any] | None


COLUMNS = _Row.__struct_fields__
_TAKEN = (*COLUMNS, "fields")


def export(outcomes: Iterable[Outcome], path: Path, *, kind: str | None = None) -> int:
    """Write outcomes to a file and return how many they were.

    The file appears when it is complete, with mode 0600, and takes the place of another only then. What is no file
    (a device, a pipe) is written to as it is.

    Args:
        outcomes: what became of the items.
        path: the file.
        kind: one of `FORMATS`; see `write`. Default: as the file's suffix says.

    Raises:
        InvalidArgumentError: it cannot be told what it is to be, or it cannot be written.
    """
    kind = kind or path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        expected = f"a file whose name ends with .{', .'.join(FORMATS)}, or a format (--format, kind=)"
        raise InvalidArgumentError("path", str(path), expected)
    try:
        with _opened(path) as file:
            return write(map(row, outcomes), file, kind)
    except OSError as error:
        raise InvalidArgumentError("path", str(path), f"a file that can be written ({error.strerror})") from None


def row(outcome: Outcome[Any, Any]) -> dict[str, Any]:
    """Return an outcome as the fields of an export; what else its line said comes last.

    Times are of RFC 3339, `duration` is in seconds. Where a name of the line is one of `COLUMNS`, or `fields`, it
    becomes `input_<name>`.
    """
    run = outcome.run
    urls, summary, result = came_of(run)
    fields = _Row(
        index=outcome.index,
        key=outcome.key,
        state=outcome.state,
        status=None if run is None else run.status,
        run_id=outcome.run_id,
        attempts=outcome.attempts,
        created_at=time_of(outcome.created_at),
        ended_at=time_of(outcome.ended_at),
        duration=outcome.seconds,
        web_url=None if run is None else run.web_url,
        pull_requests=urls,
        summary=summary,
        result=result,
        error=outcome.error or (run.error if isinstance(run, HostedRun) else None),
        prompt=outcome.prompt,
        metadata=outcome.metadata,
    )
    extra: dict[str, Any] = {}
    for given_name, value in (outcome.extra or {}).items():
        name = given_name
        while name in _TAKEN or name in extra:  # an export may be what was exported before
            name = f"input_{name}"
        extra[name] = value
    if isinstance(run, HostedRun) and run.cost is not None:
        extra = {"cost": run.cost.amount, "cost_unit": run.cost.unit} | extra
    given = {} if outcome.fields is None else {"phase": None if run is None else run.phase, "fields": outcome.fields}
    return msgspec.structs.asdict(fields) | given | extra


def came_of(run: Snapshot | None) -> tuple[tuple[str, ...], str | None, str | None]:
    """Return the addresses of what came of a run, its summary and its result."""
    if run is None:
        return (), None, None
    if isinstance(run, HostedRun):
        return run.urls, None, run.text
    requests = run.github_pull_requests or ()
    return tuple(request.url for request in requests if request.url), run.summary, run.result


def time_of(seconds: float | None) -> str | None:
    """Return seconds since 1970 in the form of RFC 3339."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write(rows: Iterable[Mapping[str, Any]], file: Writable, kind: str) -> int:
    """Write rows to an open file and return how many they were.

    In `csv` and `tsv`, text that a spreadsheet would take for a formula begins with an apostrophe, pull requests are
    separated by line breaks, and what is no text is JSON. In `jsonl` each row is an object on a line, in `json` all are
    in an array.
    """
    return _WRITERS[kind](rows, file)


def _write_table(rows: Iterable[Mapping[str, Any]], file: Writable, delimiter: str) -> int:
    rows = list(rows)  # all names have to be known first
    names = dict.fromkeys((*COLUMNS, *(name for fields in rows for name in fields)))
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(map(_cell, names))
    for fields in rows:
        cells = {**fields, "pull_requests": "\n".join(fields["pull_requests"])}
        writer.writerow(_cell(cells.get(name)) for name in names)
    return len(rows)


def _cell(value: object) -> object:
    if isinstance(value, dict | list | bool):
        value = msgspec.json.encode(value).decode()
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet may take a text for a formula: they skip what is not seen, and fold wide forms of signs."""
    first = next((sign for sign in text if unicodedata.category(sign)[0] not in "CMZ" and sign not in _UNSEEN), "")
    return text.startswith(("\t", "\r", "\n")) or unicodedata.normalize("NFKC", first)[:1] in _FORMULA_STARTS


def _write_json_lines(rows: Iterable[Mapping[str, Any]], file: Writable) -> int:
    count = 0
    for fields in rows:
        file.write(msgspec.json.encode(fields).decode() + "\n")
        count += 1
    return count


def _write_json(rows: Iterable[Mapping[str, Any]], file: Writable) -> int:
    count = 0
    for fields in rows:
        file.write((",\n" if count else "[\n") + msgspec.json.encode(fields).decode())
        count += 1
    file.write("\n]\n" if count else "[]\n")
    return count


_WRITERS: dict[str, Callable[[Iterable[Mapping[str, Any]], Writable], int]] = {
    "csv": lambda rows, file: _write_table(rows, file, ","),
    "tsv": lambda rows, file: _write_table(rows, file, "\t"),
    "jsonl": _write_json_lines,
    "json": _write_json,
}


@contextlib.contextmanager
def _opened(path: Path) -> Generator[IO[str]]:
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "a null character in its name")
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    with replacing(path) as file:
        yield file
