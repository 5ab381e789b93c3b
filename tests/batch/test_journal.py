"""The journal by itself: what it keeps, in which order, and what it does not allow."""

import asyncio
import contextlib
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from codegen_async import AgentRun, InvalidArgumentError
from codegen_async.batch.commits import Committer
from codegen_async.batch.items import State, Task, check_name, idempotency_key
from codegen_async.batch.journal import Journal
from tests.batch.helpers import journal_at, plan, query, states

RUN = AgentRun(id=17, organization_id=5, status="COMPLETE", result="done", metadata={"a": [1, None]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


async def claimed(journal: Journal, floor: int = 0) -> int:
    taken = await journal.claim(floor)
    assert taken is not None
    return taken[0].seq


@pytest.mark.asyncio
async def test_what_is_written_is_there_in_the_next_process(path: Path) -> None:
    task = Task(prompt="do", images=("a.png",), metadata={"x": [1]}, repo_id=3, model="m", agent_type="codegen")
    async with journal_at(path) as journal:
        await journal.add([("a", task)])
        batch_id = journal.batch_id
    async with journal_at(path) as journal:
        assert journal.batch_id == batch_id
        taken = await journal.claim(39)
    assert taken is not None
    item, read = taken
    assert read == task
    assert (item.name, item.attempt, item.floor, item.run_id) == ("a", 1, 39, None)
    assert item.key == idempotency_key(batch_id, "a", 1)


@pytest.mark.asyncio
async def test_an_item_is_on_the_disk_as_sending_before_anybody_may_send_it(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a")
        await claimed(journal, floor=7)
        rows = await asyncio.to_thread(query, path, "SELECT state, floor FROM items")
    assert rows == [("sending", 7)]


@pytest.mark.asyncio
async def test_items_are_sent_in_order_and_those_put_back_last_after_the_others(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a", "b", "c", "d")
        first, second = await claimed(journal), await claimed(journal)
        await journal.put_back(first, last=True)
        await journal.put_back(second, last=False)
        names = [taken[0].name for _ in range(4) if (taken := await journal.claim(0))]
        assert await journal.claim(0) is None
    assert names == ["b", "c", "d", "a"]


@pytest.mark.asyncio
async def test_a_second_sending_keeps_the_floor_of_the_first_and_a_second_attempt_has_its_own(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a")
        await journal.put_back(await claimed(journal, floor=10), last=True)
        again = await journal.claim(20)
        assert again is not None
        assert again[0].floor == 10
        await journal.created(again[0].seq, 11)
        await journal.retry(again[0].seq, RUN)
        second = await journal.claim(30)
        assert second is not None
        assert (second[0].floor, second[0].attempt) == (30, 2)
        assert second[0].key != again[0].key
        assert await journal.first_floor() == 10


@pytest.mark.asyncio
async def test_adding_the_same_again_changes_nothing(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a", "b")
        await claimed(journal)
        await plan(journal, "a", "b", "c")
        assert await states(journal) == {"a": State.SENDING, "b": State.PLANNED, "c": State.PLANNED}


@pytest.mark.asyncio
async def test_other_content_under_a_key_in_use_is_refused_with_all_that_came_with_it(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a")
        with pytest.raises(InvalidArgumentError, match="'a'"):
            await journal.add([("b", Task(prompt="b")), ("a", Task(prompt="other"))])
        assert await states(journal) == {"a": State.PLANNED}


@pytest.mark.asyncio
async def test_refused_work_does_not_harm_what_shares_its_commit(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a")
        # While the first is committed, the others gather for the next commit.
        results = await asyncio.gather(
            plan(journal, "b"),
            plan(journal, "c"),
            journal.add([("d", Task(prompt="d")), ("a", Task(prompt="other"))]),
            plan(journal, "e"),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), type(None), InvalidArgumentError, type(None)]
        assert set(await states(journal)) == {"a", "b", "c", "e"}


@pytest.mark.asyncio
async def test_a_step_that_the_state_does_not_allow_is_an_error_and_changes_nothing(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a")
        for step in (
            journal.created(1, 17),
            journal.ended(1, RUN),
            journal.rejected(1, "no"),
            journal.unknown(1, "?", likely_done=False),
            journal.stuck(1, RUN, "?"),
            journal.retry(1, RUN),
            journal.put_back(1, last=False),
        ):
            with pytest.raises(AssertionError):
                await step
        with pytest.raises(InvalidArgumentError):
            await journal.release(["a"])
        assert await states(journal) == {"a": State.PLANNED}
        assert await journal.to_hand_out() == []


@pytest.mark.asyncio
async def test_an_end_keeps_the_snapshot_and_the_time_it_took(path: Path) -> None:
    now = 100.0
    async with journal_at(path, lambda: now) as journal:
        await plan(journal, "a")
        seq = await claimed(journal)
        await journal.created(seq, 17)
        now = 160.5
        await journal.ended(seq, RUN)
        ((_, outcome),) = await journal.to_hand_out()
    assert outcome.run == RUN
    assert (outcome.key, outcome.index, outcome.state, outcome.run_id) == ("a", 0, State.ENDED, 17)
    assert outcome.seconds == 60.5
    assert outcome.succeeded


@pytest.mark.asyncio
async def test_outcomes_are_handed_out_in_the_order_in_which_they_came_and_again_until_they_are_taken(
    path: Path,
) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a", "b", "c")
        for seq in (1, 2, 3):
            await claimed(journal)
            await journal.created(seq, 16 + seq)
        await journal.ended(3, RUN)
        await journal.ended(1, RUN)
        (place, first), (_, second) = await journal.to_hand_out()
        assert (first.key, second.key) == ("c", "a")
        await journal.handed_out(place)
    async with journal_at(path) as journal:
        assert [outcome.key for _, outcome in await journal.to_hand_out()] == ["a"]
        await journal.ended(2, RUN)
        assert [outcome.key for _, outcome in await journal.to_hand_out()] == ["a", "b"]


@pytest.mark.asyncio
async def test_an_item_that_was_unknown_is_handed_out_again_when_it_ends(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a")
        seq = await claimed(journal)
        await journal.unknown(seq, "lost", likely_done=True)
        ((place, outcome),) = await journal.to_hand_out()
        assert (outcome.state, outcome.error) == (State.UNKNOWN, "lost")
        await journal.handed_out(place)
        await journal.look_again()
        await journal.created(seq, 17)
        assert await journal.to_hand_out() == []
        await journal.ended(seq, RUN)
        ((_, outcome),) = await journal.to_hand_out()
        assert outcome.state is State.ENDED


@pytest.mark.asyncio
async def test_an_item_that_is_tried_again_is_not_handed_out_before_its_end(path: Path) -> None:
    async with journal_at(path) as journal:
        await plan(journal, "a")
        seq = await claimed(journal)
        await journal.created(seq, 17)
        await journal.stuck(seq, RUN, "paused")
        ((_, outcome),) = await journal.to_hand_out()
        assert (outcome.state, outcome.error) == (State.CREATED, "paused")
        await journal.retry(seq, RUN)
        assert await journal.to_hand_out() == []


@pytest.mark.asyncio
async def test_items_are_paged_through_while_they_change(path: Path) -> None:
    names = [f"item {n}" for n in range(500)]
    async with journal_at(path) as journal:
        await plan(journal, *names)
        for _ in names:
            await claimed(journal)
        seen = []
        async for item in journal.items(State.SENDING, State.CREATED):
            seen.append(item.name)
            await journal.created(item.seq, item.seq)
    assert seen == names


@pytest.mark.asyncio
async def test_the_write_of_a_cancelled_caller_is_committed(path: Path) -> None:
    async with journal_at(path) as journal:
        writer = asyncio.create_task(plan(journal, "a"))
        await asyncio.sleep(0)
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
    async with journal_at(path) as journal:
        assert await states(journal) == {"a": State.PLANNED}


@pytest.mark.asyncio
async def test_writes_that_arrive_during_a_commit_share_the_next_one(path: Path) -> None:
    statements: list[str] = []

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("CREATE TABLE numbers (n)")
        connection.set_trace_callback(statements.append)
        return connection

    def insert(number: int, connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))

    committer = Committer(path, connect, sqlite3.Connection.close)
    await committer.open()
    await asyncio.gather(*(committer.write(partial(insert, n)) for n in range(1000)))
    rows = await committer.read(lambda connection: connection.execute("SELECT n FROM numbers").fetchall())
    await committer.aclose()
    assert rows == [(n,) for n in range(1000)]
    assert statements.count("COMMIT") == 2  # the first, and all others


@pytest.mark.asyncio
async def test_a_journal_whose_opening_was_cancelled_can_be_opened_again(path: Path) -> None:
    async def hold() -> None:
        async with journal_at(path):
            await asyncio.Event().wait()

    for patience in range(12):
        holder = asyncio.create_task(hold())
        for _ in range(patience):
            await asyncio.sleep(0)
        holder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await holder
        async with journal_at(path) as journal:
            assert await states(journal) == {}


def test_keys_are_the_same_each_time_and_no_others() -> None:
    keys = {
        idempotency_key(batch, name, attempt)
        for batch in ("0f0f0f0f0f0f", "1")
        for name in ("a", "ä" * 200)
        for attempt in (1, 2)
    }
    assert len(keys) == 8
    assert all(key.isascii() and len(key) <= 64 for key in keys)


@pytest.mark.parametrize("name", ["", " ", "#1", "x" * 201, "a\0", 5, None])
def test_a_key_that_cannot_be_one_is_refused(name: object) -> None:
    with pytest.raises(InvalidArgumentError, match="key"):
        check_name(name)
