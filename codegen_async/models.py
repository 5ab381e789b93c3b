"""What every layer may know of a run. No dialect, no I/O."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

T = TypeVar("T")

_log = logging.getLogger("codegen_async")

RunId = int | str
"""How a run is named: an integer at Codegen, a string at Middesk."""


class Phase(enum.StrEnum):
    """Say where a run stands, whatever word its server uses for it."""

    PENDING = "pending"
    RUNNING = "running"
    BLOCKED = "blocked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended. Only a resume can take it up again."""
        return self in _TERMINAL

    @property
    def is_still(self) -> bool:
        """Whether the run does not move by itself: it has ended, or waits for a person."""
        return self.is_terminal or self is Phase.BLOCKED


_TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})


class RunLike(Protocol):
    """What waiting needs to know of a run of any dialect."""

    @property
    def id(self) -> RunId:
        """The name of the run."""
        ...

    @property
    def status(self) -> str | None:
        """The server's word, as sent; None where it sent none."""
        ...

    @property
    def phase(self) -> Phase:
        """Where the run stands."""
        ...

    @property
    def web_url(self) -> str | None:
        """Where a person can look at the run, where the dialect tells."""
        ...

    @property
    def source_type(self) -> str | None:
        """What started the run, where the dialect tells."""
        ...

    @property
    def created_time(self) -> datetime | None:
        """When the run was created."""
        ...


class PhaseTable:
    """Map the status words of one dialect to phases.

    The words are an open set: one that nobody knows is no end of a run, so it reads as RUNNING and is reported
    once in the log.
    """

    _REPORT_AT_MOST = 100  # a server that invents words must not fill the memory

    def __init__(self, dialect: str, words: Mapping[str, Phase]) -> None:
        self._dialect = dialect
        self._words = dict(words)
        self._reported: set[str] = set()

    def phase(self, status: str | None) -> Phase:
        """Return the phase a status word stands for."""
        if status is None:
            return Phase.RUNNING
        known = self._words.get(status)
        return self._look_closer(status) if known is None else known

    def knows(self, status: str) -> bool:
        """Return whether a status word has a meaning."""
        return status in self._words or self._meaning(status.strip().upper()) is not None

    def _look_closer(self, status: str) -> Phase:
        word = status.strip().upper()
        known = self._meaning(word)
        if known is not None:
            return known
        if word not in self._reported and len(self._reported) < self._REPORT_AT_MOST:
            self._reported.add(word)
            _log.warning("%s: unknown run status %.100r, taken as running", self._dialect, status)
        return Phase.RUNNING

    def _meaning(self, word: str) -> Phase | None:
        """Return what a word stands for: of one of two parts (`RUNNING/IDLE`) the whole, else the first part."""
        return self._words.get(word) or self._words.get(word.partition("/")[0])


class Vocabulary:
    """Hold the words of a dialect with those that a user has taught one client.

    A taught word goes with the run: what `teach` has seen keeps its phase, wherever it is handed on to.

    Args:
        table: the words of the dialect.
        taught: phases by words, which count in upper and lower case alike.
    """

    def __init__(self, table: PhaseTable, taught: Mapping[str, Phase]) -> None:
        self._table = table
        self._taught = {word.strip().upper(): phase for word, phase in taught.items()}

    def phase(self, status: str | None) -> Phase:
        """Return the phase that a word stands for."""
        return self.meaning(status) or self._table.phase(status)

    def meaning(self, status: str | None) -> Phase | None:
        """Return the phase that a word was taught to stand for, if it was."""
        return self._taught.get(status.strip().upper()) if self._taught and status is not None else None

    def knows(self, status: str) -> bool:
        """Return whether a word has a meaning."""
        return self.meaning(status) is not None or self._table.knows(status)

    def teach(self, run: T) -> T:
        """Return the run itself, which knows from now on what its word stands for."""
        if self._taught and (phase := self.meaning(getattr(run, "status", None))) is not None:
            vars(run)["taught"] = phase
        return run


def parse_time(wire: str | None) -> datetime | None:
    """Read a point in time as the servers write it, or return None.

    Two forms are known: RFC 3339 (`2024-01-15T10:30:00Z`, the vendor's pages) and a naive one
    (`2025-06-21 11:20:04.338398`, live answers), which is taken as UTC.
    """
    if not wire:
        return None
    try:
        moment = datetime.fromisoformat(wire.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
