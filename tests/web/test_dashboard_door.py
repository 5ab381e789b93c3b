"""Who may see the dashboard and act on it: each of these tries to do what it must not."""

import asyncio
import gzip
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from codegen_async import CodegenClient
from codegen_async.batch.batch import Batch
from codegen_async.testing import CodegenServer
from codegen_async.web import Dashboard, bridge
from codegen_async.web.bridge import served
from codegen_async.web.dashboard import following
from codegen_async.web.dashboard.door import Local, bearer
from codegen_async.web.dashboard.local import LOOPBACK, serving
from tests.support.canary import CANARY
from tests.web.calling import Answer, Call, get, post

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

TOKEN = "Zm9yIHRoZXNlIHRlc3RzIGFsb25lLCBhbmQgbG9uZw"
HERE = {"host": "127.0.0.1:8000"}
OURS = {**HERE, "authorization": f"Bearer {TOKEN}"}
SITE = {"sec_fetch_site": "same-origin"}
PATHS = (
    "api/snapshot",
    "api/events",
    "api/news",
    "api/items/1",
    "api/time",
    "api/pause",
    "api/retry",
    "metrics",
    "api/metrics",
)
ATTACKS: tuple[Mapping[str, str], ...] = (
    {},
    {"authorization": ""},
    {"authorization": "Bearer "},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": f"bearer {TOKEN.lower()}"},
    {"authorization": "Bearer \xe9"},
    {"cookie": f"token={TOKEN}"},
    {"referer": f"http://127.0.0.1:8000/#{TOKEN}"},
)


@asynccontextmanager
async def driven(server: CodegenServer, path: Path, *keys: str) -> AsyncGenerator[tuple[Batch, Dashboard]]:
    """Yield a batch that this process drives, and its dashboard behind a token."""
    loop = asyncio.get_running_loop()
    async with (
        CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client,
        Batch(client, path, clock=loop.time) as batch,
    ):
        for key in keys:
            batch.add(f"do {key}", key=key, metadata={"secret": "of the backend"})
        await batch.save()
        dashboard = Dashboard(batch, authorize=bearer(TOKEN), clock=loop.time)
        try:
            yield batch, dashboard
        finally:
            await dashboard.aclose()


def rows_of(answer: Answer) -> list[Mapping[str, Any]]:
    columns = json.loads(gzip.decompress(answer.body))["columns"]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


# -- 1, 2: the token


async def test_nobody_is_let_in_without_the_token(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app):
        for path in PATHS:
            for attack in ATTACKS:
                for method in ("GET", "HEAD", "POST"):
                    sent = {**HERE, **SITE, "content_type": "application/json", **attack}
                    answer = await Call(app, method, f"/{path}", headers=sent, body=b"{}").answer()
                    assert answer.status == 403, (path, attack, method)
                    assert b"do a" not in answer.body
        assert not batch.is_paused
        for attack in ATTACKS:  # nor in the address
            assert (await get(app, f"/api/snapshot?token={TOKEN}&access_token={TOKEN}", **HERE, **attack)).status == 403
        assert (await get(app, "/api/snapshot", **OURS)).status == 200


async def test_there_is_no_default_for_who_may_see_a_batch(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="authorize"):
        Dashboard(tmp_path / "batch.db")  # type: ignore[call-arg]


