"""Decide what to ask next, and when, for all waits of a client. Pure: no clock, no I/O.

schedule            which request is next: the only one the rest of the package talks to
agenda  listing     when a run's turn comes; what a page would show
numbered            the same of a list that promises nothing
trust               whether the list is believed, and which run a get should check
queues              the stalest run of each kind
windows  pacing     where on the list most is to be gained; how fast each endpoint is asked
ranks  polls        where on the list a run stands; what is asked and answered
"""

from codegen_async.polling.polls import GetPoll, ListPoll, Poll, Sighting, Stream
from codegen_async.polling.schedule import PollSchedule

__all__ = ["GetPoll", "ListPoll", "Poll", "PollSchedule", "Sighting", "Stream"]
