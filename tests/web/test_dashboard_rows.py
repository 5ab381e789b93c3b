"""What a browser is told of a journal: what has changed, clean, and nothing that is nobody's business."""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from codegen_async.batch.items import Task
from codegen_async.batch.journal import driving
from codegen_async.batch.places import CODEGEN_API, Account
from codegen_async.batch.schema import open_journal
from codegen_async.codegen.models import AgentRun
from codegen_async.engine.database import open_database
from codegen_async.errors import JournalError
from codegen_async.hosted.run import HostedRun
from codegen_async.models import Phase, RunLike
from codegen_async.web.dashboard import batches
from codegen_async.web.dashboard.files import FILES
from codegen_async.web.dashboard.rows import Reader, Row, _link, _private

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[31m"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@pytest.fixture
def reader(path: Path) -> Generator[Reader]:
    reader = Reader(path)
    yield reader
    reader.close()


def step(path: Path, *steps: tuple[str, Any], account: Account | None = None) -> None:
    """Take steps of a journal, as its driver does."""

    async def take() -> None:
        async with driving(path, lambda: 1000.0, account) as journal:
            for name, what in steps:
                if name == "add":
                    await journal.add(what.items())
                elif name == "create":
                    claimed = await journal.claim(0)
                    assert claimed is not None
                    await journal.created(claimed[0].seq, what)
                else:
                    await getattr(journal, name)(*what)

    asyncio.run(take())


def tasks(*keys: str) -> Mapping[str, Task]:
    return {key: Task(prompt=f"do {key}") for key in keys}


def labels(rows: "list[Row] | Any") -> dict[str, str]:
    return {row.key: row.label for row in rows}


def run(number: int, status: str = "COMPLETE", **fields: Any) -> AgentRun:
    return AgentRun(id=number, organization_id=4711, status=status, **fields)


# -- changes


def test_all_is_read_once_and_then_what_has_changed(path: Path, reader: Reader) -> None:
    step(path, ("add", tasks(*"abc")))
    first = reader.changes()
    assert first is not None
    assert (labels(first.rows), first.whole) == (dict.fromkeys("abc", "planned"), True)
    assert reader.changes() is None
    step(path, ("create", 11))
    second = reader.changes()
    assert second is not None
    assert (labels(second.rows), second.whole) == ({"a": "running"}, False)
    step(path, ("seen", ({1: Phase.BLOCKED},)), ("create", 12), ("add", tasks("d")))
    third = reader.changes()
    assert third is not None
    assert labels(third.rows) == {"a": "paused", "b": "running", "d": "planned"}
    step(path, ("ended", (1, run(11))), ("ended", (2, None, "gone")))
    fourth = reader.changes()
    assert fourth is not None
    assert labels(fourth.rows) == {"a": "succeeded", "b": "failed"}


def test_where_items_are_taken_out_all_is_read_again(path: Path, reader: Reader) -> None:
    async def edit(*keys: str) -> None:
        async with driving(path, lambda: 1000.0) as journal:
            await journal.add(tasks(*keys).items(), source="prompts.jsonl")

    asyncio.run(edit("a", "b", "c"))
    reader.changes()
    asyncio.run(edit("a", "d"))
    changes = reader.changes()
    assert changes is not None
    assert (sorted(labels(changes.rows)), changes.whole) == (["a", "d"], True)


def test_another_attempt_begins_anew_and_the_one_before_is_told(path: Path, reader: Reader) -> None:
    step(path, ("add", tasks("a")), ("create", 11), ("ended", (1, run(11, "ERROR"), "it broke")))
    reader.changes()

    async def again() -> None:
        async with driving(path, lambda: 1000.0) as journal:
            await journal.try_again(["a"], failed=False)

    asyncio.run(again())
    changes = reader.changes()
    assert changes is not None
    assert [(row.label, row.attempt, row.run) for row in changes.rows] == [("planned", 2, "")]
    item = reader.item(1)
    assert item is not None
    assert [(was["attempt"], was["run"], was["error"]) for was in item["before"]] == [(1, "11", "it broke")]
    assert reader.item(2) is None


def test_a_journal_of_an_earlier_version_is_read_as_a_whole(path: Path, reader: Reader) -> None:
    old = Path(__file__).parent.parent / "batch" / "data" / "journal-of-0.1.0.sql"
    path.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA application_id = 1128743242; PRAGMA user_version = 1; {old.read_text()}")
    first = reader.changes()
    assert first is not None
    assert labels(first.rows)["kept"] == "failed"
    assert first.whole
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE items SET error = 'other' WHERE name = 'refused'")
    second = reader.changes()
    assert second is not None
    assert (len(second.rows), second.whole) == (len(first.rows), True)


def test_a_journal_that_comes_back_is_read_again(path: Path, reader: Reader) -> None:
    with pytest.raises(JournalError):
        reader.changes()
    open_journal(path).close()
    assert reader.changes() == ((), True) or reader.changes() is None
    step(path, ("add", tasks("a")))
    changes = reader.changes()
    assert changes is not None
    assert labels(changes.rows) == {"a": "planned"}


def test_a_journal_that_takes_the_place_of_another_is_read(path: Path, reader: Reader) -> None:
    step(path, ("add", tasks("a")))
    assert reader.changes() is not None
    step(path.with_name("other.db"), ("add", tasks("b", "c")))
    path.with_name("other.db").replace(path)
    changes = reader.changes()
    assert changes is not None
    assert changes.whole
    assert labels(changes.rows) == {"b": "planned", "c": "planned"}
    path.unlink()
    with pytest.raises(JournalError):
        reader.changes()


@pytest.mark.parametrize("name", ["a\u2028b\u202e.db", "a?b#c%20.db", "two\nlines.db"])
def test_a_journal_of_any_name_is_shown(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    step(path, ("add", tasks("a")))
    seen = batches.shown(path, lambda: 0.0, speed=1.0)
    reader = Reader(path)
    changes = reader.changes()
    reader.close()
    assert changes is not None
    assert labels(changes.rows) == {"a": "planned"}
    assert re.fullmatch(r"[ -~]+\.db", seen.head()["name"])


def test_who_drives_it_is_told(path: Path, reader: Reader) -> None:
    def look() -> str | None:
        other = Reader(path)
        try:
            return other.driver()
        finally:
            other.close()

    async def drive() -> str | None:
        async with driving(path, lambda: 1000.0):
            return await asyncio.to_thread(look)

    step(path, ("add", tasks("a")))
    assert reader.driver() is None
    assert "which is this one" in str(asyncio.run(drive()))


# -- what is shown


def shown(path: Path, reader: Reader, task: Task, seen: RunLike) -> tuple[Row, dict[str, Any]]:
    account = Account.at("https://api.example", api="acme" if isinstance(seen, HostedRun) else CODEGEN_API)
    step(path, ("add", {"a": task}), ("create", seen.id), ("ended", (1, seen)), account=account)
    changes, item = reader.changes(), reader.item(1)
    assert changes is not None
    assert item is not None
    return changes.rows[0], dict(item)


def test_a_run_of_codegen(path: Path, reader: Reader) -> None:
    seen = run(11, web_url="https://codegen.com/x", summary="well", result="a\nb", metadata={"secret": "s3cret"})
    row, item = shown(path, reader, Task(prompt="do\nit", metadata={"secret": "s3cret"}), seen)
    assert (row.url, row.note, row.prompt) == ("https://codegen.com/x", "well", "do it")
    assert (item["prompt"], item["result"]) == ("do\nit", "a\nb")
    assert "s3cret" not in repr((row, item))


def test_a_run_of_any_other_api(path: Path, reader: Reader) -> None:
    seen = HostedRun(
        id="r-1", status="failed", phase=Phase.FAILED, error="out of memory", urls=("https://x.example/1",)
    )
    fields = {"input": {"text": "do it"}, "metadata": {"secret": "s3cret"}}
    row, item = shown(path, reader, Task(prompt="", fields=fields), seen)
    assert (row.label, row.run, row.note, row.pull) == ("failed", "r-1", "out of memory", "https://x.example/1")
    assert row.prompt == '{"input":{"text":"do it"}}'
    assert "s3cret" not in repr((row, item))


def test_texts_of_others_are_text_alone(path: Path, reader: Reader) -> None:
    seen = run(11, "ERROR", web_url="javascript:alert(1)", summary=HOSTILE, result=HOSTILE * 1000)
    row, item = shown(path, reader, Task(prompt=HOSTILE), seen)
    for text in (row.note, row.prompt, item["summary"], item["result"], item["prompt"]):
        assert text.startswith("<img src=x onerror=alert(1)>")  # which the page puts as text
        assert not set(text) & {"\u202e", "\x1b"}
    assert len(row.note) <= 200
    assert (row.url, item["url"]) == ("", "")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "http://x.example",
        "//x.example",
        "https://x\u202e.example",
        "\x01https://x",
        " https://x",
        "vbscript:x",
        "https://[",
        None,
    ],
)
def test_what_is_no_plain_address_is_no_link(url: str | None) -> None:
    assert _link(url) == ""


