"""Which runs were taken up again, by whomever: what is told of an end must be of those who know it. Pure: no clock."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Generic, NamedTuple, TypeVar

from codegen_async.models import RunId, RunLike
from codegen_async.recent import Recent

R = TypeVar("R", bound=RunLike)

_REPEAT = 60.0  # seconds for which a resume is said again
_WHOLE = 3.0  # seconds for which this is done with the end before it
_FORGOTTEN = 600.0  # seconds after which it is of no matter: no read shows what was before
_REMEMBERED = 10_000  # runs that were taken up again


class Resume(NamedTuple, Generic[R]):
    """A resume that is to be said: of which run, by which mark, since when, and the end before it, if that is known."""

    run_id: RunId
    mark: str
    at: float
    before: R | None


class Resumes(Generic[R]):
    """Remember the resumes of runs, each by a mark that tells it from all others."""

    def __init__(self) -> None:
        self._marks: Recent[RunId, dict[str, float]] = Recent(_REMEMBERED)
        self._said: dict[str, tuple[Resume[R], float]] = {}  # until when each is said

    def __contains__(self, mark: tuple[RunId, str]) -> bool:
        """Whether a resume is known."""
        return mark[1] in self._marks.get(mark[0], {})

    def add(self, run_id: RunId, before: R | None, now: float) -> None:
        """Take in a resume of a member's own, which others must hear of."""
        mark = secrets.token_hex(4)
        self.note(run_id, mark, now)
        self._said[mark] = Resume(run_id, mark, now, before), now + _REPEAT

    def note(self, run_id: RunId, mark: str, at: float) -> None:
        """Take in a resume that others have told."""
        self._marks[run_id] = {**self._marks.get(run_id, {}), mark: at}

    def known(self, run_id: RunId, now: float) -> dict[str, float]:
        """Return the marks of the resumes of a run that matter still, and when they were."""
        return {mark: at for mark, at in self._marks.get(run_id, {}).items() if now - at < _FORGOTTEN}

    def lacking(self, run_id: RunId, marks: Collection[str], now: float) -> bool:
        """Return whether some are missing among those marks; they are said again then."""
        missing = {mark: at for mark, at in self.known(run_id, now).items() if mark not in marks}
        for mark, at in missing.items():
            self._said.setdefault(mark, (Resume(run_id, mark, at, None), now + 1.0))
        return bool(missing)

    def to_say(self, now: float) -> list[Resume[R]]:
        """Return what others must hear of."""
        self._said = {mark: said for mark, said in self._said.items() if now < said[1]}
        return [each if now - each.at < _WHOLE else each._replace(before=None) for each, _ in self._said.values()]
