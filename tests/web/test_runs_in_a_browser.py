"""Runs that are shown on pages, in a browser without a screen: tabs that are left open cost nothing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from codegen_async import AgentRun, CodegenClient
from codegen_async.testing import CodegenServer
from codegen_async.web import RunFeed, RunsApp
from codegen_async.web.asgi import Message, Receive, Reply, Scope, Send
from codegen_async.web.bridge import served
from tests.support.browser import Page, browsing

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

_PAGE = b"""<!doctype html><title>A run</title><link rel="icon" href="data:,">
<script>const source = new EventSource(location.hash.slice(1));</script>"""
_MINUTE = 60_000  # ms


class Site:
    """A page that shows what comes from the address behind its #; runs; and a stream that ends as most of them do."""

    def __init__(self, runs: RunsApp[AgentRun]) -> None:
        self.asked: list[tuple[str, int]] = []  # paths and what was answered, but for the page
        self._runs = runs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.asked.append((scope["path"], message["status"]))
            await send(message)

        if scope["path"] == "/":
            await Reply(200, _PAGE, {"content-type": "text/html"}).send(send)
        elif scope["path"] == "/naive":
            await Reply(200, b"event: run\ndata: {}\n\n", {"content-type": "text/event-stream"}).send(noted)
        else:
            await self._runs(scope, receive, noted)

    async def aclose(self) -> None:
        await self._runs.aclose()


@asynccontextmanager
async def a_site(server: CodegenServer) -> AsyncGenerator[tuple[Site, str, str]]:
    """Yield a site, its address, and the path of the events of a run that has ended."""
    async with CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client:
        run = await client.create_run("x")
        server.world.end(run.id)
        site = Site(RunsApp(RunFeed(client), authorize=lambda _scope, _run: True))
        async with served(site, host="127.0.0.1", port=0) as port:
            yield site, f"http://127.0.0.1:{port}/", f"/{run.id}/events"


async def pass_a_minute(page: Page) -> None:
    """Let a minute of a page's own time pass, its timers with it, as fast as it gets its answers."""
    chromium = await page.context.new_cdp_session(page)
    over = asyncio.Event()
    chromium.on("Emulation.virtualTimeBudgetExpired", lambda _: over.set())
    await chromium.send("Emulation.setVirtualTimePolicy", {"policy": "pauseIfNetworkFetchesPending", "budget": _MINUTE})
    await over.wait()


async def test_ten_tabs_that_are_left_on_a_run_that_has_ended_ask_for_nothing(codegen_server: CodegenServer) -> None:
    async with a_site(codegen_server) as (site, address, path), browsing() as browser:
        context = await browser.new_context()
        tabs = [await context.new_page() for _ in range(10)]
        for tab in tabs:
            await tab.goto(f"{address}#{path}")
            await pass_a_minute(tab)  # it comes back once, and is told that there is no more
            assert await tab.evaluate("source.readyState === EventSource.CLOSED")
        assert sorted(site.asked) == sorted([(path, 200), (path, 204)] * 10)
        site.asked.clear()
        for tab in tabs:
            await pass_a_minute(tab)
        assert site.asked == []


async def test_a_minute_of_a_page_is_one_for_what_it_asks(codegen_server: CodegenServer) -> None:
    async with a_site(codegen_server) as (site, address, _), browsing() as browser:
        page = await browser.new_page()
        await page.goto(f"{address}#/naive")
        await pass_a_minute(page)
        assert 15 <= len(site.asked) <= 25  # every three seconds, as is the rule where nothing is said
