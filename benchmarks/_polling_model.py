"""A model of the server and of the runs on it, in virtual time, for `polling.py`."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple, Protocol

from codegen_async.testing.rates import FixedWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMIT, PERIOD, MARGIN = 60, 30.0, 0.05  # "Get Agent Run", "List Agent Runs": 60 per 30 s; the limiter's own margin
CREATES, CREATE_PERIOD = 10, 60.0  # "Create Agent Run": 10 per 60 s
_NORMAL = NormalDist()


class Part(NamedTuple):
    """One part of a mixture of durations: how to draw one, and its survival function and density."""

    weight: float
    draw: Callable[[random.Random], float]
    survival: Callable[[float], float]
    density: Callable[[float], float]


def lognormal(weight: float, median: float, sigma: float) -> Part:
    def z(t: float) -> float:
        return math.log(t / median) / sigma

    return Part(
        weight,
        lambda rng: median * math.exp(sigma * rng.gauss(0, 1)),
        lambda t: 1 - _NORMAL.cdf(z(t)) if t > 0 else 1.0,
        lambda t: _NORMAL.pdf(z(t)) / (t * sigma) if t > 0 else 0.0,
    )


def pareto(weight: float, low: float, high: float, alpha: float) -> Part:
    kept = 1 - (low / high) ** alpha

    def survival(t: float) -> float:
        return 1.0 if t < low else max(0.0, ((low / t) ** alpha - 1 + kept) / kept)

    return Part(
        weight,
        lambda rng: low * (1 - rng.random() * kept) ** (-1 / alpha),
        survival,
        lambda t: alpha * low**alpha * t ** (-alpha - 1) / kept if low <= t <= high else 0.0,
    )


class Law(NamedTuple):
    """How long runs take."""

    name: str
    parts: Sequence[Part]
    mean: float
    horizon: float  # no run to speak of is older

    def draw(self, rng: random.Random) -> float:
        pick = rng.random()
        for part in self.parts:
            pick -= part.weight
            if pick < 0:
                return part.draw(rng)
        return self.parts[-1].draw(rng)

    def hazard(self, age: float) -> float:
        survival = sum(part.weight * part.survival(age) for part in self.parts)
        return sum(part.weight * part.density(age) for part in self.parts) / max(survival, 1e-12)


LOGNORMAL = Law("lognormal", (lognormal(1, 360, 1),), 593.5, 12 * 3600)
HEAVY = Law(
    "heavy",
    (lognormal(0.15, 20, 0.7), lognormal(0.75, 360, 1), pareto(0.10, 1800, 86400, 1.1)),
    1093.6,
    48 * 3600,
)


class Run:
    """A run on the server."""

    __slots__ = ("created", "ended", "mine", "number", "rank", "shown")

    def __init__(self, rank: int, number: int, created: float, ended: float, *, mine: bool) -> None:
        self.rank = rank
        self.number = number  # its id: shared with other organizations, so with gaps
        self.created = created
        self.ended = ended
        self.mine = mine
        self.shown = max(created, 0.0)  # when the owner last saw it


class Endpoint:
    """An endpoint of the server: 60 requests in each 30 s of its clock, the rest is answered 429."""

    def __init__(self, phase: float) -> None:
        self._window = FixedWindow(LIMIT, PERIOD, phase=phase)
        self.forget()

    def forget(self) -> None:
        """Begin to count again."""
        self.requests = self.refused = 0

    def admits(self, now: float) -> bool:
        self.requests += 1
        admitted = self._window.hit(now) is None
        self.refused += not admitted
        return admitted


class Slots:
    """The rule of the client's limiter where answers take no time: N slots, each back W + margin after its use."""

    def __init__(self, limit: int = LIMIT, period: float = PERIOD + MARGIN) -> None:
        self._back = [-math.inf] * limit
        self._period = period

    @property
    def free(self) -> float:
        """When the next slot is there."""
        return self._back[0]

    def take(self, now: float) -> None:
        heapq.heapreplace(self._back, now + self._period)


