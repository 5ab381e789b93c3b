"""Keep to a cap on runs at once: each run that goes on has a place. Knows no API."""

from __future__ import annotations

from codegen_async.limits import Concurrency, Permit
from codegen_async.models import RunId


class Places:
    """Keep the places of runs that go on, each until its run is seen to have ended.

    Args:
        concurrency: how many there are.
    """

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency = concurrency
        self._permits: dict[RunId, Permit] = {}

    async def take(self) -> Permit:
        """Wait until one more run may be started, and return its place."""
        return await self._concurrency.take()

    def keep(self, run_id: RunId, permit: Permit | None = None) -> None:
        """Keep the place of a run that goes on, and which from now on gives it back; the same run needs no second one.

        Args:
            run_id: the run.
            permit: its place. Default, also where it was given back: another one, whether there is room or not.
        """
        place = permit and permit.hand_over()
        if run_id not in self._permits:
            self._permits[run_id] = place or self._concurrency.adopt()
        elif place:
            place.release()

    def free(self, run_id: RunId) -> None:
        """Give the place of a run back, if it has one."""
        if permit := self._permits.pop(run_id, None):
            permit.release()
