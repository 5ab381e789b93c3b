"""Polls of the Codegen API, for `waiting`: gets as those of any dialect, pages by their rank in the list."""

from __future__ import annotations

from codegen_async.codegen.dialect import CodegenDialect
from codegen_async.codegen.models import AgentRun
from codegen_async.hosted.calls import Calls
from codegen_async.hosted.remote import DialectRemote
from codegen_async.limits import Priority, Slot
from codegen_async.models import RunId
from codegen_async.polling import ListPoll, Stream
from codegen_async.waiting import Page


class CodegenRemote:
    """Ask the server on behalf of all waits; a `waiting.Remote`.

    The schedule asks for windows of any size at any place of the list, also of one source alone, and learns from totals
    where runs stand now: a place that one page tells of the next, as `Dialect.page` has it, cannot say that.
    """

    def __init__(self, calls: Calls[AgentRun], dialect: CodegenDialect) -> None:
        self._calls = calls
        self._dialect = dialect
        self._runs = DialectRemote(calls)

    async def get(self, run_id: RunId, slot: Slot) -> AgentRun:
        """Read one run."""
        return await self._runs.get(run_id, slot)

    def slot(self, stream: Stream) -> Slot:
        """Return a slot for a poll of that stream."""
        return self._calls.slot("get" if stream is Stream.GET else "list", Priority.BACKGROUND)

    async def page(self, poll: ListPoll, slot: Slot) -> Page[AgentRun]:
        """Read one page of the list."""
        return await self._calls.carry(self._dialect.look(poll.skip, poll.limit, poll.source), slot=slot)
