"""Clients of all dialects share their limits where `fleet` says."""

import asyncio
import logging
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks._fleet_air import Air, AirBus
from codegen_async import (
    ClientClosedError,
    CodegenClient,
    ConfigurationError,
    Fleet,
    HostedRuns,
    LimiterBusyError,
    MiddeskClient,
    Rate,
)
from codegen_async.fleet import opening
from codegen_async.fleet.board import Terms
from codegen_async.fleet.keys import key_of
from codegen_async.fleet.limits import FleetLimits
from codegen_async.limits import Priority
from codegen_async.secret import Secret
from codegen_async.testing import CodegenServer, MiddeskServer
from tests.fleet.hosts import on_hosts
from tests.fleet.shelf import Line, Shelf
from tests.support.canary import CANARY

PASSWORD = "h0rse-battery"


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let all meet at a store whose clock is that of the test; return a URL."""
    shelf = Shelf(random.Random(1), began=-1e6)
    air = Air()
    monkeypatch.setattr(opening, "open_store", lambda _: Line(shelf, random.Random(2)))
    monkeypatch.setattr(opening, "open_bus", lambda _: AirBus(air, random.randbytes(4).hex()))
    return "sqlite:/somewhere"


def client_of(server: CodegenServer, **options: Any) -> CodegenClient:
    return CodegenClient(server.token, org_id=server.org_id, base_url=server.url, **options)


@on_hosts
async def test_clients_of_one_token_send_no_more_than_one(shelf: str) -> None:
    url = shelf
    async with (
        CodegenServer(token=CANARY) as server,
        client_of(server, fleet=url) as one,
        client_of(server, fleet=url) as other,
    ):
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.create_run("do") for client in (one, other) for _ in range(8)))
        assert 60.0 < asyncio.get_running_loop().time() - began < 62.0
        assert server.violations == 0
        fleet = one.limits["create"].fleet
        assert fleet is not None
        assert len(fleet.members) == 2
        assert [member.is_own for member in fleet.members].count(True) == 1
        assert fleet.leader in {member.name for member in fleet.members}


@on_hosts
async def test_clients_alone_would_have_sent_more() -> None:
    async with CodegenServer(token=CANARY) as server, client_of(server) as one, client_of(server) as other:
        await asyncio.gather(*(client.create_run("do") for client in (one, other) for _ in range(8)))
        assert server.violations > 0
        assert one.limits["create"].fleet is None


@on_hosts
async def test_an_organization_that_is_asked_for_and_one_that_is_given_share(shelf: str) -> None:
    url = shelf
    async with CodegenServer(token=CANARY) as server:
        asking = CodegenClient(server.token, base_url=server.url, fleet=url, rates={"get": Rate(2, 30.0)})
        async with asking, client_of(server, fleet=url, rates={"get": Rate(2, 30.0)}) as knowing:
            run = await knowing.create_run("do")
            began = asyncio.get_running_loop().time()
            await asyncio.gather(*(client.get_run(run.id, max_age=0) for client in (asking, knowing) for _ in range(2)))
            assert asyncio.get_running_loop().time() - began > 30.0


@on_hosts
async def test_other_dialects_share_likewise(shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEGEN_FLEET", shelf)
    async with MiddeskServer(token=CANARY) as server:
        several = [MiddeskClient(server.token, base_url=server.url) for _ in range(2)]
        async with several[0], several[1]:
            await asyncio.gather(*(client.list_agents() for client in several for _ in range(30)))
            assert server.violations == 0
            assert several[0].limits["all"].fleet is not None


@on_hosts
async def test_a_client_is_opened_again_under_another_name(shelf: str) -> None:
    async with CodegenServer(token=CANARY) as server:
        client = client_of(server, fleet=shelf, rates={"create": Rate(2, 60.0)})
        began = asyncio.get_running_loop().time()
        for _ in range(2):
            async with client:
                await client.create_run("do")
        async with client:
            await client.create_run("do")
        assert asyncio.get_running_loop().time() - began > 60.0
        assert server.violations == 0


@on_hosts
async def test_a_store_that_is_away_keeps_nobody_from_opening_or_closing() -> None:
    async with CodegenServer(token=CANARY) as server:
        client = await client_of(server, fleet="redis://127.0.0.1:1/0").open()
        call = asyncio.create_task(client.get_run(1))
        await asyncio.sleep(10.0)
        assert not call.done()
        fleet = client.limits["get"].fleet
        assert fleet is not None
        assert fleet.away_for > 5.0
        call.cancel()
        await client.aclose()


@pytest.mark.parametrize("url", ["mysql://somewhere/db", "fleet.db", "sqlite:", "redis://:h0rse-battery@/x?what=1"])
def test_a_url_that_is_none_is_refused_at_once_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="fleet") as caught:
        CodegenClient("token", org_id=1, fleet=url)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("options", [{"keep": -1}, {"keep": 1.5}, {"keep_for": -1.0}, {"keep_for": float("nan")}])
def test_a_fleet_checks_what_it_is_given(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Fleet("sqlite:/tmp/fleet.db", **options)


def test_a_fleet_does_not_show_where_it_meets(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet(f"postgresql://me:{PASSWORD}@db.example/app", keep=1)
    logging.getLogger("codegen_async").warning("%s %r", fleet, vars(fleet))
    assert PASSWORD not in f"{fleet!r} {caplog.text}"


def test_a_key_tells_tokens_servers_and_organizations_apart_and_shows_no_token() -> None:
    keys = {
        key_of(url, organization, Secret(token), "get")
        for url in ("https://one.example", "https://two.example")
        for organization in ("", "5")
        for token in (CANARY, f"{CANARY}2")
    }
    assert len(keys) == 8
    assert not any(CANARY in key for key in keys)


@pytest.mark.parametrize(
    "url",
    [
        "https://API.example",
        "HTTPS://api.example/",
        "https://api.example:443",
        "https://api.example.",
        "https://api.example:0443",
    ],
)
def test_all_ways_to_write_an_address_are_one_budget(url: str) -> None:
    there = CodegenClient(CANARY, org_id=5, base_url="https://api.example", fleet="sqlite:/tmp/fleet.db")
    assert CodegenClient(CANARY, org_id=5, base_url=url, fleet="sqlite:/tmp/fleet.db")._key_of("get") == there._key_of(
        "get"
    )


def test_a_client_without_a_fleet_imports_none_of_it() -> None:
    import subprocess  # noqa: PLC0415 - for this test
    import sys  # noqa: PLC0415 - the same

    program = (
        "import sys; from codegen_async import CodegenClient; CodegenClient('t', org_id=1);"
        "print([name for name in sys.modules if name.startswith('codegen_async.fleet')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stdout.strip() == "[]"
    assert HostedRuns is not None


@on_hosts
async def test_what_a_process_has_sent_is_counted_once_by_the_next_although_each_has_a_memory(
    shelf: str, tmp_path: Path
) -> None:
    async with CodegenServer(token=CANARY) as server:
        for left in range(9, 3, -1):
            async with client_of(server, fleet=shelf, memory=tmp_path / "memory") as client:
                await client.create_run("do")
                assert client.limits["create"].available == left


@on_hosts
async def test_what_was_sent_before_there_was_a_fleet_is_counted_by_all(shelf: str, tmp_path: Path) -> None:
    async with CodegenServer(token=CANARY) as server:
        async with client_of(server, memory=tmp_path / "memory") as alone:
            await asyncio.gather(*(alone.create_run("do") for _ in range(7)))
        async with (
            client_of(server, fleet=shelf, memory=tmp_path / "memory") as one,
            client_of(server, fleet=shelf) as other,
        ):
            await asyncio.sleep(0.1)
            await asyncio.gather(*(client.create_run("do") for client in (one, other) for _ in range(4)))
        assert server.violations == 0


@on_hosts
async def test_calls_that_wait_for_their_turn_learn_that_the_client_was_closed(shelf: str) -> None:
    async with CodegenServer(token=CANARY) as server:
        client = client_of(server, fleet=shelf)
        await client.open()
        await asyncio.gather(*(client.create_run("do") for _ in range(10)))
        calls = [asyncio.create_task(client.create_run("do")) for _ in range(2)]
        await asyncio.sleep(1.0)
        await client.aclose()
        assert [type(end) for end in await asyncio.gather(*calls, return_exceptions=True)] == [ClientClosedError] * 2


@on_hosts
async def test_what_is_given_back_after_a_client_was_opened_again_is_nothing_to_it(shelf: str) -> None:
    async with CodegenServer(token=CANARY) as server:
        client = client_of(server, fleet=shelf)
        await client.open()
        slots = [client.limiter("create").slot() for _ in range(3)]
        for slot in slots:
            await slot.__aenter__()
        slots[0].sent()
        await client.aclose()
        async with client:
            for slot in slots:
                slot.close()
            began = asyncio.get_running_loop().time()
            served = [asyncio.create_task(client.create_run("do")) for _ in range(8)]
            await asyncio.sleep(1.0)
            assert sum(task.done() for task in served) == 7  # what was under way is away, for all that is known
            await asyncio.gather(*served)
            assert asyncio.get_running_loop().time() - began > 60.0


@on_hosts
async def test_who_has_no_patience_is_told_at_once_also_by_a_client_that_has_just_begun(shelf: str) -> None:
    async with CodegenServer(token=CANARY) as server, client_of(server, fleet=shelf) as one:
        await asyncio.gather(*(one.create_run("do") for _ in range(10)))
        async with client_of(server, fleet=shelf) as other:
            began = asyncio.get_running_loop().time()
            with pytest.raises(LimiterBusyError) as told:
                await other.create_run("do", patience=5.0)
            assert 55.0 < told.value.wait < 61.0
            assert asyncio.get_running_loop().time() - began < 0.1


@on_hosts
async def test_who_has_patience_is_served_and_who_closes_meanwhile_is_told() -> None:
    line = Line(Shelf(random.Random(1), began=-1e6), random.Random(2), leg=(0.2, 0.3))
    limits = FleetLimits({"get": Rate(4, 10.0)}, open_store=lambda: line, key_of=str, terms=Terms())
    limits.follow()
    looks = [asyncio.create_task(limits.look("get")) for _ in range(2)]
    await asyncio.sleep(0.1)
    looks[0].cancel()
    await asyncio.sleep(1.0)
    assert looks[1].done()
    await limits.aclose()
    limits.follow()
    look = asyncio.create_task(limits.look("get"))
    await asyncio.sleep(0.1)
    await limits.aclose()
    await look


@on_hosts
async def test_what_is_known_is_known_while_the_store_is_asked() -> None:
    shelf = Shelf(random.Random(1), began=-1e6)
    one, other = (
        FleetLimits(
            {"get": Rate(4, 100.0)},
            open_store=lambda: Line(shelf, random.Random(2), leg=(0.2, 0.3)),
            key_of=str,
            terms=Terms(),
        )
        for _ in range(2)
    )
    one.follow()
    other.follow()

    async def call(limits: FleetLimits) -> None:
        async with limits.slot("get", Priority.INTERACTIVE) as slot:
            slot.sent()
            slot.answered()

    await asyncio.gather(*(call(one) for _ in range(4)))
    waiting = asyncio.create_task(call(other))
    await asyncio.sleep(5.0)
    for _ in range(200):  # some of these times the store is asked
        await asyncio.sleep(0.05)
        assert other.expected_wait("get", Priority.INTERACTIVE) > 50.0
        assert other["get"].available == 0
    waiting.cancel()
    await asyncio.gather(one.aclose(), other.aclose())
