"""What it takes to show a batch as a page: to read and send all of it once, and then what has changed.

Items have prompts of 300 characters, and results of 3 KB. Where there is Chromium (`make .venv/made-browser`), it opens
the page: when the first drawing is done after the link, the longest script of a drawing after changes, and its heap;
and once more mounted, where reading begins only when the page is asked for.

Run: python -m benchmarks.dashboard [--items N ...]
"""

import argparse
import asyncio
import gzip
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from codegen_async.batch.schema import open_journal
from codegen_async.web import Dashboard
from codegen_async.web.bridge import served
from codegen_async.web.dashboard.files import FILES
from codegen_async.web.dashboard.local import LOOPBACK, serving
from codegen_async.web.dashboard.rows import Changes, Reader, Row

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Playwright

_CHANGED = 100
_AT_A_LINK = 1.0  # seconds until somebody has clicked it
_BROWSER = shutil.which("chromium-headless-shell")
_NOTING = """
window.took = [];
const original = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (draw) => original((time) => {
  const began = performance.now();
  draw(time);
  took.push(performance.now() - began);
  window.ready ??= document.getElementById("standing").textContent && performance.now();
});
"""


def _fill(path: Path, number: int) -> None:
    task = msgspec.json.encode({"prompt": "Fix the flaky test\n- of 2026-11\n\n" * 9})
    with closing(open_journal(path)) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('commits', 1)")
        for seq in range(1, number + 1):
            run = {
                "id": seq,
                "organization_id": 1,
                "status": "COMPLETE",
                "summary": "Done:\n" * 20,
                "result": "x" * 3000,
            }
            connection.execute(
                "INSERT INTO items (seq, name, task, state, run_id, created_at, ended_at, run, phase, changed)"
                " VALUES (?, ?, ?, 'ended', ?, ?, ?, ?, 'succeeded', 1)",
                (seq, f"item {seq}", task, str(seq), 1e9 + seq, 1e9 + seq + 300, msgspec.json.encode(run)),
            )
        connection.execute("COMMIT")


def _change(path: Path, number: int) -> None:
    with closing(open_journal(path)) as connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'commits'")
        connection.execute(
            "UPDATE items SET error = 'x', changed = (SELECT value FROM meta WHERE name = 'commits') WHERE seq % ? = 0",
            (number // _CHANGED,),
        )
        connection.execute("COMMIT")


def _timed(work: Callable[[], Changes | None]) -> tuple[float, Changes]:
    began = time.perf_counter()
    changes = work()
    assert changes is not None
    return 1000 * (time.perf_counter() - began), changes


def _measure(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.db"
        _fill(path, number)
        reader = Reader(path)
        whole, first = _timed(reader.changes)
        began = time.perf_counter()
        columns = {name: [row[place] for row in first.rows] for place, name in enumerate(Row._fields)}
        content = gzip.compress(msgspec.json.encode({"columns": columns}), 5)
        encoded = 1000 * (time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(1000):
            reader.changes()
        idle = 1e6 * (time.perf_counter() - began) / 1000
        _change(path, number)
        some, second = _timed(reader.changes)
        assert len(second.rows) == _CHANGED
        reader.close()
    print(
        f"{number:>7,} items: all read in {whole:.0f} ms, encoded in {encoded:.0f} ms to {len(content) / 1e6:.2f} MB; "
        f"{_CHANGED} changes read in {some:.1f} ms; nothing new known in {idle:.0f} us"
    )


def _open(number: int) -> None:
    """Open the page, and change what it shows."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - of the group `browser`

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.db"
        _fill(path, number)
        asyncio.run(_watch(path, number, async_playwright()))


async def _watch(path: Path, number: int, starting: "AbstractAsyncContextManager[Playwright]") -> None:
    async with starting as playwright, await playwright.chromium.launch(executable_path=_BROWSER) as browser:
        async with served(Dashboard(path, authorize=lambda _: True), host=LOOPBACK, port=0) as port:
            _, mounted, _ = await _drawn(browser, f"http://{LOOPBACK}:{port}/")
        async with serving(lambda authorize: Dashboard(path, authorize=authorize)) as link:
            await asyncio.sleep(_AT_A_LINK)
            page, ready, first = await _drawn(browser, link)
            await asyncio.to_thread(_change, path, number)
            while not await page.evaluate("took.length"):  # noqa: ASYNC110 - in the page
                await asyncio.sleep(0.1)
            update = await page.evaluate("Math.max(...took)")
            chromium = await page.context.new_cdp_session(page)
            await chromium.send("HeapProfiler.collectGarbage")
            heap = (await chromium.send("Runtime.getHeapUsage"))["usedSize"]
            nodes = await page.locator("*").count()
    print(
        f"{number:>7,} items in Chromium: drawn {ready / 1000:.2f} s after the link (mounted: {mounted / 1000:.2f} s), "
        f"{first:.0f} ms of it to draw; {_CHANGED} changes drawn in {update:.0f} ms; heap {heap / 1e6:.1f} MB; "
        f"{nodes} elements"
    )


async def _drawn(browser: "Browser", link: str) -> "tuple[Page, float, float]":
    """Open a page in a context of its own; return it when it follows what changes, and how long its drawing took."""
    page = await (await browser.new_context()).new_page()
    await page.add_init_script(_NOTING)
    await page.goto(link)
    while not await page.evaluate("window.ready"):  # noqa: ASYNC110 - in the page
        await asyncio.sleep(0.1)
    await asyncio.sleep(2.0)
    ready, first = await page.evaluate("[window.ready, Math.max(...took.splice(0))]")
    return page, ready, first


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000], help="(default: 10000 100000)")
    sizes = parser.parse_args(arguments).items
    files = {name: len(reply.content) for name, reply in FILES.items()}
    print(f"the page: {sum(files.values()) / 1024:.1f} KiB in {len(files)} files")
    for number in sizes:
        _measure(number)
        if _BROWSER is not None and find_spec("playwright") is not None:
            _open(number)


if __name__ == "__main__":
    main()
