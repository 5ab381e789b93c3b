"""Rate limits that cannot be exceeded.

The rule: a slot is taken before a request is sent and given back one period after its answer (or its failure) was
seen; there are as many slots as the server allows requests per period.

Why it cannot fail: the server counts a request somewhere between its sending and its answer. Suppose N+1 requests are
counted within one span shorter than the period W. When the one sent last was sent, one of the other N had given back
its slot, so its answer was seen at least W earlier, so it was counted at least W earlier: it is not in the span. That
covers fixed windows, sliding windows and token buckets of capacity N, whatever the latency and its jitter.

What the proof needs besides:
- the client's period must not be shorter than the server's: `margin` covers clocks that run at different speeds;
- a request must have been counted when its slot starts to cool: after a timeout, a cancellation or a reset nobody
  knows, so such a slot cools `lateness` longer; one of which no byte was sent is free at once;
- nobody else spends the same budget: a 429 shows that somebody does (or that the server estimates its window), and
  then the limiter stops, goes on paced evenly below the limit, and returns to bursts step by step.
"""

from codegen_async.limits.budget import RATE_HEADERS, Budget, read_budget
from codegen_async.limits.concurrency import Concurrency, ConcurrencyState, Permit
from codegen_async.limits.endpoints import Limits
from codegen_async.limits.limiter import WindowLimiter
from codegen_async.limits.rates import (
    ASSUMED,
    FleetState,
    LimiterState,
    MemberState,
    Priority,
    Rate,
    Slot,
    StaleSlotError,
    WindowState,
)

__all__ = [
    "ASSUMED",
    "RATE_HEADERS",
    "Budget",
    "Concurrency",
    "ConcurrencyState",
    "FleetState",
    "LimiterState",
    "Limits",
    "MemberState",
    "Permit",
    "Priority",
    "Rate",
    "Slot",
    "StaleSlotError",
    "WindowLimiter",
    "WindowState",
    "read_budget",
]
