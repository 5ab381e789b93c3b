"""Prompts from files, and outcomes into files."""

import asyncio
import contextlib
import csv
import io
import json
import os
import resource
import stat
import sys
import unicodedata
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from codegen_async import AgentRun, InvalidArgumentError, PullRequest
from codegen_async.batch import appending
from codegen_async.batch.appending import OutcomeFile
from codegen_async.batch.batch import export_journal
from codegen_async.batch.items import Outcome, State, Task
from codegen_async.batch.results import FORMATS, export
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
    Outcome(
        key="-a",
        index=0,
        state=State.ENDED,
        run=RUN,
        run_id=17,
        attempts=2,
        seconds=12.5,
        created_at=1_700_000_000.0,
        ended_at=1_700_000_012.5,
        prompt="=do it",
        metadata={"x": [1]},
        extra={"title": "+t", "state": "NY", "deep": [1]},
    ),
    Outcome(key="b", index=1, state=State.REJECTED, error="+no\nreason", prompt="b", extra={"other": "o"}),
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
        "created_at": "2023-11-14T22:13:20.000Z",
        "ended_at": "2023-11-14T22:13:32.500Z",
        "duration": "12.5",
        "web_url": "https://example.com/17",
        "pull_requests": "https://example.com/pr/1",
        "summary": "'@all, done",
        "result": '\'=HYPERLINK("https://example.com")',
        "error": "",
        "prompt": "'=do it",
        "metadata": '{"x":[1]}',
        "title": "'+t",
        "input_state": "NY",
        "deep": "[1]",
        "other": "",
    }
    assert (rows[1]["error"], rows[1]["run_id"], rows[2]["state"]) == ("'+no\nreason", "", "planned")


SIGNS = [chr(n) for n in range(sys.maxunicode) if unicodedata.normalize("NFKC", chr(n))[:1] in tuple("=+-@\u2212")]
BLANKS = ["", *" \n\x00\x0b\x85\u00a0\u00ad\u200b\u200e\u2028\u3000\ufeff\u3164"]


