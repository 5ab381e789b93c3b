from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen_async.testing.rates import (
    FirstHitWindow,
    FixedWindow,
    RateModel,
    SlidingLog,
    TokenBucket,
    TwoCounterWindow,
    Window,
    model,
    worst_window,
)

ALL: list[Window] = ["sliding", "fixed", "first-hit", "bucket", "two-counter"]


def outcomes(rate: RateModel, *times: float) -> list[float | None]:
    return [rate.hit(time) for time in times]


# Tables, worked out by hand. None: admitted; a number: rejected, retry after so many seconds.


def test_fixed_window_counts_by_the_clock_of_the_server() -> None:
    rate = FixedWindow(2, 10)
    assert outcomes(rate, 8, 9, 9.5) == [None, None, 0.5]
    assert outcomes(rate, 10, 11, 12, 19) == [None, None, 8, 1]
    assert outcomes(rate, 35, 36, 37) == [None, None, 3]


def test_fixed_window_begins_at_its_phase() -> None:
    rate = FixedWindow(1, 10, phase=3)
    assert outcomes(rate, 2, 2.5, 3, 12, 13) == [None, 0.5, None, 1, None]


def test_fixed_window_admits_twice_the_limit_around_its_edge() -> None:
    rate = FixedWindow(5, 10)
    times = [9.5] * 5 + [10.0] * 5
    assert outcomes(rate, *times) == [None] * 10
    assert worst_window(times, 10) == 10


def test_first_hit_window_opens_with_a_request_and_ends_on_time() -> None:
    rate = FirstHitWindow(2, 10)
    assert outcomes(rate, 7, 9, 11, 16.5) == [None, None, 6, 0.5]
    assert outcomes(rate, 17, 26, 26.5) == [None, None, 0.5]
    assert outcomes(rate, 50, 59, 59.5) == [None, None, 0.5]


def test_sliding_log_forgets_a_request_one_period_later_to_the_moment() -> None:
    rate = SlidingLog(2, 10)
    assert outcomes(rate, 0, 4, 5, 9.5) == [None, None, 5, 0.5]
    assert outcomes(rate, 10, 13, 14, 15) == [None, 1, None, 5]


def test_sliding_log_that_counts_rejections_waits_for_them_as_well() -> None:
    rate = SlidingLog(2, 10, count_rejected=True)
    assert outcomes(rate, 0, 4, 5, 9) == [None, None, 9, 6]
    # In (0, 10] there are 4, 5 and 9; in (5, 15] only 9.
    assert outcomes(rate, 10, 19.5, 20) == [9, None, None]


def test_token_bucket_refills_evenly_up_to_its_capacity() -> None:
    rate = TokenBucket(4, 8)
    assert outcomes(rate, 0, 0, 0, 0, 0, 1) == [None, None, None, None, 2, 1]
    assert outcomes(rate, 2, 2, 5, 6) == [None, 2, None, None]
    assert outcomes(rate, 100, 100, 100, 100, 100) == [None, None, None, None, 2]


def test_token_bucket_that_counts_rejections_loses_what_has_gathered() -> None:
    rate = TokenBucket(4, 8, count_rejected=True)
    assert outcomes(rate, 0, 0, 0, 0, 1, 2, 4) == [None, None, None, None, 2, 2, None]


def test_token_bucket_admits_exact_pacing_for_ever() -> None:
    # A third of ten seconds has no exact value in binary.
    rate = TokenBucket(3, 10)
    assert outcomes(rate, 0, 0, 0) == [None] * 3
    assert all(rate.hit(step * 10 / 3) is None for step in range(1, 10_000))


def test_token_bucket_admits_almost_twice_the_limit_in_its_first_period() -> None:
    rate = TokenBucket(60, 30)
    times = [0.0] * 60 + [0.5 * step for step in range(1, 60)]
    assert all(rate.hit(time) is None for time in times)
    assert worst_window(times, 30) == 119


def test_two_counters_weigh_the_previous_window_with_the_share_it_still_covers() -> None:
    rate = TwoCounterWindow(4, 10)
    assert outcomes(rate, 6, 7, 8, 9, 9.5) == [None, None, None, None, 0.5]
    # 4 x 1.0 = 4; 4 x 0.9 = 3.6; 3.6 + 1 = 4.6, less than 4 only beyond 4 x 0.75 + 1, at 12.5.
    assert outcomes(rate, 10, 11, 11, 12.5, 12.75) == [0, None, 1.5, 0, None]
    # 4 x 0.5 + 2 = 4.
    assert outcomes(rate, 15, 15.25) == [0, None]
    # Nothing came in [20, 30).
    assert outcomes(rate, 30, 30, 30, 30, 31) == [None, None, None, None, 9]


