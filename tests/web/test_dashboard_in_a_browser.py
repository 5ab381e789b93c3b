"""The page, in a browser without a screen: what it shows, who can use it, and what no text of others makes it do."""

import asyncio
import itertools
import os
import re
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from codegen_async import AgentRun, CodegenClient, Timeouts
from codegen_async.batch.batch import Batch
from codegen_async.batch.schema import open_journal
from codegen_async.testing import CodegenServer, FastLoop, Life
from codegen_async.web import Dashboard
from codegen_async.web.dashboard.app import Allow
from codegen_async.web.dashboard.local import serving
from tests.support.browser import Page, Route, barriers, browsing, expect, opened, see

_HOSTILE = '<img src=x onerror="document.title=1">\u202etxt<script>document.title=2</script>'
_SIZES = ((1400, 900), (390, 844))
_PICTURES = os.environ.get("DASHBOARD_PICTURES")  # a folder
_PICTURED: Any = {"x": 0, "y": 0, "width": 1400, "height": 700}
_SPEED = 60.0
_PATIENT = Timeouts(connect=600.0, read=600.0, total=600.0)  # a second of a busy machine is a minute there
_SOME_DONE = re.compile("^[3-9][0-9] of 80 done; over in about")
_AREAS = ("web", "api", "worker", "mobile", "docs", "infra", "search", "billing")
_TASKS = (
    "Add a type checker to the build and fix what it finds",
    "Replace the deprecated date library",
    "Find out why the nightly build is slow and make it faster",
    "Write tests for what reads the settings",
    "Update the base image and mend what breaks",
    "Remove the feature flags that are on for everybody",
    "Fix the flaky tests of the last month",
    "Bring the client up to the newest version of the API",
    "Log requests that take longer than a second",
    "Say in the README how it is deployed",
)

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


@asynccontextmanager
async def shown(path: Path, **options: Any) -> AsyncGenerator[str]:
    """Serve the page of a journal, and yield its link."""

    def make(authorize: Allow) -> Dashboard:
        return Dashboard(path, authorize=authorize, **options)

    async with serving(make) as link:
        yield link


def journal(path: Path, number: int, *, texts: Sequence[str] = ("Fix the flaky test",)) -> None:
    """Make a journal of so many items, of which some stand everywhere."""
    statuses = ("COMPLETE", "COMPLETE", "COMPLETE", "FAILED", "CANCELLED", None, "PAUSED", "REJECTED", "PLANNED")
    with closing(open_journal(path)) as connection:
        connection.execute("BEGIN")
        for seq in range(1, number + 1):
            text, status = texts[seq % len(texts)], statuses[seq % len(statuses)]
            connection.execute(
                "INSERT INTO items (seq, name, task) VALUES (?, ?, ?)", (seq, f"{text[:80]} {seq}", _json(prompt=text))
            )
            _stand(connection, seq, status, text)
        connection.execute("COMMIT")


def _stand(connection: sqlite3.Connection, seq: int, status: str | None, text: str) -> None:
    began = 1_700_000_000.0 + 6 * seq
    if status == "PLANNED":
        return
    if status == "REJECTED":
        connection.execute("UPDATE items SET state = 'rejected', error = ? WHERE seq = ?", (text, seq))
        return
    run = _json(id=seq, organization_id=1, status=status, summary=text, result=text, web_url="javascript:alert(1)")
    phase = {"COMPLETE": "succeeded", "FAILED": "failed", "CANCELLED": "cancelled", "PAUSED": "blocked"}.get(
        str(status)
    )
    ended = None if status in (None, "PAUSED") else began + 60 + seq % 240
    connection.execute(
        "UPDATE items SET state = ?, run_id = ?, created_at = ?, ended_at = ?, run = ?, phase = ? WHERE seq = ?",
        ("created" if ended is None else "ended", str(seq), began, ended, None if status is None else run, phase, seq),
    )


