"""Pages whose items may be incomplete or old: they hint, and gets tell."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from codegen_async.models import Phase
from codegen_async.polling import ListPoll
from codegen_async.waiting import Page
from tests.waiting.fakes import Remote, Run, begin, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

ANY = ListPoll(0, 1, None)


def hint(*runs: Run) -> Page[Run]:
    return Page(runs, None, sure=False)


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED, Phase.BLOCKED])
async def test_an_end_on_a_page_is_told_when_a_get_has_confirmed_it(phase: Phase) -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, latency=1000.0) as waiting:
        changes = waiting.watch([1])
        assert (await anext(changes)).phase is Phase.RUNNING
        waiting.seen_page(ANY, hint(Run(id=1, phase=phase)))
        coming = begin(_next(changes))
        remote.move(1, phase)
        shown = await coming
        assert shown.phase is phase
        assert remote.gets == [1, 1]
        await changes.aclose()


async def test_a_page_that_is_wrong_or_old_tells_nobody_anything() -> None:
    remote = Remote()
    remote.start(1)
    remote.move(1, Phase.BLOCKED)
    async with waiting_on(remote, latency=1000.0) as waiting:
        changes = waiting.watch([1])
        assert (await anext(changes)).phase is Phase.BLOCKED
        waiting.seen_page(ANY, hint(Run(id=1, phase=Phase.RUNNING)))
        waiting.seen_page(ANY, hint(Run(id=1, phase=Phase.SUCCEEDED)))
        coming = begin(waiting.wait_for_runs([1]))
        assert [run.phase for run in await coming] == [Phase.BLOCKED]
        remote.end(1)
        waiting.notify(1)
        assert [run.phase async for run in changes] == [Phase.SUCCEEDED]


async def test_a_page_may_tell_that_a_run_goes_on_of_which_nothing_is_known() -> None:
    remote = Remote()
    remote.start(1)
    remote.latency = 50.0
    began = now()
    async with waiting_on(remote) as waiting:
        changes = waiting.watch([1])
        coming = begin(_next(changes))
        await asyncio.sleep(1.0)
        waiting.seen_page(ANY, hint(Run(id=1)))
        shown = await coming
        assert shown.phase is Phase.RUNNING
        assert now() - began < 2.0  # no get has come back yet
        await changes.aclose()


async def _next(changes: AsyncGenerator[Run]) -> Run:
    return await anext(changes)
