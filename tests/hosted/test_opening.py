"""Clients are opened and closed, in blocks and without, again, on other loops and after forks."""

import asyncio
import multiprocessing
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from codegen_async import Batch, ClientClosedError, CodegenClient, ConfigurationError, MiddeskClient, Rate
from codegen_async.hosted.runs import HostedRuns
from codegen_async.testing import CodegenServer, MiddeskServer, VirtualLoop
from tests.hosted.api import Api, Keyed
from tests.support.canary import CANARY
from tests.support.sender import FakeSender, reply

virtual = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = reply(200, {"id": 1, "organization_id": 323})


def client_of(server: CodegenServer, **options: Any) -> CodegenClient:
    return CodegenClient(server.token, org_id=server.org_id, base_url=server.url, **options)


# -- without a block


@virtual
async def test_a_client_can_be_opened_and_closed_without_a_block() -> None:
    async with CodegenServer(token=CANARY) as server:
        client = await client_of(server).open()
        run = await client.create_run("do")
        wait = asyncio.create_task(client.wait_for_run(run))
        await asyncio.sleep(1.0)
        await client.aclose()
        with pytest.raises(ClientClosedError, match="while this wait was on"):
            await wait
        with pytest.raises(ClientClosedError, match=r"await its open\(\) first"):
            await client.get_run(run.id)
        await client.aclose()  # once more does nothing


@virtual
async def test_the_other_dialect_opens_the_same_way() -> None:
    async with MiddeskServer(token=CANARY) as server:
        client = await MiddeskClient(server.token, base_url=server.url).open()
        assert await client.list_agents()
        await client.aclose()


@virtual
async def test_a_batch_can_be_opened_and_closed_without_a_block(tmp_path: Path) -> None:
    async with CodegenServer(token=CANARY) as server, client_of(server) as client:
        server.world.script = [(0.0, "ACTIVE"), (1.0, "COMPLETE")]
        batch = await Batch(client, tmp_path / "batch.db", clock=server.now).open()
        batch.add("do")
        assert [outcome.succeeded async for outcome in batch.run()] == [True]
        await batch.aclose()
        await batch.aclose()
        with pytest.raises(ClientClosedError):
            batch.add("more")


@virtual
async def test_a_client_is_open_once() -> None:
    async with CodegenClient(org_id=323, sender=FakeSender()) as client:
        with pytest.raises(RuntimeError, match="CodegenClient is open already"):
            await client.open()
        client.check_open()


def test_without_an_asyncio_loop_it_says_what_it_needs() -> None:
    opening = CodegenClient(org_id=323, sender=FakeSender()).open()
    with pytest.raises(RuntimeError, match=r"asyncio event loop.*trio"):
        opening.send(None)  # another framework than asyncio drives it


@virtual
async def test_calls_that_wait_for_their_turn_learn_that_the_client_was_closed() -> None:
    client = CodegenClient(org_id=323, sender=FakeSender(then=RUN))
    await client.open()
    await create(client, 10)
    calls = [asyncio.create_task(client.create_run("do")) for _ in range(3)]
    await asyncio.sleep(1.0)
    calls[0].cancel()
    began = asyncio.get_running_loop().time()
    await client.aclose()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError, ClientClosedError, ClientClosedError]
    assert asyncio.get_running_loop().time() - began < 0.1
    async with client:
        await create(client, 1)
        assert 58.0 < asyncio.get_running_loop().time() - began < 62.0  # it knows what it has sent


@virtual
async def test_who_waits_for_a_run_to_end_before_another_begins_learns_that_too() -> None:
    class One(Keyed):
        concurrency = 1

    api = Api(keyed=True)
    client = await HostedRuns(One(), CANARY, sender=api).open()
    await client.create_run()
    call = asyncio.create_task(client.create_run())
    await asyncio.sleep(1.0)
    await client.aclose()
    with pytest.raises(ClientClosedError, match="waited for a run to end"):
        await call


# -- again, and on another loop


def on_a_new_loop(main: Coroutine[Any, Any, Any], *, start: float) -> Any:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
        return runner.run(main)


async def create(client: CodegenClient, count: int) -> None:
    await asyncio.gather(*[client.create_run("do") for _ in range(count)])


def test_a_client_that_is_opened_again_on_another_loop_still_knows_what_it_has_sent() -> None:
    client = CodegenClient(org_id=323, sender=FakeSender(then=RUN))

    async def send(count: int) -> tuple[int, float]:
        async with client:
            cooling = client.limits["create"].cooling
            before = asyncio.get_running_loop().time()
            await create(client, count)
            return cooling, asyncio.get_running_loop().time() - before

    assert on_a_new_loop(send(8), start=1000.0) == (0, 0.0)
    cooling, waited = on_a_new_loop(send(4), start=77.0)
    assert cooling == 8
    assert 59.0 < waited < 61.0


