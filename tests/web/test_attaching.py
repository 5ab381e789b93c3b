"""Routes and a client for any ASGI application, from its start to its end."""

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from codegen_async import ClientClosedError, CodegenClient, ConfigurationError
from codegen_async.testing import CodegenServer
from codegen_async.web import attach
from codegen_async.web.asgi import App, Receive, Scope, Send
from codegen_async.web.ending import heard_first
from tests.web.calling import Call, Lifespan, get

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

FOREVER = [(0.0, "ACTIVE")]


class Inner:
    """An application with a lifespan, which notes what happens to it."""

    def __init__(self, *, fails: str = "") -> None:
        self.happened: list[str] = []
        self._fails = fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope["state"]["codegen"]
        if scope["type"] != "lifespan":
            self.happened.append(f"{scope['type']} {scope['path']}")
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": repr(client).encode()})
            return
        for what in ("startup", "shutdown"):
            message = await receive()
            assert message["type"] == f"lifespan.{what}"
            client.check_open()
            self.happened.append(what)
            if self._fails == what:
                await send({"type": f"lifespan.{what}.failed", "message": "no"})
                raise RuntimeError("no")
            await send({"type": f"lifespan.{what}.complete"})


async def without_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as Django does."""
    if scope["type"] != "http":
        raise ValueError("only HTTP")
    await receive()
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Know of nothing."""


def attached(app: App, **options: Any) -> App:
    return attach(app, **{"authorize": lambda _, __: True, **options})


async def test_the_client_is_open_around_the_life_of_the_application(codegen_env: CodegenServer) -> None:
    run = codegen_env.world.create("x", script=FOREVER)
    inner = Inner()
    app = attached(inner)
    life = Lifespan(app)
    assert (await life.ask("startup"))["type"] == "lifespan.startup.complete"
    client = life.state["codegen"]
    assert (await get(app, f"/runs/{run.id}")).json["id"] == run.id
    assert (await get(app, "/runsaway")).status == 418
    assert (await get(app, "/other/runs/17")).body == repr(client).encode()
    assert (await life.ask("shutdown"))["type"] == "lifespan.shutdown.complete"
    await life.task
    assert inner.happened == ["startup", "http /runsaway", "http /other/runs/17", "shutdown"]
    with pytest.raises(ClientClosedError):
        client.check_open()


@pytest.mark.parametrize("app", [without_lifespan, silent])
async def test_an_application_need_not_know_of_a_lifespan(codegen_env: CodegenServer, app: App) -> None:
    run = codegen_env.world.create("x", script=FOREVER)
    whole = attached(app, prefix="/api/runs")
    for _ in range(2):  # it may be started anew
        life = Lifespan(whole)
        assert (await life.ask("startup"))["type"] == "lifespan.startup.complete"
        assert (await get(whole, f"/api/runs/{run.id}")).status == 200
        assert (await life.ask("shutdown"))["type"] == "lifespan.shutdown.complete"
        await life.task


