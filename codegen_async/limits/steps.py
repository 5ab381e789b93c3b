"""How much slower requests go with each 429 that the rule does not explain, and when they go faster again. Pure."""

from __future__ import annotations

from codegen_async.limits.rates import Rate

SLOWEST = 6
"""Steps; the pace halves with each beyond the first."""

_PACE = 0.95  # of the rate: even a server that estimates its window from two counters refuses nothing at this pace
_CALM = 10.0  # periods without a 429 until the pace is raised by one step
_RELAPSES = 6  # the calm before a return to bursts is doubled so often at most


def pace_at(rate: Rate, step: int) -> float | None:
    """Return the requests per second at a step; None while bursts are allowed."""
    if step:
        return rate.limit / rate.period * _PACE / 2.0 ** (step - 1)
    return rate.limit / rate.period if rate.burst is not None and rate.burst < rate.limit else None


def calm_after(rate: Rate, step: int, relapses: int) -> float:
    """Return the seconds without a 429 after which the next lower step is tried."""
    # A server that has refused every return to bursts so far is asked for one less and less often.
    doublings = min(relapses - 1, _RELAPSES) if step == 1 else 0
    return _CALM * rate.period * 2.0**doublings
