"""Polls of the Middesk API, for `waiting`."""

from __future__ import annotations

from codegen_async.hosted.wire import PageDecoder
from codegen_async.http.transport import Transport
from codegen_async.limits import Priority, Slot
from codegen_async.middesk import decoding, requests
from codegen_async.middesk.models import MiddeskRun, MiddeskRunPage
from codegen_async.models import RunId, Vocabulary
from codegen_async.polling import ListPoll, Stream
from codegen_async.waiting import Page


class MiddeskRemote:
    """Ask the server on behalf of all waits; a `waiting.Remote`.

    Polls go without `include`: steps cost the server a look at another system. Pages are numbered from 1, as is
    usual; where they are not, they do not show what they should.
    """

    def __init__(self, transport: Transport, pages: PageDecoder[MiddeskRunPage], words: Vocabulary) -> None:
        self._transport = transport
        self._words = words
        self._pages = pages

    def slot(self, stream: Stream) -> Slot:  # noqa: ARG002 - one limit holds for all
        """Return a slot for a poll."""
        return self._transport.limits.slot(requests.ENDPOINT, Priority.BACKGROUND)

    async def get(self, run_id: RunId, slot: Slot) -> MiddeskRun:
        """Read one run."""
        name = str(run_id)
        return self._words.teach(await self._transport.call(requests.get(name), decoding.run(name), slot=slot))

    async def page(self, poll: ListPoll, slot: Slot) -> Page[MiddeskRun]:
        """Read one page of the list."""
        number = poll.skip // poll.limit
        request = requests.page(number + 1 if number else None, poll.limit)
        page = await self._transport.call(request, self._pages.decode, slot=slot)
        for run in page.data:
            self._words.teach(run)
        return Page(page.data, _total(page, poll.skip), sure=False)


def _total(page: MiddeskRunPage, skip: int) -> int | None:
    """Return how many runs there are, if the page does not contradict itself."""
    if page.unreadable or page.total_count is None:
        return None
    has_more = page.total_count > skip + len(page.data)
    return page.total_count if has_more is page.has_more else None