def test_what_was_in_flight_when_its_loop_ended_counts_as_perhaps_done() -> None:
    client = CodegenClient(org_id=323, sender=FakeSender(then=RUN))

    async def leave() -> None:
        await client.open()
        slots = [client.limiter("create").slot() for _ in range(3)]
        for slot in slots:
            await slot.__aenter__()
            slot.sent()

    async def look() -> tuple[int, int]:
        async with client:
            state = client.limits["create"]
            return state.cooling, state.in_flight

    on_a_new_loop(leave(), start=1000.0)
    assert on_a_new_loop(look(), start=1000.0) == (3, 0)


def test_a_hold_after_a_429_goes_along() -> None:
    refused = reply(429, {"message": "too many"}, retry_after="30")
    client = CodegenClient(org_id=323, sender=FakeSender(refused, then=RUN))

    async def give_up() -> None:
        async with client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10.0):
                    await client.create_run("do")

    async def go_on() -> tuple[float, int]:
        async with client:
            state = client.limits["create"]
            return state.held_for, state.rejections

    on_a_new_loop(give_up(), start=1000.0)
    held, rejections = on_a_new_loop(go_on(), start=5.0)
    assert 15.0 < held < 25.0
    assert rejections == 1


@virtual
async def test_a_client_that_is_opened_again_counts_nothing_twice(tmp_path: Path) -> None:
    client = CodegenClient(org_id=323, sender=FakeSender(then=RUN), memory=tmp_path / "memory")
    client._clock = asyncio.get_running_loop().time
    for count in (3, 6):
        async with client:
            await create(client, 3)
            assert client.limits["create"].cooling == count


# -- a memory


@virtual
async def test_a_restart_spends_no_second_burst(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with CodegenServer(token=CANARY) as server:
        for _ in range(14):  # a program each, one after the other
            client = client_of(server, memory=tmp_path / "memory")
            client._clock = loop.time
            async with client:
                await client.create_run("do")
        assert server.worst("create").seen == 10
        assert server.violations == 0


@virtual
async def test_one_that_still_ends_while_the_next_begins_is_counted_and_not_disturbed(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with CodegenServer(token=CANARY, latency=(1.0, 1.0)) as server:
        old, new = (client_of(server, memory=tmp_path / "memory") for _ in range(2))
        old._clock = new._clock = loop.time
        async with old:
            draining = asyncio.create_task(create(old, 6))
            await asyncio.sleep(0.5)
            async with new:
                assert new.limits["create"].cooling == 6
                await create(new, 6)
            await draining
        assert server.violations == 0


@virtual
async def test_a_batch_of_a_client_with_a_memory_counts_nothing_twice(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with CodegenServer(token=CANARY) as server:
        server.world.script = [(0.0, "ACTIVE"), (1.0, "COMPLETE")]
        for life in range(2):
            client = client_of(server, memory=tmp_path / "memory")
            client._clock = loop.time
            async with client, Batch(client, tmp_path / "batch.db", clock=loop.time) as batch:
                assert client.limits["create"].cooling == 3 * life
                for n in range(3):
                    batch.add(f"do {n}", key=f"{life} {n}")
                async for _ in batch.run():
                    pass


def test_a_memory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(victim)
    for path, why in ((tmp_path / "link", "symbolic link"), (tmp_path / "no" / "memory", "No such file")):
        with pytest.raises(ConfigurationError, match=why) as caught:
            asyncio.run(CodegenClient(org_id=323, memory=path).open())
        assert str(path) in str(caught.value)
    assert victim.read_bytes() == b"mine"
    with pytest.raises(ConfigurationError, match="memory: expected the path of a file"):
        CodegenClient(org_id=323, memory=17)  # type: ignore[arg-type]


# -- forks


def _number(client: CodegenClient, pipe: Any) -> None:
    async def opened() -> int:
        async with client:
            return client.number

    pipe.send(asyncio.run(opened()))


def test_children_of_a_fork_are_told_apart() -> None:
    client = CodegenClient(org_id=323, sender=FakeSender())

    async def opened() -> int:
        async with client:
            return client.number

    numbers = {asyncio.run(opened())}
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        ours, theirs = context.Pipe()
        child = context.Process(target=_number, args=(client, theirs))
        child.start()
        numbers.add(ours.recv())
        child.join()
    assert len(numbers) == 4


def _work(client: CodegenClient) -> None:
    async def work() -> None:
        async with client:
            await create(client, 5)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work())


def test_workers_of_a_client_made_before_the_fork_count_what_each_other_sent(tmp_path: Path) -> None:
    sender = FakeSender(then=RUN)
    client = CodegenClient(org_id=323, sender=sender, memory=tmp_path / "memory", rates={"create": Rate(100, 60.0)})
    client._clock = lambda: 1000.0
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        child = context.Process(target=_work, args=(client,))
        child.start()
        child.join()
        assert child.exitcode == 0

    async def known() -> int:
        async with client:
            return client.limits["create"].cooling

    assert on_a_new_loop(known(), start=1000.0) == 10
