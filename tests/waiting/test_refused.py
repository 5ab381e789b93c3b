"""A refusal of one run ends the waits for that run; a refusal of the token ends all, when it stands."""

import asyncio
import random
from collections.abc import Callable

import pytest

from codegen_async.errors import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    WaitTimeoutError,
)
from codegen_async.limits import Rate
from codegen_async.models import Phase
from codegen_async.polling import GetPoll, ListPoll, Poll
from codegen_async.waiting import Waiting
from tests.waiting.fakes import Remote, Run, answer, begin, down, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

unauthorized = answer(AuthenticationError, 401)
forbidden = answer(PermissionDeniedError, 403)
REFUSALS = [pytest.param(unauthorized, id="401"), pytest.param(forbidden, id="403")]

Fault = Callable[[object], Exception]


def refusing(fault: Fault, *ids: int, lists: bool = False) -> Callable[[Poll], Exception | None]:
    """Refuse some runs, and perhaps the list."""

    def refuse(poll: Poll) -> Exception | None:
        refused = poll.run_id in ids if isinstance(poll, GetPoll) else lists
        return fault(poll) if refused else None

    return refuse


def waits_for(waiting: Waiting[Run], remote: Remote, *, known: bool = False) -> dict[int, asyncio.Task[Run]]:
    return {run.id: begin(waiting.wait_for_run(run if known else run.id)) for run in remote.runs.values()}


def kinds(waits: dict[int, asyncio.Task[Run]]) -> dict[int, type[BaseException]]:
    """Tell which waits have failed, and of what."""
    return {
        run_id: type(error) for run_id, wait in waits.items() if wait.done() and (error := wait.exception()) is not None
    }


@pytest.mark.parametrize("number", [*range(1, 8), 30])
@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("fault", REFUSALS)
async def test_a_single_refusal_ends_nothing(fault: Fault, count: int, number: int) -> None:
    remote = Remote()
    remote.start(*range(1, count + 1))
    polls = 0

    def refuse_one(poll: Poll) -> Exception | None:
        nonlocal polls
        polls += 1
        return fault(poll) if polls == number else None

    remote.fault = refuse_one
    async with waiting_on(remote) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(300)
        assert polls > number
        assert not any(wait.done() for wait in waits.values())
        remote.end(*remote.runs)
        ended = now()
        await asyncio.gather(*waits.values())
        assert now() - ended <= 6


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("count", "share"), [(1, 0.05), (1, 0.1), (2, 0.1), (5, 0.1), (50, 0.05), (50, 0.3)])
async def test_refusals_now_and_then_end_nothing(count: int, share: float) -> None:
    remote = Remote()
    remote.start(*range(1, count + 1))
    rng = random.Random(7)
    remote.fault = lambda poll: unauthorized(poll) if rng.random() < share else None
    async with waiting_on(remote) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(3 * 3600)
        assert kinds(waits) == {}
        remote.end(*remote.runs)
        await asyncio.gather(*waits.values())


@pytest.mark.sampled(7)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("latency", [0.0, 5.0, 3600.0])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("refused", [(1,), (50,), (17, 18, 19, 20, 21), tuple(range(1, 26)), tuple(range(2, 42))])
@pytest.mark.parametrize("fault", REFUSALS)
async def test_refused_runs_end_their_own_waits(
    fault: Fault, refused: tuple[int, ...], lists: bool, latency: float, known: bool
) -> None:
    remote = Remote()
    remote.start(*range(1, 51))
    hidden = {run_id: remote.runs[run_id] for run_id in refused}
    pages = remote.list_page

    def without_them(poll: ListPoll) -> object:
        whole = dict(remote.runs)
        for run_id in hidden:
            remote.runs.pop(run_id)
        try:
            return pages(poll)
        finally:
            remote.runs = whole

    remote.list_page = without_them  # type: ignore[assignment, method-assign]
    remote.fault = refusing(fault, *refused, lists=lists)
    async with waiting_on(remote, latency=latency) as waiting:
        waits = waits_for(waiting, remote, known=known)
        await asyncio.sleep(0)
        if latency == 3600.0 and known:
            for run_id in refused:
                waiting.notify(run_id)
        await asyncio.sleep(300)
        assert kinds(waits) == dict.fromkeys(refused, type(fault(None)))
        rest = [wait for run_id, wait in waits.items() if run_id not in refused]
        remote.end(*remote.runs)
        for run_id in remote.runs:
            waiting.notify(run_id)
        assert {run.phase for run in await asyncio.gather(*rest)} == {Phase.SUCCEEDED}


