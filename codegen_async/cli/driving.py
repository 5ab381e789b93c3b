"""Drive a batch from the command line: print outcomes as they come, show progress, end as the whole batch stands."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from codegen_async.batch.appending import OutcomeFile, is_done
from codegen_async.batch.batch import Batch
from codegen_async.batch.bounds import check_most
from codegen_async.batch.items import Outcome
from codegen_async.batch.readers import Where, read_outcomes
from codegen_async.cli.errors import CommandError, Exit, explain
from codegen_async.cli.options import NO_PAGE, Limits, Page
from codegen_async.cli.page import page_shown
from codegen_async.cli.progress import Progress, progress_shown
from codegen_async.cli.streams import complain, has_reader, may_go_unread
from codegen_async.cli.tally import COLUMNS, outcome_fields, outcome_row, summary, tally, verdict
from codegen_async.errors import BatchPausedError
from codegen_async.hosted.client import RunClient

if TYPE_CHECKING:
    from codegen_async.cli.session import Session

C = TypeVar("C", bound=RunClient[Any, Any])


class Drive(Generic[C]):
    """Be the work of a command that runs a batch.

    Args:
        journal: the batch's journal; made if it is not there.
        fill: adds to the batch what is to be done.
        again: returns the command that goes on with it from where it stands; empty if there is none.
        limits: see `Batch.run`.
        make: returns the batch.
        out: where each outcome is appended as well, once.
        page: whether a page shows it, and where.

    Raises:
        InvalidArgumentError: the limits are no numbers >= 1.
    """

    def __init__(
        self,
        journal: Where,
        fill: Callable[[Batch[Any, Any]], Awaitable[None]],
        again: Callable[[], str],
        limits: Limits,
        *,
        make: Callable[[Session[C]], Awaitable[Batch[Any, Any]]],
        out: OutcomeFile | None = None,
        page: Page = NO_PAGE,
    ) -> None:
        self._journal = journal
        self._out = out
        self._page = page
        self._fill = fill
        self._again = again
        self._make = make
        self._limits = asdict(limits)
        for name, value in self._limits.items():
            check_most(f"--{name.replace('_', '-')}", value)

    async def __call__(self, session: Session[C]) -> Exit:
        """Run the batch.

        Raises:
            CommandError: it cannot go on for now, or was interrupted; says how to go on.
            APIError, JournalError: it could not be run.
            BrokenPipeError: nobody reads the outcomes any more; how to go on was said.
        """
        try:
            await self._go(session)
        except BatchPausedError as error:
            cause = error.__cause__
            code = explain(cause).code if isinstance(cause, Exception) else Exit.ERROR
            raise CommandError(str(error), session.hint, code) from error
        except BrokenPipeError:
            complain(CommandError("nobody reads the output any more", session.hint))
            raise
        except OSError as error:  # those of the network have names of their own
            raise CommandError(f"the outcomes cannot be written: {error.strerror}", session.hint) from error
        counts = await asyncio.to_thread(lambda: tally(read_outcomes(self._journal)))
        session.output.note(f"batch: {summary(counts)}")
        if session.signals and counts["planned"]:
            raise session.interrupted()
        return verdict(counts)

    async def _go(self, session: Session[C]) -> None:
        try:
            await self._run(session)
        finally:
            session.resume = self._again()

    async def _run(self, session: Session[C]) -> None:
        async with await self._make(session) as batch, page_shown(session, batch, self._page):
            await self._fill(batch)
            await asyncio.to_thread(self._catch_up)
            at_once = not session.output.json and not may_go_unread(sys.stdout)
            drive = batch.serve if self._page.stay else batch.run
            outcomes = drive(**self._limits, acknowledge=at_once)
            try:
                async with progress_shown(session, batch) as progress, aclosing(outcomes):
                    session.soft = {signal.SIGINT: lambda: _stop(session, batch, progress)}
                    async for outcome in outcomes:
                        if self._out is not None:
                            self._out.add(outcome)
                        progress.note(outcome)
                        if not session.output.json:
                            _print(session, outcome)
            finally:
                if session.output.json:  # whatever ends it: all of the batch, so that no kill takes anything away
                    session.output.document([outcome_fields(outcome) for outcome in self._done()])
                if has_reader(sys.stdout):  # else the next start prints again what this one did
                    await batch.acknowledge()

    def _done(self) -> Iterator[Outcome]:
        return filter(is_done, read_outcomes(self._journal))

    def _catch_up(self) -> None:
        """Append what an earlier process handed out, and did not live to append."""
        if self._out is not None:
            for outcome in self._done():
                self._out.add(outcome)


def _stop(session: Session[C], batch: Batch[Any, Any], progress: Progress) -> None:
    batch.stop()
    progress.stop()
    session.output.note("creating no more; waiting for the runs that go on (once more to leave at once)")


def _print(session: Session[C], outcome: Outcome) -> None:
    if session.output.jsonl:
        session.output.document(outcome_fields(outcome))
    else:
        session.output.row(COLUMNS, outcome_row(outcome))
