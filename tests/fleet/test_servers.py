"""What the servers of a fleet do to it: they restart, stand still, forget, and are set up as they must not be."""

import asyncio
import contextlib
import ssl
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import psycopg
import pytest
import trustme

from codegen_async.fleet import link
from codegen_async.fleet.store import Reply, Store, StoreAwayError
from tests.fleet.conftest import ALWAYS, url_of
from tests.support.relay import Relay
from tests.support.servers import Server, postgres, running, valkey, valkey_command

Opened = Callable[[str], Store]


@pytest.fixture
def key() -> str:
    return f"test:{uuid.uuid4()}"


async def made(store: Store, key: str) -> Reply:
    """Make a board."""
    reply = await store.swap(key, b"", b"first", None)
    assert reply.swapped
    return reply


async def away(store: Store, key: str) -> str:
    """Ask a store that is away, which says so, and does not keep us waiting."""
    async with asyncio.timeout(60):
        with pytest.raises(StoreAwayError) as caught:
            await store.swap(key, b"", None, None)
    return str(caught.value)


async def back(store: Store, key: str) -> Reply:
    """Ask a store until it answers."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StoreAwayError):
                return await store.swap(key, b"", None, None)
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_server_that_is_gone_is_away_and_comes_back(
    served: tuple[str, Server], opened: Opened, key: str
) -> None:
    url, server = served
    store = opened(url)
    before = await made(store, key)
    await asyncio.to_thread(server.kill)
    try:
        told = await away(store, key)
        assert told.startswith(f"{url.partition('?')[0].replace('postgres@', '')}: ")
        await away(store, key)
    finally:
        await asyncio.to_thread(server.start)
    after = await back(store, key)
    if "durable" in url or url.startswith("postgresql"):
        assert (after.epoch, after.version, after.uptime) == (before.epoch, before.version, float("inf"))
    else:
        assert after.epoch != before.epoch
        assert (after.version, after.uptime < 10) == (b"", True)


@pytest.mark.asyncio
async def test_a_server_that_stands_still_is_away(
    served: tuple[str, Server], opened: Opened, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = served
    store = opened(url)
    before = await made(store, key)
    await asyncio.to_thread(server.freeze)
    try:
        with monkeypatch.context() as impatient:
            for name in ("_CONNECTING", "_ANSWERING"):
                impatient.setattr(link, name, 0.5)
            await away(store, key)  # on the connection there is
            await away(store, key)  # and it makes none
    finally:
        await asyncio.to_thread(server.thaw)
    after = await back(store, key)
    assert (after.epoch, after.version) == (before.epoch, before.version)


@pytest.mark.asyncio
async def test_who_waits_behind_a_failure_does_not_wait_for_the_same(
    served: tuple[str, Server], opened: Opened, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = served
    store = opened(url)
    await made(store, key)
    monkeypatch.setattr(link, "_ANSWERING", 5.0)
    await asyncio.to_thread(server.freeze)
    try:
        async with asyncio.timeout(60):  # 20 times as long is more
            found = await asyncio.gather(*(store.swap(key, b"", None, None) for _ in range(20)), return_exceptions=True)
    finally:
        await asyncio.to_thread(server.thaw)
    assert {type(error) for error in found} == {StoreAwayError}
    assert len({id(error) for error in found}) == 20


@pytest.mark.asyncio
async def test_a_call_on_a_server_that_stands_still_can_be_cancelled(
    served: tuple[str, Server], opened: Opened, key: str
) -> None:
    url, server = served
    store = opened(url)
    before = await made(store, key)
    await asyncio.to_thread(server.freeze)
    try:
        call = asyncio.create_task(store.swap(key, before.version, b"late", None))
        done, _ = await asyncio.wait({call}, timeout=0.05)
        assert not done
        call.cancel()
        await asyncio.wait({call}, timeout=10)
        assert call.cancelled()
    finally:
        await asyncio.to_thread(server.thaw)
    after = await back(store, key)
    assert after.value in (b"first", b"late")  # nobody can say


@pytest.mark.asyncio
async def test_a_server_that_ends_during_a_call_leaves_nobody_waiting(
    served: tuple[str, Server], opened: Opened, key: str
) -> None:
    url, server = served
    store = opened(url)
    await made(store, key)
    await asyncio.to_thread(server.freeze)
    call = asyncio.create_task(store.swap(key, b"", None, None))
    await asyncio.wait({call}, timeout=0.05)
    await asyncio.to_thread(server.kill)
    try:
        async with asyncio.timeout(60):
            with pytest.raises(StoreAwayError):
                await call
    finally:
        await asyncio.to_thread(server.start)


@pytest.mark.asyncio
async def test_a_table_that_was_dropped_is_made_again(postgres_server: Server, opened: Opened, key: str) -> None:
    url = url_of(postgres_server, "postgresql")
    store = opened(url)
    before = await made(store, key)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("DROP TABLE codegen_async_fleet")
    after = await store.swap(key, before.version, b"second", None)
    assert (after.swapped, after.version, after.epoch) == (False, b"", before.epoch)


@pytest.mark.asyncio
async def test_an_ordinary_role_is_enough_if_there_is_a_table(
    postgres_server: Server, opened: Opened, key: str
) -> None:
    url = url_of(postgres_server, "postgresql")
    theirs = url.replace("postgres@", "ordinary@")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("DROP TABLE IF EXISTS codegen_async_fleet")
        await connection.execute("CREATE ROLE ordinary LOGIN")
        assert "permission denied" in await away(opened(theirs), key)
        await made(opened(url), key)
        await connection.execute("GRANT SELECT, INSERT, UPDATE ON codegen_async_fleet TO ordinary")
        await made(opened(theirs), f"{key}:other")
        await connection.execute("DROP OWNED BY ordinary")
        await connection.execute("DROP ROLE ordinary")


@pytest.mark.asyncio
async def test_what_was_cut_off_is_over_when_a_store_is_closed(
    postgres_server: Server, opened: Opened, key: str
) -> None:
    store = opened(url_of(postgres_server, "postgresql"))
    await made(store, key)
    await asyncio.to_thread(postgres_server.freeze)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await store.swap(key, b"", None, None)
        await store.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
    finally:
        await asyncio.to_thread(postgres_server.thaw)


@pytest.mark.asyncio
async def test_many_that_find_no_table_make_one(postgres_server: Server, opened: Opened, key: str) -> None:
    url = url_of(postgres_server, "postgresql")
    stores = [opened(url) for _ in range(8)]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for _ in range(40):  # those who come late in one of several ways are told so in several
            await connection.execute("DROP TABLE IF EXISTS codegen_async_fleet")
            found = await asyncio.gather(*(store.swap(key, b"", b"first", None) for store in stores))
            assert sum(reply.swapped for reply in found) == 1


@pytest.mark.asyncio
async def test_what_is_committed_lasts_whatever_the_server_says_of_commits(opened: Opened, key: str) -> None:
    async with running(postgres("synchronous_commit=off", "wal_writer_delay=10s")) as server:
        store = opened(url_of(server, "postgresql"))
        before = await made(store, key)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        after = await back(store, key)
        assert (after.epoch, after.version) == (before.epoch, before.version)


@pytest.mark.asyncio
async def test_a_server_without_fsync_begins_another_epoch_whenever_it_starts(opened: Opened, key: str) -> None:
    async with running(postgres("fsync=off")) as server:
        store = opened(url_of(server, "postgresql"))
        before = await made(store, key)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert (await back(store, key)).epoch != before.epoch


@pytest.mark.asyncio
async def test_a_server_that_writes_down_only_now_and_then_is_not_durable(opened: Opened, key: str) -> None:
    async with running(valkey("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")) as server:
        assert "is not durable" in await away(opened(f"{url_of(server, 'redis')}?durable"), key)
        assert (await opened(url_of(server, "redis")).swap(key, b"", b"first", None)).swapped


@pytest.mark.asyncio
async def test_the_word_of_a_user_counts_for_nothing_without_a_file(
    valkey_server: Server, opened: Opened, key: str
) -> None:
    assert "is not durable" in await away(opened(f"{url_of(valkey_server, 'redis')}?durable"), key)


@pytest.mark.asyncio
async def test_a_server_that_throws_away_what_it_is_told_is_refused(opened: Opened, key: str) -> None:
    async with running(valkey("--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")) as server:
        assert "set noeviction" in await away(opened(url_of(server, "redis")), key)


@pytest.mark.asyncio
async def test_a_replica_is_refused_and_one_that_takes_over_is_another_epoch(
    opened: Opened, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(valkey(*ALWAYS, "--repl-diskless-sync-delay", "0")) as first, running(valkey()) as second:
        store = opened(f"{url_of(first, 'redis')}?durable")
        alone = await made(store, key)
        await valkey_command(second, "REPLICAOF", "127.0.0.1", first.port)
        assert "is a replica" in await away(opened(url_of(second, "redis")), key)
        while b"master_link_status:up" not in await valkey_command(second, "INFO", "replication"):
            pass
        copied = await opened(f"{url_of(first, 'redis')}?durable").swap(key, b"", None, None)
        assert "does not wait for them" in caplog.text
        await valkey_command(second, "REPLICAOF", "NO", "ONE")
        taken_over = await opened(url_of(second, "redis")).swap(key, b"", None, None)
    assert alone.epoch == "durable" != copied.epoch
    assert taken_over.version == alone.version
    assert taken_over.epoch not in (alone.epoch, copied.epoch)
    assert taken_over.uptime < 0  # the other one may go on for a while


@pytest.mark.asyncio
async def test_tls_is_spoken_with_a_server_whose_certificate_is_trusted(
    valkey_server: Server, opened: Opened, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    trusted = await asyncio.to_thread(_written, authority, tmp_path / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await asyncio.to_thread(authority.issue_cert("localhost").configure_cert, context)
    async with Relay(valkey_server.port, context) as relay:
        url = f"rediss://localhost:{relay.port}/0"
        assert "certificate verify failed" in await away(opened(url), key)
        monkeypatch.setenv("SSL_CERT_FILE", trusted)
        assert (await opened(url).swap(key, b"", b"value", None)).swapped
        assert "certificate verify failed" in await away(opened(url.replace("localhost", "127.0.0.1")), key)


def _written(authority: trustme.CA, path: Path) -> str:
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.asyncio
async def test_a_connection_that_is_cut_is_made_again(served: tuple[str, Server], opened: Opened, key: str) -> None:
    url, server = served
    async with Relay(server.port) as relay:
        store = opened(url.replace(f":{server.port}", f":{relay.port}"))
        before = await made(store, key)
        relay.cut()
        await away(store, key)
        after = await store.swap(key, before.version, b"second", before.epoch)
        assert after.swapped


@pytest.mark.asyncio
async def test_a_forked_process_does_not_ask_on_the_connection_of_the_other(
    served: tuple[str, Server], opened: Opened, key: str
) -> None:
    store = opened(served[0])
    board = await made(store, key)
    with mock.patch("os.getpid", return_value=-1):
        assert "forked from" in await away(store, key)
        await store.close()
    assert (await store.swap(key, board.version, b"of the parent", None)).swapped
