"""A slot that was taken long ago is not used: its process was stopped, or its machine slept."""

import asyncio
import contextlib
import time

import pytest

from codegen_async.limits import Rate, StaleSlotError, WindowLimiter
from codegen_async.settings import Timeouts
from codegen_async.testing import CodegenServer
from tests.support.clients import open_client

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


async def test_an_old_slot_refuses_and_is_given_back_unused() -> None:
    limiter = WindowLimiter(Rate(1, 60.0))
    async with limiter.slot() as slot:
        await asyncio.sleep(15.1)
        with pytest.raises(StaleSlotError):
            slot.sent()
    assert limiter.available == 1


async def test_a_slot_ages_while_the_loop_does_not_see_the_time_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = WindowLimiter(Rate(1, 60.0))
    async with limiter.slot() as slot:
        later = time.time() + 16.0
        monkeypatch.setattr(time, "time", lambda: later)
        with pytest.raises(StaleSlotError):
            slot.sent()


async def test_a_wall_clock_that_is_set_back_makes_no_slot_young(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = WindowLimiter(Rate(1, 60.0))
    async with limiter.slot() as slot:
        await asyncio.sleep(16.0)
        monkeypatch.setattr(time, "time", lambda: 0.0)
        with pytest.raises(StaleSlotError):
            slot.sent()


@pytest.mark.parametrize("age", [14.9, 15.1, 3600.0])
async def test_a_call_whose_slot_has_grown_old_takes_another_and_sends_once(
    codegen_server: CodegenServer, age: float
) -> None:
    async with open_client(codegen_server.url) as client:
        slot = client.creating.slot()
        await slot.__aenter__()
        await asyncio.sleep(age)
        await client.creating.attempt({"prompt": "x", "metadata": {}}, "key", slot)
        assert client.limits["create"].cooling == 1
        assert client.limits["create"].in_flight == 0
    assert [seen.status for seen in codegen_server.requests] == [200]


async def test_stopped_creates_do_not_burst_when_they_go_on(codegen_server: CodegenServer) -> None:
    """Ten slots are taken, the process is stopped for a window, and goes on."""
    async with open_client(codegen_server.url) as client:
        slots = [client.creating.slot() for _ in range(10)]
        for slot in slots:
            await slot.__aenter__()
        await asyncio.sleep(61.0)
        await asyncio.gather(
            *[
                client.creating.attempt({"prompt": "x", "metadata": {}}, f"key{number}", slot)
                for number, slot in enumerate(slots)
            ],
            *[client.create_run("y") for _ in range(10)],
        )
    assert codegen_server.violations == 0
    assert codegen_server.worst("create").seen == 10


async def test_who_may_take_long_to_connect_may_take_long_to_send(codegen_server: CodegenServer) -> None:
    client = open_client(codegen_server.url, timeouts=Timeouts(connect=100.0))
    async with client, client.limiter("get").slot() as slot:
        await asyncio.sleep(104.0)
        slot.sent()
        await asyncio.sleep(2.0)
        with pytest.raises(StaleSlotError):
            slot.sent()


@pytest.mark.parametrize("age", [14.9, 15.1])
async def test_who_wants_no_other_slot_is_told_and_nothing_is_sent(codegen_server: CodegenServer, age: float) -> None:
    async with open_client(codegen_server.url) as client:
        slot = client.creating.slot()
        await slot.__aenter__()
        await asyncio.sleep(age)
        sending = client.creating.attempt({"prompt": "x", "metadata": {}}, "key", slot, renew=False)
        with pytest.raises(StaleSlotError) if age > 15.0 else contextlib.nullcontext():
            await sending
        slot.close()
        assert client.limits["create"].in_flight == 0
    assert len(codegen_server.requests) == (age < 15.0)
