"""What stands on a board, and how it is written. Pure.

One board belongs to one limit. Its times are the store's clock. A member writes its own entry, wholly and from its own
knowledge, each time it calls; of others' entries it only takes away what has grown too old. So what was lost of a
member's writes is repaired by its next call.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from codegen_async.limits.rates import Rate, Source
from codegen_async.limits.steps import SLOWEST

FORM = 1
"""The version of the form; a board of a newer one is not touched."""

RANKS: dict[Source, int] = {"assumed": 0, "learned": 1, "stated": 2}
"""What is known better counts, where members know different limits."""


Time = Annotated[float, Meta(ge=-1e11, le=1e11)]
"""Seconds, and a number: what is none, or beyond all clocks, was not written by a member."""

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]

_Pair = Annotated[list[Count], Meta(min_length=2, max_length=2)]
_Rounds = Annotated[list[int], Meta(min_length=2, max_length=2)]


class NewerBoardError(Exception):
    """Say that a board was written by a newer version of this package, whose rules are not known here."""


class Entry(msgspec.Struct, array_like=True):
    """Be what one member has and wants.

    Attributes:
        seen: when it called last.
        due: when it will call again.
        limit: requests that it may send in a period, as far as it knows.
        period: seconds of that period.
        burst: how many of them at once.
        rank: how it knows; see `RANKS`.
        lag: seconds that it may have been wrong by in what it took for the present.
        away: for each slot whose request is under way, or may yet be sent: when it can no longer matter.
        cooling: for each slot whose request is over: when it comes back.
        rounds: in which of the line it is next, by priority; see `turns`.
        wanted: how many slots it waits for, by priority.
        kept: slots that it keeps for good, so as to go on while the store is away.
        kept_until: when requests on those can no longer matter.
        calls: how often it has called: a lower number than it knows of stands on an older board.
    """

    seen: Time
    due: Time
    limit: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    period: Annotated[float, Meta(ge=1e-9, le=1e9)]
    burst: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    rank: Annotated[int, Meta(ge=0, le=2)]
    lag: Time = 0.0
    away: list[Time] = []
    cooling: list[Time] = []
    rounds: _Rounds = msgspec.field(default_factory=lambda: [0, 0])
    wanted: _Pair = msgspec.field(default_factory=lambda: [0, 0])
    kept: Count = 0
    kept_until: Time = 0.0
    calls: Annotated[int, Meta(ge=0)] = 0

    @property
    def used(self) -> int:
        """Slots that nobody else may have."""
        return len(self.away) + len(self.cooling) + self.kept


class Pace(msgspec.Struct, array_like=True):
    """Be what 429s have taught all members; what the fields mean stands in `limits.pacer`.

    Attributes:
        step: 0: bursts are allowed; 1: paced; 2, 3, ...: the pace halved again and again.
        since: when the last step was taken.
        next: when the next token is there, were the bucket empty now.
        relapses: how often bursts had to be given up.
        rejections: 429s so far.
    """

    step: Annotated[int, Meta(ge=0, le=SLOWEST)] = 0
    since: Time = 0.0
    next: Time = 0.0
    relapses: Count = 0
    rejections: Count = 0


class Board(msgspec.Struct, array_like=True):
    """Be the record that the members of a fleet share for one limit.

    Attributes:
        form: see `FORM`; the first field in every version.
        epoch: the store's, when it was written.
        rounds: the last in which somebody was served, by priority.
        passed: interactive grants since background callers began to wait.
        free_since: since when there have been free slots that nobody took; 0: there are none.
        cold_until: until when nothing is granted, since writes may have been lost.
        held_from: when a server asked for silence.
        held_until: until when.
        pace: what 429s have taught.
        members: entries by names.
    """

    form: int = FORM
    epoch: str = ""
    rounds: _Rounds = msgspec.field(default_factory=lambda: [0, 0])
    passed: Count = 0
    free_since: Time = 0.0
    cold_until: Time = 0.0
    held_from: Time = 0.0
    held_until: Time = 0.0
    pace: Pace = msgspec.field(default_factory=Pace)
    members: dict[str, Entry] = {}

    @property
    def used(self) -> int:
        """Slots that are not free."""
        return sum(entry.used for entry in self.members.values())

    def rate(self) -> tuple[Rate, int]:
        """Return the limit that all keep to, and its rank.

        Of those that are known best, it is the smallest within the longest period: while a new version of a program is
        rolled out, its members may know different ones.
        """
        rank = max(entry.rank for entry in self.members.values())
        best = [entry for entry in self.members.values() if entry.rank == rank]
        limit = min(entry.limit for entry in best)
        burst = min(limit, *(entry.burst for entry in best))
        return Rate(limit, max(entry.period for entry in best), burst), rank


class _Head(msgspec.Struct, array_like=True):
    form: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Board)
_heads = msgspec.msgpack.Decoder(_Head)


def write(board: Board) -> bytes:
    """Return a board as it is stored."""
    return _encoder.encode(board)


def read(value: bytes) -> Board | None:
    """Return a board as it was stored; None if it cannot be read, which is as bad as if it were lost.

    Raises:
        NewerBoardError: it has a newer form.
    """
    try:
        if _heads.decode(value).form > FORM:
            raise NewerBoardError
        return _decoder.decode(value)
    except (msgspec.DecodeError, ValueError):
        return None
