"""Who leads, how old a hello may be, and when to be quiet."""

import math

import pytest

from codegen_async.fleet.hello import Heard, Hello
from codegen_async.fleet.leader import LISTEN, SILENCE, Circle


def hello(name: str, at: float, *, echo: float | None = None, wishes: int = 0, **more: object) -> Hello:
    """Return a hello whose sender had the hello of `b` of that time."""
    heard = {} if echo is None else {"b": Heard(echo, wishes)}
    return Hello(name=name, at=at, heard=heard, **more)  # type: ignore[arg-type]


def test_who_is_alone_leads_after_listening() -> None:
    circle = Circle("b", 0.0)
    assert not circle.decide(LISTEN - 0.1)
    assert circle.decide(LISTEN)
    assert circle.quiet_until(LISTEN) is None


def test_a_hello_of_unknown_age_counts_for_nothing() -> None:
    circle = Circle("b", 0.0)
    _, fresh = circle.hear(hello("a", 77.0, leads=True), 1.0)
    assert not fresh
    assert circle.quiet_until(1.0) is None
    _, fresh = circle.hear(hello("a", 78.0, echo=1.0, leads=True), 2.0)
    assert fresh
    assert circle.leader(2.0) == "a"
    _, fresh = circle.hear(hello("a", 79.0, echo=1.0, leads=True), 1.0 + SILENCE + 0.1)
    assert not fresh


@pytest.mark.parametrize("echo", [1e18, math.inf, math.nan])
def test_an_answer_to_a_hello_that_was_never_said_is_of_unknown_age(echo: float) -> None:
    circle = Circle("b", 0.0)
    _, fresh = circle.hear(hello("a", 77.0, echo=echo, leads=True), 1.0)
    assert not fresh
    assert circle.leader(1.0) is None


def test_whose_leader_does_not_know_what_is_wanted_is_not_quiet() -> None:
    circle = Circle("b", 0.0)
    circle.wished(1, 0.0)
    for second in range(10):
        circle.hear(hello("a", second, echo=second, leads=True), second)
        circle.wished(1, second)
    assert circle.quiet_until(9.0) is None
    assert circle.lacking(9.0) == 0
    circle.hear(hello("a", 10.0, echo=10.0, wishes=1, leads=True), 10.0)
    assert circle.quiet_until(10.0) is not None
    assert circle.lacking(10.0) is None


def test_the_next_one_leads_when_the_leader_is_silent_and_the_others_wait_a_little_longer() -> None:
    next_one, other = Circle("b", 0.0), Circle("c", 0.0)
    for circle in (next_one, other):
        for name in {"a", "b", "c"} - {circle.name}:
            heard = {circle.name: Heard(10.0, 0)}
            circle.hear(Hello(name=name, at=10.0, heard=heard, leads=name == "a"), 10.0)
    assert next_one.quiet_until(10.0) == 10.0 + SILENCE
    assert other.quiet_until(10.0) == 10.0 + SILENCE + 2.0
    for circle in (next_one, other):
        for name in {"b", "c"} - {circle.name}:
            circle.hear(Hello(name=name, at=16.0, heard={circle.name: Heard(15.0, 0)}), 16.0)
    assert next_one.decide(16.0)
    assert not other.decide(16.0)


def test_of_two_that_lead_the_larger_name_gives_way() -> None:
    circle = Circle("b", 0.0)
    assert circle.decide(5.0)
    circle.hear(hello("c", 5.0, echo=5.0, leads=True), 6.0)
    assert circle.decide(6.0)
    circle.hear(hello("a", 5.0, echo=5.0, leads=True), 6.0)
    assert not circle.decide(6.0)


def test_a_smaller_name_that_does_not_lead_leaves_the_lead_where_it_is() -> None:
    circle = Circle("b", 0.0)
    assert circle.decide(5.0)
    circle.hear(hello("a", 5.0, echo=5.0), 6.0)
    assert circle.decide(6.0)


def test_who_cannot_ask_gives_the_lead_to_who_can_and_keeps_it_where_nobody_can() -> None:
    circle = Circle("b", 0.0)
    assert circle.decide(5.0)
    circle.give_up(65.0)
    assert circle.decide(6.0)
    circle.hear(hello("c", 6.0, echo=6.0, able=False), 6.0)
    assert circle.decide(6.0)
    circle.hear(hello("c", 7.0, echo=6.0), 7.0)
    assert not circle.decide(7.0)


def test_missed_news_are_noticed() -> None:
    circle = Circle("b", 0.0)
    numbers = [(0, False), (0, False), (2, True), (2, False), (5, True)]
    missed = []
    for place, (number, _) in enumerate(numbers):
        one = hello("a", place, echo=0.0, number=number)
        member, _ = circle.hear(one, 1.0)
        missed.append(circle.missed(member, one))
    assert missed == [expected for _, expected in numbers]


def test_those_that_are_silent_for_long_are_forgotten() -> None:
    circle = Circle("b", 0.0)
    circle.hear(hello("a", 1.0, echo=0.5), 1.0)
    assert circle.lost(10.9) == []
    assert [name for name, _ in circle.lost(11.1)] == ["a"]
    assert circle.echoes == {}
