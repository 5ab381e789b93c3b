"""Ctrl-C once and twice."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen_async.batch.batch import Batch
from codegen_async.batch.items import State
from codegen_async.batch.signals import stop_on_signals
from codegen_async.testing import CodegenServer
from tests.batch.helpers import ENDLESS, opened, run_all

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


async def runs_of(server: CodegenServer, count: int) -> None:
    while len(server.world.runs) < count:  # noqa: ASYNC110 - virtual time, and the server does not tell
        await asyncio.sleep(0.5)


async def run_with_signals(batch: Batch) -> int:
    async with stop_on_signals(batch):
        return len(await run_all(batch))


async def receive(number: int, effect: Callable[[], object]) -> None:
    """Send a signal to this process and wait until it has arrived, which takes no virtual time."""
    os.kill(os.getpid(), number)
    while not effect():  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_first_signal_stops_and_the_second_cancels(
    codegen_server: CodegenServer, tmp_path: Path, number: int
) -> None:
    codegen_server.world.script = ENDLESS
    before = signal.getsignal(number)
    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        for n in range(30):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_with_signals(batch))
        await runs_of(codegen_server, 10)
        await receive(number, lambda: batch._stopped)
        await asyncio.sleep(1000.0)
        assert not running.done()
        assert len(codegen_server.world.runs) == 10
        await receive(number, running.cancelling)
        with pytest.raises(asyncio.CancelledError):
            await running
        status = await batch.status()
        assert (status[State.CREATED], status[State.PLANNED]) == (10, 20)
    assert signal.getsignal(number) is before


async def test_after_the_first_signal_a_batch_ends_by_itself(codegen_server: CodegenServer, tmp_path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (300.0, "COMPLETE")]
    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        for n in range(30):
            batch.add(f"do {n}")
        running = asyncio.create_task(run_with_signals(batch))
        await runs_of(codegen_server, 20)
        await receive(signal.SIGINT, lambda: batch._stopped)
        assert await running == 20
