"""Real servers: a browser that leaves is noticed, and a signal ends them although browsers watch."""

import asyncio
import signal
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from codegen_async.batch.schema import open_journal
from codegen_async.testing import CodegenServer
from tests.web.calling import events_of
from tests.web.serving import Process, put, running

pytestmark = pytest.mark.asyncio

HANGS = 60.0  # seconds after which a test is taken to hang, on a machine that has much else to do
ALICE = {"cookie": "user=alice"}

ASGI = """
from starlette_app import app as recipe

async def app(scope, receive, send):
    if scope.get("path") != "/waits":
        return await recipe(scope, receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % recipe._runs.feed.client.waits})
"""

AIOHTTP = """
import sys
from aiohttp import web
from codegen_async.web import RunFeed

RunFeed.__init__.__kwdefaults__["ping"] = 0.2  # after which a browser that has left is noticed
from aiohttp_app import app, client

async def waits(_):
    return web.Response(text=str(client.waits))

app.router.add_get("/waits", waits)
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
"""

SANIC = """
from sanic_app import app, feed
from sanic import text

@app.get("/waits")
async def waits(_):
    return text(str(feed.client.waits))
"""

DASHBOARD = "from dashboard_app import app as app"

PROBES = {"uvicorn": ASGI, "aiohttp": AIOHTTP, "granian": ASGI, "hypercorn": ASGI, "sanic": SANIC}
SLOW = {"granian", "hypercorn", "sanic"}  # servers that take their time to start or to end


def _param(server: str) -> Any:
    missing = pytest.mark.skipif(find_spec(server) is None, reason=f"{server} is not installed")
    return pytest.param(server, marks=[missing, *([pytest.mark.slow] if server in SLOW else [])])


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, codegen_env: CodegenServer) -> Path:
    codegen_env.world.script = [(0.0, "ACTIVE")]
    return put(tmp_path, PROBES[request.getfixturevalue("server")])


@pytest.mark.parametrize("server", [_param(name) for name in PROBES])
async def test_a_server_ends_at_a_signal_although_browsers_watch(server: str, folder: Path) -> None:
    async with (
        asyncio.timeout(HANGS),
        running(server, folder) as process,
        aiohttp.ClientSession(process.url, headers=ALICE) as browser,
    ):
        path = f"/runs/{await started(browser, server)}/events"
        async with browser.get(path) as leaving:
            await first_event(leaving)
            assert await waits(browser) == 1
        while await waits(browser):  # until it is noticed that the browser has left
            pass
        streams = [await browser.get(path) for _ in range(3)]
        for stream in streams:
            assert stream.headers["content-type"].startswith("text/event-stream")
            await first_event(stream)
        process.process.terminate()
        for stream in streams:
            async with stream:
                assert b"event: end" not in await rest_of(stream)
        await process.process.wait()
    assert_no_traceback(process)


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    _plan(tmp_path / "runs.db", "one")
    return put(tmp_path, DASHBOARD)


@pytest.mark.skipif(not (find_spec("uvicorn") and find_spec("fastapi")), reason="uvicorn or FastAPI is not installed")
async def test_a_mounted_dashboard_is_served_follows_and_ends_with_its_server(mounted: Path) -> None:
    async with (
        asyncio.timeout(HANGS),
        running("uvicorn", mounted) as process,
        aiohttp.ClientSession(process.url, cookies={"user": "admin"}) as admin,
        aiohttp.ClientSession(process.url, headers=ALICE) as alice,
    ):
        for path, kind in (("/batch", "text/html"), ("/batch/app.js", "text/javascript")):
            async with alice.get(path) as page:
                assert (page.status, page.content_type) == (200, kind)
                assert str(page.url.path) in ("/batch/", path)
        for path in ("snapshot", "events", "items/1"):
            async with alice.get(f"/batch/api/{path}") as refused:
                assert refused.status == 403
        async with admin.get("/batch/api/snapshot") as answer:
            whole = await answer.json()
        assert whole["columns"]["key"] == ["one"]
        stream = await admin.get(f"/batch/api/events?after={whole['version']}")
        await asyncio.to_thread(_plan, mounted / "runs.db", "two")
        assert [row[1] for row in (await first_data(stream))["rows"]] == ["two"]
        process.process.terminate()
        await rest_of(stream)
        assert await process.process.wait() in (0, -signal.SIGTERM)
    assert_no_traceback(process)


async def started(browser: aiohttp.ClientSession, server: str) -> int:
    how: Any = {"params": {"prompt": "do it"}} if server == "sanic" else {"json": {"prompt": "do it"}}
    async with browser.post("/tasks" if server == "sanic" else "/runs", **how) as answer:
        assert answer.status == 202
        return int((await answer.json())["id"])


async def waits(browser: aiohttp.ClientSession) -> int:
    async with browser.get("/waits") as answer:
        return int(await answer.text())


async def first_event(stream: aiohttp.ClientResponse) -> None:
    assert (await first_data(stream))["phase"] == "running"


async def first_data(stream: aiohttp.ClientResponse) -> Any:
    seen = b""
    while not events_of(seen):
        seen += await stream.content.readany()
    return events_of(seen)[0].data


async def rest_of(stream: aiohttp.ClientResponse) -> bytes:
    seen = bytearray()
    try:
        async for chunk in stream.content.iter_any():
            seen += chunk
    except aiohttp.ClientPayloadError:  # a server that cuts its connections off
        pass
    return bytes(seen)


def assert_no_traceback(process: Process) -> None:
    output = "".join(process.output)
    assert "codegen_async/web/" not in output, output  # in a traceback; servers may have their own
    assert "never awaited" not in output


def _plan(path: Path, key: str) -> None:
    with closing(open_journal(path)) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO meta VALUES ('commits', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1")
        connection.execute("INSERT INTO items (name, task) VALUES (?, ?)", (key, b'{"prompt": "x"}'))
        connection.execute("COMMIT")