class Client(Protocol):
    """A way to find out which runs have ended."""

    def watch(self, run: Run, now: float) -> None:
        """Wait for a run that was created just now, or is known to run."""

    def due(self, now: float) -> float:
        """Return when the next request goes."""

    def act(self, now: float) -> None:
        """Send it."""


class Result(NamedTuple):
    """What a simulation measured."""

    latencies: list[float]
    requests: int
    refused: int
    expected: float  # the mean latency again, by the true hazard and the times between looks: the same with less noise

    @property
    def mean(self) -> float:
        return sum(self.latencies) / max(len(self.latencies), 1)

    def quantile(self, q: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)] if ordered else math.nan

    @property
    def cost(self) -> float:
        """Requests per finished run."""
        return self.requests / max(len(self.latencies), 1)


class World:
    """The server, the runs, and the owner who replaces each run that is known to have ended."""

    def __init__(self, law: Law, seed: int, *, foreign: float = 0.0, exact: bool = False) -> None:
        self.exact = exact  # whether the expected latency is wanted as well
        self._rng = random.Random(seed)
        self._law = law
        self._foreign = foreign  # runs of strangers per second
        self._next_foreign = self._rng.expovariate(foreign) if foreign else math.inf
        self._vacancies: list[float] = []
        self._creates = Slots(CREATES, CREATE_PERIOD + MARGIN)
        self._number = 1000
        self.runs: list[Run] = []  # by rank, the oldest first
        self.by_number: dict[int, Run] = {}
        self.watched: dict[int, Run] = {}
        self.gets = Endpoint(self._rng.uniform(0, PERIOD))
        self.lists = Endpoint(self._rng.uniform(0, PERIOD))
        self.latencies: list[float] = []
        self.states: list[list[tuple[int, float]]] = []  # (rank, hazard) of the active runs, now and then
        self.now = 0.0
        self.replace = True
        self._ends = self._waits = 0.0
        self._sampled = -math.inf

    # How it begins

    def steady(self, slots: int) -> None:
        """Begin as if the owner had kept so many runs going for long."""
        past: list[tuple[float, float, bool]] = []
        for _ in range(slots):
            at = -self._law.horizon * self._rng.uniform(0.9, 1)
            while at < 0:
                ended = at + self._law.draw(self._rng)
                past.append((at, ended, True))
                at = ended
        at = -self._law.horizon
        while self._foreign and (at := at + self._rng.expovariate(self._foreign)) < 0:
            past.append((at, at, False))
        self._begin(past)

    def drain(self, count: int, positions: int) -> None:
        """Begin with so many runs of stationary ages among so many positions; none is created any more."""
        self.replace = False
        mine = [(-age, rest, True) for age, rest in (self._stationary() for _ in range(count))]
        others = [(-self._stationary()[0], -1.0, False) for _ in range(positions - count)]
        self._begin(mine + others)

    def endless(self, count: int, positions: int) -> None:
        """Begin with so many runs that do not end, evenly among so many positions; none is created any more."""
        self.replace = False
        step = positions // count
        self._begin(
            [
                (place - positions, math.inf if place % step == 0 else -1.0, place % step == 0)
                for place in range(positions)
            ]
        )

    def requests_within(self, client: Client, seconds: float, *, warm_up: float) -> int:
        """Return how many requests are sent within a time after the warm-up."""
        for run in self.watched.values():
            client.watch(run, 0.0)
        while self.now < warm_up + seconds:
            if self.now < warm_up <= client.due(self.now):
                self._begin_to_count()
            self.now = max(self.now, client.due(self.now))
            client.act(self.now)
        return self.gets.requests + self.lists.requests

    def _stationary(self) -> tuple[float, float]:
        """Draw age and rest of a run met at a random moment: long ones are met more often."""
        while True:
            length = self._law.draw(self._rng)
            if self._rng.random() * 20 * self._law.mean < length or length > 20 * self._law.mean:
                break
        return (age := self._rng.uniform(0, length)), length - age

    def _begin(self, past: list[tuple[float, float, bool]]) -> None:
        for created, ended, mine in sorted(past):
            run = self._append(created, ended, mine=mine)
            if mine and ended > 0:
                self.watched[run.number] = run

    def _append(self, created: float, ended: float, *, mine: bool) -> Run:
        self._number += self._rng.randint(1, 5)
        run = Run(len(self.runs) + 1, self._number, created, ended, mine=mine)
        self.runs.append(run)
        self.by_number[run.number] = run
        return run

    # How it goes on

    @property
    def next_event(self) -> float:
        created = max(self._vacancies[0], self._creates.free) if self._vacancies else math.inf
        return min(self._next_foreign, created)

    def step(self, client: Client) -> None:
        """Let the next run be created."""
        self.now = self.next_event
        if self.now == self._next_foreign:
            self._append(self.now, self.now, mine=False)
            self._next_foreign = self.now + self._rng.expovariate(self._foreign)
            return
        heapq.heappop(self._vacancies)
        self._creates.take(self.now)
        run = self._append(self.now, self.now + self._law.draw(self._rng), mine=True)
        self.watched[run.number] = run
        client.watch(run, self.now)

    def simulate(self, client: Client, *, warm_up: float, finished: int, sample: float = math.inf) -> Result:
        """Run until so many ends were detected after the warm-up; note the state every `sample` seconds."""
        for run in self.watched.values():
            client.watch(run, 0.0)
        self._begin_to_count()
        while len(self.latencies) < finished and (self.watched or self._vacancies):
            due = max(self.now, client.due(self.now))
            if min(due, self.next_event) >= warm_up:
                warm_up = math.inf
                self._begin_to_count()
            if warm_up == math.inf and self.now >= self._sampled + sample:
                self._sampled = self.now
                self.states.append(self._state())
            if self.next_event <= due:
                self.step(client)
            else:
                self.now = due
                client.act(due)
        refused = self.gets.refused + self.lists.refused
        expected = self._waits / self._ends if self._ends else math.nan
        return Result(self.latencies, self.gets.requests + self.lists.requests, refused, expected)

    def _begin_to_count(self) -> None:
        self.latencies.clear()
        self.gets.forget()
        self.lists.forget()
        self._ends = self._waits = 0.0
        self._sampled = -math.inf

    def _state(self) -> list[tuple[int, float]]:
        active = (run for run in self.watched.values() if run.ended > self.now)
        return [(run.rank, self._law.hazard(self.now - run.created)) for run in active]

    # What it answers

    def get(self, number: int) -> Run | None:
        """Answer a get, or None for 429."""
        return self.by_number[number] if self.gets.admits(self.now) else None

    def page(self, skip: int, limit: int) -> list[Run] | None:
        """Answer a page, newest first, or None for 429."""
        if not self.lists.admits(self.now):
            return None
        end = max(0, len(self.runs) - skip)
        return self.runs[max(0, end - limit) : end][::-1]

    def show(self, run: Run, served: float) -> bool:
        """Take in that the owner reads an answer given at `served`; tell whether it shows an end he waits for."""
        if run.number not in self.watched:
            return False
        self.weigh(run, served)
        if run.ended > served:
            return False
        del self.watched[run.number]
        self.latencies.append(self.now - run.ended)
        if self.replace:
            heapq.heappush(self._vacancies, self.now)
        return True

    def weigh(self, run: Run, served: float) -> None:
        """Take in that an answer given at `served` tells how a run is."""
        gap, run.shown = served - run.shown, served
        if gap > 0 and self.exact:
            ends = gap * self._law.hazard(served - gap / 2 - run.created)
            self._ends += ends
            self._waits += ends * gap / 2


