"""Keep to what a server's headers leave: so many requests, and no more before a moment."""

from __future__ import annotations

import copy
import math

from codegen_async.limits.budget import Budget


class Allowance:
    """Hold the server's last word on its budget; without one, or when its time is over, nothing is held back."""

    def __init__(self) -> None:
        self.left: int = 0
        """Requests that may still be sent before `until`; below 0 if more are under way than that."""
        self.until: float = -math.inf
        self._asked_at = -math.inf

    def narrow(self, budget: Budget, unseen: int, asked_at: float, now: float) -> None:
        """Take note of a budget.

        Args:
            budget: what an answer said.
            unseen: requests which the server may not have counted when it said so.
            asked_at: when that answer's request was about to be sent; an older word does not replace a younger one.
            now: the time.
        """
        if now < self.until and asked_at < self._asked_at:
            return
        self.left, self.until, self._asked_at = budget.remaining - unseen, now + budget.reset, asked_at

    def ready_at(self, now: float, ahead: int = 0) -> float:
        """Return when one more request may be sent, after so many others."""
        return now if now >= self.until or self.left > ahead else self.until

    def moved(self, lag: float) -> Allowance:
        """Return a copy for a clock that shows `lag` more."""
        new = copy.copy(self)
        new.until += lag
        new._asked_at += lag  # noqa: SLF001 - its own
        return new
