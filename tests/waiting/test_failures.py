"""A poll that fails delays what it would have shown; only the server's final word ends a wait."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable

import pytest

from codegen_async.errors import (
    AuthenticationError,
    ClientClosedError,
    CodegenAsyncError,
    ConnectionFailedError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    StatusError,
    WaitTimeoutError,
)
from codegen_async.limits import Slot
from codegen_async.models import Phase
from codegen_async.polling import (
    ChangedSince,
    CursorListing,
    GetPoll,
    ListPoll,
    Look,
    ManyById,
    Poll,
    PollSchedule,
    Stream,
)
from codegen_async.waiting import Waiting
from tests.waiting.fakes import RATE, Remote, Run, answer, begin, down, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def late(_: object) -> Exception:
    return RequestTimeoutError("no answer in time", method="GET", path="/run")


def garbled(_: object) -> Exception:
    return DecodeError("no run", method="GET", path="/run", status=200)


PASSING: list[Callable[[Poll], Exception]] = [
    down,
    late,
    answer(ServerError, 500),
    answer(ServerError, 503),
    answer(RateLimitedError, 429),
]


@pytest.mark.parametrize("fault", PASSING)
async def test_an_outage_delays_all_waits_and_ends_none(fault: Callable[[Poll], Exception]) -> None:
    remote = Remote()
    remote.start(*range(1, 6))
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(20)
        remote.fault = fault
        remote.end(*remote.runs)
        await asyncio.sleep(600)
        assert not any(wait.done() for wait in waits)
        remote.fault = lambda _: None
        back = now()
        assert [run.phase for run in await asyncio.gather(*waits)] == [Phase.SUCCEEDED] * 5
        assert now() - back <= 40


async def test_an_outage_that_is_over_is_forgotten() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, page=None) as waiting:
        wait = begin(waiting.wait_for_run(1))
        remote.fault = down
        await asyncio.sleep(600)
        remote.fault = lambda _: None
        await asyncio.sleep(100)
        failures = iter([down(None)])
        remote.fault = lambda _: next(failures, None)
        await asyncio.sleep(5.5)
        assert next(failures, None) is None
        remote.end(1)
        ended = now()
        await wait
        assert now() - ended <= 7


async def test_an_outage_is_not_hammered() -> None:
    remote = Remote()
    remote.start(*range(1, 31))
    remote.fault = down
    async with waiting_on(remote, latency=0.0) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(60)
        asked = remote.requests
        await asyncio.sleep(600)
        assert remote.requests - asked <= 2 * 600 / 30 + 8
        for wait in waits:
            wait.cancel()


async def test_a_timeout_is_kept_during_an_outage() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(1, timeout=300.0))
        await asyncio.sleep(20)
        remote.fault = down
        began = now()
        with pytest.raises(WaitTimeoutError) as caught:
            await wait
        assert caught.value.run == remote.runs[1]
        assert now() - began == pytest.approx(280, abs=0.1)


@pytest.mark.parametrize(("kind", "status"), [(AuthenticationError, 401), (PermissionDeniedError, 403)])
async def test_a_refused_token_ends_all_waits_each_with_an_error_of_its_own(
    kind: type[StatusError], status: int
) -> None:
    remote = Remote()
    remote.start(1, 2, 3)
    async with waiting_on(remote) as waiting:
        waits: list[asyncio.Task[object]] = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2, 2)]
        waits.append(begin(waiting.wait_for_runs([1, 3])))
        await asyncio.sleep(20)
        remote.fault = answer(kind, status)
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in errors] == [kind] * 4
        assert len({id(error) for error in errors}) == 4
        for error in errors:
            assert isinstance(error, StatusError)
            assert (error.status, error.path) == (status, "/run")
            assert len(traceback.extract_tb(error.__traceback__)) < 10
        await asyncio.sleep(1)
        asked = remote.requests
        await asyncio.sleep(100)
        assert remote.requests == asked


async def test_waits_that_begin_after_a_refused_token_ask_again() -> None:
    remote = Remote()
    remote.start(1)
    remote.fault = answer(AuthenticationError, 401)
    async with waiting_on(remote) as waiting:
        with pytest.raises(AuthenticationError):
            await waiting.wait_for_run(1)
        remote.fault = lambda _: None
        remote.end(1)
        assert (await waiting.wait_for_run(1)).phase is Phase.SUCCEEDED


async def test_an_unknown_run_ends_its_own_waits_after_the_grace() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        other = begin(waiting.wait_for_run(1))
        began = now()
        waits = [begin(waiting.wait_for_run(2)) for _ in range(2)]
        for wait in waits:
            with pytest.raises(NotFoundError):
                await wait
        assert 5.0 <= now() - began <= 12.0
        remote.end(1)
        assert (await other).id == 1


@pytest.mark.parametrize("latency", [0.0, 5.0, 3600.0])
async def test_the_grace_is_five_seconds_whatever_the_latency(latency: float) -> None:
    remote = Remote()
    async with waiting_on(remote, latency=latency) as waiting:
        began = now()
        with pytest.raises(NotFoundError):
            await waiting.wait_for_run(2)
        assert 5.0 <= now() - began <= 8.0


async def test_a_run_that_appears_within_the_grace_is_waited_for() -> None:
    remote = Remote()
    async with waiting_on(remote, page=None) as waiting:
        wait = begin(waiting.wait_for_run(2))
        await asyncio.sleep(3)
        assert len(remote.gets) >= 1
        remote.start(2)
        await asyncio.sleep(60)
        assert not wait.done()
        remote.end(2)
        assert (await wait).id == 2


async def test_a_run_deleted_while_it_is_waited_for_ends_its_waits() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        await asyncio.sleep(60)
        del remote.runs[1]
        with pytest.raises(NotFoundError):
            await waits[0]
        remote.end(2)
        assert (await waits[1]).id == 2


async def test_a_request_refused_as_invalid_ends_the_waits_of_that_run() -> None:
    remote = Remote()
    remote.start(1, 2)

    def refuse_one(poll: Poll) -> Exception | None:
        return answer(InvalidRequestError, 422)(poll) if poll == GetPoll(1) else None

    remote.fault = refuse_one
    async with waiting_on(remote, page=None) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        with pytest.raises(InvalidRequestError):
            await waits[0]
        remote.end(2)
        assert (await waits[1]).id == 2


async def test_a_run_that_cannot_be_read_for_a_minute_ends_its_own_waits() -> None:
    remote = Remote()
    remote.start(1, 2)
    remote.fault = lambda poll: garbled(poll) if poll == GetPoll(1) else None
    async with waiting_on(remote, page=None) as waiting:
        began = now()
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        with pytest.raises(DecodeError):
            await waits[0]
        assert 60.0 <= now() - began <= 75.0
        remote.end(2)
        assert (await waits[1]).id == 2


async def test_a_good_answer_makes_unreadable_ones_forgotten() -> None:
    remote = Remote()
    remote.start(1)
    polls = 0

    def garble_four_of_five(_: Poll) -> Exception | None:
        nonlocal polls
        polls += 1
        return DecodeError("not JSON", method="GET", path="/run/1", status=200) if polls % 5 else None

    remote.fault = garble_four_of_five
    async with waiting_on(remote, page=None) as waiting:
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(600)
        assert not wait.done()
        assert polls > 15
        remote.end(1)
        assert (await wait).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("error", [answer(NotFoundError, 404), answer(ServerError, 502), answer(StatusError, 405)])
async def test_where_the_list_is_dead_runs_are_asked_for_one_by_one(error: Callable[[Poll], Exception]) -> None:
    remote = Remote()
    remote.start(*range(1, 41))
    remote.fault = lambda poll: error(poll) if isinstance(poll, ListPoll) else None
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(120)
        remote.end(*remote.runs)
        ended = now()
        assert len(await asyncio.gather(*waits)) == 40
        # All of them need one get each, at 0.8 of 2 per second.
        assert now() - ended <= 40 / 1.6 + 10
        assert len(remote.pages) <= 15


@pytest.mark.parametrize("look", [ChangedSince(), ManyById(100), CursorListing()], ids=lambda look: type(look).__name__)
async def test_a_look_that_is_not_to_be_found_says_nothing_of_runs(look: Look) -> None:
    remote = Remote()
    remote.start(*range(1, 41))
    remote.fault = lambda poll: None if isinstance(poll, GetPoll) else answer(NotFoundError, 404)(poll)
    schedule = PollSchedule(get=RATE, page=RATE, listing=look)
    waiting = Waiting(remote, schedule, latency=5.0)
    waits = [begin(waiting.wait_for_run(run_id)) for run_id in range(1, 41)]
    await asyncio.sleep(300)
    remote.end(*range(1, 41))
    ended = now()
    await asyncio.gather(*waits)
    assert now() - ended <= 30.0  # as many gets as there are runs
    await waiting.aclose()


async def test_where_the_gets_are_dead_the_list_shows_the_end() -> None:
    remote = Remote()
    remote.start(*range(1, 41))
    remote.fault = lambda poll: down(poll) if isinstance(poll, GetPoll) else None
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(120)
        remote.end(*remote.runs)
        ended = now()
        assert len(await asyncio.gather(*waits)) == 40
        assert now() - ended <= 10


async def test_a_slow_page_does_not_stop_the_gets() -> None:
    remote = Remote()
    remote.start(*range(1, 11))
    remote.page_latency = 10_000.0
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in remote.runs]
        await asyncio.sleep(30)
        assert set(remote.gets) == set(remote.runs)
        remote.end(*remote.runs)
        ended = now()
        assert len(await asyncio.gather(*waits)) == 10
        assert now() - ended <= 20


async def test_a_defect_of_ours_ends_the_waits_instead_of_letting_them_hang(caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        waits = [begin(waiting.wait_for_run(run_id)) for run_id in (1, 2)]
        await asyncio.sleep(20)
        remote.fault = lambda _: ZeroDivisionError("a bug")
        assert [type(error) for error in await asyncio.gather(*waits, return_exceptions=True)] == [
            ZeroDivisionError
        ] * 2
        assert "please report" in caplog.text
        remote.fault = lambda _: None
        remote.end(1)
        assert (await waiting.wait_for_run(1)).phase is Phase.SUCCEEDED


async def test_a_defect_in_the_choice_of_requests_ends_the_waits(caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    remote.start(1)

    class Broken(Remote):
        def slot(self, stream: Stream) -> Slot:
            raise ZeroDivisionError(stream)

    async with waiting_on(Broken()) as waiting:
        with pytest.raises(ZeroDivisionError):
            await waiting.wait_for_run(1)
        assert "please report" in caplog.text


async def test_a_choice_that_fails_keeps_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        monkeypatch.setattr(PollSchedule, "next", fail)
        with pytest.raises(ZeroDivisionError):
            await waiting.wait_for_run(1)
        assert remote.open_slots == 0


async def test_closing_ends_every_wait_with_a_plain_error() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        watching = waiting.watch([1, 2])
        assert (await anext(watching)).id in {1, 2}

        async def collect() -> list[Run]:
            return [run async for run in waiting.as_completed([1, 2])]

        waits: list[asyncio.Task[object]] = [
            begin(waiting.wait_for_run(1)),
            begin(waiting.wait_for_run(2, timeout=900.0)),
            begin(waiting.wait_for_runs([1, 2])),
            begin(collect()),
        ]
        await asyncio.sleep(20)
        await waiting.aclose()
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in errors] == [ClientClosedError] * 4
        assert len({id(error) for error in errors}) == 4
        with pytest.raises(ClientClosedError):
            async for _ in watching:
                pass
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_ends_a_gathering_of_which_a_run_has_failed_before() -> None:
    remote = Remote()
    remote.start(2, 3)
    async with waiting_on(remote) as waiting:
        everything = begin(waiting.gather_runs([1, 2, 3]))
        await asyncio.sleep(100)
        await waiting.aclose()
        with pytest.raises(ClientClosedError):
            await everything


async def test_a_closed_client_refuses_new_waits() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote) as waiting:
        await waiting.aclose()
        for wait in (waiting.wait_for_run(1), waiting.wait_for_run(1, timeout=1.0), waiting.wait_for_runs([1])):
            with pytest.raises(ClientClosedError):
                await wait
        for loop in (waiting.as_completed([1]), waiting.watch([1])):
            with pytest.raises(CodegenAsyncError):
                await anext(loop)
        assert remote.requests == 0


async def test_closing_cancels_a_request_under_way() -> None:
    remote = Remote()
    remote.start(1)
    remote.latency = 10_000.0
    async with waiting_on(remote) as waiting:
        wait = begin(waiting.wait_for_run(1))
        await asyncio.sleep(1)
        assert remote.open_slots == 1
        began = now()
        await waiting.aclose()
        assert now() - began < 1
        assert remote.open_slots == 0
        with pytest.raises(ClientClosedError):
            await wait


@pytest.mark.parametrize("ticks", range(8))
async def test_closing_gives_back_every_slot_in_whatever_moment_it_comes(ticks: int) -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, page=None) as waiting:
        wait = begin(waiting.wait_for_run(1))
        for _ in range(ticks):
            await asyncio.sleep(0)
        await waiting.aclose()
        assert remote.open_slots == 0
        with pytest.raises(ClientClosedError):
            await wait


async def test_what_came_before_the_failure_is_yielded_first() -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote) as waiting:
        ended = waiting.as_completed([1, 2])
        first = begin(_next(ended))
        await asyncio.sleep(20)
        remote.end(1)
        assert (await first).id == 1
        waiting.seen(remote.move(2, Phase.FAILED))
        await waiting.aclose()
        assert (await anext(ended)).id == 2
        with pytest.raises(StopAsyncIteration):
            await anext(ended)


async def _next(runs: AsyncIterator[Run]) -> Run:
    return await anext(runs)


async def test_the_reason_of_the_last_poll_is_not_part_of_a_timeout() -> None:
    remote = Remote()
    remote.start(1)
    remote.fault = down
    async with waiting_on(remote) as waiting:
        with pytest.raises(WaitTimeoutError) as caught:
            await waiting.wait_for_run(1, timeout=30.0)
        assert not isinstance(caught.value.__context__, ConnectionFailedError)
