"""The end that a run had before a resume is not taken for its new one, however late the wait begins."""

import asyncio

import pytest

from codegen_async.limits import Rate
from codegen_async.models import Phase
from tests.waiting.fakes import Remote, Run, begin, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


class Late(Remote):
    """A server whose reads show a resume late."""

    async def take_up(self, run_id: int, lag: float) -> None:
        await asyncio.sleep(lag)
        self.resume(run_id)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("pause", [0.0, 11.0, 25.0])
@pytest.mark.parametrize("lag", [12.0, 30.0, 55.0])
async def test_an_old_end_is_not_taken_for_the_new_one_however_late_the_wait_begins(
    lag: float, pause: float, known: bool, many: bool
) -> None:
    remote = Late()
    remote.start(*range(1, 4))
    remote.end(1)
    async with waiting_on(remote, page=Rate(60, 30.0) if many else None) as waiting:
        others = [begin(waiting.wait_for_run(run_id)) for run_id in (2, 3) if many]
        old = await waiting.wait_for_run(1) if known else remote.runs[1]
        waiting.reopened(1)
        resumed = now()
        taking_up = asyncio.create_task(remote.take_up(1, lag))
        await asyncio.sleep(pause)
        waits = [begin(waiting.wait_for_run(run)) for run in (1, old)]
        await taking_up
        await asyncio.sleep(20)
        assert not any(wait.done() for wait in waits)
        remote.end(1)
        ended = now()
        assert [run.life for run in await asyncio.gather(*waits)] == [1, 1]
        assert now() <= max(ended + 10, 0 if known else resumed + 70)  # where nothing can be compared
        for other in others:
            other.cancel()


async def test_a_resume_that_did_nothing_is_seen_after_a_minute() -> None:
    remote = Remote()
    remote.start(1)
    remote.end(1)
    async with waiting_on(remote) as waiting:
        await waiting.wait_for_run(1)
        waiting.reopened(1)
        began = now()
        assert (await waiting.wait_for_run(1)).life == 0
        assert 60 <= now() - began <= 70


async def test_a_new_end_of_another_kind_is_believed_at_once() -> None:
    remote = Remote()
    remote.start(1)
    remote.end(1)
    async with waiting_on(remote) as waiting:
        await waiting.wait_for_run(1)
        waiting.reopened(1)
        began = now()
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(1)
        remote.runs[1] = Run(id=1, phase=Phase.FAILED)
        assert (await wait).phase is Phase.FAILED
        assert now() - began <= 10
