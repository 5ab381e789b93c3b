"""The promise for a fleet: whatever processes, stores and clocks do, no request is one too many.

And the campaigns would see it: without any one of the rules that protect the limit, they do.
"""

import logging
import math
from collections.abc import Generator
from dataclasses import replace

import msgspec
import pytest

from codegen_async.fleet import board
from codegen_async.fleet.board import Terms
from codegen_async.fleet.limiter import FleetSlot
from codegen_async.fleet.limits import FleetLimits
from codegen_async.fleet.slots import Grant, Slots
from codegen_async.limits import Rate
from tests.fleet.campaign import SHORT, Plan, campaign

PLAIN = Plan()
KEEPING = msgspec.structs.replace(SHORT, keep=1, keep_for=6.0)
PLANS = {
    "processes die and stand still, connections break": PLAIN,
    "a store forgets, and its clock jumps": replace(PLAIN, restarts=0.03, jumps=0.05, kills=0.1),
    "a durable store restarts": replace(PLAIN, forgets=False, restarts=0.05, jumps=0.02),
    "the clock jumps by up to an hour": replace(PLAIN, ahead=3600.0, jumps=0.05, kills=0.0),
    "slots are kept": replace(PLAIN, terms=KEEPING, restarts=0.01, jumps=0.03),
    "slots are kept, and taken back from who stands still": replace(PLAIN, terms=KEEPING, frozen=40.0, freezes=0.1),
    "processes stand still for long": replace(PLAIN, frozen=25.0, stalls=0.5),
    "a board vanishes": replace(PLAIN, empties=0.02, kills=0.0),
    "a board is put back from a backup": replace(PLAIN, returns=0.02, kills=0.0),
    "one request in a period": replace(PLAIN, rate=Rate(1, 2.0)),
    "10 in 60 s": replace(PLAIN, rate=Rate(10, 60.0), terms=Terms(), kills=0.01, freezes=0.01, seconds=6000.0),
    "60 in 30 s": replace(PLAIN, rate=Rate(60, 30.0), terms=Terms(), kills=0.01, freezes=0.01, seconds=1500.0),
    "20 in 1 s": replace(PLAIN, rate=Rate(20, 1.0), terms=Terms(), kills=0.01, freezes=0.01, seconds=240.0),
}
CALM = replace(
    PLAIN, rate=Rate(20, 2.0), workers=4, callers=8, kills=0.0, freezes=0.0, cuts=0.0, lost=0.0, late=0.0, slow=0.0
)
STANDING_STILL = replace(CALM, freezes=0.1, frozen=40.0, stalls=1.0)
FORGETTING = replace(CALM, restarts=0.1, kills=0.02)
RETURNING = replace(CALM, returns=0.2, seconds=120.0)
DYING = replace(CALM, kills=0.05, stalls=1.0, terms=msgspec.structs.replace(SHORT, total=20.0, lateness=10.0))
SLOW = replace(CALM, slow=0.1)


@pytest.fixture(autouse=True)
def _a_store_that_comes_and_goes_is_no_news() -> Generator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", ["processes die and stand still, connections break", "slots are kept", "20 in 1 s"])
def test_no_request_is_one_too_many(name: str) -> None:
    plan = PLANS[name]
    result = campaign(plan, range(1))
    assert result.over == 0
    assert result.requests > 50


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_no_request_is_one_too_many_in_a_long_time(plan: Plan) -> None:
    result = campaign(plan, range(6))
    assert result.over == 0
    assert result.requests > 400


@pytest.mark.parametrize("plan", [STANDING_STILL, FORGETTING, DYING, SLOW], ids=["still", "forget", "die", "slow"])
def test_what_the_next_tests_let_go_wrong_goes_well_by_the_rules(plan: Plan) -> None:
    assert campaign(plan, range(1)).over == 0


@pytest.mark.slow
def test_without_a_look_at_the_age_of_a_grant_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert campaign(STANDING_STILL, range(1)).refused > 0

    def ageless(limits: FleetLimits, _: float) -> None:
        for endpoint in limits.endpoints:
            limits[endpoint].send_by = math.inf

    monkeypatch.setattr(Slots, "is_stale", lambda *_: False)
    monkeypatch.setattr(FleetLimits, "send_by", ageless)
    assert campaign(STANDING_STILL, range(2)).over > 0


def test_without_cold_time_after_lost_writes_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(exchange: board._Exchange, **_: bool) -> None:
        exchange.board.epoch = exchange._present.epoch

    monkeypatch.setattr(board._Exchange, "_begin", begin)
    assert campaign(FORGETTING, range(1)).over > 0


def test_without_a_look_for_what_one_wrote_last_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert campaign(RETURNING, range(1)).over == 0
    monkeypatch.setattr(board._Exchange, "_stands", lambda *_: True)
    assert campaign(RETURNING, range(1)).over > 0


def test_without_the_time_of_requests_in_the_life_of_a_slot_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terms, "life", lambda terms, period: terms.send_by + terms.pause + terms.cycle(period))
    assert campaign(DYING, range(1)).over > 0


def test_where_a_period_is_counted_from_the_sending_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    sent_at: dict[Grant, float] = {}
    sent, cool = FleetSlot.sent, Slots.cool

    def note(slot: FleetSlot) -> None:
        sent(slot)
        sent_at.update((grant, slot._limiter.now()) for _, grant in slot._claims)

    def cool_from_then(slots: Slots, grant: Grant, now: float, *, answered: bool) -> None:
        cool(slots, grant, sent_at.pop(grant, now), answered=answered)

    monkeypatch.setattr(FleetSlot, "sent", note)
    monkeypatch.setattr(Slots, "cool", cool_from_then)
    assert campaign(SLOW, range(1)).over > 0
