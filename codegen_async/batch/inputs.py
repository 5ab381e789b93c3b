"""Read tasks from files: JSON Lines, or CSV with a header. Blocking."""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from codegen_async.batch.items import Task, check_name
from codegen_async.errors import InvalidArgumentError

_COLUMNS = ("prompt", "key", *(name for name in Task.__struct_fields__ if name != "prompt"))

_Line = tuple[int, dict[str, Any]]

_decode = msgspec.json.Decoder().decode
_NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
_MARK = b"\xef\xbb\xbf"  # of a byte order, as some editors and spreadsheets write it at the beginning
_DIGITS = re.compile("[0-9]{1,100}")  # Python reads no number of thousands of them, and no id has so many


def read_tasks(path: Path) -> Generator[tuple[str, Task]]:
    """Yield the tasks of a file with their names: their own keys, or `#<file>:<line>`.

    A line of a `.jsonl` file is an object with `prompt` and, where wanted, `key`, `images`, `metadata`, `repo_id`,
    `model`, `agent_type`. A `.csv` file has these as columns, `metadata` as JSON and `images` as a JSON list or a
    single path; an empty cell is a field that is not given. Empty lines are skipped. Paths of images are taken as
    `CodegenClient.create_run` takes them.

    Raises:
        InvalidArgumentError: a line cannot be right; names file, line and field.
    """
    readers = {".jsonl": _read_json_lines, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidArgumentError("path", str(path), "a .jsonl or .csv file")
    try:
        path.name.encode()  # items without a key are called by it
        for line, fields in reader(path):
            yield _named_task(path, line, fields)
    except InvalidArgumentError:
        raise
    except (OSError, ValueError) as exc:
        raise InvalidArgumentError("path", str(path), f"a readable file ({_reason(exc)})") from None


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "its name is not UTF-8"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error.strerror if isinstance(error, OSError) else error)  # a path with a null character in it


def _named_task(path: Path, line: int, fields: Mapping[str, Any]) -> tuple[str, Task]:
    try:
        if unknown := set(fields) - set(_COLUMNS):
            raise InvalidArgumentError(min(unknown), fields[min(unknown)], f"a field of {', '.join(_COLUMNS)}")
        given = {name: value for name, value in fields.items() if value is not None}
        key = given.pop("key", None)
        name = f"#{path.name}:{line}" if key is None else check_name(key)
        return name, Task.checked(given.pop("prompt", None), **given)
    except InvalidArgumentError as exc:
        raise _at(path, line, exc) from None


def _read_json_lines(path: Path) -> Iterator[_Line]:
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            content = text.removeprefix(_MARK) if line == 1 else text
            if not content.strip():
                continue
            try:
                fields = _decode(content)
            except _NOT_JSON as exc:
                raise _bad(path, line, "line", content[:40], f"JSON ({exc})") from None
            if not isinstance(fields, dict):
                raise _bad(path, line, "line", content[:40], "a JSON object")
            yield line, fields


def _read_csv(path: Path) -> Iterator[_Line]:
    with path.open(encoding="utf-8-sig", newline="") as file:  # without the mark
        rows = csv.reader(file, strict=True)
        header: list[str] | None = None
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as exc:
                raise _bad(path, line, "line", "", f"CSV ({exc})") from None
            if row is None:
                return
            if header is None:
                header = _check_header(path, line, row)
            elif row:
                yield line, _csv_fields(path, line, header, row)


def _check_header(path: Path, line: int, row: list[str]) -> list[str]:
    header = [cell.strip() for cell in row]
    for name in header:
        if name not in _COLUMNS or header.count(name) > 1:
            raise _bad(path, line, "header", name, f"each of {', '.join(_COLUMNS)} at most once")
    if "prompt" not in header:
        raise _bad(path, line, "header", ",".join(header), "a column prompt")
    return header


def _csv_fields(path: Path, line: int, header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(header):
        raise _bad(path, line, "line", f"{len(row)} cells", f"{len(header)} cells, as the header has")
    given = {name: cell for name, cell in zip(header, row, strict=True) if cell}
    return {name: _csv_value(path, line, name, cell) for name, cell in given.items()}


def _csv_value(path: Path, line: int, name: str, cell: str) -> Any:
    if name == "repo_id":
        return int(cell) if _DIGITS.fullmatch(cell) else cell
    if name == "images" and not cell.startswith("["):
        return [cell]
    if name in ("images", "metadata"):
        try:
            return _decode(cell)
        except _NOT_JSON as exc:
            raise _bad(path, line, name, cell, f"JSON ({exc})") from None
    return cell


def _bad(path: Path, line: int, field: str, value: object, expected: str) -> InvalidArgumentError:
    return _at(path, line, InvalidArgumentError(field, value, expected))


def _at(path: Path, line: int, error: InvalidArgumentError) -> InvalidArgumentError:
    return InvalidArgumentError(f"{path.name}, line {line}, {error.field}", error.value, error.expected)
