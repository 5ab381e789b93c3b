"""Which stretch of the list shows the most of what its watchers wait for."""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence

import msgspec

from codegen_async.models import RunId
from codegen_async.polling.ranks import PAGE

# Seconds. The chance of an end falls with age; how, depends on the law of durations, but age + 5 min serves all of
# them. Of runs younger than 5 min nothing is known: some laws begin with a peak, some with none.
_YOUNG = 300.0
_OLD = 86400.0  # older runs count as this old, so the longest pause is twelve times the shortest
_NEAR = 0.05  # of a patience: so much it may be off, which moves no look by more than a fortieth
_MOST_TILES = 1024
_WIDEST_TILE = 32  # ranks; wider ones hide where in them the gain is
_FEWEST_TILES = 256
_LONG = 1e5  # seconds after which the sums are taken anew: squares of long times lose digits


class Watch(msgspec.Struct, eq=False, gc=False):
    """One watched run. Refers to nothing but numbers and words, so it can be in no cycle."""

    run_id: RunId
    latency: float
    seen: float  # when the newest answer that showed it was asked for
    asked: float  # the same, with the answers that are still awaited
    due: float
    order: float | None = None
    created: float | None = None
    source: str | None = None
    rank: int | None = None
    exact: bool = False  # the rank was read from a page, not estimated
    tie: int = -1  # its place among those whose rank is estimated
    misses: int = 0  # pages that should have shown the run and did not
    lost: bool = False  # the last request for it brought nothing
    known: bool = False  # it was seen since it is watched
    told: str | None = None  # its phase, by the last page since the last get
    confirmed: float = -math.inf  # when the last get for it was sent
    patience: float = 2 * _YOUNG
    birthday: float = -math.inf  # when, by the server's clock, the patience should be taken anew
    entry: int = -1  # its ticket in the queue of those that are due
    turn: int = -1  # its ticket among those of its level
    level: int = -1  # the class of its patience
    places: int = 0  # in the queue of those that are to be checked

    def gain(self, now: float) -> float:
        """Return what a look is worth: the chance of an end since the last one, times the wait it would save."""
        return (now - self.asked) ** 2 / self.patience

    def grow_older(self, server_now: float) -> None:
        """Read the age. A run of unknown age counts as new, and a patient watcher for less than an eager one."""
        age = 0.0 if self.created is None else min(max(0.0, server_now - self.created), _OLD)
        ripe = max(age, _YOUNG) + _YOUNG
        self.patience = ripe * (1 + self.latency) ** 2
        self.birthday = server_now + max(_YOUNG - age, _NEAR * ripe)

    def want(self, latency: float, ahead: float) -> None:
        """Take another latency; what is due sooner for another reason stays so. `ahead`: of the server's clock."""
        in_time = self.asked + latency
        self.due = min(self.due, in_time) if self.due < self.asked + self.latency else in_time
        self.latency = latency
        self.grow_older(self.asked + ahead)


def heaviest(places: Sequence[int], weights: Iterable[float], reach: int, starts: int | None = None) -> slice:
    """Return the slice of sorted places, all within `reach` of the first, that weighs most.

    It begins with one of the first `starts` places, by default with any.
    """
    sums = list(itertools.accumulate(weights, initial=0.0))
    beyond = [place + reach for place in places[:starts]]
    ends = list(map(bisect.bisect_left, itertools.repeat(places), beyond))
    gains = list(map(operator.sub, map(sums.__getitem__, ends), sums))
    begin = gains.index(max(gains))
    return slice(begin, ends[begin])


_rank: Callable[[Watch], int] = operator.attrgetter("rank")  # of runs that have one


