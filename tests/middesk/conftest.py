"""Every Middesk test has the canary as its key, and no settings from outside."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from codegen_async.testing import MiddeskServer
from tests.support.canary import CANARY


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDDESK_API_KEY", CANARY)
    monkeypatch.delenv("MIDDESK_API_BASE_URL", raising=False)


@pytest_asyncio.fixture
async def middesk_server() -> AsyncGenerator[MiddeskServer]:
    """Yield a running simulated server that accepts the canary."""
    async with MiddeskServer(token=CANARY) as server:
        yield server
