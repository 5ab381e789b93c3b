"""Who else hears what happens here: others that wait for runs of the same server, somewhere else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, NamedTuple, Protocol, TypeVar

from codegen_async.models import Phase, RunId, RunLike

R = TypeVar("R", bound=RunLike)
R_contra = TypeVar("R_contra", bound=RunLike, contravariant=True)


class Wish(NamedTuple):
    """Say what those who wait here want of a run.

    Attributes:
        latency: seconds within which they want a look.
        seen: seconds since what they know was asked for; None if they never saw it.
        phase: where the run stands, as far as they were told.
    """

    latency: float
    seen: float | None
    phase: Phase | None


class Others(Protocol[R_contra]):
    """Hear what happens here."""

    def wished(self, run_id: RunId) -> None:
        """Hear that somebody here wants another thing of a run than before, or nothing any more."""
        ...

    def looked(self, run_ids: Collection[RunId], asked: float) -> None:
        """Hear which runs an answer showed that was asked for at that time, news or not."""
        ...

    def told(self, run: R_contra) -> None:
        """Hear what is believed of a run."""
        ...

    def refused(self, run_id: RunId) -> None:
        """Hear that a look said that this run cannot be had."""
        ...

    def reopened(self, run_id: RunId, before: R_contra | None) -> None:
        """Hear that a run was taken up again here; `before`: the end it had, as far as that is known."""
        ...

    def notified(self, run_id: RunId, *, asks: bool) -> None:
        """Hear that something is known to have happened to a run; `asks`: it is looked at from here."""
        ...

    def gave_up(self) -> None:
        """Hear that all waits here have ended by one error."""
        ...


class Nobody(Generic[R]):
    """Be nobody: there are no others."""

    def wished(self, run_id: RunId) -> None:
        """Do nothing."""

    def looked(self, run_ids: Collection[RunId], asked: float) -> None:
        """Do nothing."""

    def told(self, run: R) -> None:
        """Do nothing."""

    def refused(self, run_id: RunId) -> None:
        """Do nothing."""

    def reopened(self, run_id: RunId, before: R | None) -> None:
        """Do nothing."""

    def notified(self, run_id: RunId, *, asks: bool) -> None:
        """Do nothing."""

    def gave_up(self) -> None:
        """Do nothing."""
