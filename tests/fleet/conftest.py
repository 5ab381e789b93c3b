"""Places where a fleet meets: a file, and servers, which every worker of pytest starts once."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest
import pytest_asyncio

import codegen_async.fleet.postgres  # here, as it reads files: the tests watch that nothing does on a loop
import codegen_async.fleet.redis  # noqa: F401 - the same
from codegen_async.fleet import link, sqlite
from codegen_async.fleet.opening import open_bus, open_store
from codegen_async.fleet.store import Bus, Store
from tests.support.servers import Server, postgres, valkey

ALWAYS = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(autouse=True)
def _no_machine_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take nothing for away that is only slow; who wants that to happen sets shorter times."""
    for module, name in ((link, "_CONNECTING"), (link, "_ANSWERING"), (sqlite, "_ANSWERING"), (sqlite, "_LOCKED")):
        monkeypatch.setattr(module, name, 60.0)


@pytest.fixture(scope="session")
def postgres_server() -> Generator[Server]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Generator[Server]:
    with valkey() as server:
        yield server


@pytest.fixture(scope="session")
def lasting_valkey_server() -> Generator[Server]:
    with valkey(*ALWAYS) as server:
        yield server


def url_of(server: Server, scheme: str) -> str:
    """Return the URL of a server."""
    if scheme == "postgresql":
        return f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
    return f"{scheme}://127.0.0.1:{server.port}/0"


@pytest.fixture(params=["sqlite", "postgresql", "redis", "redis?durable"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of each place, one after the other."""
    return _url(request, request.param, tmp_path)


@pytest.fixture(params=["postgresql", "redis", "redis?durable"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Server]:
    """Return the URL of each server, and the server."""
    return _url(request, request.param, tmp_path), _server(request, request.param)


_SERVERS = {"postgresql": "postgres_server", "redis": "valkey_server", "redis?durable": "lasting_valkey_server"}


def _server(request: pytest.FixtureRequest, name: str) -> Server:
    server: Server = request.getfixturevalue(_SERVERS[name])
    return server


def _url(request: pytest.FixtureRequest, name: str, folder: Path) -> str:
    if name == "sqlite":
        return f"sqlite:{folder}/fleet.db"
    scheme, _, option = name.partition("?")
    return f"{url_of(_server(request, name), scheme)}{'?' + option if option else ''}"


@pytest_asyncio.fixture
async def opened() -> AsyncGenerator[Callable[[str], Store]]:
    """Yield what opens stores, which are closed after the test."""
    stores: list[Store] = []

    def open_one(url: str) -> Store:
        stores.append(open_store(url))
        return stores[-1]

    yield open_one
    await asyncio.gather(*(store.close() for store in stores))


@pytest_asyncio.fixture
async def joined() -> AsyncGenerator[Callable[[str], Bus]]:
    """Yield what opens buses, which are closed after the test."""
    buses: list[Bus] = []

    def open_one(url: str) -> Bus:
        buses.append(open_bus(url))
        return buses[-1]

    yield open_one
    await asyncio.gather(*(bus.close() for bus in buses))