async def test_a_client_that_cannot_open_is_a_failed_start(
    codegen_env: CodegenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Inner()
    codegen_env.token = "another"
    monkeypatch.delenv("CODEGEN_ORG_ID")  # so that it has to be asked for
    life = Lifespan(attached(inner))
    failed = await life.ask("startup")
    assert failed["type"] == "lifespan.startup.failed"
    assert "401" in failed["message"]
    await life.task
    assert inner.happened == []
    life = Lifespan(attached(inner, client=lambda: CodegenClient("")))
    assert "token" in (await life.ask("startup"))["message"]
    life = Lifespan(attached(inner, hook_secret=""))  # told before anything is opened
    assert "hook_secret" in (await life.ask("startup"))["message"]
    await life.task


@pytest.mark.usefixtures("codegen_env")
async def test_an_application_that_fails_to_start_leaves_nothing_open() -> None:
    app = attached(Inner(fails="startup"))
    life = Lifespan(app)
    assert await life.ask("startup") == {"type": "lifespan.startup.failed", "message": "no"}
    with pytest.raises(RuntimeError, match="no"):
        await life.task
    with pytest.raises(ClientClosedError):
        life.state["codegen"].check_open()
    assert len(life.sent) == 1


@pytest.mark.usefixtures("codegen_env")
async def test_an_application_that_fails_to_end_leaves_nothing_open() -> None:
    life = Lifespan(attached(Inner(fails="shutdown")))
    await life.ask("startup")
    with pytest.raises(RuntimeError, match="no"):
        await life.ask("shutdown")
    with pytest.raises(ClientClosedError):
        life.state["codegen"].check_open()


@pytest.mark.usefixtures("codegen_env")
async def test_a_life_that_is_cut_off_leaves_nothing_open() -> None:
    life = Lifespan(attached(Inner()))
    await life.ask("startup")
    life.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await life.task
    with pytest.raises(ClientClosedError):
        life.state["codegen"].check_open()


async def test_streams_end_before_the_application_does(codegen_env: CodegenServer) -> None:
    run = codegen_env.world.create("x", script=FOREVER)
    app = attached(Inner())
    life = Lifespan(app)
    await life.ask("startup")
    call = Call(app, "GET", f"/runs/{run.id}/events")
    await asyncio.sleep(1)
    await life.ask("shutdown")
    await call.task
    assert [event.name for event in call.events] == ["run"]
    await life.task


@pytest.mark.usefixtures("codegen_env")
async def test_without_a_lifespan_the_routes_say_what_is_missing() -> None:
    app = attached(without_lifespan)
    assert (await get(app, "/")).status == 418
    with pytest.raises(RuntimeError, match="lifespan"):
        await get(app, "/runs/17")


@pytest.mark.parametrize("prefix", ["", "/", "runs", "/runs/"])
async def test_a_prefix_that_cannot_be_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        attached(silent, prefix=prefix)


@pytest.mark.usefixtures("codegen_env")
async def test_what_is_created_is_found_where_it_is_said_to_be() -> None:
    async def create(scope: Scope, fields: dict[str, Any], key: str | None) -> Any:
        return await scope["state"]["codegen"].create_run(fields["prompt"], idempotency_key=key)

    app = attached(silent, create=create)
    life = Lifespan(app)
    await life.ask("startup")
    made = Call(app, "POST", "/runs", body=b'{"prompt": "x"}', headers={"content-type": "application/json"})
    place = (await made.answer()).headers["location"]
    assert place.startswith("/runs/")
    assert (await get(app, place)).status == 200
    await life.ask("shutdown")
    await life.task


# -- signals


@contextmanager
def hearing(number: signal.Signals, handler: Any) -> Generator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_streams_and_is_heard_by_the_server_as_before(
    codegen_env: CodegenServer, number: signal.Signals
) -> None:
    heard: list[int] = []

    def servers(number: int, _: FrameType | None) -> None:
        heard.append(number)

    run = codegen_env.world.create("x", script=FOREVER)
    with hearing(number, servers):
        app = attached(Inner())
        life = Lifespan(app)
        await life.ask("startup")
        call = Call(app, "GET", f"/runs/{run.id}/events")
        await asyncio.sleep(1)
        signal.raise_signal(number)
        assert heard == [number]
        await call.task
        assert call.is_whole
        assert (await get(app, f"/runs/{run.id}")).status == 200  # all else goes on
        await life.ask("shutdown")
        await life.task
        assert signal.getsignal(number) is servers


async def test_a_signal_that_is_ignored_stays_ignored() -> None:
    with hearing(signal.SIGTERM, signal.SIG_IGN), heard_first(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


async def test_what_others_put_in_our_place_stays_there() -> None:
    def others(*_: object) -> None: ...

    with hearing(signal.SIGTERM, lambda *_: None):
        with heard_first(lambda: None):
            signal.signal(signal.SIGTERM, others)
        assert signal.getsignal(signal.SIGTERM) is others


async def test_outside_the_main_thread_nothing_is_heard_and_nothing_breaks() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    async def live() -> None:
        with heard_first(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    await asyncio.to_thread(asyncio.run, live())
    assert seen == [before]
