"""Calls that look at runs: one, or many."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator

import msgspec

from codegen_async.arguments import LARGEST_PAGE, check_id, check_patience, check_text
from codegen_async.codegen.calls import CodegenCalls
from codegen_async.codegen.decoding import waiting_page
from codegen_async.codegen.models import AgentRun, AgentRunPage
from codegen_async.codegen.paging import check_place, walk
from codegen_async.polling import ListPoll


class LookCalls(CodegenCalls):
    """Look at runs; a part of `CodegenClient`."""

    async def get_run(self, run_id: int, *, max_age: float | None = None, patience: float | None = None) -> AgentRun:
        """Return a run as it is now ("Get Agent Run"; 60 per 30 s).

        Args:
            run_id: the run.
            max_age: seconds that the answer may be old. If it is given, calls for one run that come together share one
                request. 0 asks the server in any case. Default: an end that was seen within the last five minutes is
                not asked for again (`resume_run` and `notify` forget it); all else is.
            patience: seconds that it may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            NotFoundError: there is no such run in the organization.
            APIError: any other failure.
        """
        call = self.dialect.get(str(check_id("run_id", run_id)))
        return await self._look(run_id, call, max_age=max_age, patience=patience)

    def list_runs(
        self,
        *,
        user_id: int | None = None,
        source_type: str | None = None,
        page_size: int = LARGEST_PAGE,
        patience: float | None = None,
    ) -> AsyncGenerator[AgentRun]:
        """Yield the organization's runs, newest first, page after page ("List Agent Runs"; 60 pages per 30 s).

        Each run is yielded once, also when new ones push others onto the next page meanwhile, and none that is there
        all the time is left out, also when others are deleted meanwhile. A server that shows the same page again and
        again is left, and the log says so.

        Args:
            user_id: only runs started by this user.
            source_type: only runs started this way, see `SourceType`.
            page_size: runs asked for at a time, 1..100. Default 100, which needs the fewest requests.
            patience: seconds that each page may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            APIError: a page could not be had.
        """
        page_at = functools.partial(self.list_runs_page, user_id=user_id, source_type=source_type, patience=patience)
        return walk(page_at, page_size)

    async def list_runs_page(
        self,
        *,
        user_id: int | None = None,
        source_type: str | None = None,
        skip: int = 0,
        limit: int = LARGEST_PAGE,
        patience: float | None = None,
    ) -> AgentRunPage:
        """Return one page of the organization's runs, newest first ("List Agent Runs"; 60 per 30 s).

        Args:
            user_id: only runs started by this user.
            source_type: only runs started this way, see `SourceType`.
            skip: runs to leave out at the newest end, 0 or more.
            limit: runs on the page, 1..100.
            patience: seconds that it may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            APIError: the page could not be had.
        """
        call = self.dialect.list(
            *check_place(skip, limit),
            user_id=None if user_id is None else check_id("user_id", user_id),
            source_type=None if source_type is None else check_text("source_type", source_type),
        )
        link = self._linked()
        page = await link.calls.carry(call, patience=check_patience(patience))
        shown = waiting_page(page)
        if user_id is not None:  # places in this list say nothing of those in others
            shown = msgspec.structs.replace(shown, total=None)
        link.waiting.seen_page(ListPoll(skip, limit, source_type), shown)
        return page