# The lower bound


class Share(NamedTuple):
    """The runs of one window, the likeliest to end first, and sums of their hazards from each one on."""

    hazards: list[float]
    rest: list[float]

    def rate(self, get_price: float, page_price: float) -> float:
        """Return the rate of pages at which one more is worth its price, where gets fill up at theirs."""
        low, high = 0, len(self.hazards)
        while low < high:  # how many runs deserve gets of their own, beside the pages
            middle = (low + high) // 2
            left = page_price - (middle + 1) * get_price
            # A grain less than exact: runs of equal hazard are a tie, which rounding must not break.
            if left >= 0 and self.hazards[middle] * left >= get_price * self.rest[middle + 1] * (1 - 1e-9):
                low = middle + 1
            else:
                high = middle
        left = page_price - low * get_price
        return math.sqrt(self.rest[low] / (2 * left)) if left > 0 else 0.0


def bracket(function: Callable[[float], float], target: float, low: float, high: float) -> tuple[float, float]:
    """Find where a falling function crosses a value, on a logarithmic scale."""
    while high / low > 1 + 1e-6:
        middle = math.sqrt(low * high)
        if function(middle) > target:
            low = middle
        else:
            high = middle
    return low, high


def mean_bound(states: Sequence[Sequence[tuple[int, float]]], rate: float) -> float:
    """Return the least mean latency over sampled states, with so many gets and as many pages per second."""
    states = [state for state in states if state]
    return sum(fluid_bound(state, rate, rate) for state in states) / sum(h for state in states for _, h in state)


