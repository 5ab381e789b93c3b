"""Nothing is final because of one answer, and what lasts is told."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from codegen_async.errors import (
    DecodeError,
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    RedirectedError,
    ServerError,
    StatusError,
    WaitTimeoutError,
)
from codegen_async.limits import Rate
from codegen_async.models import Phase
from codegen_async.polling import GetPoll, ListPoll, Poll, Stream
from codegen_async.waiting import Page
from tests.waiting.fakes import Remote, Run, answer, begin, down, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

missing = answer(NotFoundError, 404)


def garbled(_: object) -> Exception:
    return DecodeError("no run", method="GET", path="/run", status=200)


DENIALS = [missing, garbled, answer(InvalidRequestError, 400)]


def busy(seconds: float) -> Callable[[Poll], Exception]:
    """Be in maintenance, and say for how long."""

    def fault(_: Poll) -> Exception:
        error = ServerError("503", method="GET", path="/run", status=503)
        error.retry_after = seconds
        return error

    return fault


@pytest.mark.parametrize("latency", [0.0, 5.0, 3600.0])
@pytest.mark.parametrize("denial", DENIALS)
async def test_a_run_that_was_seen_outlives_denials_of_a_minute(
    denial: Callable[[Poll], Exception], latency: float
) -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, latency=latency, page=None) as waiting:
        wait = begin(waiting.wait_for_run(remote.runs[1]))
        await asyncio.sleep(1)
        waiting.notify(1)
        remote.fault = denial
        await asyncio.sleep(50)
        assert not wait.done()
        remote.fault = lambda _: None
        remote.end(1)
        waiting.notify(1)
        assert (await wait).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("latency", [0.0, 5.0, 3600.0])
async def test_a_run_that_was_deleted_ends_its_waits_within_minutes(latency: float) -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, latency=latency) as waiting:
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(10)
        del remote.runs[1]
        waiting.notify(1)
        deleted = now()
        with pytest.raises(NotFoundError):
            await wait
        assert 60 <= now() - deleted <= 75
        began = now()
        with pytest.raises(NotFoundError):  # what was denied for good is no better known than any other id
            await waiting.wait_for_run(1)
        assert now() - began <= 8


async def test_denials_with_an_outage_between_them_do_not_add_up() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, page=None) as waiting:
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(10)
        for fault in (missing, down, missing):
            remote.fault = fault
            await asyncio.sleep(40)
        assert not wait.done()
        remote.fault = lambda _: None
        remote.end(1)
        await wait


@pytest.mark.parametrize("how", ["seen", "listed", "waited for"])
async def test_a_run_that_was_seen_earlier_is_not_given_up_at_once(how: str) -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        if how == "seen":
            waiting.seen(remote.runs[1])
        elif how == "listed":
            poll = ListPoll(0, 100, None)
            waiting.seen_page(poll, remote.list_page(poll))
        else:
            with pytest.raises(WaitTimeoutError):
                await waiting.wait_for_run(1, timeout=10.0)
        remote.fault = missing
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(50)
        assert not wait.done()
        remote.fault = lambda _: None
        remote.end(1)
        await wait


async def test_an_unknown_run_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    remote.start(*range(1, 41))
    async with waiting_on(remote) as waiting:
        ids = [*range(1, 21), 1000, 1001, *range(21, 41)]
        got: list[Run] = []

        async def collect() -> None:
            async for run in waiting.as_completed(ids):
                got.append(run)  # noqa: PERF401 - looked at while it grows

        collecting = begin(collect())
        everything = begin(waiting.gather_runs(ids))
        strict = begin(waiting.wait_for_runs(ids))
        await asyncio.sleep(100)
        assert "1000" in caplog.text
        remote.end(*remote.runs)
        with pytest.raises(NotFoundError) as caught:
            await collecting
        assert sorted(run.id for run in got) == list(range(1, 41))
        assert "1001" in "".join(caught.value.__notes__)
        with pytest.raises(NotFoundError):
            await strict
        results = await everything
        assert [type(result) for result in results] == [Run] * 20 + [NotFoundError] * 2 + [Run] * 20


async def test_time_that_is_over_can_be_a_result_too() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.gather_runs([1, 2], timeout=60.0))
        await asyncio.sleep(10)
        remote.end(2)
        late, ended = await wait
        assert isinstance(late, WaitTimeoutError)
        assert late.run_id == 1
        assert isinstance(ended, Run)


async def test_redirects_end_all_waits_when_they_last() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        await asyncio.sleep(20)
        remote.fault = answer(RedirectedError, 302)
        began = now()
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(error) for error in errors} == {RedirectedError}
        assert 10 <= now() - began <= 30


async def test_a_redirect_that_passes_ends_nothing() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_runs([1, 2]))
        await asyncio.sleep(20)
        for _ in range(5):
            remote.fault = answer(RedirectedError, 302)
            await asyncio.sleep(6)
            remote.fault = lambda _: None
            await asyncio.sleep(30)
        assert not wait.done()
        remote.end(1, 2)
        await wait


@pytest.mark.parametrize(
    "fault", [down, answer(ServerError, 502), answer(GatewayError, 200), answer(StatusError, 405), garbled]
)
async def test_what_lasts_is_logged_after_half_a_minute_and_every_ten(
    fault: Callable[[Poll], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, page=None) as waiting:
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(20)
        remote.fault = lambda _: fault(_) if now() < failing_until else None
        failing_until = now() + 2000
        if fault is garbled:  # which ends the wait after a minute
            failing_until = now() + 50
        await asyncio.sleep(25)
        assert warnings(caplog) == []
        await asyncio.sleep(15)
        (line,) = warnings(caplog)
        assert str(fault(GetPoll(1))) in line
        if fault is not garbled:
            await asyncio.sleep(1800)
            assert len(warnings(caplog)) == 4
        await asyncio.sleep(200)
        remote.end(1)
        await wait


async def test_a_server_that_never_answers_is_logged_as_well(caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    remote.start(1)
    remote.latency = 5000.0
    async with waiting_on(remote) as waiting:
        with pytest.raises(WaitTimeoutError):
            await waiting.wait_for_run(1, timeout=40.0)
    assert len(warnings(caplog)) == 1
    assert "no answer" in warnings(caplog)[0]


async def test_a_single_run_that_cannot_be_looked_at_is_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    remote.start(1, 2)
    remote.fault = lambda poll: answer(ServerError, 500)(poll) if poll == GetPoll(1) else None
    async with waiting_on(remote, page=None) as waiting:
        waits = [begin(waiting.wait_for_run(run_id, timeout=700.0)) for run_id in (1, 2)]
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(result) for result in results] == [WaitTimeoutError] * 2
        assert "the last answer was" in str(results[0])
        assert "the last answer was" not in str(results[1])
    assert len([line for line in warnings(caplog) if "run 1 " in line]) == 2


async def test_nobody_is_told_of_trouble_in_waits_that_are_over(caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    remote.start(1)
    remote.fault = down
    async with waiting_on(remote) as waiting:
        for _ in range(3):
            with pytest.raises(WaitTimeoutError):
                await waiting.wait_for_run(1, timeout=20.0)
            await asyncio.sleep(1000)
    assert warnings(caplog) == []


async def test_a_timeout_says_what_the_last_answer_was() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(1, timeout=60.0))
        await asyncio.sleep(20)
        remote.fault = answer(GatewayError, 502)
        with pytest.raises(WaitTimeoutError, match=r"is still running.*the last answer was: GET /run: 502"):
            await wait


@pytest.mark.parametrize("runs", [1, 30])
async def test_a_server_that_asks_to_be_left_alone_is(runs: int) -> None:
    remote = Remote()
    remote.start(*range(1, runs + 1))
    async with waiting_on(remote, latency=1.0) as waiting:
        wait = begin(waiting.wait_for_runs(list(remote.runs)))
        await asyncio.sleep(20)
        remote.fault = busy(12.0)
        await asyncio.sleep(3)
        first = now()
        remote.fault = lambda _: None
        remote.end(*remote.runs)
        before = remote.requests
        await asyncio.sleep(8)
        assert remote.requests == before
        await wait
        assert now() - first <= 15


@pytest.mark.parametrize("latency", [0.0, 5.0])
async def test_one_page_of_search_is_under_way_however_slow_the_server(latency: float) -> None:
    remote = Remote()
    remote.start(*range(1, 101))
    remote.page_latency = 12.0
    async with waiting_on(remote, latency=latency) as waiting:
        wait = begin(waiting.wait_for_runs(list(remote.runs)))
        await asyncio.sleep(11)
        assert len(remote.pages) == 1
        await asyncio.sleep(60)
        remote.end(*remote.runs)
        await wait


async def test_polls_under_way_are_bounded() -> None:
    remote = Remote()
    remote.start(*range(1, 1001))
    remote.latency = 12.0
    async with waiting_on(remote, latency=0.0, get=Rate(1_000_000, 1.0), page=Rate(1_000_000, 1.0)) as waiting:
        wait = begin(waiting.wait_for_runs(list(remote.runs)))
        await asyncio.sleep(11)
        assert remote.open_slots <= 50 * len(Stream)
        await asyncio.sleep(30)
        assert remote.open_slots <= 50 * len(Stream)
        remote.end(*remote.runs)
        await wait


async def test_a_list_whose_rows_have_no_status_is_no_look() -> None:
    remote = Remote()
    remote.start(*range(1, 4))
    for run_id in remote.runs:
        remote.runs[run_id] = Run(id=run_id)

    async with waiting_on(BareRows(remote)) as waiting:
        wait = begin(waiting.wait_for_runs([1, 2, 3]))
        await asyncio.sleep(60)
        remote.end(1, 2, 3)
        ended = now()
        assert [run.phase for run in await wait] == [Phase.SUCCEEDED] * 3
        assert now() - ended <= 12


class BareRows(Remote):
    """Show on pages where runs stand, and not how they are."""

    def __init__(self, whole: Remote) -> None:
        super().__init__()
        self.runs = whole.runs

    def list_page(self, poll: ListPoll) -> Page[Run]:
        page = super().list_page(poll)
        return Page([Run(id=run.id, status=None) for run in page.read()], page.total)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
