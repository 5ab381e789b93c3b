"""What the commands of `batch` do at an API whose fields its dialect knows, whichever client speaks to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from codegen_async.batch.batch import Batch
from codegen_async.batch.fields import DialectColumns
from codegen_async.batch.readers import Where
from codegen_async.cli.auditing import audit as show_audit
from codegen_async.cli.checking import check as show_check
from codegen_async.cli.driving import Drive
from codegen_async.cli.errors import Exit
from codegen_async.cli.filling import Filling, appending, journal_of, read_file
from codegen_async.cli.inputs import existing
from codegen_async.cli.options import Display, Limits, Page
from codegen_async.cli.output import Output
from codegen_async.cli.retrying import Retry
from codegen_async.cli.session import Session, Work
from codegen_async.hosted.client import RunClient
from codegen_async.hosted.dialect import Dialect

C = TypeVar("C", bound=RunClient[Any, Any])


@dataclass(frozen=True, kw_only=True)
class Api(Generic[C]):
    """Speak to an API.

    Attributes:
        dialect: its dialect.
        group: the words of the group of commands.
        naming: the options that name the API.
        words: those that lead to the same server.
        execute: runs a command on it.
        adopt: see `Batch`.
    """

    dialect: Dialect[Any]
    group: Sequence[str]
    naming: Sequence[str]
    words: Sequence[str]
    execute: Callable[[Work[C]], Exit]
    adopt: bool

    def making(self, journal: Where) -> Callable[[Session[C]], Awaitable[Batch[Any, Any]]]:
        """Return what makes the batch of a journal."""

        async def make(session: Session[C]) -> Batch[Any, Any]:
            return batch_at(journal, session.client, adopt=self.adopt, clock=session.target.clock)

        return make


def batch_at(place: Where, client: Any, **options: Any) -> Batch[Any, Any]:
    """Return the batch of a journal, or one that is in a database."""
    if isinstance(place, Path):
        return Batch(client, place, **options)
    from codegen_async.engine.batch import DBOSBatch

    return DBOSBatch(client, cast("Any", place), **options)


def run(
    api: Api[C],
    file: Path,
    journal: Path | None,
    kind: str | None,
    *,
    out: Path | None,
    limits: Limits,
    page: Page,
    display: Display,
) -> Exit:
    """Make each prompt of a file into a run, and wait for all of them.

    Raises:
        CommandError, CodegenAsyncError: it cannot be run, or not to its end.
    """
    place = journal_of(file, journal)
    filling = Filling(file, kind, place, DialectColumns(api.dialect), group=api.group, options=api.naming)
    filling.tell(Output(display))

    def again() -> str:
        words = () if out is None else ("--out", str(out))
        return filling.again(place, (*words, *limits.words(), *page.words(), *api.words, *display.words()))

    with appending(out, file, place) as outcomes:
        return api.execute(Drive(place, filling, again, limits, make=api.making(place), out=outcomes, page=page))


def check(dialect: Dialect[Any], file: Path, journal: Path | None, kind: str | None, display: Display) -> Exit:
    """Check a file of prompts before anything is sent.

    Raises:
        CommandError, CodegenAsyncError: it cannot be read, or its journal cannot be.
    """
    return show_check(read_file(file, kind, DialectColumns(dialect)), journal or Path(f"{file}.db"), display)


def retry(api: Api[C], journal: Path, keys: Sequence[str], *, failed: bool, limits: Limits, display: Display) -> Exit:
    """Send prompts again that came to nothing or failed, and run the batch.

    Raises:
        CommandError, CodegenAsyncError: it cannot be run, or not to its end.
    """
    place = existing(journal, api.dialect.name)
    fill = Retry(place, keys, api.group, failed=failed)
    fill.tell(Output(display))

    def again() -> str:
        return fill.again((*limits.words(), *api.words, *display.words()))

    return api.execute(Drive(place, fill, again, limits, make=api.making(place)))


def audit(api: Api[C], journal: Path) -> Exit:
    """Compare a batch with the runs that the server has.

    Raises:
        CommandError, CodegenAsyncError: it cannot be.
    """
    place = existing(journal, api.dialect.name)  # one that is not there must not be made

    make = api.making(place)

    async def work(session: Session[C]) -> Exit:
        return await show_audit(await make(session), session.output)

    return api.execute(work)
