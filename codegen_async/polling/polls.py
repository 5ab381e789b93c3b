"""What a poll asks, and what an answer tells."""

from __future__ import annotations

import enum

import msgspec

from codegen_async.models import RunId


class Stream(enum.Enum):
    """Name an endpoint that reveals runs; each has a budget of its own."""

    GET = "get"
    LIST = "list"


class GetPoll(msgspec.Struct, frozen=True):
    """Ask for one run."""

    run_id: RunId


class ListPoll(msgspec.Struct, frozen=True):
    """Ask for a page of the list, newest first; `source` is the filter, None for all runs."""

    skip: int
    limit: int
    source: str | None


class ManyPoll(msgspec.Struct, frozen=True):
    """Ask for runs by their ids."""

    run_ids: tuple[RunId, ...]


class CursorPoll(msgspec.Struct, frozen=True):
    """Ask for the page at a place that another page has told; None: the first."""

    place: str | None


class ChangedPoll(msgspec.Struct, frozen=True):
    """Ask what has changed since the last walk to the end, or for the next page of a walk."""

    place: str | None


PagePoll = ListPoll | ManyPoll | CursorPoll | ChangedPoll
"""A look that shows more than one run."""

Poll = GetPoll | PagePoll


class Sighting(msgspec.Struct, frozen=True):
    """What an answer tells of one run, as far as polling cares.

    `order` grows with creation (an integer id, else the time of creation) and is None where nothing does; `created`
    is in epoch seconds of the server's clock. A `doubtful` one tells what only a get can confirm; a `partial` one where
    the run stands in the list, and not how it is. `phase` is how it is; what two answers tell is compared.
    """

    run_id: RunId
    order: float | None = None
    created: float | None = None
    source: str | None = None
    phase: str | None = None
    doubtful: bool = False
    partial: bool = False


class Tail(msgspec.Struct, frozen=True):
    """Say what a page tells besides its runs: how many there are in all, and where the next page is."""

    total: int | None = None
    following: str | None = None


NOTHING = Tail()
