"""What must last before it counts: a run that cannot be had, polls that fail. Pure: no clock, no I/O."""

from __future__ import annotations

import math

import msgspec

from codegen_async.errors import (
    REFUSALS,
    APIError,
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
)

NOTICE = 30.0
"""Seconds of trouble until it is told: so long a server may take to start anew."""

REPEAT = 600.0
"""Seconds until trouble that goes on is told again."""

REFUSED = 5.0
"""Seconds from which on a refusal stands: longer than a hiccup of who looks at tokens; a revoked one is told soon."""


class Grace(msgspec.Struct, frozen=True):
    """Say how long the server must deny a run until it is believed. A setting of the dialect.

    Attributes:
        seen: seconds for a run that was seen or made by this client. Default 60: half-started services deny what there
            is, and reads may lag behind creates.
        unseen: seconds for an id that was never seen. Default 5.
        refused: seconds for a run that the token may not see. Default 5. What is said of the token (401) and not of the
            run (403) takes as long as `seen`: it is for all runs to show.
        looks: denials it takes at least. Default 3.
    """

    seen: float = 60.0
    unseen: float = 5.0
    refused: float = REFUSED
    looks: int = 3

    def seconds(self, error: APIError, *, known: bool, passing: bool = False) -> float:
        """Return the seconds for a denial.

        Args:
            error: what it says.
            known: whether the run was seen, or made, by this client.
            passing: whether refusals have passed lately, so that one says little.
        """
        if isinstance(error, REFUSALS):
            return self.seen if passing or isinstance(error, AuthenticationError) else self.refused
        return self.unseen if isinstance(error, NotFoundError) and not known else self.seen


class OddWord:
    """Tell when it should be told that a run sits in a status word nobody knows: at first, and hourly."""

    HOUR = 3600.0

    __slots__ = ("_told", "word")

    def __init__(self, word: str) -> None:
        self.word: str = word
        self._told = -math.inf

    def tell(self, now: float) -> bool:
        """Return whether it should be told now, and note that it is."""
        if now - self._told < self.HOUR:
            return False
        self._told = now
        return True


class Ration:
    """Allow so much in an hour, as nobody reads a thousand lines that say the same."""

    MOST = 20

    def __init__(self) -> None:
        self._since = -math.inf
        self.spent: int = 0

    def take(self, now: float) -> bool:
        """Return whether one more is allowed."""
        if now - self._since >= OddWord.HOUR:
            self._since, self.spent = now, 0
        self.spent += 1
        return self.spent <= self.MOST


class Standing:
    """Tell for how long the same has been said, look after look; time around another answer does not count."""

    __slots__ = ("_last", "looks", "since", "stood")

    def __init__(self) -> None:
        self.looks: int = 0
        self.stood: float = 0.0
        self.since: float = math.inf
        self._last: float | None = None

    def again(self, now: float) -> bool:
        """Note that it was said once more; return whether something else was said before."""
        began = self._last is None
        self.stood += 0.0 if self._last is None else now - self._last
        self._last = now
        self.since = min(self.since, now)
        self.looks += 1
        return began

    def interrupt(self) -> None:
        """Note that a look told nothing."""
        self._last = None

    def lasts(self, seconds: float, looks: int) -> bool:
        """Whether it was said for so long, and so often."""
        return self.stood >= seconds and self.looks >= looks


class Trouble:
    """Tell since when looks have brought nothing good, why, and when that should be told."""

    __slots__ = ("_told", "error", "since")

    def __init__(self) -> None:
        self.since: float | None = None
        self.error: APIError | None = None
        self._told = -math.inf

    def begin(self, now: float) -> None:
        """Note a look that has no answer yet."""
        if self.since is None:
            self.since = now

    def failed(self, error: APIError, now: float) -> None:
        """Note a look that has failed."""
        self.begin(now)
        self.error = error

    def end(self) -> bool:
        """Note a good answer; return whether the trouble was told of."""
        told = self._told > -math.inf
        self.since, self.error, self._told = None, None, -math.inf
        return told

    @property
    def due(self) -> float:
        """When it should be told, if it goes on; infinite while there is none."""
        return math.inf if self.since is None else max(self.since + NOTICE, self._told + REPEAT)

    def tell(self, now: float) -> bool:
        """Return whether it should be told now, and note that it is."""
        if now < self.due:
            return False
        self._told = now
        return True

    @property
    def reason(self) -> str:
        """What the last look brought."""
        return "no answer" if self.error is None else str(self.error)


def is_about_the_run(error: APIError) -> bool:
    """Whether a failed look at a run says that this one cannot be had, rather than anything about the server."""
    return isinstance(error, (NotFoundError, InvalidRequestError, DecodeError, *REFUSALS))
