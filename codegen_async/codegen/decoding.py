"""From bodies to models. Pages are decoded as a whole, and item by item only where one is odd."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from codegen_async.codegen.models import AgentRun, AgentRunLog, AgentRunLogs, AgentRunPage
from codegen_async.errors import clean
from codegen_async.transport import ForeignAnswerError

T = TypeVar("T")
P = TypeVar("P", AgentRunPage, AgentRunLogs)

_log = logging.getLogger("codegen_async")

_run = msgspec.json.Decoder(AgentRun)
_page = msgspec.json.Decoder(AgentRunPage)
_logs = msgspec.json.Decoder(AgentRunLogs)
_row = msgspec.json.Decoder(AgentRunLog)
_pieces = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


class Decoding:
    """Decode the answers of one organization and check that they are its own."""

    def __init__(self, org_id: int) -> None:
        self._org_id = org_id
        self._reported_odd = False
        self.newest_id: int | None = None
        """The largest id of a run that any answer has shown."""

    def created(self, body: bytes) -> AgentRun:
        """Read the answer to a create."""
        run = _run.decode(body)
        self._check_own(run)
        return run

    def run(self, run_id: int) -> Callable[[bytes], AgentRun]:
        """Return a reader of that run."""

        def decode(body: bytes) -> AgentRun:
            run = self.created(body)
            self._check_id(run.id, run_id)
            return run

        return decode

    def page(self, body: bytes) -> AgentRunPage:
        """Read a page of runs."""
        try:
            page = _page.decode(body)
        except msgspec.ValidationError as exc:
            page = self._piecemeal(body, "items", _run, AgentRunPage, exc)
        for run in page.items:
            self._check_own(run)
        return page

    def logs(self, run_id: int) -> Callable[[bytes], AgentRunLogs]:
        """Return a reader of that run's log pages."""

        def decode(body: bytes) -> AgentRunLogs:
            try:
                logs = _logs.decode(body)
            except msgspec.ValidationError as exc:
                logs = self._piecemeal(body, "logs", _row, AgentRunLogs, exc)
            self._check_own(logs)
            self._check_id(logs.id, run_id)
            return logs

        return decode

    def _piecemeal(
        self, body: bytes, name: str, item: msgspec.json.Decoder[Any], kind: type[P], why: msgspec.ValidationError
    ) -> P:
        """Read what can be read, so that one odd item does not hide ninety-nine; if that is nothing, raise `why`."""
        pieces = _pieces.decode(body)
        raws = _list.decode(pieces.pop(name, b"null"))
        items = [read for raw in raws if (read := _try(item, raw)) is not None]
        if raws and not items:
            raise why
        fields: dict[str, Any] = {key: msgspec.json.decode(raw) for key, raw in pieces.items()}
        page = msgspec.convert({**fields, name: (), "unreadable": 0}, kind)
        if not self._reported_odd:
            self._reported_odd = True
            _log.warning("codegen: a page has items of an unknown shape, they are left out: %s", clean(str(why)))
        return msgspec.structs.replace(page, **{name: tuple(items), "unreadable": len(raws) - len(items)})

    def _check_own(self, run: AgentRun | AgentRunLogs) -> None:
        if run.organization_id != self._org_id:
            raise ForeignAnswerError(f"the answer is about organization {run.organization_id}, not {self._org_id}")
        if self.newest_id is None or run.id > self.newest_id:
            self.newest_id = run.id

    @staticmethod
    def _check_id(run_id: int, asked: int) -> None:
        if run_id != asked:
            raise ForeignAnswerError(f"the answer is about run {run_id}, not {asked}")


def _try(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        return None
