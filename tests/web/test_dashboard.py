"""What a browser is sent of a batch as it runs: all there is, then changes in order, or an order to begin anew."""

import asyncio
import gzip
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from codegen_async import CodegenClient
from codegen_async.batch.batch import Batch
from codegen_async.testing import CodegenServer
from codegen_async.web import Dashboard
from codegen_async.web.dashboard.door import bearer
from codegen_async.web.dashboard.rows import Changes, Reader
from tests.batch.helpers import loop_time
from tests.batch.test_any_api import api_of
from tests.batch.test_any_api import opened as api_opened
from tests.hosted.api import Keyed, Named, Plain, Threaded
from tests.web.calling import Call, get
from tests.web.test_dashboard_door import OURS, TOKEN, driven

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

LIFE = [(0.0, "PENDING"), (20.0, "ACTIVE"), (60.0, "COMPLETE")]


async def load(app: Dashboard) -> Mapping[str, Any]:
    answer = await get(app, "/api/snapshot", **OURS)
    assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
    return dict(json.loads(gzip.decompress(answer.body)))


class Browser:
    """Do as the page does: load all, follow what changes, and load anew when told."""

    def __init__(self, app: Dashboard) -> None:
        self.app = app
        self.rows: dict[int, dict[str, Any]] = {}
        self.head: Mapping[str, Any] = {}
        self.loads = 0
        self.deltas = 0
        self.call: Call | None = None
        self._fields: list[str] = []
        self._seen = 0
        self._version = ""

    async def look(self) -> dict[str, str]:
        """Take in what has come, and return where all items stand."""
        if self.call is None:
            await self._load()
        assert self.call is not None
        await asyncio.sleep(1.5)
        events = self.call.events
        for event in events[self._seen :]:
            self._seen += 1
            if event.name == "reload":
                await self._load()
                break
            self.deltas += 1
            self._version, self.head = event.data["version"], event.data["head"]
            for values in event.data["rows"]:
                row = dict(zip(self._fields, values, strict=True))
                self.rows[row["seq"]] = row
        return {row["key"]: row["label"] for row in self.rows.values()}

    async def _load(self) -> None:
        whole = await load(self.app)
        self._fields = [*whole["columns"]]
        values = zip(*whole["columns"].values(), strict=True)
        rows = [dict(zip(self._fields, each, strict=True)) for each in values]
        self.rows = {row["seq"]: row for row in rows}
        self._version, self.head = whole["version"], whole["head"]
        self.loads += 1
        self._seen = 0
        self.call = Call(self.app, "GET", f"/api/events?after={self._version}", headers=OURS)
        await asyncio.sleep(0)


