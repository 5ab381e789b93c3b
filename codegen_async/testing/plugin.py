"""Pytest plugin: simulated servers, and a loop with a virtual clock.

Load it with `pytest_plugins = ["codegen_async.testing.plugin"]` in the top-level conftest, or with
`-p codegen_async.testing.plugin`:

    @pytest.mark.asyncio(loop_factories=["virtual"])
    async def test_an_hour_passes(codegen_server: CodegenServer) -> None: ...

    def test_a_script(codegen_env: CodegenServer) -> None:
        subprocess.run(["./script.py"], check=True)

A test that does not ask for a loop by name runs as it would without this plugin. Where a test's loop has a clock of its
own, virtual or fast, its server lives on it and has the same clock; in all other tests, plain ones included, the server
lives on a thread of its own. What a test sees of it is the same; see `codegen_async.testing.threads`.
"""

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Generator, Mapping
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import pytest_asyncio

from codegen_async.testing.clock import FastLoop, VirtualLoop

if TYPE_CHECKING:
    from codegen_async.testing.codegen import CodegenServer
    from codegen_async.testing.middesk import MiddeskServer
    from codegen_async.testing.server import SimulatedServer

__all__ = [
    "codegen_env",
    "codegen_server",
    "middesk_env",
    "middesk_server",
    "session_codegen_server",
    "session_middesk_server",
]

S = TypeVar("S", bound="SimulatedServer")

_Factories = Mapping[str, Callable[[], AbstractEventLoop]]

_SCOPES = ("function", "class", "module", "package", "session")
_OF_THE_SESSION = {"session_codegen_server", "session_middesk_server"}


@pytest.fixture
def codegen_server(request: pytest.FixtureRequest) -> "Generator[CodegenServer]":
    """Yield a running `CodegenServer` for this test."""
    yield from _serving(request, _codegen)


@pytest.fixture
def middesk_server(request: pytest.FixtureRequest) -> "Generator[MiddeskServer]":
    """Yield a running `MiddeskServer` for this test."""
    yield from _serving(request, _middesk)


@pytest.fixture
def codegen_env(codegen_server: "CodegenServer", monkeypatch: pytest.MonkeyPatch) -> "CodegenServer":
    """Return `codegen_server`, with the variables set that lead `CodegenClient()` and started processes there."""
    return _pointing_to(codegen_server, monkeypatch)


@pytest.fixture
def middesk_env(middesk_server: "MiddeskServer", monkeypatch: pytest.MonkeyPatch) -> "MiddeskServer":
    """Return `middesk_server`, with the variables set that lead `MiddeskClient()` and started processes there."""
    return _pointing_to(middesk_server, monkeypatch)


@pytest.fixture(scope="session")
def session_codegen_server() -> "Generator[CodegenServer]":
    """Yield one `CodegenServer` for the whole session, in real time on a thread of its own."""
    yield from _on_thread(_codegen)


@pytest.fixture(scope="session")
def session_middesk_server() -> "Generator[MiddeskServer]":
    """Yield one `MiddeskServer` for the whole session, in real time on a thread of its own."""
    yield from _on_thread(_middesk)


# aiohttp is loaded only if needed.


def _codegen() -> "CodegenServer":
    from codegen_async.testing.codegen import CodegenServer  # noqa: PLC0415 - as above

    return CodegenServer()


def _middesk() -> "MiddeskServer":
    from codegen_async.testing.middesk import MiddeskServer  # noqa: PLC0415 - as above

    return MiddeskServer()


def _on_thread(make: Callable[[], S]) -> Generator[S]:
    from codegen_async.testing.threads import ServerThread  # noqa: PLC0415 - as above

    with ServerThread(make) as server:
        yield server


def _on_loop(loop: AbstractEventLoop, make: Callable[[], S]) -> Generator[S]:
    async def start() -> S:
        return await make().__aenter__()

    server = loop.run_until_complete(start())
    try:
        yield server
    finally:
        loop.run_until_complete(server.__aexit__())


def _serving(request: pytest.FixtureRequest, make: Callable[[], S]) -> Generator[S]:
    loop = _loop_of(request)
    yield from _on_loop(loop, make) if isinstance(loop, VirtualLoop | FastLoop) else _on_thread(make)


def _pointing_to(server: S, monkeypatch: pytest.MonkeyPatch) -> S:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def _loop_of(request: pytest.FixtureRequest) -> AbstractEventLoop | None:
    """Return the loop that pytest-asyncio will run the test on; None for a test that it does not run."""
    marker = request.node.get_closest_marker("asyncio")
    if marker is None or not _is_async(request.function):
        return None
    default = request.config.getini("asyncio_default_test_loop_scope") or "function"
    scope = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope") or default
    loop: AbstractEventLoop = request.getfixturevalue(f"_codegen_async_{scope}_loop")
    return loop


def _is_async(function: Any) -> bool:
    """Whether a test is a coroutine, also inside what Hypothesis makes of it."""
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return iscoroutinefunction(inner)


def _make_loop_fixture(scope: Any) -> Any:
    async def loop() -> AbstractEventLoop:
        return get_running_loop()

    return pytest_asyncio.fixture(loop_scope=scope, name=f"_codegen_async_{scope}_loop")(loop)


for _scope in _SCOPES:  # pytest finds fixtures by the names of a module
    globals()[f"_codegen_async_{_scope}_loop"] = _make_loop_fixture(_scope)


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
    if unfit := _OF_THE_SESSION & set(metafunc.fixturenames):
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: {unfit.pop()} lives in real time, which a virtual clock outruns;"
            " use codegen_server or middesk_server"
        )
    plugins = metafunc.config.pluginmanager
    offer = _VirtualFactory()
    plugins.register(offer)
    try:
        yield
    finally:
        plugins.unregister(offer)
