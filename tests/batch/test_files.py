"""Prompts from files, and outcomes into files."""

import asyncio
import csv
import json
from pathlib import Path

import pytest

from codegen_async import AgentRun, InvalidArgumentError, PullRequest
from codegen_async.batch.batch import export_journal
from codegen_async.batch.items import Outcome, State, Task
from codegen_async.batch.results import export
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, opened, run_all

virtual = pytest.mark.asyncio(loop_factories=["virtual"])


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    return path


# -- in


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good.jsonl", "".join(json.dumps({"prompt": f"do {n}"}) + "\n" for n in range(5)))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return write(tmp_path / "bad.csv", "prompt,repo_id\n" + "do,1\n" * 500 + "do,minus one\n")


@virtual
async def test_a_file_is_added_as_a_whole_or_not_at_all(
    codegen_server: CodegenServer, tmp_path: Path, good: Path, bad: Path
) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        with pytest.raises(InvalidArgumentError, match=r"bad\.csv, line 502, repo_id"):
            await batch.add_file(bad)
        assert sum((await batch.status()).values()) == 0
        await batch.add_file(good)
        await batch.add_file(good)
        outcomes = await run_all(batch)
    assert sorted(outcome.key for outcome in outcomes) == [f"#good.jsonl:{n}" for n in range(1, 6)]
    assert len(codegen_server.world.runs) == 5


def test_where_a_file_lies_and_what_else_it_says_is_not_what_is_sent() -> None:
    here = Task.checked("a", images=["b.png", "/c.png", "data:x"], folder="/one", extra={"title": "t"})
    there = Task.checked("a", images=["b.png", "/c.png", "data:x"], folder="/two")
    assert here.content() == there.content() == Task.checked("a", images=["b.png", "/c.png", "data:x"]).encode()
    assert here.arguments()["images"] == ("/one/b.png", "/c.png", "data:x")
    assert not {"folder", "extra"} & set(here.arguments())


# -- out

RUN = AgentRun(
    id=17,
    organization_id=5,
    status="COMPLETE",
    web_url="https://example.com/17",
    summary="@all, done",
    result='=HYPERLINK("https://example.com")',
    github_pull_requests=(PullRequest(id=1, url="https://example.com/pr/1"), PullRequest(id=2, url=None)),
)
OUTCOMES = [
    Outcome(key="-a", index=0, state=State.ENDED, run=RUN, run_id=17, attempts=2, seconds=12.5),
    Outcome(key="b", index=1, state=State.REJECTED, error="+no\nreason"),
    Outcome(key="c", index=2, state=State.PLANNED),
]


def test_csv_has_a_line_for_each_item_and_no_formulas(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert export(OUTCOMES, path) == 3
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "index": "0",
        "key": "'-a",
        "state": "ended",
        "status": "COMPLETE",
        "run_id": "17",
        "attempts": "2",
        "seconds": "12.5",
        "web_url": "https://example.com/17",
        "pull_requests": "https://example.com/pr/1",
        "summary": "'@all, done",
        "result": '\'=HYPERLINK("https://example.com")',
        "error": "",
    }
    assert (rows[1]["error"], rows[1]["run_id"], rows[2]["state"]) == ("'+no\nreason", "", "planned")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_begins_like_a_formula(tmp_path: Path, start: str) -> None:
    path = tmp_path / "out.csv"
    export([Outcome(key="a", index=0, state=State.UNKNOWN, error=f"{start}1")], path)
    with path.open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["error"] == f"'{start}1"


def test_json_lines_have_an_object_for_each_item(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    export(OUTCOMES, path)
    first, second, _ = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert first["pull_requests"] == ["https://example.com/pr/1"]
    assert first["result"] == RUN.result
    assert (second["error"], second["run_id"]) == ("+no\nreason", None)


def test_an_export_is_for_its_owner_and_replaces_another_only_when_it_is_complete(tmp_path: Path) -> None:
    path = write(tmp_path / "out.csv", "old")

    def broken() -> Outcome:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        export((broken() for _ in range(1)), path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]
    export(OUTCOMES, path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["out.xlsx", "nowhere/out.csv"])
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="path"):
        export(OUTCOMES, tmp_path / name)


@virtual
async def test_a_batch_is_exported_also_while_it_is_run(codegen_server: CodegenServer, tmp_path: Path) -> None:
    codegen_server.world.script = SHORT
    journal = tmp_path / "batch.db"
    async with opened(codegen_server, journal) as batch:
        for n in range(3):
            batch.add(f"do {n}")
        assert await batch.export(tmp_path / "before.jsonl") == 3
        await run_all(batch)
        assert await export_journal(journal, tmp_path / "after.jsonl") == 3

    def states(name: str) -> list[str]:
        return [json.loads(line)["state"] for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]

    assert await asyncio.to_thread(states, "before.jsonl") == ["planned"] * 3
    assert await asyncio.to_thread(states, "after.jsonl") == ["ended"] * 3