@pytest.mark.parametrize("latency", [0.0, 5.0, 3600.0])
async def test_a_refused_run_is_given_up_within_seconds(latency: float) -> None:
    remote = Remote()
    remote.start(1, 2)
    async with waiting_on(remote, latency=latency, page=None) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(20)
        remote.fault = refusing(forbidden, 1)
        began = now()
        waiting.notify(1)
        with pytest.raises(PermissionDeniedError):
            await waits[1]
        assert 5 <= now() - began <= 12
        await asyncio.sleep(100)
        assert not waits[2].done()


@pytest.mark.parametrize("fault", REFUSALS)
async def test_where_the_list_is_refused_runs_are_asked_for_one_by_one(fault: Fault) -> None:
    remote = Remote()
    remote.start(*range(1, 51))
    remote.fault = refusing(fault, lists=True)
    async with waiting_on(remote) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(3600)
        assert kinds(waits) == {}
        assert len(remote.pages) <= 3600 / 30 + 10
        remote.end(*remote.runs)
        ended = now()
        await asyncio.gather(*waits.values())
        assert now() - ended <= 50 / 1.6 + 10


@pytest.mark.parametrize("fault", REFUSALS)
async def test_where_the_gets_are_refused_and_the_list_is_not_the_list_shows_the_ends(fault: Fault) -> None:
    remote = Remote()
    remote.start(*range(1, 51))
    remote.fault = refusing(fault, *remote.runs)
    async with waiting_on(remote) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(600)
        assert kinds(waits) == {}
        remote.end(*remote.runs)
        ended = now()
        await asyncio.gather(*waits.values())
        assert now() - ended <= 10


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("latency", [0.0, 5.0, 30.0])
@pytest.mark.parametrize("count", [1, 2, 3, 50, 1000])
@pytest.mark.parametrize("fault", REFUSALS)
async def test_a_revoked_token_ends_all_waits_within_seconds(
    fault: Fault, count: int, latency: float, hidden: bool
) -> None:
    remote = Remote()
    remote.start(*range(1, count + 1))
    async with waiting_on(remote, latency=latency, page=None if hidden else Rate(60, 30.0)) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(100)
        first: list[float] = []

        def refuse(poll: Poll) -> Exception:
            first.append(now())
            return fault(poll)

        remote.fault = refuse
        await asyncio.wait(waits.values())
        assert set(kinds(waits).values()) == {type(fault(None))}
        assert 5 <= now() - first[0] <= 10
        assert len(kinds(waits)) == count


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_a_token_that_never_was_good_ends_all_waits_within_seconds(count: int) -> None:
    remote = Remote()
    remote.start(*range(1, count + 1))
    remote.fault = unauthorized
    async with waiting_on(remote) as waiting:
        began = now()
        waits = waits_for(waiting, remote)
        await asyncio.wait(waits.values())
        assert set(kinds(waits).values()) == {AuthenticationError}
        assert now() - began <= 12


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("pause", [2.0, 4.0])
async def test_a_hiccup_of_who_looks_at_tokens_ends_nothing(count: int, pause: float) -> None:
    remote = Remote()
    remote.start(*range(1, count + 1))
    async with waiting_on(remote) as waiting:
        waits = waits_for(waiting, remote)
        for _ in range(20):
            await asyncio.sleep(50)
            remote.fault = unauthorized
            await asyncio.sleep(pause)
            remote.fault = lambda _: None
        assert kinds(waits) == {}
        remote.end(*remote.runs)
        await asyncio.gather(*waits.values())


async def test_an_outage_between_refusals_does_not_count() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, latency=1.0) as waiting:
        wait = begin(waiting.wait_for_run(1))
        for fault in (unauthorized, down, unauthorized, answer(ServerError, 503), unauthorized, down):
            remote.fault = fault
            await asyncio.sleep(2 if fault is unauthorized else 40)
        assert not wait.done()
        remote.fault = lambda _: None
        remote.end(1)
        await wait


async def test_refusals_of_waits_that_are_over_do_not_count() -> None:
    remote = Remote()
    remote.start(1)
    async with waiting_on(remote, latency=1.0) as waiting:
        for _ in range(10):
            remote.fault = unauthorized
            with pytest.raises(WaitTimeoutError):
                await waiting.wait_for_run(1, timeout=3.0)
            await asyncio.sleep(3600)
        remote.fault = lambda _: None
        remote.end(1)
        assert (await waiting.wait_for_run(1)).phase is Phase.SUCCEEDED


