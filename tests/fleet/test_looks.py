"""Processes that use one token share their looks: one asks, all hear, and whatever breaks, each looks for itself."""

import asyncio

import msgspec
import pytest

from benchmarks._fleet_air import Air
from codegen_async.models import Phase
from tests.fleet.looking import fleet, leaders
from tests.waiting.fakes import Remote, begin, down, now

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


async def test_many_workers_that_watch_one_run_cost_what_one_costs() -> None:
    remote = Remote()
    remote.start(1)
    async with fleet(remote, 8) as workers:
        waits = [begin(worker.waiting.wait_for_run(1)) for worker in workers for _ in range(10)]
        await asyncio.sleep(100)
        assert remote.requests <= 22
        remote.end(1)
        ended = now()
        assert {run.phase for run in await asyncio.gather(*waits)} == {Phase.SUCCEEDED}
        assert now() - ended <= 5.5
        assert remote.requests <= 23


async def test_the_smallest_name_leads_and_all_know_it() -> None:
    async with fleet(Remote(), 4) as workers:
        assert leaders(workers) == ["w0"]
        assert {worker.looks.state.leader for worker in workers} == {"w0"}
        assert {worker.looks.state.members for worker in workers} == {("w0", "w1", "w2", "w3")}
        assert [worker.looks.state.quiet for worker in workers] == [False, True, True, True]


async def test_every_change_of_a_run_reaches_who_watches_it_wherever() -> None:
    remote = Remote()
    remote.start(1)
    async with fleet(remote, 3) as workers:

        async def watch(place: int) -> list[Phase]:
            return [run.phase async for run in workers[place].waiting.watch([1])]

        watches = [begin(watch(place)) for place in range(3)]
        for phase in (Phase.BLOCKED, Phase.RUNNING, Phase.FAILED):
            await asyncio.sleep(20)
            remote.move(1, phase)
        assert await asyncio.gather(*watches) == [[Phase.RUNNING, Phase.BLOCKED, Phase.RUNNING, Phase.FAILED]] * 3
        assert remote.requests <= 15


async def test_who_wants_every_change_hears_of_every_change() -> None:
    remote = Remote()
    remote.start(1)
    async with fleet(remote, 2) as workers:

        async def watch(place: int) -> list[str | None]:
            return [run.status async for run in workers[place].waiting.watch([1], whole=True)]

        watches = [begin(watch(place)) for place in range(2)]
        for status in ("READING", "WRITING"):
            await asyncio.sleep(10)
            remote.runs[1] = msgspec.structs.replace(remote.runs[1], status=status)
        await asyncio.sleep(10)
        remote.end(1)
        assert await asyncio.gather(*watches) == [["ANY", "READING", "WRITING", "WRITING"]] * 2


async def test_a_leader_that_cannot_ask_gives_the_lead_to_who_can() -> None:
    deaf, remote, air = Remote(), Remote(), Air()
    remote.start(1)
    deaf.runs = remote.runs
    deaf.fault = down
    async with fleet(deaf, 1, air, settled=False, names="a") as first, fleet(remote, 2, air, names="v") as others:
        waits = [begin(worker.waiting.wait_for_run(1)) for worker in (*first, *others)]
        await asyncio.sleep(30)
        assert leaders([*first, *others]) == ["v0"]
        asked = remote.requests
        await asyncio.sleep(60)
        assert remote.requests - asked <= 15
        remote.end(1)
        ended = now()
        await asyncio.gather(*waits)
        assert now() - ended <= 6


async def test_who_begins_to_watch_hears_at_once_what_is_known() -> None:
    remote = Remote()
    remote.start(1)
    async with fleet(remote, 2) as workers:
        first = begin(workers[0].waiting.wait_for_run(1))
        await asyncio.sleep(12)
        asked, began = remote.requests, now()
        changes = workers[1].waiting.watch([1])
        assert (await anext(changes)).phase is Phase.RUNNING
        assert now() - began < 0.1
        assert remote.requests == asked
        await changes.aclose()
        remote.end(1)
        await first
        assert (await workers[1].waiting.wait_for_run(1)).phase is Phase.SUCCEEDED
        assert remote.requests <= asked + 1


async def test_another_takes_over_within_seconds_where_the_leader_dies() -> None:
    remote = Remote()
    remote.start(*range(1, 41))
    async with fleet(remote, 4) as workers:
        waits = [
            begin(worker.waiting.wait_for_runs(range(1 + 10 * i, 11 + 10 * i))) for i, worker in enumerate(workers)
        ]
        await asyncio.sleep(20)
        await workers[0].die()
        await asyncio.sleep(8)
        assert leaders(workers) == ["w1"]
        asked = remote.requests
        await asyncio.sleep(100)
        assert remote.requests - asked <= 25  # a page in 5 s, and the checks
        remote.end(*remote.runs)
        ended = now()
        await asyncio.gather(*waits[1:])
        assert now() - ended <= 8
        with pytest.raises(Exception, match="closed"):
            await waits[0]


