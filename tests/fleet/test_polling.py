"""What a fleet asks for, beside one process that has all its runs: the same, and no later. Counts, in virtual time."""

import asyncio

import pytest

from benchmarks._fleet_air import Air
from benchmarks._fleet_model import Cast, Company, Play, perform
from benchmarks._polling_model import LOGNORMAL, Result
from codegen_async.testing.clock import run_virtual

DRAIN = Play("drain", LOGNORMAL, 80, 80, finished=50)
SHARED = Play("shared", LOGNORMAL, 40, 40, shared=True, finished=20)


async def kill_the_leader(company: Company) -> None:
    await asyncio.sleep(100)
    await company.replace_leader("new")


async def part(company: Company) -> None:
    assert company.air is not None
    await asyncio.sleep(60)
    company.air.may_pass = lambda a, b: (a < "04") is (b < "04")


def played(play: Play, cast: Cast) -> Result:
    return run_virtual(perform(play, cast, 1))


@pytest.fixture(scope="module")
def one() -> Result:
    return played(DRAIN, Cast("one process", 1))


def test_eight_processes_ask_what_one_asks_and_are_no_later(one: Result) -> None:
    fleet = played(DRAIN, Cast("fleet", air=Air))
    assert fleet.requests <= 1.05 * one.requests + 8  # each may ask once before it knows who leads
    assert fleet.mean <= one.mean + 0.3
    assert fleet.quantile(0.95) <= one.quantile(0.95) + 0.5


def test_a_leader_that_is_killed_costs_little(one: Result) -> None:
    fleet = played(DRAIN, Cast("killed", air=Air, plot=kill_the_leader))
    assert fleet.requests <= 1.15 * one.requests + 8
    assert fleet.mean <= one.mean + 1.0


def test_two_leaders_cost_twice_and_nothing_else(one: Result) -> None:
    fleet = played(DRAIN, Cast("parted", air=Air, plot=part))
    assert 1.3 * one.requests <= fleet.requests <= 2.2 * one.requests
    assert fleet.mean <= one.mean + 0.5


def test_what_all_watch_is_asked_for_once() -> None:
    one = played(SHARED, Cast("one process", 1))
    fleet = played(SHARED, Cast("fleet", air=Air))
    assert fleet.requests / 8 <= 1.05 * one.requests + 8  # the fleet's are counted for each that watches
    assert len(fleet.latencies) >= 8 * 20
    assert max(fleet.latencies) <= max(one.latencies) + 0.7
