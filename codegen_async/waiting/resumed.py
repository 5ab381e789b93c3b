"""When the end that is shown of a run is its new one, after it was taken up again. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from codegen_async.models import RunLike

R = TypeVar("R", bound=RunLike)

OLD = 60.0
"""Seconds for which reads may show what was before a resume."""

FORGOTTEN = 600.0
"""Seconds after a resume from which on nothing that a read shows is from before it."""


class Resumed(Generic[R]):
    """Tell an old end of a run from a new one.

    An end is new if it differs from the one before; else it is believed when it was shown for a minute, or when the run
    was seen to move and a minute has passed since the resume. A block counts as an end.

    Args:
        at: when the run was taken up again.
        before: the end that it had, as far as that is known; else the first one that is shown counts as that.
        end_of: returns what tells ends of a run apart, None where nothing does.
    """

    __slots__ = ("_before", "_end_of", "_moved", "_since", "at")

    def __init__(self, at: float, before: R | None, end_of: Callable[[R], object | None]) -> None:
        self.at: float = at
        self._before = before
        self._end_of = end_of
        self._since: float | None = None  # since when an end like that is shown
        self._moved = False

    def saw(self, run: R, now: float) -> None:
        """Note what a read has shown."""
        if not run.phase.is_still:
            self._moved = True
            return
        self._before = self._before or run
        self._since = now if self._since is None else self._since

    def may_be_old(self, run: R, now: float) -> bool:
        """Whether a snapshot may be from before the resume."""
        if not run.phase.is_still or now - self.at >= FORGOTTEN or (self._moved and now - self.at >= OLD):
            return False
        if self._before is not None and self._differs(self._before, run):
            return False
        return self._since is None or now - self._since < OLD

    def _differs(self, before: R, run: R) -> bool:
        old, new = self._end_of(before), self._end_of(run)
        return before.phase is not run.phase or (old is not None and new is not None and old != new)
