"""A book that learns from pages where runs stand."""

import math

import pytest

from codegen_async.polling.ranks import RankBook


def book_of(*pages: tuple[int, list[float], int], every: float = 0.0) -> RankBook:
    """Return a book that has read pages (skip, orders, total), one every so many seconds."""
    book = RankBook()
    for index, (skip, orders, total) in enumerate(pages):
        book.learn(skip, orders, total, index * every)
    return book


@pytest.mark.parametrize(
    ("skip", "orders", "total", "top"),
    [
        (0, [9.0, 8.0], 2, 2),
        (0, [9.0], 50, 50),
        (30, [9.0, 8.0], 50, 20),
        (0, [], 0, 0),
        (10, [], 4, -6),
        (0, [None, None], 7, 7),
    ],
)
def test_the_first_run_of_a_page_stands_as_far_from_the_newest_as_was_skipped(
    skip: int, orders: list[float | None], total: int, top: int
) -> None:
    assert RankBook().learn(skip, orders, total, 0.0) == top


@pytest.mark.parametrize(("skip", "count", "total"), [(0, 1, None), (0, 1, -1), (0, 2, 1), (5, 1, 5), (0, 0, None)])
def test_a_total_smaller_than_what_was_shown_is_not_believed(skip: int, count: int, total: int | None) -> None:
    book = book_of((0, [5.0], 50))
    assert book.learn(skip, [9.0] * count, total, 1.0) is None
    assert book.total == 50


def test_nothing_is_known_before_the_first_page() -> None:
    book = RankBook()
    book.created(5.0)
    assert book.total is None
    assert book.estimate(5.0) is None


@pytest.mark.parametrize(
    ("order", "rank"),
    [
        (1000.0, 100),  # as seen
        (901.0, 51),
        (2000.0, 100),  # newer than all
        (950.0, 75),  # between the ends of the page
        (851.0, 26),  # as dense beneath as within
        (1.0, 1),  # never under the oldest
        (None, None),
    ],
)
def test_a_rank_is_estimated_from_the_pages_seen(order: float | None, rank: int | None) -> None:
    book = book_of((0, [1000.0 - 2 * index for index in range(50)], 100))
    book.learn(0, [1000.0, *[0.0] * 48, 901.0], 100, 0.0)
    assert book.estimate(order) == rank


def test_estimates_get_better_with_every_page_nearby() -> None:
    book = book_of((0, [10_000.0, 9_991.0], 1000))
    first = book.estimate(5_000.0)
    book.learn(500, [5_050.0, 4_950.0], 1000, 0.0)
    assert first is not None
    assert abs(first - 500) < 450  # as dense as the two newest: far off
    assert book.estimate(5_000.0) in {499, 500}


def test_a_single_run_serves_as_anchor() -> None:
    book = book_of((0, [10.0], 4))
    assert book.estimate(9.0) == 3
    assert book.estimate(2.0) == 1


def test_an_own_create_is_counted_once_and_only_if_it_is_the_newest() -> None:
    book = book_of((0, [10.0, 9.0], 2))
    book.created(11.0)
    book.created(11.0)
    book.created(5.0)
    book.created(None)
    assert book.total == 3
    assert book.estimate(11.0) == 3


def test_an_answer_that_was_overtaken_does_not_set_the_total_back() -> None:
    book = RankBook()
    book.learn(0, [10.0], 10, 5.0)
    assert book.learn(0, [9.0], 9, 4.0) == 9
    assert book.total == 10


def test_deletions_shift_what_stands_above() -> None:
    book = book_of((0, [10.0, 9.0], 10), (8, [2.0, 1.0], 10))
    book.shift(5, -3)
    assert (book.estimate(10.0), book.estimate(9.0)) == (7, 6)
    assert (book.estimate(2.0), book.estimate(1.0)) == (2, 1)


def test_the_anchors_are_bounded_and_keep_their_ends() -> None:
    book = RankBook()
    for rank in range(2, 3000, 2):
        book.learn(3000 - rank, [float(rank), rank - 1.0], 3000, 0.0)
    assert len(book._anchors) <= 512
    assert book.estimate(1.0) == 1
    assert book.estimate(1500.0) == pytest.approx(1500, abs=2)


def test_a_list_nobody_else_adds_to_does_not_grow() -> None:
    book = book_of((0, [10.0], 10), (0, [10.0], 10), every=5.0)
    assert book.growth(1000.0) == (0, 0)
    assert book.reach(1000.0) == 100


def test_growth_by_strangers_is_expected_to_go_on() -> None:
    book = book_of(*[(0, [10.0 * index + 10], 10 + index) for index in range(60)], every=1.0)
    least, most = book.growth(59.0 + 25.0)
    assert (least, most) == (15, 35)  # one a second: 25, give or take twice the square root
    assert book.reach(59.0 + 25.0) == 80


def test_own_creates_are_no_growth() -> None:
    book = RankBook()
    for index in range(60):
        book.created(10.0 * index + 5)
        book.learn(0, [10.0 * index + 5], 10 + index, float(index))
    assert book.growth(100.0) == (0, 0)


@pytest.mark.parametrize(
    ("low", "high", "guessed", "page"),
    [
        (1000, 1000, False, (0, 2)),  # one spare on either side, where there is one
        (900, 910, False, (89, 13)),
        (901, 1000, False, (0, 100)),
        (801, 900, False, (100, 100)),
        (1, 1, False, (998, 3)),
        (500, 500, True, (451, 100)),
        (500, 520, True, (441, 100)),
        (990, 1000, True, (0, 100)),
        (2000, 2000, False, (0, 1)),
    ],
)
def test_a_page_is_fitted_to_the_runs_it_should_show(low: int, high: int, guessed: bool, page: tuple[int, int]) -> None:
    book = book_of((0, [10.0], 1000))
    assert book.fit(low, high, 0.0, guessed=guessed) == page


@pytest.mark.parametrize(("low", "high"), [(500, 500), (450, 510), (430, 509)])
@pytest.mark.parametrize("grown", [15, 25, 35])
def test_a_fitted_page_shows_the_runs_whatever_growth_is_likely(low: int, high: int, grown: int) -> None:
    book = book_of(*[(0, [10.0 * index + 10], 1000 + index) for index in range(60)], every=1.0)
    skip, limit = book.fit(low, high, 84.0, guessed=False)
    newest = 1059 + grown - skip
    assert newest - limit + 1 <= low <= high <= newest
    assert 1 <= limit <= 100


def test_a_page_is_legal_whatever_is_believed() -> None:
    book = RankBook()
    book.learn(0, [10.0], 0 + 1, 0.0)
    book.learn(0, [20.0], 100_000, 1.0)
    for now in (1.0, 10.0, 1e6):
        skip, limit = book.fit(1, 50, now, guessed=False)
        assert skip >= 0
        assert 1 <= limit <= 100
        assert book.reach(now) >= 1
    assert not math.isnan(book.growth(1e9)[0])
