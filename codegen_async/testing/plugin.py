"""Pytest plugin: a simulated server for each test that asks for one, and a loop with a virtual clock.

Load it with `pytest_plugins = ["codegen_async.testing.plugin"]` in the top-level conftest, or with
`-p codegen_async.testing.plugin`:

    @pytest.mark.asyncio(loop_factories=["virtual"])
    async def test_an_hour_passes(codegen_server: CodegenServer) -> None: ...

A test that does not ask for a loop by name runs as it would without this plugin.
"""

from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from codegen_async.testing.clock import VirtualLoop

if TYPE_CHECKING:
    from codegen_async.testing.codegen import CodegenServer
    from codegen_async.testing.middesk import MiddeskServer

__all__ = ["codegen_server", "middesk_server"]

_Factories = Mapping[str, Callable[[], AbstractEventLoop]]


@pytest_asyncio.fixture
async def codegen_server() -> "AsyncGenerator[CodegenServer]":
    """Yield a running `CodegenServer` on the loop of the test."""
    from codegen_async.testing.codegen import CodegenServer  # noqa: PLC0415 - aiohttp is loaded only if needed

    async with CodegenServer() as server:
        yield server


@pytest_asyncio.fixture
async def middesk_server() -> "AsyncGenerator[MiddeskServer]":
    """Yield a running `MiddeskServer` on the loop of the test."""
    from codegen_async.testing.middesk import MiddeskServer  # noqa: PLC0415 - aiohttp is loaded only if needed

    async with MiddeskServer() as server:
        yield server


class _VirtualFactory:
    """Offer the loop "virtual", beside those that the project offers itself."""

    @pytest.hookimpl(wrapper=True)
    def pytest_asyncio_loop_factories(self) -> Generator[None, _Factories | None, _Factories]:
        return {"virtual": VirtualLoop, **((yield) or {})}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None]:
    """Offer the virtual loop to the tests that name it, and to no others.

    pytest-asyncio gives every test all loops that are offered, and treats every test differently as soon as
    there is an offer. So the offer is made for one test at a time.
    """
    marker = metafunc.definition.get_closest_marker("asyncio")
    if marker is None or "virtual" not in (marker.kwargs.get("loop_factories") or ()):
        yield
        return
    plugins = metafunc.config.pluginmanager
    offer = _VirtualFactory()
    plugins.register(offer)
    try:
        yield
    finally:
        plugins.unregister(offer)
