"""Tell what a file of prompts comes to before anything is sent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from codegen_async.batch.inputs import Prompts
from codegen_async.batch.items import Task
from codegen_async.batch.outside import foresee
from codegen_async.batch.readers import read_sent
from codegen_async.cli.errors import CommandError, Exit
from codegen_async.cli.inputs import check_api
from codegen_async.cli.live import duration
from codegen_async.cli.options import Display
from codegen_async.cli.output import Output
from codegen_async.cli.streams import complain
from codegen_async.limits import Rate


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of prompts comes to.

    Attributes:
        prompts: lines that can be right.
        keys: how many of them have a key.
        equal: how many without a key say what an earlier one says; each is made a run of its own.
        longest: characters of the longest prompt; of its fields as JSON, where a dialect sends them.
        images: images that are there.
        image_bytes: their sizes in all.
        extra: fields that are kept for the results and not sent.
        creates: runs that are still to be created.
        seconds: until the last of them can be, at the API's limit.
        problems: what cannot be right, each with file, line and field.
    """

    prompts: int
    keys: int
    equal: int
    longest: int
    images: int
    image_bytes: int
    extra: tuple[str, ...]
    creates: int
    seconds: float
    problems: tuple[str, ...]


def check(prompts: Prompts, journal: Path | None, display: Display) -> Exit:
    """Show what a file of prompts comes to, and all that is wrong with it.

    Args:
        prompts: what it says.
        journal: what was done of it already, if such a file is there.
        display: how it is shown.

    Raises:
        CommandError: the journal is of another API.
        JournalError: the journal cannot be read.
    """
    output = Output(display)
    creates = len(prompts.lines)
    if journal is not None and journal.is_file():
        check_api(journal, prompts.columns.api)
        prompts.look_at_images(read_sent(journal))
        creates = foresee(journal, prompts)
    else:
        prompts.look_at_images()
    report = _report(prompts, creates)
    if output.structured:
        output.document(report)
    else:
        output.table(("WHAT", "FOUND"), _rows(report, prompts.columns.rates), whole=True)
    for problem in report.problems:
        complain(CommandError(problem))
    return Exit.USAGE if report.problems else Exit.OK


def _report(prompts: Prompts, creates: int) -> Report:
    keyless = Counter(line.task.content() for line in prompts.lines if line.key is None)
    return Report(
        prompts=len(prompts.lines),
        keys=len(prompts.lines) - keyless.total(),
        equal=keyless.total() - len(keyless),
        longest=max((_length(line.task) for line in prompts.lines), default=0),
        images=len(prompts.images),
        image_bytes=sum(prompts.images.values()),
        extra=tuple(prompts.extra),
        creates=creates,
        seconds=max((_seconds(creates, rate) for rate in prompts.columns.rates), default=0.0),
        problems=tuple(map(str, prompts.problems)),
    )


def _length(task: Task) -> int:
    """Return the characters of a prompt; where a dialect sends it, of all fields as JSON."""
    return len(task.prompt if task.fields is None else msgspec.json.encode(task.fields).decode())


def _seconds(creates: int, rate: Rate) -> float:
    return max(0, math.ceil(creates / rate.limit) - 1) * rate.period


def _rows(report: Report, rates: Sequence[Rate]) -> list[tuple[str, str]]:
    pace = " and ".join(f"{rate.limit} in {rate.period:g} s" for rate in rates)
    last = f"the last after {duration(report.seconds)}, at {pace}" if pace else "at a limit that nobody states"
    rows = [
        ("prompts", f"{report.prompts}, {report.keys} with keys, the longest of {report.longest} characters"),
        ("equal", f"{report.equal} without a key say what an earlier one says; each gets a run"),
        ("images", f"{report.images}, {report.image_bytes} bytes in all"),
        ("extra", ", ".join(report.extra) or "none"),
        ("creates", f"{report.creates}; {last}" if report.creates else "none"),
        ("problems", str(len(report.problems))),
    ]
    return [(name, "none" if found.split(None, 1)[0].rstrip(",") == "0" else found) for name, found in rows]
