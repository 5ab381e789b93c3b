"""Tell where a walk through pages comes to no end. Knows no API."""

from __future__ import annotations

from codegen_async.models import RunId

_MOST_BARREN = 100  # pages in a row without anything new; filters may leave some empty


class Walk:
    """Follow one walk: a server may lead back to where it has been, or on and on with nothing new."""

    def __init__(self) -> None:
        self._places: set[str] = set()
        self._shown: set[RunId] = set()
        self._barren = 0

    def is_new(self, run_id: RunId) -> bool:
        """Note a run of the page; return whether no page has shown it before."""
        if run_id in self._shown:
            return False
        self._shown.add(run_id)
        self._barren = -1
        return True

    def leads_to(self, place: str) -> bool:
        """Note where the page leads to; return whether to go on there."""
        self._barren += 1
        if place in self._places or self._barren >= _MOST_BARREN:
            return False
        self._places.add(place)
        return True
