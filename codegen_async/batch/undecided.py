"""Hold what was not found until a run that was created later shows whether it would be."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Undecided:
    """Know who waits for a run that was sent after some moment, as that proves what the list shows.

    Args:
        begun: returns how many creates have begun; see `Maker.begun`.
        changed: called whenever more or fewer wait.
    """

    def __init__(self, begun: Callable[[], int], changed: Callable[[], None]) -> None:
        self._begun = begun
        self._changed = changed
        self._waiting: dict[asyncio.Future[bool], int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def is_shown_since(self, moment: int) -> bool:
        """Wait for a run that was sent after this moment, so that the list can show it; False if none can come."""
        if self._begun() > moment:
            return True
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[told] = moment
        self._changed()
        try:
            return await told
        finally:
            del self._waiting[told]
            self._changed()

    def created(self) -> None:
        """Let go on who waited for the run that was just created."""
        self._tell(self._begun())

    def give_up(self) -> None:
        """Let all go on, as nothing is left that could show what they look for."""
        self._tell(math.inf)

    def _tell(self, begun: float) -> None:
        for told, moment in self._waiting.items():
            if begun > moment and not told.done():
                told.set_result(begun < math.inf)
