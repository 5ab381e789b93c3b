from collections import Counter
from typing import Any

import aiohttp
import pytest

from codegen_async.testing.faults import Fault, Faults, Injection
from codegen_async.testing.server import Route, SimulatedServer


def taken(faults: Faults, endpoint: str, count: int) -> list[Fault | None]:
    injections = [faults.take(endpoint) for _ in range(count)]
    return [injection.fault if injection else None for injection in injections]


def test_nothing_goes_wrong_unless_planned() -> None:
    assert taken(Faults(), "get", 3) == [None, None, None]


def test_a_fault_strikes_once_by_default() -> None:
    faults = Faults()
    faults.add(Fault.RESET_AFTER)
    assert taken(faults, "get", 3) == [Fault.RESET_AFTER, None, None]


def test_a_fault_strikes_its_endpoint_only() -> None:
    faults = Faults()
    faults.add(Fault.RESET_AFTER, endpoint="create", times=2)
    assert taken(faults, "get", 2) == [None, None]
    assert taken(faults, "create", 3) == [Fault.RESET_AFTER, Fault.RESET_AFTER, None]


def test_a_fault_can_leave_the_first_requests_alone() -> None:
    faults = Faults()
    faults.add(Fault.BROKEN_JSON, endpoint="get", after=2, times=1)
    assert taken(faults, "list", 2) == [None, None]
    assert taken(faults, "get", 4) == [None, None, Fault.BROKEN_JSON, None]


def test_faults_strike_in_the_order_of_planning() -> None:
    faults = Faults()
    faults.add(Fault.DROP_BEFORE, times=1)
    faults.add(Fault.WRONG_ID, times=1)
    assert taken(faults, "get", 3) == [Fault.DROP_BEFORE, Fault.WRONG_ID, None]


def test_a_fault_without_end_strikes_until_cleared() -> None:
    faults = Faults()
    faults.add(Fault.SLOW_BODY, times=None)
    assert taken(faults, "get", 50) == [Fault.SLOW_BODY] * 50
    faults.clear()
    assert taken(faults, "get", 1) == [None]
    assert faults.injected == Counter({Fault.SLOW_BODY: 50})


def test_random_faults_strike_their_share_the_same_for_each_seed() -> None:
    def struck(seed: int) -> list[Fault | None]:
        faults = Faults(seed)
        faults.add(Fault.ERROR_AFTER, endpoint="get", times=None, probability=0.2)
        return taken(faults, "get", 2000)

    assert struck(1) == struck(1)
    assert struck(1) != struck(2)
    assert struck(1).count(Fault.ERROR_AFTER) == pytest.approx(400, rel=0.15)


def test_a_random_fault_stops_after_its_times() -> None:
    faults = Faults()
    faults.add(Fault.ERROR_AFTER, times=3, probability=0.5)
    assert taken(faults, "get", 200).count(Fault.ERROR_AFTER) == 3


def test_an_injection_carries_its_figures() -> None:
    faults = Faults()
    faults.add(Fault.ERROR_BEFORE, status=503, retry_after=7, seconds=3)
    assert faults.take("get") == Injection(fault=Fault.ERROR_BEFORE, status=503, retry_after=7, seconds=3)
    faults.add(Fault.ERROR_BEFORE)
    assert faults.take("get") == Injection(fault=Fault.ERROR_BEFORE, status=500, retry_after=None, seconds=60)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"id": "a/b", "n": 1}, {"id": "a/b1", "n": 1}),
        ({"runs": [{"id": "a"}], "next": None}, {"runs": [{"id": "a1"}], "next": None}),
        ([{"id": 7}], [{"id": 8}]),
        (None, None),
        ({"name": "a"}, {"name": "a"}),
    ],
)
async def test_a_wrong_id_is_one_of_any_form_wherever_it_stands(right: Any, wrong: Any) -> None:
    class Server(SimulatedServer):
        def routes(self) -> list[Route]:
            return [Route("GET", "/", "get", lambda _request, _body: right)]

    async with Server() as server, aiohttp.ClientSession() as session:
        server.faults.add(Fault.WRONG_ID)
        async with session.get(server.url, headers={"Authorization": f"Bearer {server.token}"}) as answer:
            assert (answer.status, await answer.json()) == (200, wrong)
