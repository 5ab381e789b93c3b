"""Looks are shared with others that wait somewhere else: runs are watched for them, and what they saw counts here."""

import asyncio
from collections.abc import Collection

import pytest

from codegen_async.errors import ClientClosedError, NotFoundError, PermissionDeniedError
from codegen_async.models import Phase, RunId
from codegen_async.polling import ListPoll
from tests.waiting.fakes import Remote, Run, answer, begin, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


class Heard:
    """Others that note what they hear."""

    def __init__(self) -> None:
        self.wishes: list[RunId] = []
        self.looks: list[tuple[list[RunId], float]] = []
        self.news: list[Run] = []
        self.refusals: list[RunId] = []
        self.reopenings: list[tuple[RunId, Run | None]] = []
        self.notices: list[tuple[RunId, bool]] = []
        self.ends = 0

    def wished(self, run_id: RunId) -> None:
        self.wishes.append(run_id)

    def looked(self, run_ids: Collection[RunId], asked: float) -> None:
        self.looks.append(([*run_ids], asked))

    def told(self, run: Run) -> None:
        self.news.append(run)

    def refused(self, run_id: RunId) -> None:
        self.refusals.append(run_id)

    def reopened(self, run_id: RunId, before: Run | None) -> None:
        self.reopenings.append((run_id, before))

    def notified(self, run_id: RunId, *, asks: bool) -> None:
        self.notices.append((run_id, asks))

    def gave_up(self) -> None:
        self.ends += 1


async def test_a_run_is_watched_for_others_until_it_ends_though_nobody_waits_for_it_here() -> None:
    remote, heard = Remote(), Heard()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.attend(heard)
        waiting.elsewhere.adopt(1, 5.0, None)
        await asyncio.sleep(20)
        assert waiting.watched == 0
        assert waiting.elsewhere.wanted == []
        wish = waiting.elsewhere.wish(1)
        assert wish is None
        assert [run.phase for run in heard.news] == [Phase.RUNNING] * remote.requests
        assert 4 <= remote.requests <= 6
        remote.end(1)
        await asyncio.sleep(6)
        asked = remote.requests
        assert heard.news[-1].phase is Phase.SUCCEEDED
        await asyncio.sleep(60)
        assert remote.requests == asked


async def test_a_run_that_others_have_just_seen_is_looked_at_when_they_want() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.adopt(1, 10.0, 2.0)
        await asyncio.sleep(7)
        assert remote.requests == 0
        await asyncio.sleep(2)
        assert remote.requests == 1
        waiting.elsewhere.disown(1)


async def test_who_is_watched_for_others_and_here_is_seen_as_often_as_the_most_impatient_want() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, latency=100.0) as waiting:
        wait = begin(waiting.wait_for_run(remote.runs[1]))
        await asyncio.sleep(0)
        waiting.elsewhere.adopt(1, 5.0, None)
        await asyncio.sleep(20)
        assert 3 <= remote.requests <= 5
        waiting.elsewhere.adopt(1, 50.0, None)
        asked = remote.requests
        await asyncio.sleep(40)
        assert remote.requests == asked
        waiting.elsewhere.disown(1)
        await asyncio.sleep(49)
        assert remote.requests == asked
        assert waiting.elsewhere.wanted == [1]
        remote.end(1)
        assert (await wait).phase is Phase.SUCCEEDED


async def test_a_block_is_no_end_for_others() -> None:
    remote, heard = Remote(), Heard()
    remote.start(1, phase=Phase.BLOCKED)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.attend(heard)
        waiting.elsewhere.adopt(1, 5.0, None)
        await asyncio.sleep(10)
        remote.end(1)
        await asyncio.sleep(10)
        assert {run.phase for run in heard.news} == {Phase.BLOCKED, Phase.SUCCEEDED}


async def test_who_is_quiet_asks_nothing_and_hears() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.be_quiet(now() + 1000)
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        await asyncio.sleep(500)
        assert remote.requests == 0
        waiting.elsewhere.hear(remote.move(1, Phase.FAILED), now())
        assert (await waits[0]).phase is Phase.FAILED
        waiting.elsewhere.be_quiet(0.0)
        await asyncio.sleep(1)
        assert remote.requests > 0
        remote.end(2)
        assert (await waits[1]).phase is Phase.SUCCEEDED


async def test_who_is_quiet_looks_at_what_somebody_is_in_a_hurry_for_and_at_nothing_else() -> None:
    remote = Remote()
    remote.start(*range(1, 60))
    async with waiting_on(remote) as waiting:
        collecting = begin(waiting.wait_for_runs(remote.runs))
        await asyncio.sleep(100)
        waiting.elsewhere.be_quiet(now() + 1000)
        await asyncio.sleep(1)
        asked, paged = len(remote.gets), len(remote.pages)
        for _ in range(20):
            waiting.notify(7)
            await asyncio.sleep(2)
        assert remote.gets[asked:] == [7] * 20
        assert len(remote.pages) == paged
        remote.end(*remote.runs)
        waiting.elsewhere.be_quiet(now())
        await collecting


async def test_silence_ends_by_itself() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.be_quiet(now() + 30)
        wait = begin(waiting.wait_for_run(1))
        remote.end(1)
        began = now()
        await wait
        assert 30 <= now() - began <= 31


async def test_what_others_saw_makes_no_run_due() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(remote.runs[1]))
        for _ in range(10):
            await asyncio.sleep(4)
            waiting.elsewhere.saw([1, 2], now())
        assert remote.requests == 0
        wish = waiting.elsewhere.wish(1)
        assert wish is not None
        assert wish.latency == 5.0
        assert wish.seen == pytest.approx(0.0)
        remote.end(1)
        await wait


