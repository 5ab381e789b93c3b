"""Polls of any API, for `waiting`."""

from __future__ import annotations

from typing import Generic, NoReturn, TypeVar

from codegen_async.hosted.calls import Calls
from codegen_async.limits import Priority, Slot
from codegen_async.models import RunId, RunLike
from codegen_async.polling import ListPoll, Stream

R = TypeVar("R", bound=RunLike)


class DialectRemote(Generic[R]):
    """Ask the server on behalf of all waits; a `waiting.Remote`."""

    def __init__(self, calls: Calls[R]) -> None:
        self._calls = calls
        self._limit = get_limit(calls)

    def slot(self, stream: Stream) -> Slot:  # noqa: ARG002 - runs are looked at one by one
        """Return a slot for a poll."""
        return self._calls.slot(self._limit, Priority.BACKGROUND)

    async def get(self, run_id: RunId, slot: Slot) -> R:
        """Read one run, and once it seems to have ended, all of it."""
        run = await self._calls.run(self._calls.dialect.get(str(run_id)), slot=slot)
        return await whole(self._calls, run, Priority.BACKGROUND)

    async def page(self, poll: ListPoll, slot: Slot) -> NoReturn:
        """Read nothing: the schedule asks for no pages."""
        raise NotImplementedError


async def whole(calls: Calls[R], run: R, priority: Priority) -> R:
    """Return a run that has ended with what another call shows of it, where there is one."""
    more = calls.dialect.full(run) if run.phase.is_terminal else None
    return run if more is None else await calls.run(more, priority=priority)


def get_limit(calls: Calls[R]) -> str:
    """Return whose rates the reading of a run spends."""
    return calls.dialect.get("0").limit
