"""Read rows of fields from text: JSON, tables, or a prompt a line. Pure.

Each row is given with the number of the line on which it begins. What is wrong is reported with its line, and reading
goes on where it can, so that all of it can be told at once.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from codegen_async.batch.columns import Columns, refuse

Row = tuple[int, Mapping[str, Any]]
Report = Callable[[int, str, object, str], None]
"""Takes a line, the field in it, its value, and what was expected."""


_Value = tuple[int, Any]  # and where it begins
_JSON: Final = json.JSONDecoder(parse_constant=refuse)
_BLANK: Final = re.compile(r"\s*")
_LINE_END: Final = re.compile("\r\n|\r|\n")
_SEPARATOR: Final = re.compile('"?sep=(.)"?(?:\r\n|\r|\n)', re.IGNORECASE)  # how spreadsheets are told of it
_DELIMITERS: Final = ",;\t|"
_WITH_NAMES: Final = "objects (.jsonl, .json) or a table (.csv, .tsv)"
_NO_LINE: Final = "its dialect does not say by `prompt_field` which field a line of text is"


def read_json(text: str, columns: Columns, report: Report) -> Iterator[Row]:
    """Read objects: one a line, one after the other, or in an array. A text instead of an object is a prompt."""
    text = _LINE_END.sub("\n", text)  # they mean nothing inside JSON
    start = _skip(text, 0)
    values = _read_array(text, start, report) if text.startswith("[", start) else _read_stream(text, start, report)
    line, seen = 1, 0
    for position, value in values:
        line += text.count("\n", seen, position)
        seen = position
        if isinstance(value, dict):
            yield line, value
        elif isinstance(value, str) and columns.line is not None:
            yield line, {columns.line: value}
        else:
            report(line, "line", _start(text, position), "a JSON object")


def _read_stream(text: str, position: int, report: Report) -> Iterator[_Value]:
    while position < len(text):
        if (decoded := _decode(text, position, report)) is None:
            position = _next_line(text, position)
        else:
            yield position, decoded[0]
            position = decoded[1]
        position = _skip(text, position)


def _read_array(text: str, position: int, report: Report) -> Iterator[_Value]:
    position = _skip(text, position + 1)
    while not text.startswith("]", position):
        if (decoded := _decode(text, position, report)) is None:
            return  # nobody can say where the next one begins
        yield position, decoded[0]
        position = _skip(text, decoded[1])
        if text.startswith(",", position):
            position = _skip(text, position + 1)
        elif not text.startswith("]", position):
            report(_line(text, position), "line", _start(text, position), "a comma or ] after an element of the array")
            return
    rest = _skip(text, position + 1)
    if rest < len(text):
        report(_line(text, rest), "line", _start(text, rest), "nothing after the array")


def _decode(text: str, position: int, report: Report) -> tuple[Any, int] | None:
    """Return the value that begins there, and where it ends; None after reporting that there is none."""
    try:
        return _JSON.raw_decode(text, position)
    except (ValueError, RecursionError) as error:  # ValueError: also for numbers of thousands of digits
        report(_line(text, position), "line", _start(text, position), f"JSON ({_reason(error)})")
        return None


def read_lines(text: str, columns: Columns, report: Report) -> Iterator[Row]:
    """Read a prompt from each line that is not blank."""
    lines = [(line, content.strip()) for line, content in enumerate(_LINE_END.split(text), 1) if content.strip()]
    if columns.line is None and lines:
        report(lines[0][0], "line", lines[0][1], f"a file of {_WITH_NAMES}, as {_NO_LINE}")
        return
    yield from ((line, {columns.line or "": content}) for line, content in lines)


def read_table(text: str, columns: Columns, report: Report) -> Iterator[Row]:
    """Read rows below a heading. Rows and columns of nothing are left out, and so is an empty cell."""
    table = _Table.open(text, columns)
    header: _Header | None = None
    for line, cells in table.rows(report):
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _Header.read(line, cells, columns, report)
            if header is None:
                return
        elif fields := header.fields(line, cells, report):
            yield line, fields


def has_heading(text: str, columns: Columns) -> bool:
    """Whether text begins as a table of prompts."""
    return _tells(_Table.open(text, columns).heading, columns)


def _tells(heading: Iterable[str], columns: Columns) -> bool:
    return not {*columns.telling}.isdisjoint(map(columns.known, heading))


class _Table(NamedTuple):
    text: str
    delimiter: str
    first: int  # line
    heading: Sequence[str]

    @classmethod
    def open(cls, text: str, columns: Columns) -> _Table:
        """Find out what separates the cells: that by which a column is known, or else the most columns."""
        if told := _SEPARATOR.match(text):
            return cls(text[told.end() :], told[1], 2, ()).with_heading()
        tables = [cls(text, delimiter, 1, ()).with_heading() for delimiter in _DELIMITERS]
        return max(tables, key=lambda table: (_tells(table.heading, columns), len(table.heading)))

    def with_heading(self) -> _Table:
        rows = self.rows(_ignore)
        return self._replace(heading=next((cells for _, cells in rows if any(map(str.strip, cells))), ()))

    def rows(self, report: Report) -> Iterator[tuple[int, Sequence[str]]]:
        reader = csv.reader(io.StringIO(self.text, newline=""), delimiter=self.delimiter, strict=True)
        while True:
            line = reader.line_num + self.first
            try:
                with _cells_of_any_length():
                    cells = next(reader, None)
            except csv.Error as error:
                report(line, "line", "", f"CSV ({error})")
                return
            if cells is None:
                return
            yield line, cells


@contextlib.contextmanager
def _cells_of_any_length() -> Generator[None]:
    """Let a prompt in a table be as long as in any other file; the bound of this reader is the process's."""
    bound = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(bound)


def _ignore(line: int, field: str, value: object, expected: str) -> None:
    """Report nothing: whoever reads the rows will."""


class _Header(NamedTuple):
    names: Sequence[str]
    columns: Columns

    @classmethod
    def read(cls, line: int, cells: Sequence[str], columns: Columns, report: Report) -> _Header | None:
        """Return the heading, without columns of nothing at its end; None if it cannot be right."""
        names = [columns.known(cell) or cell.strip() for cell in cells]
        while not names[-1]:
            names.pop()
        wrong = [*columns.refused([name for name in names if name]).items()]
        wrong += [(name, "each column once") for name in dict.fromkeys(names) if name and names.count(name) > 1]
        for name, expected in wrong:
            report(line, "header", name, expected)
        return None if wrong else cls(names, columns)

    def fields(self, line: int, cells: Sequence[str], report: Report) -> Mapping[str, Any] | None:
        """Return what the cells of a row say; None if they cannot be right."""
        count = len(self.names)
        if len(cells) < count:
            report(line, "line", f"{len(cells)} cells", f"{count} cells, as the header has")
            return None
        names = [*self.names, *[""] * (len(cells) - count)]
        fields: dict[str, Any] = {}
        for column, (name, cell) in enumerate(zip(names, cells, strict=True), 1):
            if not cell.strip():
                continue
            if not name:
                report(
                    line,
                    f"column {column}",
                    cell,
                    "a name for this column in the header, or quotes around the cell before it",
                )
                return None
            try:
                field, value = self.columns.cell(name, cell)
            except (ValueError, RecursionError) as error:
                report(line, name, cell, f"JSON ({_reason(error)})")
                return None
            fields[field] = value
        return fields


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _skip(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return len(text) if found is None else found.end()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _next_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _start(text: str, position: int) -> str:
    return text[position : _next_line(text, position)].strip()[:40]
