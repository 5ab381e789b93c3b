"""The journal that several processes share: who was taken over changes nothing, and a database that is away delays."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from codegen_async.batch.items import State, Task
from codegen_async.batch.readers import read_counts
from codegen_async.engine.database import open_database
from codegen_async.engine.ledger import Held, Ledger, OvertakenError, sharing
from codegen_async.errors import InvalidArgumentError, JournalError
from tests.engine.shaky import Shaky, Unsure
from tests.support.servers import Server, new_database, postgres

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def ledger_at(path: Path) -> AsyncGenerator[Ledger]:
    async with sharing(Ledger, open_database(f"sqlite:{path}"), lambda: 1000.0) as ledger:
        yield ledger


async def held(ledger: Ledger, holder: str) -> Held:
    item = await ledger.next_planned(()) or await ledger.item(1)
    assert item is not None
    return Held(1, item.key, f"{item.key}{holder}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def test_a_step_of_a_workflow_that_does_not_hold_the_item_any_more_changes_nothing(path: Path) -> None:
    async with ledger_at(path) as slow, ledger_at(path) as quick:
        await slow.add([("a", Task(prompt="a"))])
        one, other = await held(slow, ""), await held(slow, "~2")
        assert await slow.enter(one, 7, None) is not None
        assert await quick.enter(other, 9, None) is not None
        slow.holders[1], quick.holders[1] = one.holder, other.holder
        late: list[Callable[[], Coroutine[Any, Any, None]]] = [
            lambda: slow.created(1, 5),
            lambda: slow.rejected(1, "no"),
            lambda: slow.unknown(1, "lost", likely_done=False),
            lambda: slow.put_back(1, last=False),
        ]
        for step in late:
            with pytest.raises(OvertakenError):
                await step()
        await quick.created(1, 6)
        with pytest.raises(OvertakenError):
            await slow.ended(1, None)
        item = await slow.item(1)
        assert item is not None
        assert (item.run_id, item.floor) == (6, 7)  # what was first sent with counts
        assert await slow.enter(one, 7, None) is None
        assert await quick.stands(other) is State.CREATED
        assert await slow.stands(one) is None


async def test_what_was_said_before_is_not_said_again_to_a_later_attempt(path: Path) -> None:
    async with ledger_at(path) as ledger:
        await ledger.add([("a", Task(prompt="a"))])
        before = await held(ledger, "")
        await ledger.enter(before, 0, None)
        ledger.holders[1] = before.holder
        await ledger.rejected(1, "no")
        await ledger.try_again(["a"], failed=False)
        after = await held(ledger, "~2")
        assert await ledger.enter(after, 0, None) is not None
        with pytest.raises(OvertakenError):
            await ledger.rejected(1, "late")
        assert await ledger.counts() == dict.fromkeys(State, 0) | {State.SENDING: 1}


async def test_no_more_runs_are_entered_than_may_be_made_by_all_together(path: Path) -> None:
    async with ledger_at(path) as one, ledger_at(path) as other:
        await one.add([(name, Task(prompt=name)) for name in "abc"])
        entered = []
        for number, ledger in enumerate((one, other, one), 1):
            item = await ledger.item(number)
            assert item is not None
            entered.append(await ledger.enter(Held(number, item.key, item.key), 0, 2))
        assert [entry is not None for entry in entered] == [True, True, False]


async def test_each_process_hands_out_all_that_ends_from_its_beginning_on(path: Path) -> None:
    async with ledger_at(path) as one, ledger_at(path) as other:
        await one.add([("a", Task(prompt="a"))])
        here = await held(one, "")
        await one.enter(here, 0, None)
        one.holders[1] = here.holder
        await one.rejected(1, "no")
        for ledger in (one, other):
            ((place, outcome),) = await ledger.to_hand_out()
            assert outcome.key == "a"
            await ledger.handed_out(place)
            assert await ledger.to_hand_out() == []
    async with ledger_at(path) as later:
        assert await later.to_hand_out() == []


@pytest.mark.parametrize("moment", ["BEGIN IMMEDIATE", "INSERT INTO items", "COMMIT"])
async def test_a_database_that_is_away_for_a_while_delays_and_loses_nothing(path: Path, moment: str) -> None:
    database = Shaky(path)
    async with sharing(Ledger, database, lambda: 1000.0) as ledger:
        database.go_away(moment, 2)
        await asyncio.gather(*(ledger.add([(name, Task(prompt=name))]) for name in "abc"))
        assert database.away == 0
        assert sum((await ledger.counts()).values()) == 3


async def test_who_waits_for_a_commit_hears_of_it_even_if_it_cannot_be_taken_back(path: Path) -> None:
    database = Shaky(path)
    async with sharing(Ledger, database, lambda: 1000.0) as ledger:

        def work(connection: sqlite3.Connection) -> None:
            database.go_away("", 3, JournalError)  # this, back to before it, and back to before all
            connection.execute("SELECT 1")

        async with asyncio.timeout(60.0):
            with pytest.raises(JournalError, match="did not answer"):
                await ledger._committer.write(work)
        assert database.away == 0


@pytest.fixture(scope="module")
def server() -> Any:
    with postgres() as running:
        yield running


@pytest.mark.parametrize("done", [True, False])
async def test_what_may_have_been_committed_is_done_once_and_told_as_it_was(server: Server, *, done: bool) -> None:
    database = Unsure(await asyncio.to_thread(new_database, server))
    async with sharing(Ledger, database, lambda: 1000.0) as ledger:

        async def unsure(work: Coroutine[Any, Any, Any]) -> Any:
            database.go_away(2, done=done)
            result = await work
            assert database.away == (1 if done else 0)
            database.away = 0
            return result

        added = await unsure(ledger.add([("a", Task(prompt="a")), ("b", Task(prompt="b"))]))
        assert added.new == ("a", "b")
        first = await held(ledger, "")
        assert await unsure(ledger.enter(first, 0, 1)) is not None
        ledger.holders[1] = first.holder
        await unsure(ledger.rejected(1, "no"))
        await unsure(ledger.release(["a"]))
        with pytest.raises(InvalidArgumentError):
            await unsure(ledger.release(["b"]))
        database.away = 0
        assert await ledger.enter(first, 0, 1) is not None
        await ledger.created(1, 5)
        await unsure(ledger.stuck(1, None, "not found"))
        assert [place for place, _ in await ledger.to_hand_out()] == [2]
        assert await unsure(ledger.try_again(["a"], failed=False)) == ("a",)
        assert await unsure(ledger.beat("me")) is None
        assert await ledger.beats() == {"me": 1}


async def test_what_is_no_batch_is_told(tmp_path: Path) -> None:
    missing, other = open_database(f"sqlite:{tmp_path}/missing"), tmp_path / "other.db"
    with pytest.raises(JournalError, match="there is no such database"):
        await asyncio.to_thread(missing.check_there)
    empty = tmp_path / "empty.db"
    await asyncio.to_thread(empty.touch, 0o600)
    with pytest.raises(JournalError, match="holds no batch"):
        await asyncio.to_thread(read_counts, open_database(f"sqlite:{empty}"))
    await asyncio.to_thread(other.write_bytes, b"something else that is no database at all")
    await asyncio.to_thread(other.chmod, 0o600)
    with pytest.raises(JournalError, match="is no journal of this package, or damaged"):
        async with ledger_at(other):
            pass


async def test_a_database_is_for_its_owner_alone(path: Path) -> None:
    async with ledger_at(path):
        pass
    assert await asyncio.to_thread(lambda: path.stat().st_mode & 0o777) == 0o600
    await asyncio.to_thread(path.chmod, 0o666)
    with pytest.raises(JournalError):
        async with ledger_at(path):
            pass
