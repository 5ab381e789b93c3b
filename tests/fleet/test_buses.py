"""What every bus does: it carries messages to all who listen, and goes on after a break."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import psycopg
import pytest

from codegen_async.fleet import postgres
from codegen_async.fleet.address import Address
from codegen_async.fleet.store import Bus, StoreAwayError
from tests.fleet.conftest import url_of
from tests.support.servers import Server

Joined = Callable[[str], Bus]


@pytest.fixture
def channel() -> str:
    return f"test:{uuid.uuid4()}"


@contextlib.asynccontextmanager
async def heard(bus: Bus, channel: str, speaker: Bus) -> AsyncGenerator[AsyncIterator[bytes]]:
    """Yield what a bus hears from now on: once it listens, as a first message shows."""
    listening = bus.listen(channel)
    try:
        await _until_heard(listening, channel, speaker)
        yield listening
    finally:
        await listening.aclose()  # type: ignore[attr-defined]


async def _until_heard(listening: AsyncIterator[bytes], channel: str, speaker: Bus) -> None:
    first = asyncio.ensure_future(anext(listening))
    number = 0
    async with asyncio.timeout(60):
        while not first.done():
            with contextlib.suppress(StoreAwayError):
                await speaker.publish(channel, b"begin %d" % (number := number + 1))
            await asyncio.wait({first}, timeout=0.3)
        said = first.result()
        while said != b"begin %d" % number:
            said = await anext(listening)


@pytest.mark.asyncio
async def test_all_who_listen_hear_a_message(place: str, joined: Joined, channel: str) -> None:
    speaker = joined(place)
    async with (
        asyncio.timeout(60),
        heard(joined(place), channel, speaker) as one,
        heard(joined(place), channel, speaker) as other,
    ):
        await speaker.publish(channel, b"\x00 any \xff bytes")
        assert await anext(other) == b"\x00 any \xff bytes"
        while (said := await anext(one)).startswith(b"begin"):  # what the other began with
            pass
        assert said == b"\x00 any \xff bytes"


@pytest.mark.asyncio
async def test_messages_come_in_order_however_long_they_are(place: str, joined: Joined, channel: str) -> None:
    speaker = joined(place)
    said = [bytes([number]) * size for number, size in enumerate((1, 20_000, 0, 5_849, 5_850, 5_851, 100_000))]
    async with asyncio.timeout(60), heard(joined(place), channel, speaker) as listening:
        for message in said:
            await speaker.publish(channel, message)
        assert [await anext(listening) for _ in said] == said


@pytest.mark.asyncio
async def test_what_a_pooler_hands_on_of_messages_is_not_kept_by_who_only_speaks(
    postgres_server: Server, channel: str
) -> None:
    bus = postgres.PostgresBus(Address(url_of(postgres_server, "postgresql")))
    await bus._link.use(
        lambda session: session.ask(f"LISTEN {postgres._name(channel)}")
    )  # as another did on its connection
    for _ in range(5):
        await bus.publish(channel, b"news")
    connection = bus._link._connection
    assert connection is not None
    assert not connection._driver._notifies_backlog
    await bus.close()


@pytest.mark.asyncio
async def test_nobody_hears_what_is_said_elsewhere(place: str, joined: Joined, channel: str) -> None:
    speaker = joined(place)
    async with asyncio.timeout(60), heard(joined(place), channel, speaker) as listening:
        await speaker.publish(f"{channel}:other", b"elsewhere")
        await speaker.publish(channel, b"here")
        assert await anext(listening) == b"here"


@pytest.mark.asyncio
async def test_who_listens_goes_on_after_a_break(served: tuple[str, Server], joined: Joined, channel: str) -> None:
    url, server = served
    speaker = joined(url)
    async with asyncio.timeout(60), heard(joined(url), channel, speaker) as listening:
        await asyncio.to_thread(server.kill)
        try:
            with pytest.raises(StoreAwayError):
                await speaker.publish(channel, b"to nobody")
        finally:
            await asyncio.to_thread(server.start)
        await _until_heard(listening, channel, speaker)
        await speaker.publish(channel, b"again")
        assert await anext(listening) == b"again"


@pytest.mark.asyncio
async def test_a_server_that_says_nothing_is_asked_whether_it_is_there(
    served: tuple[str, Server], joined: Joined, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = served
    for module in ("postgres", "redis"):
        monkeypatch.setattr(f"codegen_async.fleet.{module}._QUIET", 0.2)
        monkeypatch.setattr(f"codegen_async.fleet.{module}._REPLYING", 0.2)
    speaker = joined(url)
    async with asyncio.timeout(60), heard(joined(url), channel, speaker) as listening:
        quiet = asyncio.ensure_future(anext(listening))
        await asyncio.wait({quiet}, timeout=0.7)  # it is there, and the connection stays
        await asyncio.to_thread(server.freeze)
        await asyncio.wait({quiet}, timeout=0.7)  # it is not, and another is tried
        await asyncio.to_thread(server.thaw)
        assert not quiet.done()
        for number in range(100):
            await speaker.publish(channel, b"%d" % number)
            if (await asyncio.wait({quiet}, timeout=0.2))[0]:
                break
        assert quiet.result().isdigit()


@pytest.mark.asyncio
async def test_what_others_say_on_a_channel_is_no_message(
    postgres_server: Server, joined: Joined, channel: str
) -> None:
    url = url_of(postgres_server, "postgresql")
    speaker = joined(url)
    async with asyncio.timeout(60), heard(joined(url), channel, speaker) as listening:
        for odd in ("hello", "1:2:3", "a:b:c:d", "a:0:1:*", "a:0:2:YQ==", "a:2:3:YQ=="):
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute("SELECT pg_notify(%s, %s)", (postgres._name(channel), odd))
        await speaker.publish(channel, b"a message")
        assert await anext(listening) == b"a message"
