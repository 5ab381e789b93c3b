"""Who wants what: each member knows the wishes of all, by numbered changes, although messages get lost. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from codegen_async.fleet.hello import Changes, Want
from codegen_async.models import RunId

_PIECE = 500  # wishes in one message: 10 to 25 KB
_SLACK = 1000  # runs that are not wanted any more, of which it is remembered; and as many as are wanted


class OwnWishes:
    """Number the changes of the own wishes, so that others can be told what they lack."""

    def __init__(self) -> None:
        self.number: int = 0
        """Of the last change."""
        self._base = 0
        self._changed: dict[RunId, int] = {}  # the number of each run's last change, in their order
        self._wanted: dict[RunId, float] = {}

    def change(self, run_id: RunId, latency: float | None) -> bool:
        """Take in how often a run is wanted, None if it is not; return whether that is new."""
        if self._wanted.get(run_id) == latency:
            return False
        if latency is None:
            del self._wanted[run_id]
        else:
            self._wanted[run_id] = latency
        self._count(run_id)
        if len(self._changed) > 2 * len(self._wanted) + _SLACK:
            self._sweep()
        return True

    def renew(self, run_ids: Iterable[RunId] | None = None) -> None:
        """Say again what is wanted, of all runs or of those: who knows it may have something to tell."""
        for run_id in [*self._wanted] if run_ids is None else run_ids:
            if run_id in self._wanted:
                self._count(run_id)

    def _count(self, run_id: RunId) -> None:
        self.number += 1
        self._changed.pop(run_id, None)
        self._changed[run_id] = self.number

    def _sweep(self) -> None:
        """Forget what is not wanted any more; others are told all that is, anew."""
        self._base = self.number
        self._changed.clear()
        self.renew()

    def since(self, number: int, want_of: Callable[[RunId], Want]) -> list[Changes]:
        """Return the changes after that number, in pieces, oldest first; `want_of` tells what is wanted now."""
        after, lacking = max(number, self._base), list[RunId]()
        for run_id in reversed(self._changed):
            if self._changed[run_id] <= after:
                break
            lacking.append(run_id)
        lacking.reverse()
        pieces: list[Changes] = []
        for begin in range(0, len(lacking), _PIECE):
            piece = lacking[begin : begin + _PIECE]
            upto = self._changed[piece[-1]]
            pieces.append(Changes(self._base, after, upto, [want_of(run_id) for run_id in piece]))
            after = upto
        return pieces


class TheirWishes:
    """Hold the wishes of another member, as far as they have come."""

    def __init__(self) -> None:
        self.number: int = 0
        """Of the last change that has come; all before it have come too."""
        self.wants: dict[RunId, Want] = {}
        self._base = 0

    def apply(self, changes: Changes) -> Sequence[RunId]:
        """Take in changes, unless some before them are missing; return the runs of which something is new."""
        gone: list[RunId] = []
        if changes.base > self._base:
            gone = [*self.wants]
            self.wants, self._base, self.number = {}, changes.base, max(self.number, changes.base)
        if changes.after > self.number or changes.upto <= self.number:
            return gone
        self.number = changes.upto
        for want in changes.wants:
            if want.latency is None:
                self.wants.pop(want.run_id, None)
            else:
                self.wants[want.run_id] = want
        return [*dict.fromkeys([*gone, *(want.run_id for want in changes.wants)])]
