"""The site as its readers have it: every page without an error, on a phone too, and nothing asked of another host."""

import re
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Page, barriers, browsing, expect, opened

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

PHONE = {"width": 390, "height": 844}
# One of each kind: prose with tables, code and figures, a class, an overview, what is included, what is generated.
KINDS = ["", "howto/command-line/", "explanation/limits/", "reference/codegen/CodegenClient/", "reference/codegen/"]
KINDS += ["project/changelog/", "reference/errors/", "404.html"]
WIDER = """() => [...document.querySelectorAll('body *')].filter(each => {
    if (each.getBoundingClientRect().right <= innerWidth + 1 || !each.checkVisibility({ visibilityProperty: true }))
        return false;
    for (let around = each; around !== document.body; around = around.parentElement)
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(around).overflowX) ||
            getComputedStyle(around).position === 'fixed') return false;
    return true;
}).map(each => each.outerHTML.slice(0, 100))"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: what a browser asks for is seen by itself."""


@pytest.fixture
def address(site: Path) -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def pages(site: Path) -> list[str]:
    return [path.relative_to(site).as_posix().removesuffix("index.html") for path in sorted(site.rglob("*.html"))]


@asynccontextmanager
async def reading(address: str, page: str = "", **options: Any) -> AsyncGenerator[Page]:
    """Show a page of the site in a browser, in which nothing goes wrong and which asks no other host for anything."""
    asked: list[str] = []
    async with browsing() as browser, opened(browser, "about:blank", **options) as shown:
        shown.on("request", lambda request: asked.append(request.url))
        await shown.goto(address + page)
        yield shown
        assert [url for url in asked if not url.startswith((address, "data:"))] == []
        assert any(url.endswith(".css") for url in asked)


async def test_every_page_fits_on_a_phone_and_nothing_goes_wrong_on_it(address: str, pages: list[str]) -> None:
    wide = {}
    async with reading(address, viewport=PHONE) as shown:
        for page in pages:
            await shown.goto(address + page)
            if await shown.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                wide[page] = await shown.evaluate(WIDER)
    assert wide == {}
    assert len(pages) > 100


async def test_search_finds_a_method_and_leads_to_it(address: str) -> None:
    async with reading(address) as shown:
        await shown.wait_for_load_state("networkidle")  # what a key means is known by then
        await shown.keyboard.press("Control+k")
        await shown.locator("input:not(.md-toggle):focus").fill("wait_for_run")
        first = shown.get_by_role("option").first
        await expect(first.get_by_role("heading")).to_have_text(re.compile("^wait_for_run "))
        await expect(first).to_contain_text("CodegenClient")
        await first.click()
        await shown.wait_for_url("**/reference/codegen/CodegenClient/**#codegen_async.CodegenClient.wait_for_run")
        await expect(shown.locator("[id='codegen_async.CodegenClient.wait_for_run']")).to_be_in_viewport()


async def test_a_page_is_dark_where_the_system_is_and_where_a_reader_says_so(address: str) -> None:
    brightness = "parseInt(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"
    async with reading(address, color_scheme="dark") as shown:
        assert await shown.evaluate(brightness) < 60
    async with reading(address, color_scheme="light") as shown:
        assert await shown.evaluate(brightness) > 200
        await shown.get_by_title("Switch to light mode").click()
        await shown.get_by_title("Switch to dark mode").click()
        await expect(shown.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
        await shown.goto(address + "reference/")
        assert await shown.evaluate(brightness) < 60


async def test_code_is_copied_as_it_is_shown(address: str) -> None:
    async with reading(address, permissions=["clipboard-read", "clipboard-write"]) as shown:
        block = shown.locator("div.highlight", has_text="CodegenClient").first
        await block.hover()
        await block.locator("button[data-clipboard-target], .md-code__button").first.click()
        await expect(shown.get_by_text("Copied to clipboard")).to_be_visible()
        assert (await shown.evaluate("navigator.clipboard.readText()")).strip() == (
            await block.locator("code").inner_text()
        ).strip()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_keeps_anybody_from_using_it(address: str, scheme: str) -> None:
    found = {}
    async with reading(address, color_scheme=scheme) as shown:
        for page in KINDS:
            await shown.goto(address + page)
            # The theme names its navigation, and each block that can be copied, as it names the next: a nuisance.
            found[page] = [each for each in await barriers(shown) if each[0] != "landmark-unique"]
    assert {page: what for page, what in found.items() if what} == {}
