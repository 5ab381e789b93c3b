"""Calls that look at runs: one, many, or its events as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

import msgspec

from codegen_async.arguments import check_patience, check_seconds_given, check_segment
from codegen_async.errors import DecodeError
from codegen_async.hosted.client import RunClient
from codegen_async.middesk import decoding, requests
from codegen_async.middesk.dialect import MiddeskDialect
from codegen_async.middesk.models import MiddeskRun, MiddeskRunPage, StreamEvent
from codegen_async.middesk.paging import check_place, walk
from codegen_async.middesk.sse import EventParser, EventTooLargeError
from codegen_async.polling import ListPoll
from codegen_async.waiting import Page


class LookCalls(RunClient[MiddeskRun, str]):
    """Look at runs; a part of `MiddeskClient`."""

    dialect: MiddeskDialect  # pyright: ignore[reportIncompatibleVariableOverride] - no other is set

    async def get_run(
        self, run_id: str, *, include_steps: bool = False, max_age: float | None = None, patience: float | None = None
    ) -> MiddeskRun:
        """Return a run as it is now ("Retrieve an agent run").

        Args:
            run_id: the run.
            include_steps: ask for its steps, which cost the server more. Default: no, and `steps` is then `UNSET`
                unless they are known.
            max_age: seconds that the answer may be old. If it is given, calls for one run that come together share one
                request. 0 asks the server in any case. Default: an end that was seen within the last five minutes is
                not asked for again (`resume_run` and `notify` forget it); all else is.
            patience: seconds that it may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            NotFoundError: there is no such run.
            APIError: any other failure.
        """
        call = requests.get(check_segment("run_id", run_id), include_steps=include_steps)
        enough = _has_steps if include_steps else None
        return await self._look(run_id, call, max_age=max_age, patience=patience, enough=enough)

    def list_runs(self, *, page_size: int | None = None, patience: float | None = None) -> AsyncGenerator[MiddeskRun]:
        """Yield the account's runs, page after page, each once ("List agent runs").

        The order is the server's; none is documented. Nor is the number of the first page: the first request names
        none, and the next asks for page 1, which may show the same again.

        Args:
            page_size: runs asked for at a time. Default: the server's, which is not documented.
            patience: seconds that each page may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            APIError: a page could not be had.
        """
        return walk(partial(self.list_runs_page, patience=check_patience(patience)), page_size)

    async def list_runs_page(
        self, *, page: int | None = None, per_page: int | None = None, patience: float | None = None
    ) -> MiddeskRunPage:
        """Return one page of the account's runs ("List agent runs").

        Args:
            page: its number; that of the first is not documented. Default: the first.
            per_page: runs on a page; the most allowed is not documented. Default: the server's.
            patience: seconds that it may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            APIError: the page could not be had.
        """
        call = self.dialect.list(*check_place(page, per_page))
        link = self._linked()
        shown = await link.calls.carry(call, patience=check_patience(patience))
        for run in shown.data:
            link.calls.known(run)
        link.waiting.seen_page(ListPoll(0, 1, None), Page(shown.data, None, sure=False))
        return shown

    async def stream_run(self, run_id: str, *, silence: float = 300.0) -> AsyncGenerator[StreamEvent | MiddeskRun]:
        """Yield the events of a run as they come, and at the end the run itself ("Stream agent run events").

        A stream can end because the run ended, because it asks something, or because a connection broke, and no event
        tells which. So the run is read once when the stream has ended, and yielded last: its `phase` tells. A run that
        has ended is replayed from its beginning.

        Args:
            run_id: the run.
            silence: seconds without a byte after which the stream is taken to have ended. Default 300: no heartbeats
                are documented.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            NotFoundError: there is no such run.
            DecodeError: an event is larger than the client's `max_body`.
            APIError: any other failure to open the stream, which is tried once, or to read the run.
        """
        request = requests.stream(check_segment("run_id", run_id)).request({})
        patience = check_seconds_given("silence", silence)
        events = EventParser(self._max_body)
        async with self._linked().transport.stream(request, silence=patience) as pieces:
            try:
                async for piece in pieces:
                    await asyncio.sleep(0)  # a server that never pauses leaves no other pause
                    for event in events.feed(piece):
                        yield decoding.stream_event(event)
            except EventTooLargeError as exc:
                raise DecodeError(str(exc), method=request.method, path=request.path) from None
        yield await self.get_run(run_id, max_age=0)


def _has_steps(run: MiddeskRun) -> bool:
    return run.steps is not msgspec.UNSET
