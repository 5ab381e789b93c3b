"""Faults on demand: what to break, where, and how often. Pure; the server carries them out."""

import random
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Fault", "Faults", "Injection"]


class Fault(Enum):
    """What can go wrong with a request that the rate limits have admitted.

    BEFORE and AFTER say whether the server did its work (created the run) before things went wrong.
    """

    RESET_BEFORE = auto()
    """The connection is reset; nothing was done."""
    RESET_AFTER = auto()
    """The work is done, then the connection is reset."""
    DROP_BEFORE = auto()
    """Nothing is done, and no answer ever comes."""
    DROP_AFTER = auto()
    """The work is done, but no answer ever comes."""
    ERROR_BEFORE = auto()
    """Answer `status` in plain text, as a gateway does; nothing was done."""
    ERROR_AFTER = auto()
    """The work is done, but the answer is `status` in plain text."""
    REFUSED = auto()
    """Answer `status` in the vendor's own form; nothing was done."""
    RATE_LIMITED = auto()
    """Answer 429, with `Retry-After` if `retry_after` is given; nothing was done."""
    SLOW_HEADERS = auto()
    """The work is done, the answer begins `seconds` late."""
    SLOW_BODY = auto()
    """The work is done, the headers come at once, the body trickles for `seconds`."""
    BROKEN_JSON = auto()
    """The work is done, the body ends in the middle of the JSON."""
    TRUNCATED_BODY = auto()
    """The work is done, the connection ends in the middle of the body."""
    WRONG_ID = auto()
    """The work is done, the answer tells of a run with another id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One fault to carry out, with its figures."""

    fault: Fault
    status: int = 500
    retry_after: float | str | None = None
    seconds: float = 60.0


@dataclass(slots=True)
class _Plan:
    injection: Injection
    endpoint: str | None
    times: int | None
    after: int
    probability: float


class Faults:
    """The faults a server is to show.

    Each request takes at most one: the first plan that matches, in the order of `add`. `injected` counts
    what was shown.
    """

    def __init__(self, seed: int = 0) -> None:
        self.injected: Counter[Fault] = Counter()
        self._plans: list[_Plan] = []
        self._random = random.Random(seed)

    def add(
        self,
        fault: Fault,
        *,
        endpoint: str | None = None,
        times: int | None = 1,
        after: int = 0,
        probability: float = 1.0,
        status: int = 500,
        retry_after: float | str | None = None,
        seconds: float = 60.0,
    ) -> None:
        """Plan a fault.

        It strikes requests of `endpoint` (default: of any), leaves the first `after` of them alone, then
        strikes each with `probability` (from the seed) until it has struck `times` (None: for ever).

        `status` belongs to the ERROR faults and REFUSED; `retry_after` to RATE_LIMITED, sent as it is given (default:
        no such header); `seconds`, on the loop's clock, to the SLOW ones.
        """
        injection = Injection(fault=fault, status=status, retry_after=retry_after, seconds=seconds)
        self._plans.append(_Plan(injection, endpoint, times, after, probability))

    def clear(self) -> None:
        """Forget all plans; what was injected stays counted."""
        self._plans.clear()

    def take(self, endpoint: str) -> Injection | None:
        """Return what is to happen to the request that has come in, and count it."""
        for plan in self._plans:
            if plan.endpoint in {None, endpoint} and self._strikes(plan):
                self.injected[plan.injection.fault] += 1
                return plan.injection
        return None

    def _strikes(self, plan: _Plan) -> bool:
        if plan.after:
            plan.after -= 1
            return False
        if plan.times == 0 or self._random.random() >= plan.probability:
            return False
        if plan.times is not None:
            plan.times -= 1
        return True
