"""The stretch of the list that gathers the most, against trying every one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen_async.polling import windows
from codegen_async.polling.windows import Watch, Windows, heaviest


def watch(run_id: int, asked: float = 0.0, age: float = 0.0, latency: float = 0.0) -> Watch:
    run = Watch(run_id, latency, asked, asked, asked + latency, created=0.0)
    run.grow_older(age)
    return run


def filled(ranks: dict[int, Watch]) -> Windows:
    found = Windows()
    for rank, run in ranks.items():
        found.put(run, rank)
    return found


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), min_size=1), st.integers(1, 120))
def test_the_heaviest_slice_is_the_heaviest_of_all(items: list[tuple[int, int]], reach: int) -> None:
    items.sort()
    places = [place for place, _ in items]
    weights = [float(weight) for _, weight in items]
    chosen = heaviest(places, weights, reach)
    assert places[chosen][-1] - places[chosen][0] < reach
    best = max(sum(w for p, w in items if start <= p < start + reach) for start in places)
    assert sum(weights[chosen]) == best


def test_the_heaviest_slice_may_be_bound_to_begin_early() -> None:
    assert heaviest([1, 2, 50, 51, 52], [1.0] * 5, 10) == slice(2, 5)
    assert heaviest([1, 2, 50, 51, 52], [1.0] * 5, 10, starts=2) == slice(0, 2)


runs = st.dictionaries(st.integers(1, 500), st.tuples(st.floats(0, 100), st.floats(0, 90_000)), min_size=1)


@given(runs, st.integers(1, 100), st.floats(100, 1000))
def test_while_tiles_are_single_ranks_the_best_page_is_exactly_the_best(
    states: dict[int, tuple[float, float]], reach: int, now: float
) -> None:
    ranks = {rank: watch(rank, asked, age) for rank, (asked, age) in states.items()}
    best = filled(ranks).best(now, reach)
    assert max(run.rank or 0 for run in best) - min(run.rank or 0 for run in best) < reach
    gains = [sum(run.gain(now) for rank, run in ranks.items() if low <= rank < low + reach) for low in ranks]
    assert sum(run.gain(now) for run in best) == pytest.approx(max(gains))


@given(runs, st.data())
def test_a_page_around_a_run_shows_it_and_as_much_staleness_as_any_that_does(
    states: dict[int, tuple[float, float]], data: st.DataObject
) -> None:
    ranks = {rank: watch(rank, asked) for rank, (asked, _) in states.items()}
    middle = data.draw(st.sampled_from(sorted(ranks)))
    around = filled(ranks).around(ranks[middle], 200.0, 100)
    assert ranks[middle] in around
    assert around == sorted(around, key=lambda run: run.rank or 0)
    sums = [
        sum(200.0 - run.asked for rank, run in ranks.items() if low <= rank < low + 100)
        for low in ranks
        if low <= middle < low + 100
    ]
    assert sum(200.0 - run.asked for run in around) == pytest.approx(max(sums))


@pytest.mark.parametrize("grain", [1, 4, 32])
def test_whatever_happens_the_tiles_hold_the_runs_where_they_stand(grain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_MOST_TILES", 1000 // grain)
    monkeypatch.setattr(windows, "_FEWEST_TILES", 100 // grain)
    rng = random.Random(grain)
    found = Windows()
    where: dict[Watch, int] = {}
    for step in range(4000):
        if rng.random() < (0.8 if step < 2000 else 0.2) or not where:
            run = watch(step, asked=float(step))
            rank: int | None = rng.randrange(1, 3000)
        else:
            run = rng.choice(list(where))
            rank = rng.choice([None, rng.randrange(1, 3000)])
        found.put(run, rank)
        where.pop(run, None)
        if rank is not None:
            where[run] = rank
        if step % 500 == 0:
            low = rng.randrange(1, 2500)
            assert set(found.between(low, low + 99)) == {r for r, at in where.items() if low <= at < low + 100}
            found.best(float(step), 100)
    assert {run: run.rank for run in found.between(1, 3000)} == where
    for run in where:
        found.put(run, None)
    assert not found


def test_coarse_tiles_find_nearly_the_best_page() -> None:
    rng = random.Random(1)
    ranks = {rank: watch(rank, rng.uniform(0, 60), rng.uniform(0, 3600)) for rank in rng.sample(range(30_000), 10_000)}
    found = filled(ranks)
    ordered = [ranks[rank] for rank in sorted(ranks)]
    whole = heaviest(sorted(ranks), [run.gain(60.0) for run in ordered], 100)
    best = sum(run.gain(60.0) for run in ordered[whole])
    assert sum(run.gain(60.0) for run in found.best(60.0, 100)) > 0.9 * best


def test_the_sums_stay_exact_when_much_time_has_passed() -> None:
    ranks = {rank: watch(rank, asked=0.0) for rank in range(1, 300)}
    found = filled(ranks)
    for now in (10.0, 1e5, 1e7):
        for run in ranks.values():
            run.asked = now - 0.5
            found.touch((run,))
        stale = ranks[150]
        stale.asked = now - 50.0
        found.touch((stale,))
        assert stale in found.best(now, 100)


def test_a_run_is_lonely_if_no_page_can_show_another_with_it() -> None:
    ranks = {rank: watch(rank) for rank in (1, 200, 299, 400, 500)}
    found = filled(ranks)
    assert {rank: found.lonely(run) for rank, run in ranks.items()} == {
        1: True,
        200: False,
        299: False,
        400: True,
        500: True,
    }
    assert found.lonely(watch(9))


@pytest.mark.parametrize(("company", "lonely"), [(0, False), (1, False), (2, True), (3, True)])
def test_a_run_is_all_but_lonely_if_a_page_shows_few_others_with_it(company: int, lonely: bool) -> None:
    ranks = {rank: watch(rank) for rank in (1, 101, 200, 299, 400)}
    assert filled(ranks).lonely(ranks[200], company) == lonely


def test_what_stands_above_deleted_runs_moves_down() -> None:
    ranks = {rank: watch(rank) for rank in (1, 200, 299)}
    found = filled(ranks)
    found.shift(200, -50)
    assert [run.rank for run in found.between(1, 1000)] == [1, 200, 249]


@pytest.mark.parametrize(
    ("asked", "age", "latency", "gain"),
    [
        (0.0, 0.0, 0.0, 100 / 600),
        (0.0, 300.0, 0.0, 100 / 600),
        (0.0, 600.0, 0.0, 100 / 900),
        (5.0, 0.0, 0.0, 25 / 600),
        (0.0, 0.0, 9.0, 1 / 600),
        (0.0, 1e9, 0.0, 100 / 86_700),
        (0.0, -5.0, 0.0, 100 / 600),
    ],
)
def test_a_look_gains_with_staleness_and_loses_with_age_and_patience(
    asked: float, age: float, latency: float, gain: float
) -> None:
    assert watch(1, asked, age, latency).gain(10.0) == pytest.approx(gain)


def test_a_run_of_unknown_age_counts_as_new() -> None:
    run = Watch(1, 0.0, 0.0, 0.0, 0.0)
    run.grow_older(1e12)
    assert run.gain(10.0) == pytest.approx(100 / 600)


def test_ranks_that_nobody_holds_any_more_are_forgotten() -> None:
    found = filled({})
    for rank in range(1, 1001):
        run = watch(rank)
        found.put(run, rank)
        found.touch((run,))
        found.put(run, None)
    assert not any((found._tiles, found._sums, found._stale, found._order))
