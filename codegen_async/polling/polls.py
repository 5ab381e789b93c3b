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


Poll = GetPoll | ListPoll


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
