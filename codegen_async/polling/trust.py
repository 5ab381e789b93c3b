"""How far the list is believed. What it tells of runs is checked by gets, one run after another.

A list may be a copy that is late or stands still, lack what matters, or say another word than a get; none of it shows
on its pages. So a get now and then checks the run for which none was sent for longest. If a get brings another phase
than the list has told, the list is accused, and the run is the witness: ten seconds later a page is for it. If that
tells what the get has told, it was a matter of moments. Else the list tells what is long over: it is not believed until
it tells the same as the get, and a sentence is served, twice as long each time. Gets do its work meanwhile, and from
time to time a page for the witness shows how the list does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import msgspec

from codegen_async.models import RunId
from codegen_async.polling.polls import Sighting
from codegen_async.polling.windows import Watch

PART = 12
"""Pages for one check: at a latency of 5 s, a page in 5 s and a check in a minute."""

SPARED = 20.0
"""Seconds between checks that take turns from pages, where both spend the same limit."""

LAG = 10.0
"""Seconds by which a list may be later than a get."""

FRESH = 60.0
"""Seconds after a get in which its run needs no check."""

UNSEEN = 300.0
"""Seconds after a get from which on a check is worth more than one more look at a run that pages show."""

_SENTENCE = 60.0  # seconds; the first
_SLACK = 64  # places that are not worth sweeping out
_LONGEST = 3600.0  # also how long it takes until former sentences are forgotten
_ABSENCES = 3  # pages without the witness, until it is dismissed


class Witness(msgspec.Struct):
    """A run of which a get has told something else than the list.

    Attributes:
        run_id: the run.
        rank: where it stands in the list.
        phase: how it is, by the get.
        since: when the list must tell the same.
        absences: pages that should have shown it and did not.
    """

    run_id: RunId
    rank: int
    phase: str
    since: float
    absences: int = 0


class Trust:
    """Decide which run a get should check, and whether the list is believed.

    Args:
        apart: seconds between checks that must pass, however many pages are read.
    """

    def __init__(self, apart: float = 0.0) -> None:
        self._apart = apart
        self.witness: Witness | None = None
        self.checking: bool = False
        """Whether the last get was a check."""
        self._longest: deque[Watch] = (
            deque()
        )  # as gets were sent for them; the last place of a run is the one that counts
        self._most = _SLACK  # places, from which on those that do not count are swept out
        self._pages = 0  # since the last check
        self._checked = -math.inf  # when that was
        self._until = -math.inf  # the end of the last sentence
        self._sentence = _SENTENCE
        self._convicted = False

    @property
    def holds(self) -> bool:
        """Whether what a page tells of runs is believed."""
        return not self._convicted

    # Checks

    def enter(self, run: Watch) -> None:
        """Take in a run."""
        self._append(run)

    def leave(self, run: Watch) -> None:
        """Forget a run."""
        run.places = 0

    def candidate(self, now: float, fresh: float = FRESH) -> Watch | None:
        """Return the run for which no get was sent for longest, or None if one was sent for each but now."""
        run = self._head() if self.holds else None
        return run if run and now - run.confirmed >= fresh else None

    def is_due(self, now: float) -> bool:
        """Whether the pages since the last check call for one."""
        return self._pages >= PART and now - self._checked >= self._apart and self.candidate(now) is not None

    def asked(self, run: Watch, now: float) -> None:
        """Note that a get is sent."""
        self.checking = run is self.candidate(now)
        if self.checking:
            self._pages, self._checked = 0, now
        run.confirmed = now
        self._append(run)

    def _append(self, run: Watch) -> None:
        run.places += 1
        self._longest.append(run)
        if len(self._longest) > self._most:
            last = dict.fromkeys(each for each in reversed(self._longest) if each.places)
            self._longest = deque(reversed(last))
            for each in last:
                each.places = 1
            self._most = 2 * len(last) + _SLACK

    def _head(self) -> Watch | None:
        while self._longest:
            run = self._longest[0]
            if run.places == 1:
                return run
            self._longest.popleft()
            run.places -= run.places > 0
        return None

    # Evidence

    def confirm(self, run: Watch, phase: str | None, now: float) -> None:
        """Compare what a get has told of a run with what the list has told since the get before."""
        said, run.told = run.told, None
        if said is None or phase is None or said == phase or run.rank is None:
            return
        if self.witness is None:
            self.witness = Witness(run.run_id, run.rank, phase, now + LAG)

    def hear(self, page: Iterable[Sighting], asked: float, now: float) -> None:
        """Take in a page that was asked for at that time."""
        self._pages += 1
        witness = self.witness
        if witness is None or asked < witness.since:
            return
        phase = next((row.phase for row in page if row.run_id == witness.run_id), None)
        if phase is None:
            witness.absences += 1
        elif phase != witness.phase and not self._convicted:
            self._convict(now)
        if now >= self._until and (phase == witness.phase or witness.absences >= _ABSENCES):
            self._acquit(now)

    def _convict(self, now: float) -> None:
        if now - self._until > _LONGEST:
            self._sentence = _SENTENCE
        self._convicted = True
        self._until = now + self._sentence
        self._sentence = min(2 * self._sentence, _LONGEST)

    def _acquit(self, now: float) -> None:
        if self._convicted:
            self._until = now  # it may have taken longer than the sentence
        self.witness, self._convicted = None, False
