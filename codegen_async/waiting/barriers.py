"""What stands between a client and all of its runs: a token that is refused, a login in the way. Pure: no clock."""

from __future__ import annotations

import math
from collections.abc import Container

from codegen_async.errors import REFUSALS, APIError, RedirectedError
from codegen_async.models import RunId
from codegen_async.waiting.lasting import REFUSED, Standing, is_about_the_run

_REDIRECTED = 10.0  # seconds, and
_LOOKS = 3  # answers, from which on nothing of this is a passing page about maintenance, or one run's fate
_FICKLE = 10.0  # seconds from which on a refusal of the token stands where refusals come and go
_LATELY = 600.0  # seconds for which it is remembered that refusals pass here


class Barriers:
    """Tell what is about all runs from what is about one: it lasts, and nothing is shown meanwhile.

    A refusal is that of the token if it was met at several runs, as far as there are several. Any other answer of the
    API's own shows that the token is good, whatever it says.

    Attributes:
        refusals: how many looks were refused.
    """

    def __init__(self) -> None:
        self._redirected = Standing()
        self._refused = Standing()
        self._refused_runs: set[RunId] = set()
        self._passed = -math.inf
        self.refusals: int = 0

    def __contains__(self, run_id: object) -> bool:
        """Whether that run was refused since anything was shown."""
        return run_id in self._refused_runs

    @property
    def refused(self) -> bool:
        """Whether looks were refused since anything was shown."""
        return self._refused.looks > 0

    def answered(self) -> None:
        """Note a good answer: nothing is in the way."""
        self._redirected, self._refused = Standing(), Standing()
        self._refused_runs.clear()

    def failed(self, error: APIError, run_id: RunId | None, watched: Container[RunId], count: int, now: float) -> bool:
        """Note a look that has failed; return whether it ends all waits.

        Args:
            error: what came of it.
            run_id: the run that was looked at, if it was a single one.
            watched: the runs that are waited for.
            count: how many these are.
            now: the time.
        """
        if isinstance(error, RedirectedError):
            self._refused.interrupt()
            self._redirected.again(now)
            return self._redirected.lasts(_REDIRECTED, _LOOKS)
        self._redirected.interrupt()
        if isinstance(error, REFUSALS):
            return self._refuses_all(run_id, watched, count, now)
        if is_about_the_run(error):
            self.answered()
        self._refused.interrupt()
        return False

    def _refuses_all(self, run_id: RunId | None, watched: Container[RunId], count: int, now: float) -> bool:
        self.refusals += 1
        self._refused.again(now)
        if run_id is not None:
            self._refused_runs.add(run_id)
        runs = sum(run_id in watched for run_id in self._refused_runs)
        seconds = _FICKLE if self.pass_lately(now) else REFUSED
        return self._refused.lasts(seconds, _LOOKS) and runs >= min(_LOOKS, count)

    def passed(self, now: float) -> None:
        """Note that a run which was refused is shown again."""
        self._passed = now

    def pass_lately(self, now: float) -> bool:
        """Whether refusals have passed lately: where they come and go, one says little about a run."""
        return now - self._passed < _LATELY
