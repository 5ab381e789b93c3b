"""What a URL may say, and what is never shown of it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from codegen_async import CodegenClient
from codegen_async.errors import ConfigurationError
from codegen_async.fleet.opening import open_bus, open_store
from codegen_async.fleet.store import StoreAwayError
from tests.support.canary import CANARY, failure_of, shown_by
from tests.support.servers import Server

WRITTEN = f"p%40ss-{CANARY}"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (7, "got a value of type int"),
        ("", "expected sqlite:/path"),
        ("fleet.db", "expected sqlite:/path"),
        ("mysql://host/database", "got mysql:"),
        ("sqlite:fleet.db", "expected an absolute path"),
        ("sqlite:", "expected an absolute path"),
        ("redis://", "expected redis://host:port/number"),
        ("redis://host/name", "expected redis://host:port/number"),
        ("redis://host:99999/0", "a port in 1..65535"),
        ("redis://host:0/0", "a port in 1..65535"),
        ("redis://[::1/0", "expected a host"),
        ("redis://host/0\n", "nothing around it"),
        (" sqlite:/tmp/fleet.db", "nothing around it"),
        ("sqlite:/tmp/fleet.db\n", "nothing around it"),
        ("sqlite:/tmp/fl\0eet.db", "nothing around it"),
        ("redis://host/0?ssl=false", "expected no option but durable, got ssl"),
        ("redis://host/0?durable=perhaps", "expected durable=true or durable=false"),
        ("postgresql://host/database?such=none", "expected what libpq understands"),
        ("postgresql://host:port/database", "expected what libpq understands"),
    ],
)
def test_a_url_that_is_none_is_an_error_that_says_what_would_be_one(url: str, told: str) -> None:
    for opening in (open_store, open_bus):
        with pytest.raises(ConfigurationError, match=r"^fleet: ") as caught:
            opening(url)
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///var/lib/fleet.db", "SqliteStore('sqlite:/var/lib/fleet.db')"),
        ("sqlite:/var/lib/fleet.db", "SqliteStore('sqlite:/var/lib/fleet.db')"),
        (f"postgres://me:{WRITTEN}@one:1,two:2/db?sslmode=require", "PostgresStore('postgres://one:1,two:2/db')"),
        (f"postgresql:///db?host=/run/pg&password={CANARY}", "PostgresStore('postgresql:///db')"),
        (f"redis://:{WRITTEN}@host", "RedisStore('redis://host')"),
        (f"rediss://me:{WRITTEN}@[::1]:7/3?durable", "RedisStore('rediss://[::1]:7/3')"),
    ],
)
def test_what_is_shown_of_a_url_is_no_secret(url: str, shown: str) -> None:
    assert repr(open_store(url)) == shown
    assert repr(open_bus(url)) == shown.replace("Store", "Bus")


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{CANARY}@host:port/0",
        f"redis://:a/{CANARY}@host/0",
        f"redis://:{CANARY}@host/0?durable={CANARY}",
        f"mysql://me:{CANARY}@host/0",
        f"{CANARY}",
        f"postgresql://me:%zz{CANARY}@host/db",
        f"postgresql://me:{CANARY}@host/db?{CANARY}",
    ],
)
def test_an_error_in_a_url_shows_none_of_its_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    own = caught.value.__traceback__
    assert own is not None
    caught.value.__traceback__ = own.tb_next  # this frame knows the URL, and may
    assert CANARY not in shown_by(caught.value)


@pytest.mark.asyncio
async def test_a_failure_shows_no_password(valkey_server: Server, postgres_server: Server) -> None:
    urls = [
        f"redis://me:{WRITTEN}@127.0.0.1:{valkey_server.port}/0",  # there is no such user
        f"redis://me:{WRITTEN}@127.0.0.1:1/0",
        f"rediss://me:{WRITTEN}@127.0.0.1:{valkey_server.port}/0",  # it speaks no TLS
        f"postgresql://walled:{WRITTEN}@127.0.0.1:{postgres_server.port}/postgres",
        f"postgresql://walled:{WRITTEN}@127.0.0.1:1/postgres",
        f"postgresql://walled:{WRITTEN}@127.0.0.1:1,127.0.0.1:2/postgres",
        f"postgresql://walled:{WRITTEN}@no.host.invalid/postgres",
    ]
    for store in map(open_store, urls):
        error = await failure_of(store.swap("key", b"", None, None))
        assert isinstance(error, StoreAwayError)
        assert CANARY not in shown_by(error).replace(repr(urls), "")


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(0, 16, 2))
async def test_a_cancelled_call_shows_no_password(valkey_server: Server, postgres_server: Server, turns: int) -> None:
    for store in (
        open_store(f"redis://me:{WRITTEN}@127.0.0.1:{valkey_server.port}/0"),
        open_store(f"postgresql://walled:{WRITTEN}@127.0.0.1:{postgres_server.port}/postgres"),
    ):
        call = asyncio.create_task(store.swap("key", b"", None, None))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        error = await failure_of(call)
        assert CANARY not in shown_by(error)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("place", "told"), [(".", "is a folder; give the path of a file in it"), ("none/fleet.db", "there is no folder")]
)
async def test_a_file_that_cannot_be_is_an_error_at_the_opening_and_no_wait(
    tmp_path: Path, place: str, told: str
) -> None:
    client = CodegenClient(CANARY, org_id=1, base_url="http://127.0.0.1:9", fleet=f"sqlite:{tmp_path / place}")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"^fleet: sqlite:{tmp_path}.* {told}") as caught:
            await client.__aenter__()
        assert CANARY not in str(caught.value)


@pytest.mark.asyncio
async def test_a_client_opens_once_its_file_can_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    client = CodegenClient(CANARY, org_id=1, base_url="http://127.0.0.1:9", fleet=f"sqlite:{folder}/fleet.db")
    with pytest.raises(ConfigurationError, match="there is no folder"):
        await client.__aenter__()
    await asyncio.to_thread(folder.mkdir)
    async with client:
        assert client.limits["get"].fleet is not None


@pytest.mark.parametrize(
    ("url", "driver", "extra"), [("postgresql://h/d", "psycopg", "postgres"), ("redis://h", "redis", "redis")]
)
def test_a_missing_package_is_named_with_what_installs_it(url: str, driver: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{driver!r}] = None
from codegen_async.errors import ConfigurationError
from codegen_async.fleet.opening import open_store
try:
    open_store({url!r})
except ConfigurationError as exc:
    print(exc)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert f"pip install 'codegen-async[{extra}]'" in told.stdout


def test_no_driver_is_imported_for_a_file() -> None:
    code = """
import sys
from codegen_async.fleet.opening import open_store
open_store("sqlite:/tmp/fleet.db")
print(sorted({"psycopg", "redis"} & sys.modules.keys()))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert told.stdout.strip() == "[]"
