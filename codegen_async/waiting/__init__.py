"""Wait for remote runs. Knows no API.

The rules:
1. All waits of a client share one schedule and one driver. A wait is a listener on a run, not a task with a sleep.
2. A request is chosen when its slot is held, not before, so the choice rests on the newest knowledge.
3. A poll that fails delays what it would have shown; it fails nobody. Only the server's final word does: 401 and 403
   end all waits, 404 ends those of one run (after a grace, as a new run may not be known everywhere yet).
4. A wait that is cancelled or times out disturbs no other. When nobody waits, nothing runs.
"""

from codegen_async.waiting.driver import Page, Remote, Waiting

__all__ = ["Page", "Remote", "Waiting"]
