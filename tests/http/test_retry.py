"""How long is waited before the next attempt."""

import os
import time
from collections.abc import Generator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codegen_async.http.retry import LONGEST_RETRY_AFTER, Backoff, parse_retry_after

DATE = "Sat, 21 Nov 2026 08:49:37 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("007", 7.0),
        (" 7\t", 7.0),
        ("1.5", 1.5),
        ("0.000001", 0.000001),
        ("3600", 3600.0),
        ("3601", LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
    ],
)
def test_seconds_are_taken_up_to_an_hour(value: str, seconds: float) -> None:
    assert parse_retry_after(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "   ",
        "-10",
        "+10",
        "1.",
        ".5",
        "1e3",
        "0x10",
        "1_000",
        "1,5",
        "1 2",
        "7s",
        "inf",
        "nan",
        "Infinity",
        "\u0661\u0662",  # Arabic digits, which float() would take
        "\uff17",  # a full-width one
        "7\n",
        "soon",
    ],
)
def test_what_is_no_number_of_seconds_says_nothing(value: str | None) -> None:
    assert parse_retry_after(value, DATE) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Sat, 21 Nov 2026 08:49:47 GMT", 10.0),
        ("Sat, 21 Nov 2026 08:49:37 GMT", 0.0),
        ("Sat, 21 Nov 2026 08:49:27 GMT", 0.0),  # past
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
        ("Sat, 01 Jan 0000 00:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 08:49:37 GMT", LONGEST_RETRY_AFTER),  # a day later
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("Sat, 21 Nov 2026 09:49:47 +0100", 10.0),
        ("Saturday, 21-Nov-26 08:49:47 GMT", 10.0),  # the obsolete forms of RFC 9110
        ("Sat Nov 21 08:49:47 2026", 10.0),
    ],
)
def test_a_date_is_read_against_the_date_of_the_answer(value: str, seconds: float) -> None:
    assert parse_retry_after(value, DATE) == seconds


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_from_greenwich")
@pytest.mark.skipif(os.name == "nt", reason="the zone of a process cannot be set on Windows")
@pytest.mark.parametrize("value", ["Sat Nov 21 08:49:47 2026", "Sat, 21 Nov 2026 08:49:47 -0000"])
def test_a_date_without_a_zone_means_gmt_wherever_the_client_is(value: str) -> None:
    assert parse_retry_after(value, DATE) == 10.0


@pytest.mark.parametrize(
    "value",
    [
        "Sat, 21 Nov 2026",
        "Sat, 21 Nov 2026 25:49:47 GMT",
        "Sat, 31 Feb 2026 08:49:47 GMT",
        "Sat, 21 Xyz 2026 08:49:47 GMT",
        "Sat, 01 Jan 10000 00:00:00 GMT",
        "2026-11-21T08:49:47Z",
    ],
)
def test_a_broken_date_says_nothing(value: str) -> None:
    assert parse_retry_after(value, DATE) is None
    assert parse_retry_after(DATE, value) is None


@pytest.mark.parametrize("date", [None, "", "now"])
def test_a_date_alone_says_nothing_since_the_local_clock_may_be_wrong(date: str | None) -> None:
    assert parse_retry_after("Sat, 21 Nov 2026 08:49:47 GMT", date) is None


DATE_LIKE = st.text(alphabet="SatNovGMT ,:-+.()0123456789", max_size=40)


@given(st.text(max_size=40) | DATE_LIKE, st.none() | st.text(max_size=40) | DATE_LIKE | st.just(DATE))
@example("Fri, 31 Dec 9999 23:59:59 -2359", DATE)
@example("Sat, 01 Jan 0001 00:00:00 +2359", DATE)
def test_no_header_raises_or_asks_for_anything_but_seconds_up_to_an_hour(value: str, date: str | None) -> None:
    seconds = parse_retry_after(value, date)
    assert seconds is None or 0.0 <= seconds <= LONGEST_RETRY_AFTER


# -- backoff


def longest(_: float, high: float) -> float:
    return high


def test_delays_double_up_to_the_ceiling() -> None:
    backoff = Backoff(first=0.5, ceiling=20.0)
    delays = [backoff.delay(attempt, jitter=longest) for attempt in range(1, 9)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]


@given(
    attempt=st.integers(1, 10**9),
    first=st.floats(0.0, 1e6),
    ceiling=st.floats(0.0, 1e6),
)
def test_a_delay_is_drawn_between_nothing_and_its_bound(attempt: int, first: float, ceiling: float) -> None:
    backoff = Backoff(first, ceiling)
    drawn_from: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        drawn_from.append((low, high))
        return low

    assert backoff.delay(attempt, jitter=jitter) == 0.0
    ((low, high),) = drawn_from
    assert low == 0.0
    assert high == backoff.delay(attempt, jitter=longest) <= ceiling
    assert high <= backoff.delay(attempt + 1, jitter=longest)


def test_clients_that_failed_together_do_not_return_together() -> None:
    assert len({Backoff().delay(5) for _ in range(20)}) > 1


@pytest.mark.parametrize("retry_after", [0.0, 0.1, 60.0])
def test_what_the_server_asks_for_is_waited_exactly(retry_after: float) -> None:
    assert Backoff(first=1.0, ceiling=2.0).delay(9, retry_after=retry_after) == retry_after
