"""Looks that show many runs in other ways than Codegen's list, for `polling.py`: an API, its owner, and the bounds.

All calls of the API spend one budget: 60 in each 30 s. Ends are detected at latency 0 with the whole of it.

Each bound takes requests that are spaced evenly, at the rate of the budget (R = 60 per 30.05 s), over states sampled
from the run of `ours`, and the true hazard h of each run, which no client knows. A run that has ended is still watched
until that is known, so it takes its part of the looks:

- gets only: the least sum of h / (2 r) where the rates r of the runs add up to R;
- by ids, k a call: the same where they add up to k R, and none is above R: each call names k runs, or all;
- changed since: a walk shows all that has ended, and takes p requests, the fewest that hold what has changed since the
  last one began, less 2 s of overlap. Walks follow one another, so the mean is p / (2 R). A page in the middle of a
  walk may show an end before that, so a long walk may beat it by a little;
- pages by cursors: a page may begin where the list began at any moment since the waits did, or a whole number of pages
  behind that: no other place can have been told. Among these, overlapping or not, each page is asked for at its own
  best rate, and so are gets for single runs. Where pages only hint at ends, each end costs a get of the same budget,
  and is known from the next turn after the page on, 1 / R later. The rates are found step by step; what is printed is
  what the last step proves to be out of reach for all, at most half a percent below the best;
- pages from anywhere: the same, of a list whose pages may begin anywhere, and tell its length.

Our own checks of the list, a get in 20 s, are in no bound: they take 2.5 % of this budget.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from benchmarks._polling_bounds import (
    OVERLAP,
    PAGE,
    R,
    State,
    Told,
    named_bound,
    paged_bound,
    square_root_bound,
    walk,
)
from benchmarks._polling_model import (
    LIMIT,
    LOGNORMAL,
    PERIOD,
    Law,
    Result,
    Run,
    Slots,
    World,
)
from codegen_async.hosted.dialect import Call, Dialect, Shown
from codegen_async.hosted.remote import schedule_of
from codegen_async.hosted.run import HostedRun
from codegen_async.limits import Rate
from codegen_async.polling import (
    ChangedPoll,
    CursorPoll,
    GetPoll,
    Listing,
    ListPoll,
    ManyPoll,
    Poll,
    PollSchedule,
    Sighting,
    Stream,
)

if TYPE_CHECKING:
    from codegen_async.http.answers import Response

# The API


def _unread(_: Response) -> Any:
    raise NotImplementedError("nothing is sent over a wire here")


class Gets(Dialect[HostedRun]):
    """An API that shows one run at a time."""

    name = "gets"
    base_url = "http://127.0.0.1:9"
    rates: Mapping[str, Rate | Sequence[Rate]] = {"read": Rate(LIMIT, PERIOD)}

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="read", path="/runs/{run}", values={"run": run_id}, read=_unread)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="create", method="POST", path="/runs", json={**fields, "key": key}, read=_unread)


class ByIds(Gets):
    """An API that shows so many runs by their ids."""

    def __init__(self, most: int) -> None:
        self.many_at_most = most

    def many(self, run_ids: Sequence[str]) -> Call[Shown[HostedRun]]:
        return Call(limit="read", path="/runs", query={"ids": run_ids}, read=_unread)


class Changes(Gets):
    """An API that shows what has changed."""

    def changed(self, since: float, place: str | None) -> Call[Shown[HostedRun]]:
        return Call(limit="read", path="/runs", query={"since": since, "place": place}, read=_unread)


class Pages(Gets):
    """An API that lists runs, newest first, by cursors, and tells no total."""

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:
        return Call(limit="read", path="/runs", query={"cursor": place}, read=_unread)


class Anywhere(Gets):
    """An API that lists runs, newest first, from any position, and tells how many there are."""


class LookedAt(World):
    """The server, with one budget for all calls.

    Args:
        size: how many runs a page shows.
    """

    def __init__(self, law: Law, seed: int, *, foreign: float, size: int) -> None:
        self._size = size
        self._coming: list[tuple[float, int]] = []  # changes that have not been written down
        self._changes: list[tuple[float, int]] = []
        self.told: list[Told] = []
        """Which places were there to be told, for each state."""
        super().__init__(law, seed, foreign=foreign, exact=True)

    def _append(self, created: float, ended: float, *, mine: bool) -> Run:
        run = super()._append(created, ended, mine=mine)
        for moment in {created, ended}:
            heapq.heappush(self._coming, (moment, run.rank))
        return run

    def _begin(self, past: list[tuple[float, float, bool]]) -> None:
        super()._begin(past)
        self._first = len(self.runs)

    def _state(self) -> list[tuple[int, float]]:
        self.told.append(Told(self._first, len(self.runs)))
        return [(run.rank, self._law.hazard(self.now - run.created)) for run in self.watched.values()]

    def _begin_to_count(self) -> None:
        super()._begin_to_count()
        self.states.clear()
        self.told.clear()

    def confirmed(self, run: Run, hinted: float) -> None:
        """Take in that a get shows the end of a run that a page has hinted at."""
        del self.watched[run.number]
        self.latencies.append(self.now - run.ended)
        self._waits += self.now - hinted
        if self.replace:
            heapq.heappush(self._vacancies, self.now)

    def behind(self, place: str | None) -> tuple[list[Run], str | None]:
        """Answer a page, newest first, from behind the run of a rank."""
        end = len(self.runs) if place is None else int(place) - 1
        shown = self.runs[max(0, end - self._size) : end][::-1]
        return shown, str(shown[-1].rank) if end > self._size else None

    def changed(self, since: float, place: str | None) -> tuple[list[Run], str | None]:
        """Answer a page of what has changed, what did so first comes first."""
        while self._coming and self._coming[0][0] <= self.now:
            self._changes.append(heapq.heappop(self._coming))
        begin = bisect.bisect_left(self._changes, (since, 0)) if place is None else int(place)
        end = begin + self._size
        runs = [self.runs[rank - 1] for _, rank in self._changes[begin:end]]
        return runs, str(end) if end < len(self._changes) else None


class Looking:
    """The product, with whatever look the dialect offers, behind the limiter's rule.

    Args:
        world: the server.
        dialect: what it offers.
        sure: whether an end that a page shows needs no get.
    """

    def __init__(self, world: LookedAt, dialect: Dialect[HostedRun], *, sure: bool) -> None:
        self._world = world
        self._sure = sure
        self.schedule = schedule_of(dialect, {"read": (Rate(LIMIT, PERIOD),)}, 1.0)
        self._slots = Slots()
        self._hints: dict[int, float] = {}  # since when an end waits for its get
        self._since = self._walk_from = -OVERLAP
        self.walks = self.steps = 0
        self.spent: dict[Stream, int] = dict.fromkeys(Stream, 0)

    def watch(self, run: Run, now: float) -> None:
        self.schedule.add(self._sighting(run, now), now, latency=0.0, seen=True)

    def _sighting(self, run: Run, now: float, *, hinted: bool = False) -> Sighting:
        phase = "ended" if run.ended <= now else "running"
        return Sighting(
            str(run.number), 1.7e9 + run.created, 1.7e9 + run.created, phase=phase, doubtful=hinted and run.ended <= now
        )

    def due(self, now: float) -> float:
        return max(self._slots.free, min(self.schedule.next_due(stream, now) for stream in Stream))

    def act(self, now: float) -> None:
        stream = min(Stream, key=lambda stream: self.schedule.next_due(stream, now))
        poll = self.schedule.next(stream, now)
        assert poll is not None, "the schedule asked for a slot and had no use for it"
        self._slots.take(now)
        self.spent[stream] += 1
        assert self._world.gets.admits(now), "429"
        if isinstance(poll, GetPoll):
            self._got(poll, self._world.by_number[int(str(poll.run_id))], now)
        else:
            self._looked(poll, *self._shown(poll, now), now)

    def _got(self, poll: GetPoll, run: Run, now: float) -> None:
        self.schedule.observed(poll, [self._sighting(run, now)], now)
        hinted = self._hints.pop(run.number, None)
        if hinted is None:
            self._show(run, now)
        else:
            self._world.confirmed(run, hinted)
            self.schedule.discard(str(run.number))

    def _show(self, run: Run, now: float) -> None:
        if self._world.show(run, now):
            self.schedule.discard(str(run.number))

    def _shown(self, poll: Poll, now: float) -> tuple[list[Run], str | None]:
        if isinstance(poll, CursorPoll):
            return self._world.behind(poll.place)
        if isinstance(poll, ManyPoll):
            return [self._world.by_number[int(str(number))] for number in poll.run_ids], None
        assert isinstance(poll, ChangedPoll)
        if poll.place is None:
            self._walk_from = now
            self.walks += 1
        self.steps += 1
        runs, following = self._world.changed(self._since, poll.place)
        if following is None:
            self._since = self._walk_from - OVERLAP
        return runs, following

    def _looked(self, poll: Poll, runs: Sequence[Run], following: str | None, now: float) -> None:
        hinted = not self._sure
        seen = [self._sighting(run, now, hinted=hinted) for run in runs]
        total = len(self._world.runs) if isinstance(poll, ListPoll) else None
        self.schedule.observed(poll, seen, now, total, following)
        for run in runs:
            if self._sure:
                self._show(run, now)
            elif run.number in self._world.watched and run.number not in self._hints:
                self._world.weigh(run, now)
                if run.ended <= now:
                    self._hints[run.number] = now
        if isinstance(poll, ChangedPoll) and following is None:
            for run in list(self._world.watched.values()):
                assert run.ended > now, "a walk has missed an end"
                self._world.weigh(run, now)


class LookingAnywhere(Looking):
    """The product where pages begin anywhere, with one budget for gets and pages."""

    def __init__(self, world: LookedAt, dialect: Dialect[HostedRun], *, sure: bool) -> None:
        super().__init__(world, dialect, sure=sure)
        rate = Rate(LIMIT, PERIOD)
        self.schedule = PollSchedule(get=rate, page=rate, share=1.0, listing=Listing(None), shared=True)

    def _sighting(self, run: Run, now: float, *, hinted: bool = False) -> Sighting:
        return msgspec.structs.replace(super()._sighting(run, now, hinted=hinted), order=float(run.rank))

    def _shown(self, poll: Poll, now: float) -> tuple[list[Run], str | None]:
        if not isinstance(poll, ListPoll):
            return super()._shown(poll, now)
        end = max(0, len(self._world.runs) - poll.skip)
        return self._world.runs[max(0, end - poll.limit) : end][::-1], None


# What is simulated


class Looked(NamedTuple):
    """A scenario: what the API offers, how many runs, whether ended ones are replaced, and who else is there."""

    title: str
    dialect: Dialect[HostedRun]
    runs: int
    finished: int
    drain: bool = False
    foreign: float = 0.0  # runs of strangers per second
    size: int = 100  # of a page
    sure: bool = True
    sample: float = 60.0
    rounds: int = 3

    def simulate(self, seed: int) -> tuple[Result, float, Looking]:
        """Return what was measured, its bound, and the client."""
        world = LookedAt(LOGNORMAL, seed, foreign=self.foreign, size=self.size)
        if self.drain:
            world.drain(self.runs, self.runs)
        else:
            world.steady(self.runs)
        client = (Looking if not isinstance(self.dialect, Anywhere) else LookingAnywhere)(
            world, self.dialect, sure=self.sure
        )
        result = world.simulate(
            client, warm_up=0.0 if self.drain else 300.0, finished=self.finished, sample=self.sample
        )
        ends = sum(hazard for state in world.states for _, hazard in state)
        return result, sum(map(self.bound, world.states, world.told)) / ends, client

    def bound(self, state: State, told: Told) -> float:
        """Return the least sum of hazard / (2 rate) in a state."""
        hazards = [hazard for _, hazard in state]
        if isinstance(self.dialect, ByIds):
            return named_bound(hazards, R, self.dialect.many_at_most)
        if isinstance(self.dialect, Changes):
            return sum(hazards) * walk(R, self.size, self.foreign + sum(hazards)) / (2 * R)
        if isinstance(self.dialect, Pages | Anywhere) and state:
            ends = 0.0 if self.sure else sum(hazards)
            lowest, highest = min(state)[0], max(state)[0] + PAGE
            tops = told.tops(lowest, highest) if isinstance(self.dialect, Pages) else None
            return paged_bound(state, R - ends, tops) + ends / R
        return square_root_bound(hazards, R)


def draining(title: str, dialect: Dialect[HostedRun], runs: int, **more: Any) -> Looked:
    return Looked(title, dialect, runs, math.ceil(0.99 * runs), drain=True, **more)


FULL = [
    *(Looked("gets only", Gets(), runs, finished) for runs, finished in ((1, 150), (10, 400), (100, 1500))),
    draining("gets only", Gets(), 1_000),
    Looked("100 by ids", ByIds(100), 100, 1000),
    draining("100 by ids", ByIds(100), 1_000),
    draining("100 by ids", ByIds(100), 10_000, sample=200.0, rounds=1),
    draining("1,000 by ids", ByIds(1_000), 1_000),
    draining("1,000 by ids", ByIds(1_000), 10_000, sample=200.0, rounds=1),
    Looked("changed since, walks of 1 page", Changes(), 100, 1000),
    draining("changed since, walks of 1 page", Changes(), 1_000),
    Looked("changed since, walks of 3 pages", Changes(), 100, 500, foreign=12.0, size=20),
    *(
        draining(f"pages by cursors, {foreign:g} strangers a second", Pages(), 300, foreign=foreign, sure=sure)
        for sure in (True, False)
        for foreign in (0.2, 1.0, 5.0)
    ),
    *(
        Looked(f"pages by cursors, {foreign:g} strangers a second", Pages(), 100, 500, foreign=foreign, sure=False)
        for foreign in (0.2, 1.0)
    ),
    draining("pages from anywhere, 0.2 strangers a second", Anywhere(), 300, foreign=0.2),
    draining("pages from anywhere, 5 strangers a second", Anywhere(), 300, foreign=5.0),
    Looked("pages from anywhere, 1 stranger a second", Anywhere(), 100, 500, foreign=1.0, sure=False),
]
QUICK = [
    Looked("gets only", Gets(), 10, 60),
    Looked("100 by ids", ByIds(100), 100, 200),
    Looked("changed since, walks of 1 page", Changes(), 100, 200),
    draining("pages by cursors, 1 stranger a second", Pages(), 300, foreign=1.0, sure=False),
]


def measure(scenario: Looked, rounds: int) -> float:
    """Print the row of a scenario; return how it compares with its bound."""
    played = [scenario.simulate(seed) for seed in range(1, rounds + 1)]
    results = [result for result, _, _ in played]
    drawn = isinstance(scenario.dialect, Changes)  # what is expected would take all ends for ones of the last page
    ratio = median((result.mean if drawn else result.expected) / bound for result, bound, _ in played)
    title = scenario.title + ("" if scenario.sure else ", unsure")
    kind = "drain" if scenario.drain else "steady"
    gets = median(client.spent[Stream.GET] / sum(client.spent.values()) for _, _, client in played)
    figures = (
        median(result.mean for result in results),
        *(median(result.quantile(q) for result in results) for q in (0.95, 0.99)),
    )
    print(f"{title:52}{kind:>7}{scenario.runs:8}" + "".join(f"{figure:9.3f}" for figure in figures), end="")
    refused = sum(result.refused for result in results)
    print(f"{median(bound for _, bound, _ in played):9.3f}{ratio:7.3f}{gets:7.0%}{refused:6}", flush=True)
    return ratio


def measure_all(scenarios: Sequence[Looked], rounds: int | None = None) -> list[float]:
    """Print the table; return how each scenario compares with its bound."""
    print("\nOther looks, latency 0, one budget of 60 requests in 30 s for all calls")
    print(f"{'':59}{'N':>8}{'mean s':>9}{'p95':>9}{'p99':>9}{'bound':>9}{'ratio':>7}{'gets':>7}{'429s':>6}", flush=True)
    return [measure(scenario, rounds or scenario.rounds) for scenario in scenarios]
