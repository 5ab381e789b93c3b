"""The least mean latency that any client can reach by looks of other kinds; see `_polling_looks.py`."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmarks._polling_model import LIMIT, MARGIN, PERIOD

R = LIMIT / (PERIOD + MARGIN)
PAGE = 100  # runs that a page shows, at most
OVERLAP = 2.0  # seconds, as in `hosted.remote`

State = Sequence[tuple[int, float]]
"""Rank and hazard of each run that is waited for."""


class Told(NamedTuple):
    """How many runs the list had when it was first read, and how many it has."""

    first: int
    total: int

    def tops(self, low: int, high: int) -> list[int]:
        """Return the ranks, among these, of the first runs of all pages that can be asked for."""
        grown = self.total - self.first
        behind = [rank for rank in range(low, high + 1) if (rank - self.first) % PAGE <= grown]
        return [*(rank for rank in behind if rank <= self.total - PAGE), self.total]


def square_root_bound(hazards: Iterable[float], rate: float) -> float:
    """Return the least sum of hazard / (2 rate) where the rates add up to `rate`: they go with the roots of hazards."""
    return sum(map(math.sqrt, hazards)) ** 2 / (2 * rate)


def named_bound(hazards: Sequence[float], rate: float, most: int) -> float:
    """Return the same where each request names `most` runs, and thus no run has a larger rate than `rate`."""
    rest, left = sorted(hazards, reverse=True), rate * most
    bound = 0.0
    while rest and math.sqrt(rest[0]) * left >= rate * sum(map(math.sqrt, rest)):
        bound += rest.pop(0) / (2 * rate)
        left -= rate
    return bound + (square_root_bound(rest, left) if rest else 0.0)


def paged_bound(state: State, rate: float, tops: Iterable[int] | None = None) -> float:
    """Return the least sum of hazard / (2 rate) where each request shows one run, or the 100 from one of the tops on.

    A convex problem: rates go up where a request gains more than others, until what more could be gained is little.
    """
    ordered = sorted(state)
    ranks, hazards = [rank for rank, _ in ordered], [max(hazard, 1e-12) for _, hazard in ordered]
    tops = [rank + shift for rank in ranks for shift in (0, PAGE - 1)] if tops is None else tops
    shown = {(bisect.bisect_right(ranks, top - PAGE), bisect.bisect_right(ranks, top)) for top in tops}
    asked = _largest(shown | {(index, index + 1) for index in range(len(ranks))})
    rates = [rate / len(asked)] * len(asked)
    while True:
        ups_and_downs = [0.0] * (len(ranks) + 1)
        for (begin, end), each in zip(asked, rates, strict=True):
            ups_and_downs[begin] += each
            ups_and_downs[end] -= each
        looks = list(itertools.accumulate(ups_and_downs[:-1]))
        late = sum(hazard / (2 * look) for hazard, look in zip(hazards, looks, strict=True))
        gains = [hazard / (2 * look * look) for hazard, look in zip(hazards, looks, strict=True)]
        sums = list(itertools.accumulate(gains, initial=0.0))
        worth = [sums[end] - sums[begin] for begin, end in asked]
        out_of_reach = late - max(worth) * rate + sum(gain * each for gain, each in zip(worth, rates, strict=True))
        if out_of_reach > 0.995 * late:
            return out_of_reach
        rates = [each * math.sqrt(gain) for each, gain in zip(rates, worth, strict=True)]
        rates = [each * rate / total for total in (sum(rates),) for each in rates]


def _largest(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans that no other one contains."""
    kept: list[tuple[int, int]] = []
    for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end > max(begin, kept[-1][1] if kept else 0):
            kept.append((begin, end))
    return kept


def walk(rate: float, size: int, changes: float) -> int:
    """Return how many pages a walk takes, where so many changes happen in a second."""
    lasts = ((2 * pages - 1) / rate + OVERLAP for pages in itertools.count(1))
    return next(pages for pages, seconds in enumerate(lasts, 1) if pages * size >= changes * seconds)
