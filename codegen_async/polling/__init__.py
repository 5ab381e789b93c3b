"""Decide what to ask next, and when, for all waits of a client. Pure: no clock, no I/O.

schedule            which request is next: the only one the rest of the package talks to
agenda              when a run's turn comes
look                what any look shows besides a get. It is one of:
listing             pages of a list, newest first, from any position
numbered            numbered pages of a list that promises nothing
cursors             pages that tell where the next one is
many  changes       many runs by their ids; what has changed
trust               whether the list is believed, and which run a get should check
queues              the stalest run of each kind
windows  pacing     where on the list most is to be gained; how fast each endpoint is asked
ranks  polls        where on the list a run stands; what is asked and answered
"""

from codegen_async.polling.changes import ChangedSince
from codegen_async.polling.cursors import CursorListing
from codegen_async.polling.listing import Listing
from codegen_async.polling.look import Look
from codegen_async.polling.many import ManyById
from codegen_async.polling.numbered import NumberedListing
from codegen_async.polling.polls import (
    ChangedPoll,
    CursorPoll,
    GetPoll,
    ListPoll,
    ManyPoll,
    PagePoll,
    Poll,
    Sighting,
    Stream,
    Tail,
)
from codegen_async.polling.schedule import PollSchedule

__all__ = [
    "ChangedPoll",
    "ChangedSince",
    "CursorListing",
    "CursorPoll",
    "GetPoll",
    "ListPoll",
    "Listing",
    "Look",
    "ManyById",
    "ManyPoll",
    "NumberedListing",
    "PagePoll",
    "Poll",
    "PollSchedule",
    "Sighting",
    "Stream",
    "Tail",
]