async def test_a_call_of_ones_own_shows_that_the_token_is_good() -> None:
    remote = Remote()
    remote.start(*range(51))
    async with waiting_on(remote) as waiting:
        waits = {run_id: begin(waiting.wait_for_run(run_id)) for run_id in range(1, 51)}
        await asyncio.sleep(20)
        remote.fault = unauthorized
        for _ in range(7):
            await asyncio.sleep(3)
            waiting.seen(remote.runs[0])
        assert kinds(waits) == {}
        await asyncio.sleep(15)
        assert len(kinds(waits)) == 50


async def test_runs_that_are_not_found_among_refused_ones_end_nothing_but_themselves() -> None:
    remote = Remote()
    remote.start(*range(1, 21))
    gone = {1, 2, 3}
    for run_id in gone:
        del remote.runs[run_id]
    remote.fault = refusing(forbidden, 4, 5, 6, lists=True)
    async with waiting_on(remote) as waiting:
        waits = {run_id: begin(waiting.wait_for_run(run_id)) for run_id in range(1, 21)}
        await asyncio.sleep(200)
        assert kinds(waits) == dict.fromkeys(gone, NotFoundError) | dict.fromkeys((4, 5, 6), PermissionDeniedError)
        remote.end(*remote.runs)
        rest = await asyncio.gather(*(waits[run_id] for run_id in range(7, 21)))
        assert len(rest) == 14


async def test_a_refused_run_costs_the_others_of_a_wait_for_many_nothing() -> None:
    remote = Remote()
    remote.start(*range(1, 41))
    remote.fault = refusing(forbidden, 7)
    async with waiting_on(remote, page=None) as waiting:
        everything = begin(waiting.gather_runs(list(remote.runs)))
        strict = begin(waiting.wait_for_runs(list(remote.runs)))
        await asyncio.sleep(100)
        remote.end(*remote.runs)
        results = await everything
        assert [type(result) for result in results] == [Run] * 6 + [PermissionDeniedError] + [Run] * 33
        with pytest.raises(PermissionDeniedError):
            await strict


async def test_one_refused_run_costs_few_looks_at_others() -> None:
    remote = Remote()
    remote.start(1, 2, 3)
    async with waiting_on(remote, latency=3600.0, page=None) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(100)
        before = len(remote.gets)
        remote.fault = refusing(forbidden, 1)
        waiting.notify(1)
        await asyncio.sleep(100)
        assert kinds(waits) == {1: PermissionDeniedError}
        assert len(remote.gets) - before <= 10
        assert isinstance(waits[1].exception(), PermissionDeniedError)
        assert GetPoll(1).run_id in remote.gets
        for wait in waits.values():
            wait.cancel()


@pytest.mark.parametrize("fault", [unauthorized, forbidden, answer(NotFoundError, 404)], ids=["401", "403", "404"])
async def test_a_run_that_only_pages_show_is_given_up_once_others_can_be_had(fault: Fault) -> None:
    remote = Remote()
    remote.start(1, 2, 3)
    remote.fault = refusing(fault, 2)
    async with waiting_on(remote) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(600)
        assert kinds(waits) == {2: type(fault(None))}
        remote.end(1, 3)
        await asyncio.gather(waits[1], waits[3])


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("good", [1, 26, 50])
@pytest.mark.parametrize("fault", REFUSALS)
async def test_a_call_that_needs_no_run_saves_the_only_run_that_is_not_refused(
    fault: Fault, good: int, lists: bool
) -> None:
    remote = Remote()
    remote.start(*range(1, 51))
    others = [run_id for run_id in remote.runs if run_id != good]
    remote.fault = lambda poll: (
        (fault(poll) if lists else down(poll)) if isinstance(poll, ListPoll) else refusing(fault, *others)(poll)
    )
    calls: list[float] = []

    async def me() -> None:
        calls.append(now())

    async with waiting_on(remote, without_run=me) as waiting:
        waits = waits_for(waiting, remote)
        await asyncio.sleep(400)
        assert kinds(waits) == dict.fromkeys(others, type(fault(None)))
        assert 1 <= len(calls) <= 80
        remote.end(good)
        await waits[good]


async def test_a_call_that_needs_no_run_and_is_refused_ends_all_waits() -> None:
    remote = Remote()
    remote.start(*range(1, 51))
    remote.fault = unauthorized

    async def me() -> None:
        raise unauthorized(None)

    async with waiting_on(remote, without_run=me) as waiting:
        began = now()
        waits = waits_for(waiting, remote)
        await asyncio.wait(waits.values())
        assert set(kinds(waits).values()) == {AuthenticationError}
        assert now() - began <= 12