def journal_goes_on(path: Path) -> None:
    with closing(open_journal(path)) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO items (seq, name, task) VALUES (1000, 'late', ?)", (_json(prompt="late"),))
        connection.execute("COMMIT")


def _json(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


@asynccontextmanager
async def driven(
    folder: Path, *, median: float = 2.0, clock: Callable[[], float] = time.time
) -> AsyncGenerator[tuple[Batch[AgentRun, int], str]]:
    """Yield a batch of five prompts, and the link of its page."""
    life = Life(median=median, outcomes={"COMPLETE": 1.0})
    async with (
        CodegenServer(life=life) as server,
        CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client,
        Batch(client, folder / "batch.db") as batch,
    ):
        for number in range(5):
            batch.add(f"do {number}", key=f"k{number}")
        await batch.save()
        async with serving(lambda authorize: Dashboard(batch, authorize=authorize, clock=clock)) as link:
            yield batch, link


async def test_a_batch_is_watched_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    async with driven(tmp_path) as (batch, link), browsing() as browser, opened(browser, link) as page:
        await expect(page.locator("#standing")).to_contain_text("0 of 5 done")
        assert "#" not in page.url  # the token is no part of what others are shown
        async for _ in batch.run():
            pass
        await expect(page.locator("#standing")).to_contain_text("5 of 5 done")
        await expect(page.locator("#rows button")).to_have_count(5)
        await page.get_by_role("button", name="k3", exact=True).click()
        await expect(page.locator("#content")).to_contain_text("do 3")
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="Pause creating").click()
        await expect(page.locator("#driver")).to_contain_text("paused")
        assert batch.is_paused


async def test_ten_thousand_are_no_more_to_the_page_than_those_that_are_seen(tmp_path: Path) -> None:
    await asyncio.to_thread(journal, tmp_path / "batch.db", 10_000)
    async with shown(tmp_path / "batch.db") as link, browsing() as browser, opened(browser, link) as page:
        await expect(page.locator("#standing")).to_contain_text("6,667 of 10,000 done")  # a blocked run is not
        assert await page.locator("*").count() < 500
        await page.locator("#search").fill(" 7777")
        await expect(page.locator("#found")).to_have_text("1 of 10,000")
        await page.locator("#search").fill("")
        await page.get_by_label("Order").select_option("file")
        await page.locator("#scroll").evaluate("(box) => { box.scrollTop = box.scrollHeight; }")
        await expect(page.get_by_role("button", name="Fix the flaky test 10000", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), _SIZES)