async def test_a_wish_says_what_is_wanted_and_known() -> None:
    remote, heard = Remote(), Heard()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.attend(heard)
        wait = begin(waiting.wait_for_run(1, latency=3.0))
        await asyncio.sleep(0)
        assert heard.wishes == [1]
        assert waiting.elsewhere.wish(1) == (3.0, None, None)
        await asyncio.sleep(1.1)
        wish = waiting.elsewhere.wish(1)
        assert wish is not None
        assert (wish.latency, wish.phase) == (3.0, Phase.RUNNING)
        assert wish.seen == pytest.approx(1.1, abs=0.01)
        assert heard.looks[0][0] == [1]
        assert heard.looks[0][1] == pytest.approx(now() - 1.1, abs=0.01)
        impatient = begin(waiting.wait_for_run(1, latency=1.0))
        await asyncio.sleep(0)
        wish = waiting.elsewhere.wish(1)
        assert wish is not None
        assert wish.latency == 1.0
        impatient.cancel()
        await asyncio.sleep(0.01)
        assert heard.wishes == [1, 1, 1]
        remote.end(1)
        await wait
        wish = waiting.elsewhere.wish(1)
        assert wish is None


async def test_what_was_heard_of_an_end_is_remembered_as_what_was_seen() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.hear(remote.move(1, Phase.FAILED), now())
        assert (await waiting.wait_for_run(1)).phase is Phase.FAILED
        assert waiting.elsewhere.known(1) is remote.runs[1]
        assert remote.requests == 0


async def test_what_was_overtaken_tells_nothing() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, latency=1000.0) as waiting:
        changes = waiting.watch([1])
        remote.move(1, Phase.BLOCKED)
        asked = now()
        assert (await anext(changes)).phase is Phase.BLOCKED
        waiting.elsewhere.hear(Run(id=1, phase=Phase.RUNNING), asked - 0.1)
        known = waiting.elsewhere.known(1)
        assert known is not None
        assert known.phase is Phase.BLOCKED
        await changes.aclose()


async def test_others_hear_of_notices_and_of_runs_that_were_taken_up_again() -> None:
    remote, heard = Remote(), Heard()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.attend(heard)
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(1)
        waiting.notify(1)
        waiting.notify(2)
        assert heard.notices == [(1, True), (2, False)]
        remote.end(1)
        final = await wait
        waiting.reopened(1, final)
        assert heard.reopenings == [(1, final)]


@pytest.mark.parametrize("known", [False, True])
async def test_an_end_from_before_a_resume_elsewhere_ends_no_wait(known: bool) -> None:
    remote = Remote()
    remote.start(1)
    remote.end(1)
    old = remote.runs[1]
    async with waiting_on(remote) as waiting:
        if known:
            waiting.seen(old)
        waiting.elsewhere.reopened(1, old if known else None)
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(30)
        assert not wait.done()
        remote.resume(1)
        await asyncio.sleep(35)
        remote.end(1)
        assert (await wait).life == 1


async def test_an_answer_that_was_asked_for_before_a_resume_does_not_count() -> None:
    remote, heard = Remote(), Heard()
    remote.start(1, phase=Phase.BLOCKED)
    remote.latency = 3.0
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.attend(heard)
        blocked = remote.runs[1]
        waiting.elsewhere.adopt(1, 5.0, None)
        await asyncio.sleep(1)  # an answer is on its way
        remote.end(1)
        await asyncio.sleep(1)
        waiting.elsewhere.reopened(1, blocked)
        await asyncio.sleep(1.5)
        assert remote.gets == [1, 1]
        remote.resume(1)
        await asyncio.sleep(20)
        assert {run.phase for run in heard.news} == {Phase.RUNNING}


async def test_refusals_and_the_end_of_all_waits_are_told() -> None:
    remote, heard = Remote(), Heard()
    remote.start(2)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.attend(heard)
        with pytest.raises(NotFoundError):
            await waiting.wait_for_run(1)
        assert set(heard.refusals) == {1}
        assert heard.ends == 0
        remote.fault = answer(PermissionDeniedError, 403)
        with pytest.raises(PermissionDeniedError):
            await waiting.wait_for_run(2)
        assert 2 in heard.refusals


async def test_closing_ends_what_is_watched_for_others() -> None:
    remote, heard = Remote(), Heard()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.attend(heard)
        waiting.elsewhere.adopt(1, 5.0, None)
        wait = begin(waiting.wait_for_run(2))
        await asyncio.sleep(1)
    with pytest.raises(ClientClosedError):
        await wait
    assert heard.ends == 1


async def test_pages_that_are_read_for_others_tell_them_whole_snapshots() -> None:
    remote, heard = Remote(), Heard()
    remote.start(*range(1, 81))
    async with waiting_on(remote) as waiting:
        waiting.elsewhere.attend(heard)
        for run_id in remote.runs:
            waiting.elsewhere.adopt(run_id, 5.0, 0.0)
        await asyncio.sleep(100)
        remote.end(*range(1, 41))
        await asyncio.sleep(10)
        assert {run.id for run in heard.news if run.phase.is_terminal} == set(range(1, 41))
        assert remote.requests < 60
        assert all(isinstance(poll, ListPoll) for poll in remote.pages)
        for run_id in range(41, 81):
            waiting.elsewhere.disown(run_id)
        await asyncio.sleep(1)
        asked = remote.requests
        await asyncio.sleep(60)
        assert remote.requests == asked