async def test_another_takes_over_at_once_where_the_leader_says_farewell() -> None:
    async with fleet(Remote(), 3) as workers:
        await workers[0].aclose()
        await asyncio.sleep(0.1)
        assert leaders(workers) == ["w1"]


async def test_a_smaller_name_that_comes_later_does_not_take_over() -> None:
    remote, air = Remote(), Air()
    async with fleet(remote, 2, air) as workers:
        await workers[0].aclose()
        await asyncio.sleep(10)
        assert leaders(workers) == ["w1"]
        async with fleet(remote, 1, air) as late:
            await asyncio.sleep(10)
            assert late[0].looks.state.leader == "w1"


async def test_parts_that_do_not_hear_each_other_have_a_leader_each_until_they_do() -> None:
    remote, air = Remote(), Air()
    remote.start(1)
    async with fleet(remote, 4, air) as workers:
        waits = [begin(worker.waiting.wait_for_run(1)) for worker in workers]
        await asyncio.sleep(20)
        air.may_pass = lambda a, b: (a < "w2") is (b < "w2")
        await asyncio.sleep(15)
        assert leaders(workers) == ["w0", "w2"]
        asked = remote.requests
        await asyncio.sleep(100)
        assert remote.requests - asked <= 2 * 22
        air.may_pass = lambda _, __: True
        await asyncio.sleep(3)
        assert leaders(workers) == ["w0"]
        remote.end(1)
        ended = now()
        await asyncio.gather(*waits)
        assert now() - ended <= 6


async def test_where_nothing_is_heard_each_looks_for_itself() -> None:
    remote, air = Remote(), Air()
    remote.start(1)
    async with fleet(remote, 3, air) as workers:
        waits = [begin(worker.waiting.wait_for_run(1)) for worker in workers]
        await asyncio.sleep(10)
        air.away = True
        await asyncio.sleep(10)
        remote.end(1)
        ended = now()
        await asyncio.gather(*waits)
        assert now() - ended <= 5.5


async def test_who_hears_and_is_not_heard_looks_for_itself() -> None:
    remote, air = Remote(), Air()
    remote.start(1)
    air.may_pass = lambda a, _: a != "w1"
    async with fleet(remote, 2, air) as workers:
        wait = begin(workers[1].waiting.wait_for_run(1))
        await asyncio.sleep(20)
        assert not workers[1].looks.state.quiet
        remote.end(1)
        ended = now()
        await wait
        assert now() - ended <= 5.5


@pytest.mark.parametrize(("lost", "late"), [(0.1, 15), (0.5, 60)])
async def test_all_hear_of_all_ends_though_many_messages_are_lost(lost: float, late: float) -> None:
    remote, air = Remote(), Air(lost=lost)
    remote.start(*range(1, 81))
    async with fleet(remote, 4, air) as workers:
        waits = [begin(worker.waiting.wait_for_runs(remote.runs)) for worker in workers]
        await asyncio.sleep(10)
        for run_id in remote.runs:
            remote.end(run_id)
            await asyncio.sleep(1)
        ended = now()
        await asyncio.gather(*waits)
        assert now() - ended <= late
        assert remote.requests <= 4 * 100


@pytest.mark.parametrize("count", [1, 30])
async def test_what_is_too_large_for_a_message_each_looks_at_for_itself(count: int) -> None:
    remote, air = Remote(), Air()
    said = air.send

    def send(sender: str, channel: str, message: bytes) -> None:
        if len(message) < 2_000_000:  # servers cut off who is sent more than they keep for him
            said(sender, channel, message)

    air.send = send  # type: ignore[method-assign]
    async with fleet(remote, 3, air) as workers:
        for run_id in range(1, count + 1):
            remote.start(run_id)
        waits = [begin(worker.waiting.wait_for_runs(range(1, count + 1))) for worker in workers]
        await asyncio.sleep(10)
        ended = now()
        for run_id in range(1, count + 1):
            remote.end(run_id)
            remote.runs[run_id] = msgspec.structs.replace(remote.runs[run_id], web_url="x" * (3_000_000 // count))
        for runs in await asyncio.gather(*waits):
            assert {len(run.web_url or "") for run in runs} == {3_000_000 // count}
        assert now() - ended <= 60
