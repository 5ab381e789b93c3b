"""A browser without a screen. Tests that import this are skipped where there is none."""

import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest

_BROWSER = shutil.which("chromium-headless-shell")  # looked for here, and not on a loop

if _BROWSER is None or find_spec("playwright") is None or find_spec("axe_playwright_python") is None:
    pytest.skip(
        "needs chromium-headless-shell and the group `browser`: make .venv/made-browser", allow_module_level=True
    )

from axe_playwright_python.async_playwright import Axe  # noqa: E402 - of the group `browser`, as is the next
from playwright.async_api import Browser, Page, Route, async_playwright, expect  # noqa: E402

__all__ = ["Browser", "Page", "Route", "barriers", "browsing", "expect", "opened", "see"]

expect.set_options(timeout=60_000)  # milliseconds, not the five seconds that a busy machine may need


@asynccontextmanager
async def browsing() -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_BROWSER, args=["--disable-lcd-text"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(browser: Browser, link: str, *, clock: bool = False, **options: Any) -> AsyncGenerator[Page]:
    """Yield the page; nothing may go wrong on it. With a clock of its own, that can be put forward."""
    wrong: list[str] = []
    page = await browser.new_page(**options)
    if clock:
        await page.clock.install()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    await page.goto(link)
    yield page
    assert wrong == []
    await page.close()


async def see(page: Page, *, hidden: bool) -> None:
    """Make a page believe that it is the tab in front, or that it is not: without a screen all are."""
    await page.evaluate(
        "(hidden) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


async def barriers(page: Page) -> Sequence[tuple[str, list[str]]]:
    """Return what keeps people from using a page."""
    found = await Axe().run(page)
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found.response["violations"]]