async def test_a_browser_sees_a_batch_from_its_beginning_to_its_end(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    codegen_server.world.script = LIFE
    async with driven(codegen_server, tmp_path / "batch.db", *"abc") as (batch, app):
        browser = Browser(app)
        assert await browser.look() == dict.fromkeys("abc", "planned")

        async def drive() -> None:
            async for _ in batch.run():
                pass

        driving = asyncio.create_task(drive())
        seen: set[str] = set()
        while not driving.done():
            seen |= {*(await browser.look()).values()}
        await driving
        assert "running" in seen
        assert await browser.look() == dict.fromkeys("abc", "succeeded")
        assert browser.loads == 1  # all else came as changes
        assert {limit["name"] for limit in browser.head["limits"]} >= {"create"}
        assert all(row["ended"] > row["created"] for row in browser.rows.values())


async def test_all_is_read_once_from_when_the_page_is_asked_for(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        following = app._following
        for path in ("/", "/app.js", "/"):
            await get(app, path)
        assert following._begun is not None
        await following._begun
        number, content = following._whole
        assert b'"a"' in gzip.decompress(content)
        assert (await get(app, "/api/snapshot", **OURS)).body is content
        assert following._number == number


@pytest.mark.parametrize("path", ["/api/snapshot", "/api/news?after="])
async def test_a_request_that_is_cut_off_while_it_reads_takes_nothing_from_the_next(
    codegen_server: CodegenServer, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        loop, reads, goes_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        read = Reader.changes

        def slowly(reader: Reader) -> Changes | None:
            found = read(reader)
            loop.call_soon_threadsafe(reads.set)
            goes_on.wait()
            return found

        monkeypatch.setattr(Reader, "changes", slowly)
        cut_off = Call(app, "GET", path, headers=OURS)
        await reads.wait()
        cut_off.task.cancel()
        await asyncio.wait((cut_off.task,))
        goes_on.set()
        assert cut_off.task.cancelled()
        assert (await load(app))["columns"]["key"] == ["a"]


async def test_the_page_of_a_journal_that_is_not_there_says_so(tmp_path: Path) -> None:
    app = Dashboard(tmp_path / "none.db", authorize=bearer(TOKEN))
    assert (await get(app, "/")).status == 200
    assert (await get(app, "/api/snapshot", **OURS)).status == 503
    await app.aclose()


async def test_a_dashboard_that_is_closed_reads_nothing(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        await app.aclose()
        assert (await get(app, "/")).status == 200
        assert app._following._begun is None


async def test_where_nothing_changes_nothing_is_sent_but_pings(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        browser = Browser(app)
        await browser.look()
        await asyncio.sleep(3600)
        assert browser.call is not None
        assert browser.call.events == []
        assert browser.call.chunks.count(b": ping\n\n") == pytest.approx(240, abs=2)
        requests = len(codegen_server.requests)
        await asyncio.sleep(600)
        assert len(codegen_server.requests) == requests  # nobody's slots are spent by looking


async def test_a_change_is_read_and_encoded_once_however_many_watch(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app):
        browsers = [Browser(app) for _ in range(20)]
        await asyncio.gather(*(browser.look() for browser in browsers))
        batch.add("more", key="b")
        await batch.save()
        await asyncio.gather(*(browser.look() for browser in browsers))
        await asyncio.gather(*(browser.look() for browser in browsers))
        news = [chunk for browser in browsers if browser.call for chunk in browser.call.chunks if b"delta" in chunk]
        assert len(news) == 20
        assert len(set(news)) == 1


async def test_who_is_far_behind_loads_all_anew(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app):
        browser = Browser(app)
        await browser.look()
        version = browser._version
        for number in range(25):
            batch.add(f"more {number}", key=f"b{number}")
            await batch.save()
            await browser.look()
        await browser.look()
        late = Call(app, "GET", f"/api/events?after={version}", headers=OURS)
        await late.answer()
        assert [event.name for event in late.events] == ["reload"]
        near = Call(app, "GET", f"/api/events?after={browser._version}", headers=OURS)
        await asyncio.sleep(1)
        assert near.events == []
        assert len(browser.rows) == 26
        assert browser.loads == 1


@pytest.mark.parametrize("version", ["", "x", "x.1", "1", "ffffffff.0", "..", "%00.9", "a.-1"])
async def test_a_version_of_another_life_means_to_load_anew(
    codegen_server: CodegenServer, tmp_path: Path, version: str
) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        call = Call(app, "GET", f"/api/events?after={version}", headers=OURS)
        await call.answer()
        assert [event.name for event in call.events] == ["reload"]


async def test_a_version_that_cannot_be_one_means_to_load_anew(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        epoch, _, _ = json.loads(gzip.decompress((await get(app, "/api/snapshot", **OURS)).body))["version"].partition(
            "."
        )
        for odd in (f"{epoch}.{'9' * 5000}", f"{epoch}.-1", f"{epoch}.99", f"{epoch}.", epoch, "."):
            for path in ("news", "events"):
                assert b"event: reload" in (await get(app, f"/api/{path}?after={odd}", **OURS)).body


async def test_where_a_batch_is_closed_before_its_dashboard_it_is_said(
    codegen_server: CodegenServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        CodegenClient(codegen_server.token, org_id=codegen_server.org_id, base_url=codegen_server.url) as client,
        Batch(client, tmp_path / "batch.db") as batch,
    ):
        app = Dashboard(batch, authorize=lambda _: True)
        version = json.loads(gzip.decompress((await get(app, "/api/snapshot")).body))["version"]
        call = Call(app, "GET", f"/api/events?after={version}")
        await asyncio.sleep(2)
    await asyncio.sleep(5)
    assert call.events[-1].data["head"]["trouble"]
    await app.aclose()
    await call.task
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_who_does_not_watch_is_told_what_has_changed_when_he_asks(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app):
        version = (await load(app))["version"]
        nothing = await get(app, f"/api/news?after={version}", **OURS)
        assert (nothing.status, nothing.body) == (200, b"")
        batch.add("more", key="b")
        await batch.save()
        some = await get(app, f"/api/news?after={version}", **OURS)
        assert b"event: delta" in some.body
        assert b'"b"' in some.body
        for odd in ("", "x.1", f"{version}9", version.partition(".")[0] + ".-1"):
            assert (await get(app, f"/api/news?after={odd}", **OURS)).body == b"event: reload\ndata: {}\n\n"


async def test_prompts_that_are_taken_out_are_gone(codegen_server: CodegenServer, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    await asyncio.to_thread(file.write_text, '{"prompt": "x", "key": "a"}\n{"prompt": "y", "key": "b"}\n')
    async with driven(codegen_server, tmp_path / "batch.db") as (batch, app):
        await batch.add_file(file)
        browser = Browser(app)
        assert await browser.look() == {"a": "planned", "b": "planned"}
        await asyncio.to_thread(file.write_text, '{"prompt": "y", "key": "b"}\n')
        await batch.add_file(file)
        await browser.look()
        assert await browser.look() == {"b": "planned"}
        assert browser.loads == 2


async def test_streams_end_when_the_dashboard_is_closed(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        browser = Browser(app)
        await browser.look()
        await app.aclose()
        assert browser.call is not None
        async with asyncio.timeout(0.5):
            await browser.call.task
        assert browser.call.is_whole
        assert (await get(app, "/api/snapshot", **OURS)).status == 503
        await app.aclose()


async def test_nobody_who_has_left_is_read_for(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        browser = Browser(app)
        await browser.look()
        assert browser.call is not None
        browser.call.leave()
        await browser.call.task
        await asyncio.sleep(3)
        assert app._following._task is None
        assert await Browser(app).look() == {"a": "planned"}


async def test_who_drives_it_is_told_as_that_changes(codegen_server: CodegenServer, tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    async with driven(codegen_server, path, "a"):
        app = Dashboard(path, authorize=bearer(TOKEN))
        browser = Browser(app)
        await browser.look()
        assert str(os.getpid()) in browser.head["driver"]
    await browser.look()
    await browser.look()
    assert browser.head["driver"] is None
    await app.aclose()


async def test_a_journal_that_cannot_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    app = Dashboard(tmp_path / "none.db", authorize=lambda _: True)
    answer = await get(app, "/api/snapshot")
    assert (answer.status, answer.json["detail"]) == (503, "The journal cannot be read.")
    assert str(tmp_path) not in answer.body.decode()
    await app.aclose()


async def test_the_page_is_where_its_files_are(tmp_path: Path) -> None:
    app = Dashboard(tmp_path / "none.db", authorize=lambda _: True)
    call = Call(app, "GET", "/batches/7")
    call.scope["root_path"] = "/batches/7"
    moved = await call.answer()
    assert (moved.status, moved.headers["location"]) == (308, "/batches/7/")
    hostile = Call(app, "GET", "//evil.example")
    hostile.scope["root_path"] = "//evil.example"
    assert (await hostile.answer()).headers["location"] == "/evil.example/"
    call = Call(app, "GET", "/batches/7/")
    call.scope["root_path"] = "/batches/7"
    page = await call.answer()
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    await app.aclose()


async def test_it_is_mounted_in_an_application_of_a_framework(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, dashboard):
        app = FastAPI()
        app.mount("/of/batch", dashboard)
        for path in ("/", "/app.js", "/app.css", "/api/snapshot", "/api/items/1"):
            assert (await get(app, f"/of/batch{path}", **OURS)).status == 200
        assert (await get(app, "/of/batch/api/snapshot")).status == 403


async def test_an_item_is_shown_whole(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app):
        async for _ in batch.run():
            pass
        answer = await get(app, "/api/items/1", **OURS)
        assert {"key", "prompt", "result", "before", "pulls"} <= answer.json.keys()
        for odd in ("0", "2", "-1", "1.0", "a", "9" * 30, "1/2", ""):
            assert (await get(app, f"/api/items/{odd}", **OURS)).status == 404


async def test_the_log_of_a_run_is_asked_for_once_however_many_look(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE")]
    async with driven(codegen_server, tmp_path / "batch.db", "a", "b") as (batch, app):
        driving = asyncio.ensure_future(anext(batch.run()))
        await asyncio.sleep(60)

        def asked() -> int:
            return sum(request.endpoint == "logs" for request in codegen_server.requests)

        answers = await asyncio.gather(*(get(app, "/api/items/1/log", **OURS) for _ in range(30)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert answers[0].json
        assert all("\n" not in line for line in answers[0].json)
        assert asked() == 1
        await asyncio.sleep(6)
        await get(app, "/api/items/1/log", **OURS)
        assert asked() == 2
        for path in ("/api/items/3/log", "/api/items/1/logs", "/api/items/1/log/"):
            assert (await get(app, path, **OURS)).status == 404
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)


async def test_where_there_are_no_logs_none_are_shown(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        assert (await get(app, "/api/items/1/log", **OURS)).status == 404  # no run yet
        readonly = Dashboard(tmp_path / "batch.db", authorize=bearer(TOKEN))
        assert (await get(readonly, "/api/items/1/log", **OURS)).status == 404
        await readonly.aclose()


@pytest.mark.parametrize("dialect", [Plain, Keyed, Named, Threaded])
async def test_a_batch_of_any_dialect_is_shown(tmp_path: Path, dialect: type[Plain]) -> None:
    async with api_opened(api_of(dialect), tmp_path / "batch.db", dialect()) as batch:
        batch.add(task="x", key="a")
        await batch.save()
        app = Dashboard(batch, authorize=bearer(TOKEN), clock=loop_time)
        try:
            browser = Browser(app)
            assert await browser.look() == {"a": "planned"}
            async for _ in batch.run():
                pass
            assert await browser.look() == {"a": "succeeded"}
            assert browser.rows[1]["prompt"] == "x"
        finally:
            await app.aclose()
