"""What the page on web backends says of requests whose browser leaves: it is the framework that decides."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.web.serving import put, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

HANGS = 60.0

# Each program has a handler that waits, and notes what becomes of it.
COMMON = """
import asyncio
seen, go_on = [], asyncio.Event()

async def wait():
    seen.append("begun")
    try:
        await go_on.wait()
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise
    seen.append("went on")

def release():
    go_on.set()
    return " ".join(seen)
"""

FASTAPI = """
from fastapi import FastAPI

app = FastAPI()

@app.get("/wait")
async def waiting() -> None:
    await wait()

@app.get("/seen")
async def told() -> str:
    return " ".join(seen)

@app.get("/release")
async def released() -> str:
    return release()
"""

STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def waiting(_):
    await wait()
    return PlainTextResponse("")

async def told(_):
    return PlainTextResponse(" ".join(seen))

async def released(_):
    return PlainTextResponse(release())

app = Starlette(routes=[Route("/wait", waiting), Route("/seen", told), Route("/release", released)])
"""

LITESTAR = """
from litestar import Litestar, get

@get("/wait")
async def waiting() -> None:
    await wait()

@get("/seen")
async def told() -> str:
    return " ".join(seen)

@get("/release")
async def released() -> str:
    return release()

app = Litestar([waiting, told, released])
"""

QUART = """
from quart import Quart

app = Quart(__name__)

@app.get("/wait")
async def waiting():
    await wait()
    return ""

@app.get("/seen")
async def told():
    return " ".join(seen)

@app.get("/release")
async def released():
    return release()
"""

DJANGO = """
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])

async def waiting(_):
    await wait()
    return HttpResponse("")

async def told(_):
    return HttpResponse(" ".join(seen))

async def released(_):
    return HttpResponse(release())

urlpatterns = [path("wait", waiting), path("seen", told), path("release", released)]
app = get_asgi_application()
"""

SANIC = """
from sanic import Sanic, text

app = Sanic("leaving")

@app.get("/wait")
async def waiting(_):
    await wait()
    return text("")

@app.get("/seen")
async def told(_):
    return text(" ".join(seen))

@app.get("/release")
async def released(_):
    return text(release())
"""

AIOHTTP = """
import sys
from aiohttp import web

async def waiting(_):
    await wait()
    return web.Response()

async def told(_):
    return web.Response(text=" ".join(seen))

async def released(_):
    return web.Response(text=release())

app = web.Application()
app.router.add_get("/wait", waiting)
app.router.add_get("/seen", told)
app.router.add_get("/release", released)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
"""

GO_ON = {"fastapi": FASTAPI, "starlette": STARLETTE, "litestar": LITESTAR, "aiohttp": AIOHTTP}
CANCELLED = {"quart": QUART, "django": DJANGO, "sanic": SANIC}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return put(tmp_path, COMMON + {**GO_ON, **CANCELLED}[request.getfixturevalue("framework")])


def _param(framework: str) -> Any:
    missing = [name for name in (framework, _server(framework)) if find_spec(name) is None]
    return pytest.param(framework, marks=pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}"))


def _server(framework: str) -> str:
    return framework if framework in {"aiohttp", "sanic"} else "uvicorn"


@pytest.mark.parametrize("framework", [_param(name) for name in (*GO_ON, *CANCELLED)])
async def test_a_handler_whose_browser_leaves_goes_on_or_is_cancelled_as_the_page_says(
    framework: str, folder: Path
) -> None:
    async with (
        asyncio.timeout(HANGS),
        running(_server(framework), folder) as process,
        aiohttp.ClientSession(process.url) as others,
    ):
        async with aiohttp.ClientSession(process.url) as browser:
            leaving = asyncio.ensure_future(browser.get("/wait"))
            while "begun" not in await text(others, "/seen"):
                pass
            leaving.cancel()
        if framework in CANCELLED:
            while "cancelled" not in await text(others, "/seen"):
                pass
        else:
            for _ in range(100):  # turns in which the server could notice
                assert "cancelled" not in await text(others, "/seen")
        await text(others, "/release")
        expected = "cancelled" if framework in CANCELLED else "went on"
        while expected not in (seen := await text(others, "/seen")):
            pass
        assert not ("cancelled" in seen and "went on" in seen)
        process.process.terminate()


async def text(browser: aiohttp.ClientSession, path: str) -> str:
    async with browser.get(path) as answer:
        assert answer.status == 200
        return await answer.text()
