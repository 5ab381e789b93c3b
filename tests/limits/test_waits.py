"""How long one more caller would wait: what a limiter says, and who is told that it is too long."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen_async.errors import InvalidArgumentError, LimiterBusyError
from codegen_async.limits import Limits, Priority, Rate, WindowLimiter
from codegen_async.testing import CodegenServer
from tests.limits.simulation import on_virtual_clock, run
from tests.support.clients import open_client

I, B = Priority.INTERACTIVE, Priority.BACKGROUND  # noqa: E741 - as in the order of a line
MARGIN = 10.0 / 600


async def pass_through(limiter: WindowLimiter, priority: Priority = I) -> float:
    """Send a request that is answered at once; return when, in loop time."""
    async with limiter.slot(priority) as slot:
        slot.sent()
        slot.answered()
        return asyncio.get_running_loop().time()


async def spent(rate: Rate) -> WindowLimiter:
    limiter = WindowLimiter(rate)
    await asyncio.gather(*[pass_through(limiter) for _ in range(rate.limit)])
    return limiter


@on_virtual_clock
async def test_a_free_slot_is_no_wait() -> None:
    limiter = WindowLimiter(Rate(2, 10.0))
    assert limiter.state.wait == 0.0
    await pass_through(limiter)
    assert limiter.state.wait == 0.0


@on_virtual_clock
async def test_a_spent_window_is_a_wait_for_the_first_slot_to_come_back() -> None:
    limiter = await spent(Rate(2, 10.0))
    await asyncio.sleep(4.0)
    assert limiter.state.wait == pytest.approx(6.0 + MARGIN, abs=0.001)


@on_virtual_clock
async def test_a_request_under_way_is_taken_to_be_answered_now() -> None:
    limiter = WindowLimiter(Rate(1, 10.0))
    async with limiter.slot() as slot:
        slot.sent()
        await asyncio.sleep(4.0)
        assert limiter.state.wait == pytest.approx(10.0 + MARGIN, abs=0.001)


@on_virtual_clock
async def test_a_closed_gate_is_a_wait() -> None:
    limiter = WindowLimiter(Rate(2, 10.0))
    limiter.hold(1800.0)
    assert limiter.state.wait == pytest.approx(1800.0, abs=0.001)


@on_virtual_clock
async def test_the_ceiling_counts_as_well() -> None:
    limits = Limits({"get": Rate(5, 10.0), "list": Rate(5, 10.0)}, ceiling=Rate(1, 20.0))
    async with limits.slot("get", I) as slot:
        slot.sent()
        slot.answered()
    assert limits["list"].state.wait == 0.0
    assert limits.expected_wait("list", I) == pytest.approx(20.0 + 20 / 600, abs=0.001)


@given(
    st.integers(1, 5),
    st.lists(st.sampled_from([I, B]), max_size=20),
    st.sampled_from([I, B]),
    st.none() | st.integers(1, 5),
    st.booleans(),
)
def test_where_nobody_leaves_or_passes_the_wait_is_no_shorter_than_said_and_without_a_pace_as_said(
    limit: int, line: list[Priority], priority: Priority, burst: int | None, refused: bool
) -> None:
    async def main() -> None:
        limiter = await spent(Rate(limit, 10.0, burst=None if burst is None else min(burst, limit)))
        if refused:
            slot = limiter.slot()
            await slot.__aenter__()
            slot.sent()
            slot.rejected(3.0)
        callers = [asyncio.create_task(pass_through(limiter, other)) for other in line]
        await asyncio.sleep(0)
        said, began = limiter.expected_wait(priority), asyncio.get_running_loop().time()
        served = await pass_through(limiter, priority)
        await asyncio.gather(*callers)
        if said > 90.0:
            return  # the pace is over before
        assert said <= served - began + 0.05  # what is paced comes back paced: from the second round on, it is later
        if limiter.state.pace is None:
            assert said == pytest.approx(served - began, abs=0.05)

    run(main())


# -- patience


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_a_call_without_patience_for_the_next_slot_fails_at_once_and_sends_nothing(
    codegen_server: CodegenServer,
) -> None:
    async with open_client(codegen_server.url) as client:
        await asyncio.gather(*[client.create_run("x") for _ in range(10)])
        sent, began = len(codegen_server.requests), asyncio.get_running_loop().time()
        with pytest.raises(LimiterBusyError, match=r"create: the next slot is 60\.1 s away") as caught:
            await client.create_run("x", patience=2.0)
        assert asyncio.get_running_loop().time() == began
        assert caught.value.wait == pytest.approx(60.1, abs=0.1)
        assert caught.value.endpoint == "create"
        assert len(codegen_server.requests) == sent
        assert client.limits["create"].queue_length == 0


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_a_call_with_patience_enough_waits(codegen_server: CodegenServer) -> None:
    async with open_client(codegen_server.url) as client:
        await asyncio.gather(*[client.create_run("x") for _ in range(10)])
        assert (await client.create_run("x", patience=61.0)).id


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_every_call_can_be_impatient(codegen_server: CodegenServer) -> None:
    async with open_client(codegen_server.url) as client:
        for endpoint in ("create", "get", "list", "logs", "resume"):
            client.limiter(endpoint).hold(100.0)
        calls = [
            client.create_run("x", patience=1),
            client.resume_run(1, "x", patience=1),
            client.get_run(1, patience=1),
            client.list_runs_page(patience=1),
            client.run_logs_page(1, patience=1),
            anext(client.list_runs(patience=1)),
            anext(client.run_logs(1, patience=1)),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [LimiterBusyError] * len(calls)


@pytest.mark.parametrize("patience", [-1, float("nan"), "2", True])
@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_patience_is_a_number_of_seconds(codegen_server: CodegenServer, patience: float) -> None:
    async with open_client(codegen_server.url) as client:
        with pytest.raises(InvalidArgumentError, match="patience: expected"):
            await client.get_run(1, patience=patience)
