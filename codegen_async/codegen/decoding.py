"""From bodies to models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from codegen_async.codegen.models import PHASES, AgentRun, AgentRunLog, AgentRunLogs, AgentRunPage, RunRow, RunRows
from codegen_async.hosted.wire import PageDecoder, check_about
from codegen_async.http.transport import ForeignAnswerError
from codegen_async.models import Vocabulary
from codegen_async.reading import UNREADABLE, Reader
from codegen_async.waiting import Page

_run = Reader(AgentRun)
_rows = msgspec.json.Decoder(RunRows)

_ROUTER = {404: "not found", 405: "method not allowed"}
"""What frameworks say by themselves of paths and methods that nobody serves: not the API's word about a run."""


def is_own(status: int, said: Mapping[str, Any]) -> bool:
    """Whether a refusal is the API's own: `message` with its `status_code`, or the framework's `detail`."""
    detail = said.get("detail")
    if isinstance(detail, str):
        return detail.strip().rstrip(".").casefold() != _ROUTER.get(status)
    return isinstance(detail, list) or (isinstance(said.get("message"), str) and said.get("status_code") == status)


class Decoding:
    """Decode the answers of one organization and check that they are its own."""

    def __init__(self, org_id: int, words: Vocabulary | None = None) -> None:
        self._org_id = org_id
        self._words = words or Vocabulary(PHASES, {})
        self._pages = PageDecoder("codegen", AgentRunPage, "items", AgentRun)
        self._log_pages = PageDecoder("codegen", AgentRunLogs, "logs", AgentRunLog)

    def created(self, body: bytes) -> AgentRun:
        """Read the answer to a create."""
        run = _run.decode(body)
        self._check_own(run)
        return run

    def run(self, run_id: int) -> Callable[[bytes], AgentRun]:
        """Return a reader of that run."""

        def decode(body: bytes) -> AgentRun:
            run = self.created(body)
            check_about(run.id, run_id)
            return run

        return decode

    def page(self, body: bytes) -> AgentRunPage:
        """Read a page of runs."""
        page = self._pages.decode(body)
        for run in page.items:
            self._check_own(run)
        return page

    def look(self, body: bytes) -> Page[AgentRun]:
        """Read as much of a page of runs as waiting needs, and the rest of it only where somebody is to see it."""
        try:
            page = _rows.decode(body)
        except UNREADABLE:
            return waiting_page(self.page(body))
        for row in page.items:
            self._check_own(row)
            if self._words.meaning(row.status) is not None:  # which only a whole run can keep
                return waiting_page(self.page(body))
        return Page(page.items, page.total, whole=lambda: filter(_shows_all, self.page(body).items))

    def logs(self, run_id: int) -> Callable[[bytes], AgentRunLogs]:
        """Return a reader of that run's log pages."""

        def decode(body: bytes) -> AgentRunLogs:
            logs = self._log_pages.decode(body)
            self._check_own(logs)
            check_about(logs.id, run_id)
            return logs

        return decode

    def _check_own(self, run: AgentRun | AgentRunLogs | RunRow) -> None:
        if run.organization_id != self._org_id:
            raise ForeignAnswerError(f"the answer is about organization {run.organization_id}, not {self._org_id}")
        if not isinstance(run, RunRow):
            self._words.teach(run)


def waiting_page(page: AgentRunPage) -> Page[AgentRun]:
    """Return what a page tells about runs; nothing of where they stand, if one of them could not be read."""
    total = None if page.unreadable else page.total
    return Page(page.items, total, whole=lambda: filter(_shows_all, page.items))


def _shows_all(run: AgentRun) -> bool:
    """Whether a list shows of a run what a get does. An end without a word about it may be cut short."""
    return not run.phase.is_terminal or run.result is not None or run.summary is not None or bool(run.odd)
