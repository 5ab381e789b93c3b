"""Where workflows and the runner of a batch meet."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from codegen_async.batch.items import Item, State, Task
from codegen_async.engine import desk as desks
from codegen_async.engine.database import open_database
from codegen_async.engine.desk import Desk, Verdict
from codegen_async.engine.ledger import Held, sharing

pytestmark = pytest.mark.asyncio

AGAIN = {"again": False, "parent": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@asynccontextmanager
async def desk_at(path: Path) -> AsyncGenerator[Desk]:
    async with sharing(Desk, open_database(f"sqlite:{path}"), lambda: 1000.0) as desk:
        yield desk


async def workflow(desk: Desk, held: Held) -> Verdict:
    """Do the first two steps of one."""
    with desk.boarding(held) as flight:
        assert await desk.intend(flight, 0) is not None
        return await desk.create(flight)


async def test_what_another_process_corrects_while_an_item_is_claimed_is_sent_in_its_new_form(path: Path) -> None:
    async with desk_at(path) as desk, desk_at(path) as other, asyncio.TaskGroup() as group:

        async def begin(held: Held) -> bool:
            await other.add([("a", Task(prompt="new"))], source="prompts.jsonl")
            group.create_task(workflow(desk, held._replace(holder=held.key)))
            return True

        desk.begin = begin
        await desk.add([("a", Task(prompt="old"))], source="prompts.jsonl")
        claimed = await desk.claim(7)
        assert claimed is not None
        assert (claimed[1].prompt, claimed[0].floor) == ("new", 7)  # the list shows what was sent above the floor
        (flight,) = desk.flights.values()
        flight.verdict.set_result(AGAIN)


class Crew:
    """Look for items, and find that they have no runs."""

    is_on = True
    searches = 0

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def take_up(self, item: Item) -> asyncio.Task[None]:
        return asyncio.create_task(self._desk.put_back(item.seq, last=True))


async def test_an_item_whose_workflow_is_late_is_looked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "_PATIENCE", 0.0)
    async with desk_at(path) as desk, asyncio.TaskGroup() as group:
        given_up, aboard = asyncio.Event(), asyncio.Event()

        async def come_late(held: Held) -> None:
            with desk.boarding(held) as flight:
                assert await desk.intend(flight, 0) is not None
                aboard.set()
                await given_up.wait()
                await desk.note(flight, await desk.create(flight))

        async def begin(held: Held) -> bool:
            group.create_task(come_late(held._replace(holder=held.key)))
            await aboard.wait()
            return True

        desk.begin = begin
        desk.serve(Crew(desk), None)
        await desk.add([("a", Task(prompt="a"))])
        assert await desk.claim(0) is None
        given_up.set()
    async with desk_at(path) as desk:
        assert (await desk.counts())[State.PLANNED] == 1


async def test_what_was_not_sent_by_who_died_stays_planned_as_there_is_nothing_to_look_for(path: Path) -> None:
    async with desk_at(path) as desk:
        desk.serve(Crew(desk), None)
        await desk.add([("a", Task(prompt="a"))])
        item = await desk.item(1)
        assert item is not None
        with desk.boarding(Held(1, item.key, item.key)) as flight:
            assert await desk.intend(flight, 0) is None
        assert (await desk.counts())[State.PLANNED] == 1


async def test_no_workflow_begins_for_what_others_have_left_no_run_for(path: Path) -> None:
    async with desk_at(path) as desk, desk_at(path) as other:
        begun: list[int] = []

        async def begin(held: Held) -> bool:
            begun.append(held.seq)
            return False

        desk.begin = begin
        desk.serve(Crew(desk), 2)
        await desk.add([(name, Task(prompt=name)) for name in "abc"])
        for seq in (1, 2):
            item = await other.item(seq)
            assert item is not None
            assert await other.enter(Held(seq, item.key, item.key), 0, 2) is not None
        assert await desk.claim(0) is None
        assert begun == []


async def test_who_sent_a_former_attempt_says_nothing_of_this_one(path: Path) -> None:
    async with desk_at(path) as desk, asyncio.TaskGroup() as group:

        async def begin(held: Held) -> bool:
            group.create_task(workflow(desk, held._replace(holder=held.key)))
            return True

        async def send() -> None:
            await sent.wait()
            await desk.created(1, 5)

        desk.begin = begin
        await desk.add([("a", Task(prompt="a"))])
        assert await desk.claim(0) is not None
        sent = asyncio.Event()
        sending, former = group.create_task(send()), desk.flights[1]
        with desk.boarding(Held(1, "another attempt", "another attempt")) as flight:
            sent.set()
            await asyncio.wait([sending], timeout=60.0)
            assert sending.cancelled()
            assert not flight.verdict.done()
        former.verdict.set_result(AGAIN)
