"""A budget spent evenly."""

import math

import pytest

from codegen_async.limits import Rate
from codegen_async.polling.pacing import Pace

GAP = 30.0 * (1 + 1 / 600) / 60


def pace(phase: float = 0.0) -> Pace:
    made = Pace(Rate(60, 30.0), 1.0, phase)
    made.start(100.0)
    return made


def test_a_window_of_the_server_holds_no_more_than_its_limit() -> None:
    made = pace()
    moments = []
    while made.ready < 1000.0:
        moments.append(made.ready)
        made.spend(made.ready)
    assert all(later - earlier >= 30.0 for earlier, later in zip(moments, moments[60:], strict=False))
    assert len(moments) == pytest.approx(900 / GAP, abs=1)


@pytest.mark.parametrize(("share", "gap"), [(1.0, GAP), (0.5, 2 * GAP), (0.8, GAP / 0.8)])
def test_a_share_of_the_limit_is_spent(share: float, gap: float) -> None:
    assert Pace(Rate(60, 30.0), share, 0.0).gap == pytest.approx(gap)


def test_two_streams_may_be_half_a_cell_apart() -> None:
    first, second = pace(), pace(0.5)
    for _ in range(1000):
        assert second.ready - first.ready == pytest.approx(GAP / 2)
        first.spend(first.ready + GAP / 3)
        second.spend(second.ready + GAP / 4)


def test_starting_twice_changes_nothing() -> None:
    made = pace()
    made.spend(100.0)
    made.start(200.0)
    assert made.ready == pytest.approx(100.0 + GAP)


@pytest.mark.parametrize("late", [0.0, 0.3, 1.0, 7.7, 1e6])
def test_missed_cells_are_lost(late: float) -> None:
    made = pace()
    made.spend(100.0 + late)
    assert 100.0 + late < made.ready <= 100.0 + late + GAP + 1e-9
    cells = (made.ready - 100.0) / GAP
    assert cells == pytest.approx(round(cells))


def test_before_it_starts_it_is_ready() -> None:
    assert Pace(Rate(60, 30.0), 1.0, 0.0).ready == -math.inf


def test_an_endpoint_that_fails_once_is_not_spared() -> None:
    made = pace()
    made.blame(100.0)
    assert made.ready == 100.0


def test_success_ends_the_series_of_failures() -> None:
    made = pace()
    for _ in range(5):
        made.blame(100.0)
    assert made.ready == 108.0
    made.praise()
    made.blame(110.0)
    assert made.ready == 108.0


def test_the_longest_pause_is_half_a_minute() -> None:
    made = pace()
    for _ in range(5000):
        made.blame(100.0)
    assert made.ready == 130.0