def test_errors_are_without_keys_folders_and_organizations() -> None:
    task = Task(prompt="x", folder="/srv/secret place")
    key = f"{'a' * 12}-{'b' * 16}-3"
    text = f"POST /v1/organizations/4711/agent/run: organization 4711 has {key}; /srv/secret place/a.png is missing"
    assert _private(text, task) == ("POST /v1/organizations/.../agent/run: organization ... has ...; a.png is missing")


# -- the page


def test_the_script_makes_no_markup_of_texts() -> None:
    script = FILES["app.js"].content.decode()
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "srcdoc",
        "setAttribute",
    ):
        assert way not in script
    assert script.count("href:") == 1  # behind the look at its protocol
    page = FILES[""].content.decode()
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|https?:", page)


def test_the_files_are_small() -> None:
    assert sum(len(reply.content) for reply in FILES.values()) <= 25 * 1024


# -- a batch in a database


def test_a_batch_in_a_database_is_read_as_a_whole(tmp_path: Path) -> None:
    database = open_database(f"sqlite:{tmp_path / 'batch.dbos.db'}")
    with contextlib.closing(database.connect()) as connection:
        database.prepare(connection)
        for seq in (1, 2):
            values = (f"k{seq}", Task(prompt="x").encode())
            connection.execute("INSERT INTO items (name, task) VALUES (?, ?)", values)
        reader = Reader(database)
        first = reader.changes()
        assert first is not None
        assert (labels(first.rows), first.whole) == ({"k1": "planned", "k2": "planned"}, True)
        assert reader.changes() is None
        assert (reader.driver(), reader.account()) == (None, "")
        connection.execute("UPDATE items SET state = 'rejected', error = 'no', finished = 1 WHERE seq = 2")
        second = reader.changes()
        assert second is not None
        assert (labels(second.rows), second.whole) == ({"k1": "planned", "k2": "rejected"}, True)
        item = reader.item(2)
        assert item is not None
        assert item["error"] == "no"
        reader.close()
