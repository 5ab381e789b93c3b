"""What a limit is, what holding a slot means, and what there is to see of a limiter."""

from __future__ import annotations

import enum
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

from codegen_async.cleaning import shown
from codegen_async.limits.budget import Budget
from codegen_async.numeric import is_number, is_whole

_MOST = 10**9  # beyond it, and below its inverse, sums of times no longer tell them apart


class Rate(msgspec.Struct, frozen=True):
    """Say how many requests a server takes in how much time.

    Attributes:
        limit: requests, 1 to a billion.
        period: seconds, a billionth to a billion.
        burst: how many of them may follow one another at once, 1 to `limit`; the rest is spread evenly by a token
            bucket. Default: all, since a server that counts requests does not mind.
    """

    limit: int
    period: float
    burst: int | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.limit) or not 1 <= self.limit <= _MOST:  # counted down to none: no fraction gets there
            raise ValueError(f"limit: expected a whole number of requests, 1..{_MOST}, got {shown(self.limit)}")
        if not is_number(self.period) or not 1 / _MOST <= self.period <= _MOST:
            raise ValueError(f"period: expected seconds, {1 / _MOST:g}..{_MOST}, got {shown(self.period)}")
        if self.burst is not None and (not is_whole(self.burst) or not 1 <= self.burst <= self.limit):
            raise ValueError(f"burst: expected 1..{self.limit} requests, got {shown(self.burst)}")

    def sped_up(self, speed: float) -> Rate:
        """Return it as it is for a server whose clock runs so many times faster."""
        return Rate(self.limit, self.period / speed, self.burst)

    def part(self, processes: int) -> Rate:
        """Return the part of one of so many processes: what all of them send is no more than the whole.

        Raises:
            ValueError: it is too small to be divided so.
        """
        smallest = self.limit if self.burst is None else self.burst
        if smallest < processes:
            raise ValueError(f"{smallest} requests cannot be divided among {processes}")
        return Rate(self.limit // processes, self.period, None if self.burst is None else self.burst // processes)


ASSUMED = Rate(60, 60.0)
"""What is held where a server states no rate, until its headers tell of one: the lowest limit on reads that any API of
this kind states, and the second that some ask for between two writes."""

Source = Literal["stated", "learned", "assumed"]
"""How a limit is known: from the server's maker (or the user), from headers of answers, or not at all."""


class Priority(enum.IntEnum):
    """Order who is served first: a call somebody waits for, before polls."""

    INTERACTIVE = 0
    BACKGROUND = 1


PATIENCE = 4
"""Interactive requests that may pass a waiting background request before it gets its turn."""


class WindowState(msgspec.Struct, frozen=True):
    """Show how much of one rate is used.

    Attributes:
        rate: the rate.
        available: slots that are free.
        in_flight: requests whose answer has not been seen.
        cooling: slots that wait for their period to pass.
        pace: requests per second while evenly paced, None while bursts are allowed.
    """

    rate: Rate
    available: int
    in_flight: int
    cooling: int
    pace: float | None


class MemberState(msgspec.Struct, frozen=True):
    """Show what a member of a fleet has of a limit.

    Attributes:
        name: drawn at random when it was opened.
        slots: that it uses, or that cool after its requests.
        waiting: callers that wait for one.
        kept: slots that it keeps for times when the store is away.
        is_own: whether it is this one.
    """

    name: str
    slots: int
    waiting: int
    kept: int
    is_own: bool


class FleetState(msgspec.Struct, frozen=True):
    """Show with whom a limit is shared.

    Attributes:
        members: who has used it lately, as was last read.
        leader: who looks for all; None if nobody does, as far as is known.
        away_for: seconds for which the store has not answered; 0.0 if it does.
        cold_for: seconds for which nothing is sent, since the store may have lost what was sent before; else 0.0.
    """

    members: tuple[MemberState, ...]
    leader: str | None
    away_for: float
    cold_for: float


class LimiterState(msgspec.Struct, frozen=True):
    """Show what a limiter is doing now.

    Attributes:
        rate: the server's limit; of several, the one that has least left at this moment, as for the next three.
        available: requests that could be sent at this moment.
        in_flight: requests whose answer has not been seen.
        cooling: slots that wait for their period to pass.
        queue_length: callers that wait for a slot.
        held_for: seconds for which a 429 keeps the gate closed; 0.0 if it is open.
        pace: requests per second while evenly paced after a 429 (or for `burst`), None while bursts are allowed.
        rejections: 429s seen so far.
        wait: seconds until one more caller would get a slot, as far as can be known: a request under way is taken to be
            answered now. 0.0 if at once.
        source: how the limit is known: `stated`, `learned` from the headers of answers, or `assumed`. Only a stated
            limit is never exceeded.
        windows: all rates that hold at once.
        budget: what the server's headers still leave, and for how long; None if they say nothing.
        fleet: with whom it is shared; None if the process is alone.
    """

    rate: Rate
    available: int
    in_flight: int
    cooling: int
    queue_length: int
    held_for: float
    pace: float | None
    rejections: int
    wait: float = 0.0
    source: Source = "stated"
    windows: tuple[WindowState, ...] = ()
    budget: Budget | None = None
    fleet: FleetState | None = None


class StaleSlotError(Exception):
    """Say that a slot was taken too long ago to be used now: the process was stopped, or its machine slept.

    Not one of the package's errors, as no caller sees it: another slot is taken.
    """


class Slot(Protocol):
    """Be the permission to send one request, from `async with limiter.slot()`."""

    @property
    def waited(self) -> float:
        """Seconds for which it was waited for."""
        ...

    @property
    def taken_at(self) -> float | None:
        """When it was taken, in loop time; None if it was not yet."""
        ...

    async def __aenter__(self) -> Self:
        """Wait for the permission."""
        ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the slot."""
        ...

    def close(self) -> None:
        """Give the slot back, if that is not done yet: at once if nothing was sent, else when it has cooled."""
        ...

    def sent(self) -> None:
        """Note that from now on bytes of the request may reach the server. To be called just before they are written.

        Raises:
            StaleSlotError: it was taken too long ago; send nothing, give it back and take another.
        """
        ...

    def answered(self) -> None:
        """Note that an answer came: the server has counted the request, the slot starts to cool."""
        ...

    def heard(self, budget: Budget) -> None:
        """Note what the headers of the answer say of the budget: no more is sent than they leave, stated or not."""
        ...

    def rejected(self, retry_after: float | None) -> bool:
        """Note that the answer was a 429: stop everybody for `retry_after` seconds (None: one period).

        Where that was too short, the next silence is longer, up to a whole period. Return whether the caller is
        excused: the silence kept before was too short, so that the refusal is no fault of the request.
        """
        ...
