"""What a second signal ends: the loop, while the command is still on its way to its own end."""

import asyncio
import logging

import pytest

from codegen_async.cli.errors import CommandError
from codegen_async.cli.session import _unhandled


def ended_early(error: Exception) -> None:
    """End a loop while a task of it has yet to be cancelled, which it answers by an error."""

    async def command() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None

    async def begin() -> None:
        asyncio.get_running_loop().set_exception_handler(_unhandled)
        tasks.append(asyncio.create_task(command()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(begin())


def test_a_command_that_is_ended_twice_shows_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "asyncio"):
        ended_early(CommandError("interrupted"))
        assert not caplog.records
        ended_early(ZeroDivisionError("a defect"))
        assert "shutdown" in caplog.text
