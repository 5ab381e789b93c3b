"""Write what became of a batch to a file or to the standard output."""

from __future__ import annotations

import sys
from pathlib import Path

from codegen_async.batch.outside import write_outcomes
from codegen_async.batch.readers import Where, read_outcomes
from codegen_async.batch.results import row, write
from codegen_async.cleaning import clean_lines
from codegen_async.cli.errors import CommandError, Exit
from codegen_async.cli.inputs import STDIN
from codegen_async.cli.options import Display
from codegen_async.cli.output import Output, prepare_streams
from codegen_async.cli.streams import write as write_to


def export_to(journal: Where, file: Path, kind: str | None, display: Display) -> Exit:
    """Write the outcomes of a journal to a file, or to the standard output for `-`.

    Raises:
        CommandError: the standard output is closed.
        InvalidArgumentError: the file is that of the prompts or of the journal, it is no format that is known, or the
            file cannot be written.
        JournalError: the journal cannot be read.
    """
    output = Output(display)
    if str(file) == STDIN:
        _print(journal, kind or "jsonl")
        return Exit.OK
    count = write_outcomes(journal, file, kind=kind)
    if output.structured:
        output.document({"file": str(file), "prompts": count})
    else:
        output.note(f"{count} prompts written to {file}")
    return Exit.OK


def _print(journal: Where, kind: str) -> None:
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is where the shell has closed it
        raise CommandError("the standard output is closed")
    prepare_streams(json=True)  # UTF-8, whatever the locale
    write(map(row, read_outcomes(journal)), _Stdout(), kind)


class _Stdout:
    """Write to the standard output, nothing that could fool a terminal."""

    def write(self, text: str, /) -> None:
        """Write a text."""
        shown = clean_lines(text.replace("\r\n", "\n")) if sys.stdout.isatty() else text
        write_to(sys.stdout, shown)
