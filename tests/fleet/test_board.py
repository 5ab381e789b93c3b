"""The rules of a board, whoever calls, whenever, and whatever stands there already."""

import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.fleet.board import Outcome, Own, Present, Refusal, Terms, exchange
from codegen_async.fleet.clock import DRIFT, StoreClock
from codegen_async.fleet.records import Board, NewerBoardError, read, write
from codegen_async.fleet.turns import Turns
from codegen_async.limits import Priority, Rate

RATE = Rate(4, 10.0)
TERMS = Terms()
LIFE = TERMS.life(RATE.period)


def at(now: float, *, epoch: str = "one", lost: bool = False, uptime: float = math.inf, lag: float = 0.0) -> Present:
    return Present(lower=now - lag, upper=now, epoch=epoch, uptime=uptime, lost=lost)


def call(
    board: Board | None,
    name: str,
    wanted: int = 1,
    now: float = 1000.0,
    *,
    present: Present | None = None,
    **own: object,
) -> Outcome:
    """Let a member call."""
    told = msgspec.convert({"name": name, "rate": RATE, "wanted": (wanted, 0), **own}, Own)
    return exchange(board, told, TERMS, present or at(now))


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_never_more_is_granted_than_there_is(seed: int) -> None:
    rnd = random.Random(seed)
    board: Board | None = None
    held: dict[str, list[float]] = {name: [] for name in "abcde"}
    now = 1000.0
    for _ in range(200):
        now += rnd.expovariate(2.0)
        name = rnd.choice("abcde")
        held[name] = [since for since in held[name] if rnd.random() < 0.7]
        done = call(board, name, rnd.randrange(6), now, away=[now - since for since in held[name]])
        assert done.board.used <= RATE.limit or not done.granted
        held[name] += [now] * done.granted
        assert sum(map(len, held.values())) <= RATE.limit
        board = read(write(done.board))


def test_a_slot_of_a_silent_owner_comes_back_after_its_life_and_a_step() -> None:
    board = call(None, "dead", 4).board
    early = call(read(write(board)), "heir", 4, 1000.0 + LIFE + TERMS.step - 0.1)
    assert early.granted == 0
    assert call(read(write(board)), "heir", 4, 1000.0 + LIFE + TERMS.step + 0.1).granted == 4


def test_what_is_taken_back_is_taken_by_the_lower_bound_of_those_who_were_there_longer() -> None:
    board = call(None, "dead", 4).board
    board = call(board, "witness", 0, 1300.0, present=at(1300.0, lag=1000.0)).board
    assert call(board, "new", 4, 1301.0).granted == 0


def test_a_member_that_comes_back_late_makes_the_board_overfull_and_nothing_is_granted() -> None:
    board = call(None, "late", 4).board
    board = call(board, "heir", 4, 1200.0).board
    assert board.used == 4
    board = call(board, "late", 0, 1201.0, away=[201.0] * 4).board
    assert board.used == 8
    assert call(board, "third", 1, 1202.0).granted == 0


@pytest.mark.parametrize(
    ("found", "present", "cold"),
    [
        (Board(epoch="zero"), at(1000.0), LIFE + 5.0),
        (None, at(1000.0, lost=True), LIFE + 5.0),
        (None, at(1000.0, uptime=20.0), LIFE + 5.0 - 20.0),
        (None, at(1000.0, uptime=1000.0), 0.0),
        (None, at(1000.0), 0.0),
        (Board(epoch="one"), at(1000.0), 0.0),
    ],
)
def test_nothing_is_granted_where_writes_may_have_been_lost(found: Board | None, present: Present, cold: float) -> None:
    done = call(found, "a", present=present)
    assert done.cold_for == pytest.approx(cold)
    assert done.granted == (0 if cold else 1)


def test_a_clock_that_was_set_back_does_not_stop_the_fleet() -> None:
    board = call(call(None, "a", 4, 100_000.0).board, "b", 0, 100_000.0, refusals=[Refusal(5.0, None)]).board
    board = call(board, "c", 1, 1000.0).board
    latest = 1000.0 + LIFE + TERMS.step
    assert all(until <= latest for entry in board.members.values() for until in entry.away)
    assert board.held_until <= 1005.0
    assert call(board, "c", 1, latest + TERMS.step + 1.0).granted == 1


def test_members_that_know_different_limits_keep_to_the_smaller_one_as_long_as_there_are_both() -> None:
    done = call(call(None, "old", 0, rate=Rate(2, 30.0)).board, "new", 4)
    assert (done.granted, done.rate) == (2, Rate(2, 30.0, 2))
    assert call(None, "alone", 4).granted == 4


def test_a_newer_board_is_told_from_one_that_cannot_be_read() -> None:
    with pytest.raises(NewerBoardError):
        read(msgspec.msgpack.encode([2, {"anything": 1}]))
    assert read(b"\xff\x00nonsense") is None
    assert read(msgspec.msgpack.encode([1, "epoch", "no number"])) is None
    assert read(b"") is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6), st.integers(0, 4))
def test_everybody_in_line_has_as_many_turns_as_he_wants_and_none_more(
    wanted: list[tuple[int, int]], passed: int
) -> None:
    board = Board()
    for number, (interactive, background) in enumerate(wanted):
        board = call(board, f"m{number}", 0).board
        board.members[f"m{number}"].wanted = [interactive, background]
    given_out: list[tuple[str, Priority]] = []
    turns, in_a_row = Turns(board.members, passed), passed
    while (turn := turns.next()) is not None:
        left = sum(background for _, background in wanted) - sum(p is Priority.BACKGROUND for _, p in given_out)
        in_a_row = in_a_row + 1 if turn[1] is Priority.INTERACTIVE and left else 0
        assert in_a_row <= 4
        given_out.append(turn)
    for number, counts in enumerate(wanted):
        assert tuple(given_out.count((f"m{number}", priority)) for priority in Priority) == counts


@given(
    st.lists(st.tuples(st.floats(0.0, 60.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=40),
    st.floats(-DRIFT, DRIFT),
)
def test_a_store_is_between_its_bounds_whatever_the_way_takes(
    calls: list[tuple[float, float, float]], drift: float
) -> None:
    clock, now = StoreClock(100.0), 0.0

    def shown(at: float) -> float:
        return 5000.0 + at * (1 + drift)

    for pause, there, back in calls:
        sent = now + pause
        now = sent + there + back
        assert clock.heard(sent, now, shown(sent + there))
        for later in (now, now + 30.0):
            lower, upper = clock.bounds(later)
            assert lower - 1e-6 <= shown(later) <= upper + 1e-6


def test_a_jump_ahead_is_noticed_and_does_not_move_the_lower_bound_before_the_memory_is_over() -> None:
    clock = StoreClock(100.0)
    clock.heard(0.0, 0.01, 1000.0)
    assert not clock.heard(1.0, 1.01, 1101.0)
    assert clock.bounds(2.0)[0] == pytest.approx(1002.0, abs=0.1)
    for second in range(2, 99):
        clock.heard(second, second + 0.01, 1100.0 + second)
    assert clock.bounds(99.0)[0] < 1100.0
    for second in range(99, 110):
        clock.heard(second, second + 0.01, 1100.0 + second)
    assert clock.bounds(110.0)[0] == pytest.approx(1210.0, abs=0.1)


def test_silence_does_not_age_the_memory_of_a_clock() -> None:
    clock = StoreClock(100.0)
    clock.heard(0.0, 0.01, 1000.0)
    clock.heard(10_000.0, 10_000.01, 14_600.0)
    assert clock.bounds(10_001.0)[0] < 11_002.0
