"""Polls of the Codegen API, for `waiting`."""

from __future__ import annotations

from codegen_async.codegen.decoding import Decoding
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.requests import Requests
from codegen_async.http.transport import Transport
from codegen_async.limits import Priority, Slot
from codegen_async.models import RunId
from codegen_async.polling import ListPoll, Stream
from codegen_async.waiting import Page


class CodegenRemote:
    """Ask the server on behalf of all waits; a `waiting.Remote`."""

    def __init__(self, transport: Transport, requests: Requests, decoding: Decoding) -> None:
        self._transport = transport
        self._requests = requests
        self._decoding = decoding

    def slot(self, stream: Stream) -> Slot:
        """Return a slot for a poll of that stream."""
        return self._transport.limits.slot("get" if stream is Stream.GET else "list", Priority.BACKGROUND)

    async def get(self, run_id: RunId, slot: Slot) -> AgentRun:
        """Read one run."""
        number = int(run_id)
        return await self._transport.call(self._requests.get(number), self._decoding.run(number), slot=slot)

    async def page(self, poll: ListPoll, slot: Slot) -> Page[AgentRun]:
        """Read one page of the list."""
        request = self._requests.page(poll.skip, poll.limit, source_type=poll.source)
        return await self._transport.call(request, self._decoding.look, slot=slot)
