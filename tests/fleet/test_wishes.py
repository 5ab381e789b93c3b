"""Each member comes to know the wishes of all, whatever is lost on the way."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.fleet.hello import Changes, Want
from codegen_async.fleet.wishes import OwnWishes, TheirWishes


def want(run_id: int | str) -> Want:
    return Want(run_id, 5.0)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([None, 1.0, 5.0])), max_size=200), st.integers(0, 2**32))
def test_wishes_arrive_though_any_message_may_be_lost_or_come_twice(
    steps: list[tuple[int, float | None]], seed: int
) -> None:
    own, theirs, true = OwnWishes(), TheirWishes(), dict[int, float]()
    chance = random.Random(seed)
    sent: list[Changes] = []
    number = 0
    for run_id, latency in steps:
        own.change(run_id, latency)
        if latency is None:
            true.pop(run_id, None)
        else:
            true[run_id] = latency
        if chance.random() < 0.5:
            sent += own.since(number, lambda each: Want(each, true.get(int(each))))
            number = own.number
        while sent and chance.random() < 0.5:
            theirs.apply(sent[0] if chance.random() < 0.2 else sent.pop(0))
        if sent and chance.random() < 0.3:
            sent.pop(0)
    for changes in own.since(theirs.number, lambda each: Want(each, true.get(int(each)))):
        theirs.apply(changes)
    assert theirs.number == own.number
    assert {run_id: each.latency for run_id, each in theirs.wants.items()} == true


def test_who_has_missed_much_is_told_all_that_is_wanted_and_nothing_else() -> None:
    own, theirs = OwnWishes(), TheirWishes()
    own.change("kept", 5.0)
    for changes in own.since(0, want):
        theirs.apply(changes)
    for run_id in range(5000):
        own.change(run_id, 5.0)
        own.change(run_id, None)
    pieces = own.since(theirs.number, lambda each: want(each) if each == "kept" else Want(each))
    assert sum(len(piece.wants) for piece in pieces) < 1100
    for piece in pieces:
        theirs.apply(piece)
    assert [*theirs.wants] == ["kept"]


def test_what_comes_before_something_that_is_missing_is_not_taken() -> None:
    own, theirs = OwnWishes(), TheirWishes()
    own.change(1, 5.0)
    own.change(2, 5.0)
    (late,) = own.since(1, want)
    assert theirs.apply(late) == []
    assert theirs.number == 0
    (whole,) = own.since(0, want)
    assert theirs.apply(whole) == [1, 2]
    assert theirs.apply(late) == []


def test_many_wishes_come_in_pieces() -> None:
    own, theirs = OwnWishes(), TheirWishes()
    for run_id in range(1200):
        own.change(run_id, 5.0)
    pieces = own.since(0, want)
    assert [len(piece.wants) for piece in pieces] == [500, 500, 200]
    assert [run_id for piece in pieces for run_id in theirs.apply(piece)] == [*range(1200)]


def test_the_same_wish_again_is_no_change_but_may_be_said_anew() -> None:
    own = OwnWishes()
    assert own.change(1, 5.0)
    assert not own.change(1, 5.0)
    assert own.change(1, 2.0)
    assert not own.change(2, None)
    number = own.number
    own.renew([1, 2])
    assert own.number == number + 1
    own.renew()
    assert own.number == number + 2
