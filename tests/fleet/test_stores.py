"""What every store promises, whatever it is made of."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable

import pytest

from codegen_async.fleet.store import Reply, Store

Opened = Callable[[str], Store]


@pytest.fixture
def key() -> str:
    return f"test:{uuid.uuid4()}"


async def make(store: Store, key: str, value: bytes = b"first") -> Reply:
    made = await store.swap(key, b"", value, None)
    assert made.swapped
    return made


@pytest.mark.asyncio
async def test_what_nobody_has_written_is_not_there(place: str, opened: Opened, key: str) -> None:
    found = await opened(place).swap(key, b"", None, None)
    assert (found.swapped, found.version, found.value) == (False, b"", None)


@pytest.mark.asyncio
async def test_a_board_is_made_once(place: str, opened: Opened, key: str) -> None:
    made = await make(opened(place), key)
    again = await opened(place).swap(key, b"", b"mine", None)
    assert (again.swapped, again.version, again.value) == (False, made.version, b"first")


@pytest.mark.asyncio
async def test_a_board_that_is_not_there_is_not_replaced(place: str, opened: Opened, key: str) -> None:
    found = await opened(place).swap(key, b"12345678", b"mine", None)
    assert (found.swapped, found.version, found.value) == (False, b"", None)


@pytest.mark.asyncio
async def test_a_swap_replaces_the_version_that_it_expects(place: str, opened: Opened, key: str) -> None:
    store = opened(place)
    made = await make(store, key)
    done = await store.swap(key, made.version, b"second", made.epoch)
    assert done.swapped
    assert done.version not in (b"", made.version)
    found = await opened(place).swap(key, b"", None, None)
    assert (found.version, found.value) == (done.version, b"second")


@pytest.mark.asyncio
async def test_a_lost_swap_tells_the_newer_board(place: str, opened: Opened, key: str) -> None:
    first, second = opened(place), opened(place)
    made = await make(first, key)
    done = await second.swap(key, made.version, b"second", None)
    lost = await first.swap(key, made.version, b"third", None)
    assert (lost.swapped, lost.version, lost.value) == (False, done.version, b"second")


@pytest.mark.asyncio
async def test_nothing_is_replaced_in_another_epoch(place: str, opened: Opened, key: str) -> None:
    store = opened(place)
    early = await store.swap(key, b"", b"first", "another")
    made = await make(store, key)
    late = await store.swap(key, made.version, b"second", "another")
    assert (early.swapped, early.version, late.swapped, late.value) == (False, b"", False, b"first")
    assert early.epoch == late.epoch == made.epoch != "another"


@pytest.mark.asyncio
async def test_boards_do_not_touch_one_another(place: str, opened: Opened, key: str) -> None:
    store = opened(place)
    await make(store, key)
    other = await make(store, f"{key}:other", b"other")
    assert (await store.swap(key, other.version, b"mine", None)).value == b"first"


@pytest.mark.asyncio
async def test_any_bytes_and_many_of_them_come_back_as_they_were(place: str, opened: Opened, key: str) -> None:
    value = bytes(range(256)) * 1000
    store = opened(place)
    await make(store, key, value)
    assert (await store.swap(key, b"", None, None)).value == value


@pytest.mark.asyncio
async def test_the_clock_is_one_for_all_and_goes_forward(place: str, opened: Opened, key: str) -> None:
    stores = [opened(place) for _ in range(3)]
    times = [(await store.swap(key, b"", None, None)).now for _ in range(5) for store in stores]
    assert times == sorted(times)
    assert times[-1] - times[0] < 60  # of the same clock


@pytest.mark.asyncio
async def test_a_store_that_was_closed_opens_again(place: str, opened: Opened, key: str) -> None:
    store = opened(place)
    made = await make(store, key)
    await store.close()
    assert (await store.swap(key, made.version, b"second", made.epoch)).swapped


async def count(store: Store, key: str, times: int) -> None:
    """Add one to a number, so many times."""
    there = await store.swap(key, b"", None, None)
    while times:
        done = await store.swap(key, there.version, b"%d" % (int(there.value or b"0") + 1), there.epoch)
        if done.swapped:
            times -= 1
            there = await store.swap(key, b"", None, None)
        else:
            there = done


@pytest.mark.asyncio
async def test_nothing_is_lost_when_many_swap_at_once(place: str, opened: Opened, key: str) -> None:
    await asyncio.gather(*(count(opened(place), key, 10) for _ in range(6)))
    assert (await opened(place).swap(key, b"", None, None)).value == b"60"


@pytest.mark.asyncio
async def test_calls_of_one_store_wait_for_one_another(place: str, opened: Opened, key: str) -> None:
    store = opened(place)
    await asyncio.gather(*(make(store, f"{key}:{number}", b"%d" % number) for number in range(20)))
    found = await asyncio.gather(*(store.swap(f"{key}:{number}", b"", None, None) for number in range(20)))
    assert [reply.value for reply in found] == [b"%d" % number for number in range(20)]


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(0, 24, 3))
async def test_after_a_cancellation_no_answer_is_taken_for_another(
    place: str, opened: Opened, key: str, turns: int
) -> None:
    store = opened(place)
    for number in range(3):
        await make(store, f"{key}:{number}", b"%d" % number)
    cut = asyncio.create_task(store.swap(f"{key}:0", b"", None, None))
    for _ in range(turns):  # each lets it come one step further
        await asyncio.sleep(0)
    cut.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cut
    async with asyncio.timeout(60):
        found = [(await store.swap(f"{key}:{number}", b"", None, None)).value for number in range(3)]
    assert found == [b"0", b"1", b"2"]


@pytest.mark.asyncio
async def test_a_call_that_is_cancelled_in_the_line_disturbs_nobody(place: str, opened: Opened, key: str) -> None:
    store = opened(place)
    made = await make(store, key)
    calls = [asyncio.create_task(store.swap(key, b"", None, None)) for _ in range(5)]
    await asyncio.sleep(0)
    calls[2].cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found[2], asyncio.CancelledError)
    assert {reply.version for reply in found if isinstance(reply, Reply)} == {made.version}
