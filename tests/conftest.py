"""What holds for every test: no blocking call on a loop, and the token shows in no log."""

from collections.abc import AsyncGenerator, Generator

import pytest
import pytest_asyncio
from blockbuster import blockbuster_ctx

from codegen_async.testing import CodegenServer
from tests.support.canary import CANARY, watched_logs


@pytest.fixture(scope="session", autouse=True)
def _nothing_blocks_a_loop() -> Generator[None]:
    with blockbuster_ctx() as blockbuster:
        # Joins a thread that has ended but for its last instructions; to let go of the loop is what it must not do.
        blockbuster.functions["threading.Lock.acquire"].can_block_in("testing/test_clock.py", "main")
        yield


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