async def test_a_mounted_dashboard_asks_for_each_request(codegen_server: CodegenServer, tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    asked: list[str] = []

    async def authorize(scope: Any) -> bool:
        await asyncio.sleep(0)
        asked.append(scope["path"])
        return dict(scope["headers"]).get(b"cookie") == b"me"

    async with driven(codegen_server, path, "a"):
        app = Dashboard(path, authorize=authorize)
        assert (await get(app, "/api/snapshot")).status == 403
        assert (await get(app, "/api/snapshot", cookie="me")).status == 200
        assert (await get(app, "/api/items/1")).status == 403
        assert asked == ["/api/snapshot", "/api/snapshot", "/api/items/1"]
        await app.aclose()


async def test_a_link_has_a_token_of_its_own_behind_its_address(tmp_path: Path) -> None:
    links = []
    for _ in range(3):
        async with serving(lambda authorize: Dashboard(tmp_path / "x.db", authorize=authorize)) as link:
            links.append(link)
    tokens = {re.fullmatch(r"http://127\.0\.0\.1:\d+/#([\w-]{43})", link)[1] for link in links}  # type: ignore[index]
    assert len(tokens) == 3  # of 256 bits each


@pytest.mark.parametrize("answer", ["no", (False, "not you"), object(), 1, iter(())])
async def test_what_is_neither_yes_nor_no_lets_nobody_in(tmp_path: Path, answer: Any) -> None:
    app = Dashboard(tmp_path / "x.db", authorize=lambda _: answer)
    assert (await get(app, "/api/time")).status == 500
    await app.aclose()


@pytest.mark.parametrize("line", [f"Authorization: Bearer {TOKEN}\x01", f"Bearer {TOKEN}", "Content-Length: -2"])
async def test_what_is_no_http_leaves_no_word_in_logs(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(lambda authorize: Dashboard(tmp_path / "x.db", authorize=authorize)) as link:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(link).port)
        writer.write(f"GET /api/time HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}\r\n\r\n".encode())
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize(("authorization", "status"), [(OURS["authorization"], b" 400 "), ("Bearer x", b" 403 ")])
async def test_a_body_that_cannot_be_unpacked_is_no_defect_of_ours(
    codegen_server: CodegenServer,
    tmp_path: Path,
    authorization: str,
    status: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app),
        served(app, host=LOOPBACK, port=0) as port,
    ):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        lines = (
            "POST /api/pause HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Authorization: {authorization}",
            "Content-Type: application/json",
            "Content-Encoding: gzip",
            "Content-Length: 2",
        )
        writer.write("\r\n".join((*lines, "", "{}")).encode())
        assert status in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert not batch.is_paused
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# -- 3: names that lead here


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "",
        "127.0.0.1@evil",
        "[::1",
        "127.0.0.1:80:80",
    ],
)
async def test_a_name_of_others_that_leads_here_is_not_answered(tmp_path: Path, host: str) -> None:
    app = Local(Dashboard(tmp_path / "x.db", authorize=lambda _: True))
    for path in ("/", "/app.js", "/api/snapshot"):
        answer = await get(app, path, host=host)
        assert answer.status == 421
        assert answer.headers["content-security-policy"]
    await app.aclose()


async def test_no_name_and_two_names_are_not_answered_either(tmp_path: Path) -> None:
    app = Local(Dashboard(tmp_path / "x.db", authorize=lambda _: True))
    assert (await get(app, "/")).status == 421
    call = Call(app, "GET", "/", headers={"host": "127.0.0.1"})
    call.scope["headers"].append((b"host", b"evil.example"))
    assert (await call.answer()).status == 421
    await app.aclose()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000", "[::1]", "box.lan:80"]
)
async def test_our_own_names_are_answered(tmp_path: Path, host: str) -> None:
    app = Local(Dashboard(tmp_path / "x.db", authorize=lambda _: True), ["Box.lan"])
    assert (await get(app, "/", host=host)).status == 200
    await app.aclose()


# -- 4: pages of other sites


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:8000"}, 403),
        ({"sec_fetch_site": ""}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),  # another port is another's
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://127.0.0.1:8000@evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({}, 200),  # no browser
    ],
)
async def test_a_page_of_another_site_changes_nothing(
    codegen_server: CodegenServer, tmp_path: Path, headers: Mapping[str, str], status: int
) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app):
        answer = await post(app, "/api/pause", {}, **OURS, **headers)
        assert (answer.status, batch.is_paused) == (status, status == 200)