def test_no_cell_begins_like_a_formula_in_wide_signs_or_behind_what_is_not_seen(tmp_path: Path) -> None:
    assert set("=+-@\u2212\u207a\ufe63\uff0b\uff0d\uff1d\uff20") <= set(SIGNS)
    texts = [f"{blank}{more}{sign}1" for blank in BLANKS for more in ("", " ") for sign in SIGNS]
    path = tmp_path / "out.csv"
    export([Outcome(key=text, index=0, state=State.UNKNOWN, extra={text: text}) for text in texts], path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == [f"'{text}" for text in texts]
    assert {name for name in rows[0] if name.endswith("1")} == {f"'{text}" for text in texts}


@pytest.mark.parametrize("text", ["", " ", "a=b", "(=1)", "1-2", "'=", "≠", "–1", "\u200b", "é=1", "😀"])  # noqa: RUF001
def test_a_cell_that_begins_like_no_formula_stays_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "out.csv"
    export([Outcome(key="a", index=0, state=State.UNKNOWN, error=text)], path)
    with path.open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["error"] == text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
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
    assert (first["metadata"], first["title"], first["input_state"]) == ({"x": [1]}, "+t", "NY")
    assert (second["error"], second["run_id"], second["created_at"]) == ("+no\nreason", None, None)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_holds_the_same(tmp_path: Path, kind: str) -> None:
    named, told = tmp_path / f"out.{kind}", tmp_path / "out"
    assert export(OUTCOMES, named) == export(OUTCOMES, told, kind=kind) == 3
    assert named.read_bytes() == told.read_bytes()
    text = named.read_text(encoding="utf-8")
    if kind in ("csv", "tsv"):
        keys = [row["key"] for row in csv.DictReader(io.StringIO(text), delimiter="," if kind == "csv" else "\t")]
        assert keys == ["'-a", "b", "c"]
    else:
        rows = json.loads(text) if kind == "json" else list(map(json.loads, text.splitlines()))
        assert [row["key"] for row in rows] == ["-a", "b", "c"]


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_of_nothing_is_an_empty_one(tmp_path: Path, kind: str) -> None:
    assert export([], tmp_path / f"out.{kind}") == 0
    assert (tmp_path / "out.json").read_text() == "[]\n" if kind == "json" else (tmp_path / f"out.{kind}").exists()


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


@pytest.mark.parametrize(
    "name", ["out.xlsx", "out", "nowhere/out.csv", "file/out.csv", "folder.csv", "full.csv", "a\0.csv", "/proc/out.csv"]
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "full.csv").symlink_to("/dev/full")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidArgumentError, match="path: expected a file"):
        export(OUTCOMES, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_an_export_for_which_there_is_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    path = write(tmp_path / "out.csv", "old")
    with limited_to(100), pytest.raises(InvalidArgumentError, match=r"can be written \(File too large\)"):
        export(OUTCOMES, path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@contextlib.contextmanager
def limited_to(size: int) -> Generator[None]:
    """Let no file grow beyond this, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# -- out, one by one


def lines(path: Path) -> list[tuple[str, str]]:
    return [(row["key"], row["state"]) for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())]


def append(path: Path, *outcomes: Outcome) -> None:
    with contextlib.closing(OutcomeFile(path)) as file:
        for outcome in outcomes:
            file.add(outcome)


def test_each_outcome_is_appended_once_over_any_number_of_starts(tmp_path: Path) -> None:
    path = tmp_path / "out"
    first, second, _ = OUTCOMES
    append(path, first, first)
    append(path, first, second)
    append(path, second, first)
    assert lines(path) == [("-a", "ended"), ("b", "rejected")]
    append(path, msgspec.structs.replace(second, attempts=2, state=State.ENDED, run=RUN, run_id=17))
    assert lines(path)[2:] == [("b", "ended")]
    append(path, msgspec.structs.replace(second, prompt="of another batch"))
    assert lines(path)[3:] == [("b", "rejected")]
    export(OUTCOMES, tmp_path / "all.jsonl")
    assert path.read_text().splitlines()[:2] == (tmp_path / "all.jsonl").read_text().splitlines()[:2]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kept", [1, 5, 9, 50, -2])
def test_a_line_that_was_torn_is_written_anew(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "out"
    append(path, *OUTCOMES[:2])
    whole = path.read_bytes()
    second = whole.splitlines(keepends=True)[1]
    path.write_bytes(whole.removesuffix(second) + second[:kept])
    append(path, *OUTCOMES[:2])
    assert path.read_bytes() == whole


def test_a_last_line_that_lost_its_end_in_an_editor_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    append(path, *OUTCOMES[:2])
    whole = path.read_bytes()
    path.write_bytes(whole.removesuffix(b"\n"))
    append(path)  # of another batch, which could not write that line anew
    assert path.read_bytes() == whole


@pytest.mark.parametrize("fields", ["text", {"a": 1}, None])
def test_what_a_line_calls_like_a_column_takes_no_place_of_ours(tmp_path: Path, fields: object) -> None:
    path = tmp_path / "out"
    extra = {"fields": fields, "key": "k", "input_key": "i", "state": 7, "prompt": None, "phase": 1}
    outcome = msgspec.structs.replace(OUTCOMES[0], extra=extra)
    append(path, outcome, outcome)
    append(path, outcome)
    (row,) = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (row["key"], row["input_key"], row["input_input_key"], row["input_fields"]) == ("-a", "k", "i", fields)


def test_a_line_that_is_longer_than_any_takes_none_behind_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    append(path, *OUTCOMES[:2])
    before = path.read_bytes()
    monkeypatch.setattr(appending, "_LONGEST", 100)
    with pytest.raises(InvalidArgumentError, match="line 1"):
        OutcomeFile(path)
    assert path.read_bytes() == before


def test_two_batches_append_to_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with contextlib.closing(OutcomeFile(path)) as one, contextlib.closing(OutcomeFile(path)) as other:
        one.add(OUTCOMES[0])
        other.add(OUTCOMES[1])
    assert lines(path) == [("-a", "ended"), ("b", "rejected")]


@pytest.mark.parametrize(
    "content", ["hello", "hello\n", '{"prompt": "a"}\n', '{"prompt": "a"}', '{"index":0}', '{"index":0}\n', "\n"]
)
def test_a_file_that_holds_something_else_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "out", content)
    with pytest.raises(InvalidArgumentError, match="out, out, line 1: expected a file that holds nothing but outcomes"):
        OutcomeFile(path)
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.parametrize("name", ["nowhere/out", ".", "pipe", "/dev/full", "a\0b"])
def test_outcomes_are_appended_to_files_only(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgumentError, match="out: expected a"):
        OutcomeFile(tmp_path / name)


def test_an_outcome_for_which_there_is_no_room_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "out"
    append(path, OUTCOMES[1])
    before = path.read_bytes()
    with limited_to(len(before) + 100), pytest.raises(OSError, match="File too large"):
        append(path, OUTCOMES[0])
    assert path.read_bytes() == before
    append(path, OUTCOMES[0])
    assert lines(path) == [("b", "rejected"), ("-a", "ended")]


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
