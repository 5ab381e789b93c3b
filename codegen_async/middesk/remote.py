"""Polls of the Middesk API, for `waiting`: gets as those of any dialect, pages by their rank in the list."""

from __future__ import annotations

from codegen_async.hosted.calls import Calls
from codegen_async.hosted.remote import DialectRemote
from codegen_async.limits import Priority, Slot
from codegen_async.middesk import requests
from codegen_async.middesk.dialect import MiddeskDialect
from codegen_async.middesk.models import MiddeskRun, MiddeskRunPage
from codegen_async.models import RunId
from codegen_async.polling import ListPoll, Stream
from codegen_async.waiting import Page


class MiddeskRemote:
    """Ask the server on behalf of all waits; a `waiting.Remote`.

    Pages are numbered from 1, as is usual; where they are not, they do not show what they should. The schedule asks for
    a page by where runs stand in the whole list, and learns from its total where they stand now: a place that one page
    tells of the next, as `Dialect.page` has it, cannot say that.
    """

    def __init__(self, calls: Calls[MiddeskRun], dialect: MiddeskDialect) -> None:
        self._calls = calls
        self._dialect = dialect
        self._runs = DialectRemote(calls)

    async def get(self, run_id: RunId, slot: Slot) -> MiddeskRun:
        """Read one run."""
        return await self._runs.get(run_id, slot)

    def slot(self, stream: Stream) -> Slot:  # noqa: ARG002 - one limit holds for all
        """Return a slot for a poll."""
        return self._calls.slot(requests.ENDPOINT, Priority.BACKGROUND)

    async def page(self, poll: ListPoll, slot: Slot) -> Page[MiddeskRun]:
        """Read one page of the list."""
        number = poll.skip // poll.limit
        page = await self._calls.carry(self._dialect.list(number + 1 if number else None, poll.limit), slot=slot)
        for run in page.data:
            self._calls.known(run)
        return Page(page.data, _total(page, poll.skip), sure=False)


def _total(page: MiddeskRunPage, skip: int) -> int | None:
    """Return how many runs there are, if the page does not contradict itself."""
    if page.unreadable or page.total_count is None:
        return None
    has_more = page.total_count > skip + len(page.data)
    return page.total_count if has_more is page.has_more else None
