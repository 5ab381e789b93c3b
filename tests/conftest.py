"""What holds for every test: no blocking call on a loop, and the token shows in no log. And on which loop it runs."""

import signal
from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator

import pytest
import pytest_asyncio
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from codegen_async.signals import ENDING
from codegen_async.testing import CodegenServer
from tests.support.canary import CANARY, watched_logs

# The same examples each time, so that it is a change that makes a test fail, and not chance or a slow machine;
# `--hypothesis-profile=explore` tries others.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("same"), derandomize=False)
settings.load_profile("same")


class _OnUvloop:
    """Run the tests that name no loop on uvloop, and no others: these would run as they always do."""

    @pytest.hookimpl
    def pytest_asyncio_loop_factories(self) -> dict[str, Callable[[], AbstractEventLoop]]:
        import uvloop  # noqa: PLC0415 - there is none on Windows

        return {"uvloop": uvloop.new_event_loop}

    @pytest.hookimpl
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        others = [item for item in items if not _names_no_loop(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = filter(_names_no_loop, items)


def _names_no_loop(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("asyncio")
    return marker is not None and "loop_factories" not in marker.kwargs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--uvloop", action="store_true", help="run what names no loop on uvloop, and nothing else")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the slow proofs what a test that is `sampled` passes over."""
    seen: Counter[str] = Counter()
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled is not None:
            function = item.nodeid.partition("[")[0]
            if seen[function] % sampled.args[0]:
                item.add_marker(pytest.mark.slow)
            seen[function] += 1


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("uvloop"):
        config.pluginmanager.register(_OnUvloop())


@pytest.fixture(scope="session", autouse=True)
def _no_signal_is_ignored_for_us() -> None:
    """Hear signals also where they are ignored for us (`nohup`); what is handled is the default for children."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def _nothing_blocks_a_loop() -> Generator[None]:
    with blockbuster_ctx() as blockbuster:
        # Joins a thread that has ended but for its last instructions; to let go of the loop is what it must not do.
        blockbuster.functions["threading.Lock.acquire"].can_block_in("testing/test_clock.py", "main")
        # Looks for its own file once, in a few microseconds.
        blockbuster.functions["os.stat"].can_block_in("playwright/_impl/_driver.py", "compute_driver_executable")
        yield


@pytest.fixture(autouse=True)
def _a_home_for_what_users_keep(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture(autouse=True)
def _the_token_shows_in_no_log(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv("CODEGEN_API_TOKEN", CANARY)
    for name in ("CODEGEN_ORG_ID", "CODEGEN_API_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with watched_logs() as watch:
        yield
    assert not watch.leaks


@pytest_asyncio.fixture
async def codegen_server() -> AsyncGenerator[CodegenServer]:
    """Yield a running simulated server that accepts the canary."""
    async with CodegenServer(token=CANARY) as server:
        yield server