def window_starts(ranks: Sequence[int]) -> list[int]:
    """Cover sorted ranks with the fewest windows of 100; return the index where each begins."""
    starts = [0] if ranks else []
    for index, rank in enumerate(ranks):
        if rank - ranks[starts[-1]] >= 100:
            starts.append(index)
    return starts


def fluid_bound(state: Sequence[tuple[int, float]], gets: float, pages: float) -> float:
    """Return the least sum of hazard / (2 rate) over the runs of a state (rank, hazard).

    Every run is looked at evenly, at the rate of its own gets plus that of the pages of its window; the windows are
    disjoint. Solved by prices of a get and of a page.
    """
    ordered = sorted(state)
    return min(_split_bound(ordered, gets, pages), _split_bound([(-r, h) for r, h in reversed(ordered)], gets, pages))


def _split_bound(ordered: Sequence[tuple[int, float]], gets: float, pages: float) -> float:
    starts = window_starts([rank for rank, _ in ordered])
    shares = []
    for begin, end in itertools.pairwise([*starts, len(ordered)]):
        hazards = sorted((max(h, 1e-12) for _, h in ordered[begin:end]), reverse=True)
        rest = list(itertools.accumulate(reversed(hazards), initial=0.0))[::-1]
        shares.append(Share(hazards, rest))

    def page_rates(get_price: float) -> list[float]:
        high = get_price * max(len(share.hazards) for share in shares)
        low, high = bracket(lambda p: sum(s.rate(get_price, p) for s in shares), pages, high * 1e-12, high)
        many, few = ([share.rate(get_price, price) for share in shares] for price in (low, high))
        # Where pages and gets are worth the same, the sum jumps: any mixture is as good.
        mix = min(max((pages - sum(few)) / max(sum(many) - sum(few), 1e-12), 0.0), 1.0)
        return [mix * more + (1 - mix) * less for more, less in zip(many, few, strict=True)]

    def get_rates(get_price: float, rates: Sequence[float]) -> float:
        total = 0.0
        for share, rate in zip(shares, rates, strict=True):
            for hazard in share.hazards:
                more = math.sqrt(hazard / (2 * get_price)) - rate
                if more <= 0:
                    break
                total += more
        return total

    price, _ = bracket(lambda p: get_rates(p, page_rates(p)), gets, 1e-12, 1e3)
    rates = page_rates(price)
    return sum(
        min(math.sqrt(h * price / 2), h / (2 * rate) if rate else math.inf)
        for share, rate in zip(shares, rates, strict=True)
        for h in share.hazards
    )