async def test_a_form_changes_nothing_and_no_site_is_let_read(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            assert (await post(app, "/api/pause", {}, **{**OURS, "content_type": kind})).status == 415
        for method in ("OPTIONS", "PUT", "DELETE", "PATCH"):
            answer = await Call(app, method, "/api/pause", headers={**OURS, "origin": "https://evil.example"}).answer()
            assert answer.status in (403, 405)
            assert not [name for name in answer.headers if name.startswith("access-control")]
        for path in ("/api/pause", "/api/retry", "/api/active", "/api/answer"):  # a link or an image is no wish
            assert (await get(app, path, **OURS)).status == 405
        assert not batch.is_paused


# -- 5: headers


async def test_every_answer_lets_a_browser_run_nothing_but_our_own_files(tmp_path: Path) -> None:
    app = Local(Dashboard(tmp_path / "none.db", authorize=lambda scope: b"no" not in dict(scope["headers"])))
    paths = ("/", "/app.js", "/app.css", "/api/snapshot", "/api/time", "/nothing", "/api/items/1")
    answers = [await get(app, path, **HERE) for path in paths]
    answers += [await get(app, "/api/time", no="1", **HERE), await get(app, "/", host="evil.example")]
    assert {answer.status for answer in answers} == {200, 403, 404, 421, 503}
    for answer in answers:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy.pop("default-src") == "'none'"
        assert policy.pop("require-trusted-types-for") == "'script'"
        assert {policy.pop(name) for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
        assert policy.pop("img-src") == "'self' data:"
        assert policy == dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'")
        for name, value in {
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }.items():
            assert answer.headers[name] == value
    await app.aclose()


# -- 7: what stays here; 6 is tried in test_dashboard_rows.py, and in a browser


async def test_what_is_of_this_machine_and_account_alone_stays_here(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    path = tmp_path / "batch.db"
    async with driven(codegen_server, path, "a", "b") as (batch, app):
        async for _ in batch.run():
            pass
        batch_id = batch._opened().batch_id
        answers = [gzip.decompress((await get(app, "/api/snapshot", **OURS)).body)]
        answers += [(await get(app, f"/api/items/{seq}", **OURS)).body for seq in (1, 2)]
        everything = b"".join(answers).decode()
        for secret in (codegen_server.token, "of the backend", batch_id, str(tmp_path), CANARY):
            assert secret not in everything


# -- 8: files


@pytest.mark.parametrize(
    "path",
    [
        "/../rows.py",
        "/..%2frows.py",
        "/static/app.js",
        "/app.js/../../rows.py",
        "//app.js",
        "/app.js%00",
        "/index.html",
        "/__init__.py",
        "/./app.js",
        "/api/../app.js",
    ],
)
async def test_no_path_leads_to_a_file(tmp_path: Path, path: str) -> None:
    app = Dashboard(tmp_path / "x.db", authorize=lambda _: True)
    assert (await get(app, path)).status == 404
    await app.aclose()


# -- 9: bounds


async def test_a_body_has_a_bound(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        assert (await post(app, "/api/retry", b"[" * 65_537, **OURS)).status == 413
        for odd in (b"", b"[]", b"{", b"\xff", b'{"items": [[1]]}', b'{"items": [["a", 1]]}', b"[" * 60_000):
            assert (await post(app, "/api/retry", odd, **OURS)).status == 400


async def test_only_so_many_watch_at_once(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        version = json.loads(gzip.decompress((await get(app, "/api/snapshot", **OURS)).body))["version"]
        path = f"/api/events?after={version}"
        calls = [Call(app, "GET", path, headers=OURS) for _ in range(following.MOST_VIEWERS + 20)]  # all at once
        await asyncio.sleep(1)
        assert Counter(call.status for call in calls) == {200: following.MOST_VIEWERS, 503: 20}
        assert calls[-1].headers["retry-after"] == "30"
        calls[0].leave()
        await asyncio.sleep(1)
        again = Call(app, "GET", path, headers=OURS)
        await asyncio.sleep(1)
        assert again.status == 200


async def test_strangers_cannot_take_all_the_files_of_the_process(tmp_path: Path) -> None:
    app = Dashboard(tmp_path / "x.db", authorize=lambda _: True)
    async with served(app, host=LOOPBACK, port=0) as port:
        held = [await asyncio.open_connection(LOOPBACK, port) for _ in range(bridge._MOST + 20)]
        await asyncio.sleep(1)
        assert sum(reader.at_eof() or reader.exception() is not None for reader, _ in held) == 20
        held[0][1].close()
        await asyncio.sleep(1)
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 200 " in await reader.readline()
        for _, stranger in (*held, (reader, writer)):
            stranger.close()


async def test_who_takes_nothing_any_more_keeps_nobody_out(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        version = json.loads(gzip.decompress((await get(app, "/api/snapshot", **OURS)).body))["version"]
        call = Call(app, "GET", f"/api/events?after={version}", headers=OURS)
        await asyncio.sleep(1)
        stuck = asyncio.ensure_future(app(call.scope, call._receive, stalled))
        await asyncio.sleep(59)
        assert (stuck.done(), app._following._viewers) == (False, 2)
        await asyncio.sleep(2)
        assert (stuck.done(), app._following._viewers) == (True, 1)
        await stuck


async def stalled(_: object) -> None:
    await asyncio.get_running_loop().create_future()


# -- 10: acting


async def test_a_journal_of_another_process_is_only_looked_at(codegen_server: CodegenServer, tmp_path: Path) -> None:
    path = tmp_path / "batch.db"
    async with driven(codegen_server, path, "a") as (batch, _):
        app = Dashboard(path, authorize=bearer(TOKEN))
        for action in ("retry", "pause", "resume", "active", "answer"):
            assert (await post(app, f"/api/{action}", {"items": [[1, 1]]}, **OURS)).status == 404
        assert not batch.is_paused
        await app.aclose()


async def test_what_is_wished_twice_is_done_once(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a", "b") as (batch, app):
        codegen_server.world.script = [(0.0, "ERROR")]
        async for _ in batch.run():
            pass
        wish = {"items": [[1, 1], [2, 1], [3, 1]]}
        answers = [await post(app, "/api/retry", wish, **OURS) for _ in range(3)]
        assert [answer.json["done"] for answer in answers] == [2, 0, 0]
        assert {row["attempt"] for row in rows_of(await get(app, "/api/snapshot", **OURS))} == {2}
        for _ in range(2):
            assert (await post(app, "/api/pause", {}, **OURS)).status == 200
        assert batch.is_paused
        assert (await post(app, "/api/resume", {}, **OURS)).status == 200
        assert (await post(app, "/api/active", {"most": 3}, **OURS)).status == 200
        assert (batch.is_paused, batch.max_active) == (False, 3)
        assert (await post(app, "/api/active", {"most": 0}, **OURS)).status == 422


async def test_items_whose_keys_look_the_same_are_told_apart(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a?b", "a\u200eb", "two\nlines") as (batch, app):
        codegen_server.world.script = [(0.0, "ERROR")]
        async for _ in batch.run():
            pass
        assert (await post(app, "/api/retry", {"items": [[2, 1], [3, 1]]}, **OURS)).json == {"done": 2}
        rows = rows_of(await get(app, "/api/snapshot", **OURS))
        assert [(row["key"], row["attempt"]) for row in rows] == [("a?b", 1), ("a?b", 2), ("two lines", 2)]


async def test_those_who_answer_at_the_same_time_answer_once(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a", "b") as (batch, app):
        codegen_server.world.script = [(0.0, "PAUSED")]
        async for _ in batch.run():
            pass
        codegen_server.world.script = [(0.0, "ACTIVE")]
        wish = {"items": [[1, 1], [2, 1]], "text": "go on"}
        answers = await asyncio.gather(*(post(app, "/api/answer", wish, **OURS) for _ in range(3)))
        assert sum(answer.json["done"] for answer in answers) == 2
        assert sum(request.endpoint == "resume" for request in codegen_server.requests) == 2


async def test_a_run_that_waits_is_answered_once(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (batch, app):
        codegen_server.world.script = [(0.0, "PAUSED")]
        async for _ in batch.run():
            pass
        codegen_server.world.script = [(0.0, "ACTIVE"), (5.0, "COMPLETE")]
        (row,) = rows_of(await get(app, "/api/snapshot", **OURS))
        assert row["label"] == "paused"
        assert (await post(app, "/api/answer", {"items": [[1, 1]], "text": " "}, **OURS)).status == 422
        answers = [await post(app, "/api/answer", {"items": [[1, 1]], "text": "go on"}, **OURS) for _ in range(2)]
        assert [answer.json["done"] for answer in answers] == [1, 0]
        async for outcome in batch.run():
            assert outcome.succeeded
        assert sum(request.endpoint == "resume" for request in codegen_server.requests) == 1


async def test_what_is_done_is_logged_without_what_it_is_about(
    codegen_server: CodegenServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with driven(codegen_server, tmp_path / "batch.db", "a") as (_, app):
        with caplog.at_level("INFO", logger="codegen_async"):
            await post(app, "/api/pause", {}, **OURS)
        assert [record.getMessage() for record in caplog.records if "dashboard" in record.getMessage()] == [
            "dashboard: pause"
        ]
