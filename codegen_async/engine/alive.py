"""Judge who of several is dead by counters that stand still. Pure; trusts no clock but the caller's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class _Seen(NamedTuple):
    beat: int
    still: float  # seconds for which it has been seen to stand still


class Watch:
    """Watch counters that those who live move on.

    One is dead when its counter has stood still for a lease. Only time in which this process looked counts: between two
    looks that are far apart it may itself have stood still, and everybody else with it.

    Args:
        lease: seconds.
        every: seconds between two looks.
    """

    def __init__(self, lease: float, every: float) -> None:
        self._lease = lease
        self._every = every
        self._seen: dict[str, _Seen] = {}
        self._looked: float | None = None

    def dead(self, beats: Mapping[str, int], now: float) -> set[str]:
        """Return the names of those that are dead.

        Args:
            beats: the counters as they are now, by name.
            now: seconds, by a clock that never jumps back.
        """
        passed = 0.0 if self._looked is None else min(now - self._looked, 2 * self._every)
        self._looked = now
        before, self._seen = self._seen, {}
        for name, beat in beats.items():
            seen = before.get(name)
            moved = seen is None or seen.beat != beat
            self._seen[name] = _Seen(beat, 0.0 if seen is None or moved else seen.still + passed)
        return {name for name, seen in self._seen.items() if seen.still >= self._lease}
