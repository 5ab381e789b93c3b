"""Read the prompts that a batch is filled with, before anything is sent and any journal is made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from codegen_async.batch.appending import OutcomeFile
from codegen_async.batch.batch import Batch
from codegen_async.batch.columns import Columns
from codegen_async.batch.inputs import Prompts, has_place, parse_prompts, read_prompts
from codegen_async.batch.items import Added
from codegen_async.batch.outside import check_apart
from codegen_async.batch.readers import Where, read_sent
from codegen_async.cleaning import clean
from codegen_async.cli.errors import UsageError, command
from codegen_async.cli.inputs import STDIN, check_api, elsewhere, is_journal, names_database, read_bytes
from codegen_async.cli.output import Output

_NAMED = 5  # keys in a sentence


class Filling:
    """Fill a batch with the prompts of a file, or with nothing where the file is a journal, to go on with that.

    Args:
        file: the file, or - for the standard input.
        kind: what it is; see `read_prompts`.
        journal: where the batch is remembered, from `journal_of`; None for nowhere.
        columns: what its lines may say.
        group: the words of the group of commands, for hints.
        options: those that name its API, for the same.

    Raises:
        InvalidArgumentError: the file cannot be read, or it cannot be told what it is.
        UsageError: a line or an image cannot be right.
        CommandError: the journal is of another API.
        JournalError: the journal cannot be read.
    """

    def __init__(
        self,
        file: Path,
        kind: str | None,
        journal: Where | None,
        columns: Columns,
        *,
        group: Sequence[str],
        options: Iterable[str],
    ) -> None:
        self._file = file
        self._group = group
        self._kind = () if kind is None else ("--format", kind)
        self._note: Callable[[str], None] = _nothing
        self._prompts = None if journal == file or names_database(file) else read_file(file, kind, columns)
        if isinstance(journal, Path) and journal.is_file():
            check_api(journal, columns.api)
        if self._prompts is not None:
            _check(self._prompts, journal, command(*group, "check", file, *self._kind, *options))

    async def __call__(self, batch: Batch[Any, Any]) -> None:
        """Add the prompts."""
        if self._prompts is not None:
            added = await batch.add_prompts(self._prompts, whole=True)
            for note in _said(added):
                self._note(note)

    def tell(self, output: Output) -> None:
        """Say what is not sent, and later what came of adding the prompts."""
        self._note = output.note
        if self._prompts is not None and self._prompts.extra:
            output.note(f"kept for the results, not sent: {', '.join(self._prompts.extra)}")

    def again(self, journal: Where, options: Iterable[str]) -> str:
        """Return the command that goes on with the batch, by its journal alone where the file cannot be read again."""
        readable = self._prompts is not None and self._file.is_file()
        words = (self._file, "--journal", journal, *self._kind) if readable else (journal,)
        return command(*self._group, "run", *words, *options)


def journal_of(file: Path, given: Path | None) -> Where:
    """Return where a batch is remembered: as given, else in the file if it is a journal, else beside it.

    Raises:
        UsageError: there is no such place.
        ConfigurationError: a database is meant, and its URL cannot be right, or what it takes is not installed.
    """
    if (database := elsewhere(file if given is None else given)) is not None:
        return database
    if given is not None:
        return given
    if is_journal(file):
        return file
    if str(file) == STDIN or not has_place(file):
        raise UsageError("prompts that come through a pipe have no place of their own", "give --journal PATH")
    return Path(f"{file}.db")


def read_file(file: Path, kind: str | None, columns: Columns) -> Prompts:
    """Return what a file of prompts says, or the standard input. Either is read once.

    Raises:
        InvalidArgumentError: it cannot be read, or it cannot be told what it is.
        UsageError: the standard input cannot be read, or the file is more likely a mistyped option.
    """
    if str(file).startswith(STDIN) and str(file) != STDIN and not file.exists():  # a path forgets a ./ before its name
        raise UsageError(f"unknown option or file: {clean(str(file), 60)}", "name such a file as ./-...")
    if str(file) != STDIN:
        return read_prompts(file, kind=kind, columns=columns)
    return parse_prompts(read_bytes(None), "stdin", Path.cwd(), kind=kind, columns=columns)


def _check(prompts: Prompts, journal: Where | None, more_shown_by: str) -> None:
    """Make sure that all lines and all images can be right, but for images that were sent already."""
    prompts.look_at_images(read_sent(journal) if isinstance(journal, Path) and journal.is_file() else ())
    if prompts.problems:
        first, *others = prompts.problems
        more = f"; {len(others)} more like this: {more_shown_by}" if others else ""
        raise UsageError(str(first), f"nothing was sent{more}")


@contextmanager
def appending(out: Path | None, file: Path, journal: Where | None) -> Generator[OutcomeFile | None]:
    """Hold the file open to which outcomes are appended, if there is to be one.

    Args:
        out: that file.
        file: the prompts.
        journal: where the batch is remembered, from `journal_of`; None for nowhere.

    Raises:
        InvalidArgumentError: it cannot be written, or holds something else.
        JournalError: the journal cannot be read.
    """
    if out is None:
        yield None
        return
    if str(out) == STDIN:
        raise UsageError("--out: outcomes go to the standard output anyway", "give a file, or --jsonl without --out")
    check_apart("--out", out, (file,), journal)
    with closing(OutcomeFile(out)) as outcomes:
        yield outcomes


def _said(added: Added) -> Iterator[str]:
    """Yield what a person should know of prompts that were added."""
    if added.equal:
        yield f"{_count(added.equal)} without a key equal to an earlier line; each becomes a run of its own"
    if added.corrected:
        yield f"sent in its new form: {_named(added.corrected)}"
    if added.withdrawn:
        yield f"no longer in the file, and not sent: {_named(added.withdrawn)}"


def _count(number: int) -> str:
    return f"{number} prompt is" if number == 1 else f"{number} prompts are"


def _named(keys: Sequence[str]) -> str:
    shown = ", ".join(clean(key, 60) for key in keys[:_NAMED])
    return shown if len(keys) <= _NAMED else f"{shown} and {len(keys) - _NAMED} more"


def _nothing(_: str) -> None:
    """Say nothing."""