async def test_everybody_can_use_it(tmp_path: Path, scheme: Any, width: int, height: int) -> None:
    await asyncio.to_thread(journal, tmp_path / "batch.db", 300)
    size: Any = {"width": width, "height": height}
    async with (
        shown(tmp_path / "batch.db") as link,
        browsing() as browser,
        opened(browser, link, viewport=size, color_scheme=scheme) as page,
    ):
        await expect(page.locator("#standing")).to_contain_text("of 300 done")
        assert await barriers(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.locator("#rows button").first.click()
        await expect(page.locator("#detail")).to_be_visible()
        assert await barriers(page) == []


async def drive_fast(path: Path, started: Future[tuple[str, Callable[[], object]]]) -> None:
    """Drive a batch of 80 prompts sixty times faster than life, until it is told to end; its page is served."""
    loop = asyncio.get_running_loop()
    now = loop.time
    task = asyncio.current_task()
    assert task is not None
    outcomes = {"COMPLETE": 84.0, "ERROR": 8.0, "TIMEOUT": 3.0, "CANCELLED": 2.0, "PAUSED": 3.0}
    async with (
        CodegenServer(seed=7, latency=(0.05, 0.3), life=Life(median=150.0, sigma=0.6, outcomes=outcomes)) as server,
        CodegenClient(server.token, org_id=server.org_id, base_url=server.url, timeouts=_PATIENT) as client,
        Batch(client, path, clock=now) as batch,
    ):
        for number in range(80):
            area, work = _AREAS[number % len(_AREAS)], _TASKS[number // len(_AREAS)]
            batch.add(f"{work} ({area})", key=f"{area}/{number // len(_AREAS) + 1:02}")
        await batch.save()

        def make(authorize: Allow) -> Dashboard:
            return Dashboard(batch, authorize=authorize, clock=now, speed=_SPEED)

        async with serving(make) as link:
            started.set_result((link, lambda: loop.call_soon_threadsafe(task.cancel)))
            async for _ in batch.serve():
                pass


@asynccontextmanager
async def driven_fast(path: Path) -> AsyncGenerator[str]:
    """Drive a batch in a thread, on a clock of its own, while the block lasts, and yield the link of its page."""
    started: Future[tuple[str, Callable[[], object]]] = Future()

    def drive() -> None:
        with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=lambda: FastLoop(_SPEED)) as runner:
            runner.run(drive_fast(path, started))

    thread = asyncio.create_task(asyncio.to_thread(drive))
    link, end = await asyncio.wrap_future(started)
    try:
        yield link
    finally:
        end()
        await thread


async def test_everybody_can_use_it_while_the_batch_is_driven(tmp_path: Path) -> None:
    async with driven_fast(tmp_path / "prompts.db") as link, browsing() as browser, AsyncExitStack() as stack:
        pages: dict[str, Page] = {}
        schemes: Sequence[Literal["light", "dark"]] = ("light", "dark")
        for scheme, (width, height) in itertools.product(schemes, _SIZES):
            size: Any = {"width": width, "height": height}
            opening = opened(browser, link, viewport=size, color_scheme=scheme)
            pages[f"{scheme}-{width}"] = await stack.enter_async_context(opening)
        for name, page in pages.items():
            await expect(page.locator("#standing")).to_contain_text(_SOME_DONE)
            await expect(page.locator("#budgets")).to_contain_text("create: ")
            if _PICTURES is not None:
                await page.screenshot(path=Path(_PICTURES) / f"dashboard-{name}.png", clip=_PICTURED)
        for page in pages.values():
            assert await barriers(page) == []


async def test_it_works_with_the_keyboard_alone(tmp_path: Path) -> None:
    await asyncio.to_thread(journal, tmp_path / "batch.db", 300)
    async with shown(tmp_path / "batch.db") as link, browsing() as browser, opened(browser, link) as page:
        first = page.locator("#rows button").first
        await first.focus()
        for _ in range(60):  # beyond what was there
            await page.keyboard.press("ArrowDown")
        assert await page.evaluate("document.activeElement.dataset.seq") not in (
            None,
            await first.get_attribute("data-seq"),
        )
        await page.keyboard.press("Enter")
        await expect(page.locator("#detail")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#detail")).to_be_hidden()


async def test_a_hostile_journal_shows_text(tmp_path: Path) -> None:
    await asyncio.to_thread(journal, tmp_path / "batch.db", 50, texts=(_HOSTILE,))
    async with shown(tmp_path / "batch.db") as link, browsing() as browser, opened(browser, link) as page:
        await expect(page.locator("#standing")).to_contain_text("of 50 done")
        await page.locator("#rows button").first.click()
        await expect(page.locator("#content")).to_contain_text("<img src=x")
        for made in ("img", "main script", "dialog script", "a[href^=javascript]", "iframe"):
            assert await page.locator(made).count() == 0
        assert re.match(r"\d+ % ", await page.title())
        assert "\u202e" not in await page.locator("body").inner_text()


async def test_more_tabs_than_a_browser_has_connections_are_left_open(tmp_path: Path) -> None:
    await asyncio.to_thread(journal, tmp_path / "batch.db", 20)
    async with shown(tmp_path / "batch.db") as link, browsing() as browser, await browser.new_context() as context:
        asking: list[Page] = []
        context.on("request", lambda request: asking.append(request.frame.page))
        tabs: list[Page] = []
        for _ in range(10):
            tabs.append(await context.new_page())
            await tabs[-1].goto(link)
            await expect(tabs[-1].locator("#standing")).to_contain_text("of 20 done")
            await see(tabs[-1], hidden=True)
        asking.clear()
        await asyncio.to_thread(journal_goes_on, tmp_path / "batch.db")
        await see(tabs[0], hidden=False)
        await expect(tabs[0].locator("#standing")).to_contain_text("of 21 done")
        assert {*asking} == {tabs[0]}  # nobody looks at the others, and nothing drives the batch


async def test_a_tab_that_nobody_sees_says_in_its_title_how_far_the_batch_is(tmp_path: Path) -> None:
    async with driven(tmp_path) as (batch, link), browsing() as browser, opened(browser, link, clock=True) as page:
        await expect(page).to_have_title(re.compile("^0 %"))
        await see(page, hidden=True)
        async for _ in batch.run():
            pass
        await page.clock.fast_forward("00:31")
        await expect(page).to_have_title(re.compile("^100 %"))


async def test_what_was_closed_while_it_was_loaded_anew_stays_closed(tmp_path: Path) -> None:
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await goes_on.wait()
        await route.continue_()

    async with driven(tmp_path) as (batch, link), browsing() as browser, opened(browser, link) as page:
        await page.get_by_role("button", name="k0", exact=True).click()
        await expect(page.locator("#detail")).to_be_visible()
        await page.route("**/api/items/*", hold)
        async for _ in batch.run():
            pass
        await asked.wait()
        await page.keyboard.press("Escape")
        await expect(page.locator("#detail")).to_be_hidden()
        async with page.expect_response("**/api/items/*") as came:
            goes_on.set()
        await (await came.value).finished()
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        await expect(page.locator("#detail")).to_be_hidden()
        await page.get_by_role("button", name="k1", exact=True).click()
        await expect(page.locator("#detail")).to_contain_text("do 1")


async def test_a_journal_that_cannot_be_read_is_said_to_be_so_also_to_who_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    await asyncio.to_thread(journal, path, 20)
    async with shown(path) as link, browsing() as browser, opened(browser, link) as page:
        await expect(page.locator("#standing")).to_contain_text("of 20 done")
        await asyncio.to_thread(path.rename, tmp_path / "away.db")
        await expect(page.locator("#trouble")).to_contain_text("cannot be read")
        async with page.expect_response("**/api/events*"):
            await see(page, hidden=False)  # which connects anew
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        await expect(page.locator("#trouble")).to_contain_text("cannot be read")
        await asyncio.to_thread((tmp_path / "away.db").rename, path)
        await expect(page.locator("#trouble")).to_be_hidden()


async def test_a_drag_that_comes_from_elsewhere_is_none(tmp_path: Path) -> None:
    await asyncio.to_thread(journal, tmp_path / "batch.db", 20)
    async with shown(tmp_path / "batch.db") as link, browsing() as browser, opened(browser, link) as page:
        await expect(page.locator("#standing")).to_contain_text("of 20 done")
        await page.locator("#name").hover()
        await page.mouse.down()
        await page.locator("#lanes").hover()
        await page.mouse.up()
        await expect(page.locator("#unspan")).to_be_hidden()


async def test_a_machine_that_has_slept_shows_the_time_it_is(tmp_path: Path) -> None:
    slept = [0.0]
    async with (
        driven(tmp_path, median=1e6, clock=lambda: time.time() + slept[0]) as (batch, link),
        browsing() as browser,
        opened(browser, link) as page,
    ):
        running = asyncio.ensure_future(anext(batch.run()))
        try:
            await expect(page.locator("#rows td.running")).to_have_count(5)
            slept[0] = 8 * 3600.0  # in which the page's own clock stood still, as those of browsers may
            await see(page, hidden=False)  # which connects anew, as after a sleep
            await expect(page.locator("#rows")).to_contain_text("8.0 h")
        finally:
            running.cancel()
            await asyncio.wait((running,))
