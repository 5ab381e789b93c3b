"""Whose turn it is: members in line, a slot a turn, interactive callers first but not for ever. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from codegen_async.fleet.records import Entry
from codegen_async.limits.rates import PATIENCE, Priority


class Turns:
    """Go through the line: each turn is one slot, then its member goes to the end.

    Args:
        members: who may stand in line.
        passed: interactive turns since background callers began to wait.
    """

    def __init__(self, members: Mapping[str, Entry], passed: int) -> None:
        self._lines = tuple(_line(members, priority) for priority in Priority)
        self._passed = passed

    def next(self) -> tuple[str, Priority] | None:
        """Return whose turn is next, and for whom of his callers; None if nobody waits."""
        interactive, background = self._lines
        priority = Priority.INTERACTIVE if interactive else Priority.BACKGROUND
        if interactive and background and self._passed >= PATIENCE:
            priority = Priority.BACKGROUND
        line = self._lines[priority]
        if not line:
            return None
        self._passed = passed_after(self._passed, priority, background_waits=bool(background))
        name, wanted = line.popleft()
        if wanted > 1:
            line.append((name, wanted - 1))
        return name, priority


def passed_after(passed: int, priority: Priority, *, background_waits: bool) -> int:
    """Return how many interactive turns background callers have seen after a turn of this priority."""
    return passed + 1 if background_waits and priority is Priority.INTERACTIVE else 0


def _line(members: Mapping[str, Entry], priority: Priority) -> deque[tuple[str, int]]:
    waiting = [
        (entry.tickets[priority], name, entry.wanted[priority])
        for name, entry in members.items()
        if entry.wanted[priority] > 0
    ]
    return deque((name, wanted) for _, name, wanted in sorted(waiting))
