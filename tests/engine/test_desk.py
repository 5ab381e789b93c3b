"""Where workflows and the runner of a batch meet."""

import asyncio
from pathlib import Path

import pytest

from codegen_async.batch.items import Task
from codegen_async.engine.database import open_database
from codegen_async.engine.desk import Desk
from codegen_async.engine.ledger import Held, sharing

pytestmark = pytest.mark.asyncio


async def test_what_another_process_corrects_while_an_item_is_claimed_is_sent_in_its_new_form(tmp_path: Path) -> None:
    database = open_database(f"sqlite:{tmp_path}/batch.db")
    async with (
        sharing(Desk, database, lambda: 1000.0) as desk,
        sharing(Desk, database, lambda: 1000.0) as other,
        asyncio.TaskGroup() as group,
    ):

        async def workflow(held: Held) -> None:
            with desk.boarding(held) as flight:
                assert await desk.intend(flight, 0) is not None
                await desk.create(flight)

        async def begin(held: Held) -> bool:
            await other.add([("a", Task(prompt="new"))], source="prompts.jsonl")
            group.create_task(workflow(held._replace(holder=held.key)))
            return True

        desk.begin = begin
        await desk.add([("a", Task(prompt="old"))], source="prompts.jsonl")
        claimed = await desk.claim(0)
        assert claimed is not None
        assert claimed[1].prompt == "new"
        (flight,) = desk.flights.values()
        flight.verdict.set_result({"again": False, "parent": None})
