"""Read prompts from files: JSON, tables, or one a line. Each file is read once. Blocking."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from codegen_async.batch.columns import CODEGEN, Columns
from codegen_async.batch.items import Task, check_name
from codegen_async.batch.rows import has_heading, read_json, read_lines, read_table
from codegen_async.batch.texts import NoTextError, read_text, read_whole
from codegen_async.cleaning import reason_of
from codegen_async.codegen.images import measure_image
from codegen_async.errors import InvalidArgumentError

FORMATS = ("jsonl", "json", "csv", "tsv", "txt")

_READERS = {"jsonl": read_json, "json": read_json, "csv": read_table, "tsv": read_table, "txt": read_lines}
_SUFFIXES = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl"}


class Line(NamedTuple):
    """Say what a line of a file asks for.

    Attributes:
        number: which line; the first, where it is written on several.
        key: the key it gives.
        task: what to create.
    """

    number: int
    key: str | None
    task: Task


class Prompts:
    """Hold what a file of prompts says, and what is wrong with it.

    Attributes:
        name: the file's, for messages.
        folder: where the file is, and images with relative paths are.
        columns: what its lines may say.
        lines: those that can be right, in order; of several with one key and the same content, the first.
        extra: the names of fields that are kept for the results and not sent, in order.
        images: the bytes of each image that was looked at.
        problems: what cannot be right, each with file, line and field.
    """

    def __init__(self, name: str, folder: Path, columns: Columns = CODEGEN) -> None:
        self.name = name
        self.columns = columns
        self.lines: list[Line] = []
        self.extra: dict[str, None] = {}
        self.images: dict[str, int] = {}
        self.problems: list[InvalidArgumentError] = []
        self.folder: str = str(folder)
        self._keys: dict[str, Line] = {}

    def check(self) -> None:
        """Make sure that nothing is wrong.

        Raises:
            InvalidArgumentError: the first of the problems.
        """
        if self.problems:
            raise self.problems[0]

    def look_at_images(self, sent: Collection[bytes] = ()) -> None:
        """Note the images that are not there or are none. Blocking.

        Args:
            sent: the contents of tasks whose images are not needed any more.
        """
        for line in self.lines:
            if line.task.images and line.task.content() not in sent:
                self._look(line.number, line.task.arguments()["images"])

    def _look(self, line: int, images: Collection[str]) -> None:
        for index, image in enumerate(images):
            try:
                self.images[image] = self.images.get(image) or measure_image(f"images[{index}]", image)
            except InvalidArgumentError as error:
                self.report(line, error.field, error.value, error.expected)

    def named(self) -> list[tuple[str, Task]]:
        """Return the tasks with their names: their keys, or `#<file>:<line>`, with `.2` for the second on a line."""
        return list(self._named())

    def _named(self) -> Iterator[tuple[str, Task]]:
        places = Counter[int]()
        for line in self.lines:
            places[line.number] += 1
            nth = "" if places[line.number] == 1 else f".{places[line.number]}"
            yield f"#{self.name}:{line.number}{nth}" if line.key is None else line.key, line.task

    def at_key(self, error: InvalidArgumentError) -> InvalidArgumentError:
        """Return an error about a key as one that names its line."""
        line = self._keys.get(str(error.value))
        if line is None:
            return error
        return InvalidArgumentError(f"{self.name}, line {line.number}, key", error.value, error.expected)

    @contextlib.contextmanager
    def noting(self) -> Generator[None]:
        """Take what the journal objects to in the block for a problem."""
        try:
            yield
        except InvalidArgumentError as error:
            self.problems.append(self.at_key(error))

    def report(self, line: int, field: str, value: object, expected: str) -> None:
        """Note what is wrong with a line."""
        self.problems.append(InvalidArgumentError(f"{self.name}, line {line}, {field}", value, expected))

    def add(self, number: int, fields: Mapping[str, Any]) -> None:
        """Take in what a line says."""
        try:
            line = self._line(number, fields)
        except InvalidArgumentError as error:
            self.report(number, error.field, error.value, error.expected)
            return
        earlier = line if line.key is None else self._keys.setdefault(line.key, line)
        if earlier.task.content() != line.task.content():
            self.report(number, "key", line.key, f"another key: that of line {earlier.number}, which says otherwise")
            return
        if earlier is line:
            self.lines.append(line)
        self.extra |= dict.fromkeys(line.task.extra or ())

    def _line(self, number: int, fields: Mapping[str, Any]) -> Line:
        given = self._given(fields)
        key = given.get("key")
        task = self.columns.task(given, self.folder)
        # In a table the blanks around it do not count, so they do nowhere: a file may be converted.
        return Line(number, None if key is None else check_name(key).strip(), task)

    def _given(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return fields under the names by which they are known."""
        given: dict[str, Any] = {}
        for name, value in fields.items():
            own = self.columns.known(name) or name
            if own in given:
                raise InvalidArgumentError(name, value, f"{own} once")
            given[own] = value
        return given