def test_two_counters_reject_a_client_that_keeps_the_limit() -> None:
    rate = TwoCounterWindow(4, 10)
    times = [2, 2, 2, 2, 12, 12, 12, 12]
    assert worst_window(times, 10) == 4
    assert outcomes(rate, *times) == [None, None, None, None, None, 0.5, 0.5, 0.5]


def test_two_counters_that_count_rejections_carry_them_over() -> None:
    rate = TwoCounterWindow(2, 10, count_rejected=True)
    # 3 x 2/3 = 2 at 13 1/3; 4 x 1/2 = 2 at 15.
    assert outcomes(rate, 5, 5, 5, 5) == [None, None, pytest.approx(8 + 1 / 3), 10]
    # That request counts as well: 4 x 1/4 + 1 = 2 at 17.5.
    assert outcomes(rate, 15) == [2.5]


@pytest.mark.parametrize("window", ALL)
def test_model_makes_each_kind_by_its_name(window: Window) -> None:
    kinds = {
        "sliding": SlidingLog,
        "fixed": FixedWindow,
        "first-hit": FirstHitWindow,
        "bucket": TokenBucket,
        "two-counter": TwoCounterWindow,
    }
    assert type(model(window, 3, 10)) is kinds[window]
    assert outcomes(model(window, 3, 10), 1, 1, 1)[-1] is None
    assert outcomes(model(window, 3, 10), 1, 1, 1, 1)[-1] is not None


def test_model_passes_phase_and_count_rejected_on() -> None:
    assert outcomes(model("fixed", 1, 10, phase=3), 2, 3) == [None, None]
    assert outcomes(model("two-counter", 1, 10, phase=3), 2, 2.5) == [None, 0.5]
    assert outcomes(model("sliding", 1, 10, count_rejected=True), 0, 9, 10) == [None, 10, 10]
    assert outcomes(model("bucket", 1, 10, count_rejected=True), 0, 9, 10) == [None, 10, 10]
    assert outcomes(model("two-counter", 1, 10, count_rejected=True), 9, 9)[-1] == 6


@pytest.mark.parametrize(
    ("times", "period", "most"),
    [
        ([], 10, 0),
        ([5], 10, 1),
        ([0, 10], 10, 1),
        ([0, 9.99], 10, 2),
        ([3, 1, 2], 10, 3),
        ([0, 0, 0, 30], 10, 3),
        ([0, 6, 12, 13, 14, 15, 22], 10, 5),
    ],
)
def test_worst_window_is_half_open(times: list[float], period: float, most: int) -> None:
    assert worst_window(times, period) == most


# Properties, against slower and plainer models. Quarters of seconds are exact in binary.

arrivals = st.lists(st.integers(0, 400).map(lambda quarter: quarter / 4), max_size=60).map(sorted)
limits = st.integers(1, 5)
periods = st.sampled_from([1.0, 2.0, 8.0, 10.0])


def admitted(rate: RateModel, times: list[float]) -> list[float]:
    return [time for time in times if rate.hit(time) is None]


@given(arrivals, periods)
def test_worst_window_is_what_trying_every_start_finds(times: list[float], period: float) -> None:
    plain = max((sum(start <= time < start + period for time in times) for start in times), default=0)
    assert worst_window(times, period) == plain


@given(arrivals, limits, periods, st.booleans())
def test_sliding_log_admits_if_and_only_if_the_window_has_room(
    times: list[float], limit: int, period: float, count_rejected: bool
) -> None:
    rate, counted, passed = SlidingLog(limit, period, count_rejected=count_rejected), list[float](), []
    for time in times:
        room = sum(time - period < earlier <= time for earlier in counted) < limit
        assert (rate.hit(time) is None) == room
        if room:
            passed.append(time)
        if room or count_rejected:
            counted.append(time)
    assert worst_window(passed, period) <= limit


