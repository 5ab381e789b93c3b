"""Calls about the logs of runs (ALPHA at the vendor)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

from codegen_async.arguments import LARGEST_PAGE, check_id, check_int, check_patience, check_seconds_given
from codegen_async.codegen.calls import CodegenCalls
from codegen_async.codegen.models import AgentRun, AgentRunLog, AgentRunLogs
from codegen_async.codegen.paging import MOST_IDLE, check_place, is_last, new_rows, tell_of_repetition
from codegen_async.errors import APIError
from codegen_async.limits import Priority
from codegen_async.waiting import Standing


class LogCalls(CodegenCalls):
    """Read the logs of runs; a part of `CodegenClient`."""

    async def run_logs(
        self, run_id: int, *, reverse: bool = False, page_size: int = LARGEST_PAGE, patience: float | None = None
    ) -> AsyncGenerator[AgentRunLog]:
        """Yield the rows of a run's log, oldest first ("Get Agent Run Logs", ALPHA; 60 pages per 60 s).

        Args:
            run_id: the run.
            reverse: newest first.
            page_size: rows asked for at a time, 1..100. Default 100.
            patience: seconds that each page may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            NotFoundError: there is no such run.
            APIError: a page could not be had.
        """
        check_int("page_size", page_size, 1, LARGEST_PAGE)
        skip = shown = idle = 0
        before: AgentRunLogs | None = None
        while True:
            page = await self.run_logs_page(run_id, skip=skip, limit=page_size, reverse=reverse, patience=patience)
            # In reverse, rows written meanwhile push some that were yielded already onto this page.
            repeated = _growth(before.total_logs, page.total_logs) if reverse and before else 0
            rows = new_rows(page, before, skip)[repeated:]
            for row in rows:
                yield row
            shown += len(rows) + page.unreadable
            length = len(page.logs) + page.unreadable
            skip += length
            if is_last(length, page_size, page.size, (page.total_logs or 0) - skip):
                return
            idle = 0 if rows else idle + 1
            if not rows and not page.unreadable and (not repeated or idle > MOST_IDLE):
                tell_of_repetition(shown, page.total_logs)
                return
            before = page

    async def run_logs_page(
        self,
        run_id: int,
        *,
        skip: int = 0,
        limit: int = LARGEST_PAGE,
        reverse: bool = False,
        patience: float | None = None,
    ) -> AgentRunLogs:
        """Return a run with one page of its log ("Get Agent Run Logs", ALPHA; 60 per 60 s).

        Args:
            run_id: the run.
            skip: rows to leave out at the beginning, 0 or more.
            limit: rows on the page, 1..100.
            reverse: newest first.
            patience: seconds that it may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            NotFoundError: there is no such run.
            APIError: the page could not be had.
        """
        seconds = check_patience(patience)
        return await self._logs_page(run_id, skip, limit, reverse=reverse, patience=seconds)

    async def follow_logs(self, run_id: int, *, latency: float | None = None) -> AsyncGenerator[AgentRunLog]:
        """Yield the rows of a run's log from the first, and new ones as they come, until the run ends.

        Rows have no id, so they are told apart by their place: the log is taken to grow at its end only. An outage of
        the server delays rows and ends nothing; that there is no such run is believed as by `wait_for_run`.

        Args:
            run_id: the run.
            latency: seconds between looks. Default: the client's `latency`. Each look spends one of 60 per 60 s.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            NotFoundError: the server says so for a minute (five seconds for an id that was never seen).
            APIError: the server refused.
        """
        pause = self._latency if latency is None else check_seconds_given("latency", latency)
        skip = 0
        before: AgentRunLogs | None = None
        denied = Standing()
        ended = False
        while True:
            try:
                page = await self._logs_page(run_id, skip, LARGEST_PAGE, reverse=False, priority=Priority.BACKGROUND)
            except APIError as error:
                if self._linked().waiting.is_final(run_id, denied, error, known=before is not None):
                    raise
                await asyncio.sleep(pause)
                continue
            denied = Standing()
            rows = new_rows(page, before, skip)
            for row in rows:
                yield row
            length = len(page.logs) + page.unreadable
            leads_on = bool(rows or page.unreadable)
            if leads_on:
                before = page
                skip += length
            if leads_on and not is_last(length, LARGEST_PAGE, page.size, (page.total_logs or 0) - skip):
                continue
            old = self._linked().waiting.may_be_old(cast("AgentRun", page))
            over = page.phase.is_terminal and not old
            if over and ended:
                return
            ended = over  # the rows may have been read before the status beside them: there is one more look, at once
            if not ended:
                await asyncio.sleep(pause)

    async def _logs_page(
        self,
        run_id: int,
        skip: int,
        limit: int,
        *,
        reverse: bool,
        priority: Priority = Priority.INTERACTIVE,
        patience: float | None = None,
    ) -> AgentRunLogs:
        call = self.dialect.logs(check_id("run_id", run_id), *check_place(skip, limit), reverse=reverse)
        link = self._linked()
        page = await link.calls.carry(call, priority=priority, patience=patience)
        if page.phase.is_terminal:
            link.waiting.hurry(run_id)  # it lacks fields of the final snapshot, so that is fetched
        return page


def _growth(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else max(0, after - before)