def read_prompts(path: Path, *, kind: str | None = None, columns: Columns = CODEGEN) -> Prompts:
    """Read a file of prompts.

    For Codegen, a `.jsonl` or `.json` file has objects, one a line, one after the other or in an array, with `prompt`
    and, where wanted, `key`, `images`, `metadata`, `repo_id`, `model`, `agent_type`. A `.csv` or `.tsv` file has these
    as columns, separated by commas, semicolons, tabs or bars, `metadata` as JSON and `images` as a JSON list or a
    single path. A `.txt` file has a prompt a line. Blank lines, rows and columns of nothing and empty cells are
    skipped. Paths of images are taken from the folder of the file; for `/dev/stdin` and its like, which have none, from
    the working directory. What names are understood is told in `batch.columns`, for dialects in `batch.fields`.

    Args:
        path: the file, or a pipe.
        kind: one of `FORMATS`. Default: by the file's suffix; for a pipe, and a file of another suffix that is no
            prose, by what it begins with.
        columns: what its lines may say.

    Raises:
        InvalidArgumentError: it cannot be read at all, or it cannot be told what it is. What is wrong with its lines
            is in `problems`.
    """
    try:
        path.name.encode()  # items without a key are called by it
        with path.open("rb") as file:
            content = read_whole(file)
    except (OSError, ValueError) as error:
        raise InvalidArgumentError("path", str(path), f"a readable file ({_reason(error)})") from None
    name, folder = (path.name, path.parent.absolute()) if has_place(path) else ("pipe", Path.cwd())
    return parse_prompts(content, name, folder, kind=kind or _SUFFIXES.get(path.suffix.lower()), columns=columns)


def has_place(path: Path) -> bool:
    """Whether a file lies among others, and is no pipe that only a process knows by a number."""
    return path.absolute().parts[1:2] not in (("dev",), ("proc",))


def parse_prompts(
    content: bytes, name: str, folder: Path, *, kind: str | None = None, columns: Columns = CODEGEN
) -> Prompts:
    """Read prompts from the content of a file; see `read_prompts`.

    Args:
        content: what was read.
        name: what the file is called.
        folder: where images with relative paths are.
        kind: one of `FORMATS`. Default: by what it begins with.
        columns: what its lines may say.

    Raises:
        InvalidArgumentError: it cannot be told what it is.
    """
    prompts = Prompts(name, folder, columns)
    try:
        text = read_text(content)
    except NoTextError as error:
        prompts.report(error.line, "encoding", error.found, "UTF-8 text; save it as that")
        return prompts
    for number, fields in _READERS[kind or _guess(name, text, columns)](text, columns, prompts.report):
        prompts.add(number, fields)
    return prompts


def _guess(name: str, text: str, columns: Columns) -> str:
    if text.lstrip()[:1] in ("", "{", "["):
        return "jsonl"
    if has_heading(text, columns):
        return "csv"
    raise InvalidArgumentError(
        "path", name, f"a file whose name ends with .{', .'.join(FORMATS)}, or a format (--format, kind=)"
    )


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "its name is not UTF-8"
    return reason_of(error)