@given(arrivals, limits, periods, st.integers(0, 40).map(lambda quarter: quarter / 4))
def test_fixed_window_admits_the_first_of_each_window(
    times: list[float], limit: int, period: float, phase: float
) -> None:
    windows = Counter[float]()
    expected: list[float] = []
    for time in times:
        windows[(time - phase) // period] += 1
        if windows[(time - phase) // period] <= limit:
            expected.append(time)
    assert admitted(FixedWindow(limit, period, phase=phase), times) == expected


@given(arrivals, limits, periods)
def test_first_hit_window_admits_the_first_after_each_opening(times: list[float], limit: int, period: float) -> None:
    expected: list[float] = []
    rest = list(times)
    while rest:
        inside = [time for time in rest if time < rest[0] + period]
        expected += inside[:limit]
        rest = rest[len(inside) :]
    assert admitted(FirstHitWindow(limit, period), times) == expected


@given(arrivals, limits, st.sampled_from([1.0, 2.0, 8.0]))
def test_token_bucket_admits_if_and_only_if_no_span_gets_more_than_burst_and_refill(
    times: list[float], limit: int, period: float
) -> None:
    rate = TokenBucket(limit, period)
    passed: list[float] = []
    for time in times:
        fits = all(
            len(passed) - first + 1 <= limit + (time - passed[first]) * limit / period + 1e-6
            for first in range(len(passed))
        )
        assert (rate.hit(time) is None) == fits
        if fits:
            passed.append(time)


@given(arrivals, limits, periods, st.booleans())
def test_two_counters_admit_by_the_estimate(
    times: list[float], limit: int, period: float, count_rejected: bool
) -> None:
    rate = TwoCounterWindow(limit, period, count_rejected=count_rejected)
    counts = Counter[int]()
    for time in times:
        window = int(time // period)
        covered = (window + 1) - time / period
        fits = counts[window - 1] * covered + counts[window] < limit
        assert (rate.hit(time) is None) == fits
        counts[window] += fits or count_rejected


MAKERS: list[Callable[[int, float], RateModel]] = [FixedWindow, FirstHitWindow, SlidingLog, TokenBucket]


@pytest.mark.parametrize("maker", MAKERS)
@given(times=arrivals, limit=limits, period=st.sampled_from([1.0, 2.0, 8.0]))
def test_a_retry_succeeds_at_the_time_told_and_not_before(
    maker: Callable[[int, float], RateModel], times: list[float], limit: int, period: float
) -> None:
    rate = maker(limit, period)
    for time in times:
        wait = rate.hit(time)
        if wait is not None:
            assert 0 < wait <= period
            assert deepcopy(rate).hit(time + wait - 1e-3) is not None
            assert deepcopy(rate).hit(time + wait + 1e-9) is None


@given(arrivals, limits, periods, st.booleans())
def test_a_retry_at_two_counters_succeeds_just_after_the_time_told(
    times: list[float], limit: int, period: float, count_rejected: bool
) -> None:
    rate = TwoCounterWindow(limit, period, count_rejected=count_rejected)
    for time in times:
        wait = rate.hit(time)
        if wait is not None:
            assert 0 <= wait <= 2 * period
            assert deepcopy(rate).hit(time + wait + 1e-6) is None
            assert wait < 1e-3 or deepcopy(rate).hit(time + wait - 1e-3) is not None


@given(arrivals, limits, periods)
def test_a_client_that_waits_a_period_after_each_full_burst_is_never_rejected(
    times: list[float], limit: int, period: float
) -> None:
    """The guarantee the exact models share: a client that keeps a sliding window is admitted."""
    kept: list[float] = []
    for time in times:
        if len(kept) < limit or time - kept[-limit] >= period:
            kept.append(time)
    for maker in MAKERS:
        assert admitted(maker(limit, period), kept) == kept


@pytest.mark.parametrize("window", ALL)
@given(times=arrivals, limit=limits, period=periods, count_rejected=st.booleans())
def test_no_model_admits_more_than_twice_the_limit_in_a_period(
    window: Window, times: list[float], limit: int, period: float, count_rejected: bool
) -> None:
    rate = model(window, limit, period, count_rejected=count_rejected)
    assert worst_window(admitted(rate, times), period) <= 2 * limit


def test_a_limit_that_counts_rejections_starves_a_client_that_never_pauses() -> None:
    rate = SlidingLog(2, 10, count_rejected=True)
    waits = outcomes(rate, *range(100))
    assert waits[:2] == [None, None]
    assert all(wait is not None for wait in waits[2:])


def test_requests_at_the_same_moment_are_counted_one_by_one() -> None:
    for window in ALL:
        waits = outcomes(model(window, 3, 10), *[12.0] * 5)
        assert [wait is None for wait in waits] == [True, True, True, False, False]
        assert all(before == after for before, after in pairwise(waits[3:]))
