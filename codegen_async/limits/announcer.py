"""Say in the log that callers wait long for their slots, and why."""

from __future__ import annotations

import asyncio
import logging
import math

from codegen_async.limits.limiter import WindowLimiter
from codegen_async.limits.rates import LimiterState, Priority

_log = logging.getLogger("codegen_async")

LONG = 5.0
"""Seconds. Who will wait longer is told of, and one line serves all who come within so long."""


class Announcer:
    """Listen at the end of a limiter's line.

    Args:
        name: what the log calls the limiter.
        limiter: its limiter.
    """

    def __init__(self, name: str, limiter: WindowLimiter) -> None:
        self._name = name
        self._limiter = limiter
        self._quiet_until = -math.inf

    def __call__(self, priority: Priority) -> None:
        """Take note that a caller joins the line."""
        if not _log.isEnabledFor(logging.INFO):
            return
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            return
        wait = self._limiter.total_wait(priority)
        if wait <= LONG:
            return
        self._quiet_until = now + LONG
        ceiling = self._limiter.ceiling if wait > self._limiter.expected_wait(priority) else None
        name, state = (self._name, self._limiter.state) if ceiling is None else ("ceiling", ceiling)
        _log.info(
            "%s: waiting about %.0f s for a slot: %s",
            name,
            wait,
            _reason(state),
            extra={"endpoint": name, "wait": wait},
        )


def _reason(state: LimiterState) -> str:
    line = f"{state.queue_length} waiting already"
    if state.held_for:
        return f"the server asked for silence, {state.held_for:.0f} s of it are left; {line}"
    if state.budget is not None and not state.budget.remaining:
        return f"the server's headers leave nothing for {state.budget.reset:.0f} s; {line}"
    if state.pace is not None:
        return f"requests are paced to {state.pace:.2g} per second; {line}"
    return f"{state.rate.limit} requests within {state.rate.period:g} s are allowed, and that many are used; {line}"
