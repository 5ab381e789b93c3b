"""Where a batch has to stop creating by itself: what it may cost, and how much may fail."""

from __future__ import annotations

from typing import Self

import msgspec

from codegen_async.arguments import LARGEST_ID, check_int


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the bounds of one run of a batch; see `Batch.run`."""

    max_attempts: int
    max_runs: int | None
    max_failures: int | None

    @classmethod
    def checked(cls, *, max_attempts: int, max_runs: int | None, max_failures: int | None) -> Self:
        """Return bounds that can be right.

        Raises:
            InvalidArgumentError: one of them is no number from 1.
        """
        return cls(
            max_attempts=check_int("max_attempts", max_attempts, 1, LARGEST_ID),
            max_runs=check_most("max_runs", max_runs),
            max_failures=check_most("max_failures", max_failures),
        )


def check_most(name: str, value: int | None) -> int | None:
    """Return a number from 1, or None for no bound.

    Raises:
        InvalidArgumentError: it is neither.
    """
    return None if value is None else check_int(name, value, 1, LARGEST_ID)


class Spending:
    """Know whether a batch may create another run.

    Attributes:
        runs: how many it has or may have, over all its lives.
        failures: how many in a row came to nothing, in this life.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.runs = 0
        self.failures: int = 0

    def note_end(self, *, well: bool) -> None:
        """Note that a run has ended, or that the server refused to create one."""
        self.failures = 0 if well else self.failures + 1

    def objection(self) -> str | None:
        """Return why no more may be created; None if more may."""
        most = self._bounds.max_runs
        if most is not None and self.runs >= most:
            return f"it has made {self.runs} runs, as many as max_runs ({most}) allows; run it again with a larger one"
        worst = self._bounds.max_failures
        if worst is not None and self.failures >= worst:
            return f"{self.failures} in a row failed, as many as max_failures allows; look at them, then run it again"
        return None
