"""Whose turn it is: members in line, a slot a turn, interactive callers first but not for ever. Pure.

Members take turns in rounds: each has the number of the round in which he is next, and it is raised only when he really
was granted a slot. Who takes two slots at once has had the turn of the next round too.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heapreplace

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
        number, name, wanted = line[0]
        if wanted > 1:
            heapreplace(line, (number + 1, name, wanted - 1))
        else:
            heappop(line)
        return name, priority


def passed_after(passed: int, priority: Priority, *, background_waits: bool) -> int:
    """Return how many interactive turns background callers have seen after a turn of this priority."""
    return passed + 1 if background_waits and priority is Priority.INTERACTIVE else 0


def _line(members: Mapping[str, Entry], priority: Priority) -> list[tuple[int, str, int]]:
    line = [
        (entry.rounds[priority], name, entry.wanted[priority])
        for name, entry in members.items()
        if entry.wanted[priority] > 0
    ]
    heapify(line)
    return line
