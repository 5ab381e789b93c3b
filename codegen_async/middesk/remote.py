"""Polls of the Middesk API, for `waiting`."""

from __future__ import annotations

from codegen_async.limits import Priority, Slot
from codegen_async.middesk import decoding, requests
from codegen_async.middesk.models import MiddeskRun
from codegen_async.models import RunId
from codegen_async.polling import ListPoll, Stream
from codegen_async.transport import Transport
from codegen_async.waiting import Page


class MiddeskRemote:
    """Ask the server on behalf of all waits; a `waiting.Remote`.

    Polls go without `include`: steps cost the server a look at another system.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def slot(self, stream: Stream) -> Slot:  # noqa: ARG002 - one limit holds for all
        """Return a slot for a poll."""
        return self._transport.limits.slot(requests.ENDPOINT, Priority.BACKGROUND)

    async def get(self, run_id: RunId, slot: Slot) -> MiddeskRun:
        """Read one run."""
        name = str(run_id)
        return await self._transport.call(requests.get(name), decoding.run(name), slot=slot)

    async def page(self, poll: ListPoll, slot: Slot) -> Page[MiddeskRun]:
        """Read nothing: no order is documented for the list, so its schedule asks for no pages."""
        raise NotImplementedError
