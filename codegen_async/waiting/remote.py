"""What waiting asks of a dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from codegen_async.limits import Slot
from codegen_async.models import RunId, RunLike
from codegen_async.polling import Stream

R = TypeVar("R", bound=RunLike)


class Page(msgspec.Struct, Generic[R], frozen=True):
    """Hold what a list page shows.

    Attributes:
        items: the runs, newest first. One without a status word tells where it stands, and not how it is.
        total: how many runs the list has in all; None if the page's positions mean nothing.
        following: where the next page is, where pages tell.
        sure: whether the items are as complete as what a get shows. If not, nobody is told of an end or another change
            before a get has confirmed it.
        whole: reads the runs as snapshots for users, without those of which the page shows less than a get; called only
            where a run has news. Default: the items are such snapshots.
    """

    items: Sequence[RunLike]
    total: int | None
    sure: bool = True
    whole: Callable[[], Iterable[R]] | None = None
    following: str | None = None

    def read(self) -> Iterable[R]:
        """Return the snapshots for users."""
        return cast("Sequence[R]", self.items) if self.whole is None else self.whole()


class Remote(Protocol[R]):
    """Ask the server; what a dialect hands to `Waiting`. Each call uses the slot it is given and is tried once."""

    def slot(self, stream: Stream) -> Slot:
        """Return a slot for a poll of that stream."""
        ...

    async def get(self, run_id: RunId, slot: Slot) -> R:
        """Read one run."""
        ...

    async def page(self, poll: Any, slot: Slot) -> Page[R]:
        """Look at many runs; the poll is of the kind of the look that the schedule was made with."""
        ...
