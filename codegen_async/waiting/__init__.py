"""Wait for remote runs. Knows no API.

waits       for callers and clients: all waits share what is below
driver      when polls are sent, and how many at once
board       who waits for which run, and what they are told
watched     what is known of a run somebody waits for
listeners   what hears of runs: one for each wait
ends        what was seen of runs, for those who need no newer look
lasting     what must last before it counts
barriers    what stands between a client and all of its runs
resumed     which ends are old ones, after a resume
elsewhere   for those who share looks with other processes
others      what these hear of what happens here
remote      what is asked of a dialect

The rules:
1. All waits of a client share one schedule and one driver. A wait is a listener on a run, not a task with a sleep.
2. A request is chosen when its slot is held, not before, so the choice rests on the newest knowledge.
3. Nothing is final because of one answer. A poll that fails delays what it would have shown. That a run cannot be had
   must be said for a while, and then ends the waits of that run. A token that is refused, whatever is looked at, ends
   all waits when that lasts; so do redirects.
4. What lasts is told: after 30 s in the log, and in the error of whoever has waited long enough.
5. A wait that is cancelled or times out disturbs no other. When nobody waits, nothing runs.
"""

from codegen_async.waiting.elsewhere import Elsewhere
from codegen_async.waiting.lasting import Grace, Standing
from codegen_async.waiting.others import Others, Wish
from codegen_async.waiting.remote import Page, Remote
from codegen_async.waiting.waits import Waiting

__all__ = ["Elsewhere", "Grace", "Others", "Page", "Remote", "Standing", "Waiting", "Wish"]