class Windows:
    """Keep runs by rank, and find the stretch of ranks with the largest gain.

    Ranks are gathered in tiles, a single rank wide while few are taken. The gain of a tile is a parabola in time, so
    three sums give it at any moment; only the tiles whose runs were asked for must be added up again.
    """

    def __init__(self) -> None:
        self._grain = 1  # ranks a tile
        self._tiles: dict[int, list[Watch]] = {}
        self._sums: dict[int, tuple[float, float, float]] = {}
        self._stale: set[int] = set()  # tiles to be added up again
        self._order: list[int] = []  # the tiles, from the oldest
        self._origin = -math.inf  # the sums count time from here

    def __bool__(self) -> bool:
        return bool(self._tiles)

    def put(self, run: Watch, rank: int | None) -> None:
        """Move a run to a rank, or out of the list."""
        if run.rank is not None:
            self._take(run, run.rank // self._grain)
        run.rank = rank
        if rank is not None:
            self._insert(run, rank // self._grain)
            self._regrain()

    def _insert(self, run: Watch, key: int) -> None:
        tile = self._tiles.get(key)
        if tile is None:
            tile = self._tiles[key] = []
            bisect.insort(self._order, key)
        tile.append(run)
        self._stale.add(key)

    def _take(self, run: Watch, key: int) -> None:
        tile = self._tiles[key]
        tile.remove(run)
        if tile:
            self._stale.add(key)
            return
        del self._tiles[key]
        del self._order[bisect.bisect_left(self._order, key)]
        self._sums.pop(key, None)
        self._stale.discard(key)

    def _regrain(self) -> None:
        if len(self._tiles) > _MOST_TILES and self._grain < _WIDEST_TILE:
            self._rebuild(self._grain * 2)
        elif self._grain > 1 and len(self._tiles) < _FEWEST_TILES:
            self._rebuild(self._grain // 2)

    def _rebuild(self, grain: int) -> None:
        runs = [run for tile in self._tiles.values() for run in tile]
        self._grain, self._origin = grain, -math.inf
        for gathered in (self._tiles, self._sums, self._stale, self._order):
            gathered.clear()
        for run in runs:
            self._insert(run, _rank(run) // grain)

    def touch(self, runs: Iterable[Watch]) -> None:
        """Note that runs were asked for, or have grown older."""
        grain = self._grain
        self._stale.update([run.rank // grain for run in runs if run.rank is not None])

    def shift(self, above: int, by: int) -> None:
        """Move what stands above a rank: runs were deleted beneath it."""
        for run in itertools.chain.from_iterable(self._tiles.values()):
            if _rank(run) > above:
                run.rank = max(1, _rank(run) + by)
        self._rebuild(self._grain)

    def between(self, low: int, high: int) -> list[Watch]:
        """Return the runs from one rank to another, the oldest first."""
        order = self._order
        begin = bisect.bisect_left(order, low // self._grain)
        end = bisect.bisect_right(order, high // self._grain)
        runs = [run for key in order[begin:end] for run in self._tiles[key]]
        runs.sort(key=_rank)
        return runs[bisect.bisect_left(runs, low, key=_rank) : bisect.bisect_right(runs, high, key=_rank)]

    def lonely(self, run: Watch, company: int = 0) -> bool:
        """Whether no page is likely to show more than so many other runs together with this one."""
        if run.rank is None:
            return True
        order, key = self._order, run.rank // self._grain
        width = max(1, PAGE // self._grain)
        near = order[bisect.bisect_right(order, key - width) : bisect.bisect_left(order, key + width)]
        others = itertools.accumulate((len(self._tiles[tile]) for tile in near), initial=-1)
        return all(count <= company for count in others)

    def around(self, run: Watch, now: float, reach: int) -> list[Watch]:
        """Return the stretch with that run in it that gathers the most staleness."""
        rank = _rank(run)
        near = self.between(rank - reach + 1, rank + reach - 1)
        places = [_rank(other) for other in near]
        starts = bisect.bisect_right(places, rank)
        return near[heaviest(places, [now - other.asked for other in near], reach, starts)]

    def best(self, now: float, reach: int) -> list[Watch]:
        """Return the stretch with the largest gain."""
        order = self._order
        width = max(1, reach // self._grain)
        tiles = order[heaviest(order, self._gains(order, now), width)]
        near = self.between((tiles[0] - 1) * self._grain, (tiles[-1] + 2) * self._grain)
        return near[heaviest([_rank(run) for run in near], [run.gain(now) for run in near], reach)]

    def _gains(self, order: Sequence[int], now: float) -> list[float]:
        if now - self._origin > _LONG:
            self._origin = now
            self._stale.update(order)
        for key in self._stale:
            self._add_up(key)
        self._stale.clear()
        elapsed = now - self._origin
        return [(a * elapsed - b) * elapsed + c for a, b, c in map(self._sums.__getitem__, order)]

    def _add_up(self, key: int) -> None:
        a = b = c = 0.0
        for run in self._tiles[key]:
            since = run.asked - self._origin
            share = 1 / run.patience
            a += share
            share *= since
            b += share
            c += share * since
        self._sums[key] = a, 2 * b, c
