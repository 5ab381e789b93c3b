"""Files of prompts, as people, editors, spreadsheets and other programs write them."""

import asyncio
import contextlib
import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from codegen_async import InvalidArgumentError
from codegen_async.batch.inputs import FORMATS, Prompts, parse_prompts, read_prompts
from codegen_async.batch.items import Outcome, State, Task
from codegen_async.batch.results import export
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, opened, run_all

virtual = pytest.mark.asyncio(loop_factories=["virtual"])

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
HERE = Path("/folder")


def read(content: str | bytes, kind: str | None = None) -> Prompts:
    return parse_prompts(content.encode() if isinstance(content, str) else content, "in", HERE, kind=kind)


def asked(prompts: Prompts) -> list[dict[str, Any]]:
    """Return what the lines of a file ask for, field by field."""
    prompts.check()
    found: list[dict[str, Any]] = []
    for line in prompts.lines:
        fields = json.loads(line.task.encode())
        assert fields.pop("folder") == str(HERE)
        found.append({**fields, **({} if line.key is None else {"key": line.key})})
    return found


def numbers(prompts: Prompts) -> list[int]:
    return [line.number for line in prompts.lines]


AB = [{"prompt": "a", "key": "k1"}, {"prompt": "b", "key": "k2"}]


# What is written, and on which lines the two prompts are.
WRITTEN = {
    "JSON Lines": ("jsonl", '{"prompt": "a", "key": "k1"}\n{"prompt": "b", "key": "k2"}\n', [1, 2]),
    "no line end at the end": ("jsonl", '{"prompt": "a", "key": "k1"}\n{"prompt": "b", "key": "k2"}', [1, 2]),
    "blank lines": ("jsonl", '\n  \n{"prompt": "a", "key": "k1"}\n\n\t\n{"prompt": "b", "key": "k2"}\n\n', [3, 6]),
    "lines of Windows": ("jsonl", '{"prompt": "a", "key": "k1"}\r\n{"prompt": "b", "key": "k2"}\r\n', [1, 2]),
    "lines of an old Mac": ("jsonl", '{"prompt": "a", "key": "k1"}\r{"prompt": "b", "key": "k2"}\r', [1, 2]),
    "a byte order mark": ("jsonl", '\ufeff{"prompt": "a", "key": "k1"}\n{"prompt": "b", "key": "k2"}\n', [1, 2]),
    "other cases": ("jsonl", '{"Prompt": "a", "KEY": "k1"}\n{"PROMPT": "b", "Key ": "k2"}\n', [1, 2]),
    "null": ("jsonl", '{"prompt": "a", "key": "k1", "model": null}\n{"prompt": "b", "key": "k2"}\n', [1, 2]),
    "JSON on several lines": ("jsonl", '{\n"prompt": "a",\n"key": "k1"\n}\n{\n"prompt": "b", "key": "k2"}\n', [1, 5]),
    "an array": ("json", '[{"prompt": "a", "key": "k1"}, {"prompt": "b", "key": "k2"}]', [1, 1]),
    "an array on lines": ("json", '[\n {"prompt": "a", "key": "k1"},\n {"prompt": "b",\n "key": "k2"}\n]\n', [2, 3]),
    "an array in JSON Lines": ("jsonl", '[\n{"prompt": "a", "key": "k1"},\n{"prompt": "b", "key": "k2"}]', [2, 3]),
    "lines in JSON": ("json", '{"prompt": "a", "key": "k1"}\n{"prompt": "b", "key": "k2"}\n', [1, 2]),
    "a table": ("csv", "prompt,key\na,k1\nb,k2\n", [2, 3]),
    "a table of Windows": ("csv", "prompt,key\r\na,k1\r\nb,k2\r\n", [2, 3]),
    "a table of an old Mac": ("csv", "prompt,key\ra,k1\rb,k2\r", [2, 3]),
    "a table with a mark": ("csv", "\ufeffprompt,key\na,k1\nb,k2\n", [2, 3]),
    "a table with a mark and quotes": ("csv", '\ufeff"prompt","key"\n"a","k1"\n"b","k2"\n', [2, 3]),
    "semicolons": ("csv", "prompt;key\na;k1\nb;k2\n", [2, 3]),
    "tabs": ("csv", "prompt\tkey\na\tk1\nb\tk2\n", [2, 3]),
    "tabs by name": ("tsv", "prompt\tkey\na\tk1\nb\tk2\n", [2, 3]),
    "bars": ("csv", "prompt|key\na|k1\nb|k2\n", [2, 3]),
    "sep=": ("csv", "sep=;\r\nprompt;key\r\na;k1\r\nb;k2\r\n", [3, 4]),
    "sep= of something else": ("csv", '"sep=~"\nprompt~key\na~k1\nb~k2\n', [3, 4]),
    "capitals": ("csv", "Prompt,KEY\na,k1\nb,k2\n", [2, 3]),
    "blanks in the header": ("csv", " prompt , key\na,k1\nb, k2 \n", [2, 3]),
    "rows below": ("csv", "prompt,key\na,k1\nb,k2\n,\n,\n", [2, 3]),
    "rows of blanks below": ("csv", "prompt,key\na,k1\nb,k2\n , \n\t,\n", [2, 3]),
    "a row between": ("csv", "prompt,key\na,k1\n,\nb,k2\n", [2, 4]),
    "empty lines between": ("csv", "prompt,key\n\na,k1\n\n\nb,k2\n", [3, 6]),
    "rows above": ("csv", ",,\n\n;;\nprompt,key\na,k1\nb,k2\n".replace(";", ","), [5, 6]),
    "columns to the right": ("csv", "prompt,key,,\na,k1,,\nb,k2,,\n", [2, 3]),
    "columns to the left": ("csv", ",prompt,key\n,a,k1\n,b,k2\n", [2, 3]),
    "a column between": ("csv", "prompt,,key\na,,k1\nb, ,k2\n", [2, 3]),
    "commas at the ends": ("csv", "prompt,key\na,k1,\nb,k2,,,\n", [2, 3]),
    "semicolons with rows of nothing": ("csv", "prompt;key;;\r\na;k1;;\r\n;;;\r\nb;k2;;\r\n;;;\r\n", [2, 4]),
    "empty columns of fields": ("csv", "prompt,key,repo_id,metadata,images\na,k1,,,\nb,k2,,,\n", [2, 3]),
}


@pytest.mark.parametrize(("kind", "content", "lines"), WRITTEN.values(), ids=WRITTEN)
def test_however_two_prompts_are_written_they_are_read(kind: str, content: str, lines: Sequence[int]) -> None:
    prompts = read(content, kind)
    assert asked(prompts) == AB
    assert numbers(prompts) == lines
    assert not prompts.extra


# What comes through a pipe has no suffix.
@pytest.mark.parametrize(("kind", "content", "lines"), WRITTEN.values(), ids=WRITTEN)
def test_what_it_is_is_seen_from_its_beginning(kind: str, content: str, lines: Sequence[int]) -> None:
    del kind
    assert numbers(read(content)) == lines


def test_a_text_has_a_prompt_a_line() -> None:
    prompts = read("\ufeffFix a, then b\r\n\r\n  # {not JSON}\r\n\t\nlast\r\n", "txt")
    assert asked(prompts) == [{"prompt": "Fix a, then b"}, {"prompt": "# {not JSON}"}, {"prompt": "last"}]
    assert numbers(prompts) == [1, 3, 5]


def test_an_array_may_hold_nothing_but_prompts() -> None:
    assert asked(read('["a", {"prompt": "b"}]', "json")) == [{"prompt": "a"}, {"prompt": "b"}]


def test_prose_without_a_name_is_not_taken_for_prompts() -> None:
    with pytest.raises(InvalidArgumentError, match=r"\.txt, or a format"):
        read("Dear all,\nplease note\n")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "txt", None])
@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_nothing_is_no_prompt_and_no_fault(kind: str | None, content: str) -> None:
    assert asked(read(content, kind)) == []


def test_json_is_read_field_by_field() -> None:
    line = (
        '{"prompt": "zwei äöü\\n", "key": "k", "images": ["a.png"], "metadata": {"x": [1, null]}, "repo_id": 7, '
        '"model": "m", "agent_type": "codegen", "note": {"deep": [1]}}'
    )
    assert asked(read(line, "jsonl")) == [json.loads(line.replace('"note"', '"extra": {"note"') + "}")]


def test_a_table_is_read_column_by_column() -> None:
    content = (
        "\ufeffKey,Prompt,Repo ID,images,metadata,AgentType,Title\r\n"
        'a,"two\r\nlines, and ""quotes""",7,,,,\r\n'
        ',plain,7.0,shot.png,"{""x"": 1}",codegen,What\r\n'
        ',last,,"[""a.png"", ""b.png""]",,,\r\n'
    )
    prompts = read(content, "csv")
    assert asked(prompts) == [
        {"key": "a", "prompt": 'two\r\nlines, and "quotes"', "repo_id": 7},
        {
            "prompt": "plain",
            "repo_id": 7,
            "images": ["shot.png"],
            "metadata": {"x": 1},
            "agent_type": "codegen",
            "extra": {"Title": "What"},
        },
        {"prompt": "last", "images": ["a.png", "b.png"]},
    ]
    assert numbers(prompts) == [2, 4, 5]


def test_prompts_on_one_line_are_several() -> None:
    prompts = read('[{"prompt": "a"}, {"prompt": "b"},\n"c", {"prompt": "a"}]', "json")
    names = dict(prompts.named())
    assert [task.prompt for task in names.values()] == ["a", "b", "c", "a"]
    assert list(names) == ["#in:1", "#in:1.2", "#in:2", "#in:2.2"]


# -- names


@pytest.mark.parametrize(
    "name",
    [
        "promt",
        "promtp",
        "prompts",
        "Pormpt",
        "kye",
        "keys",
        "imgaes",
        "image",
        "Metdata",
        "modle",
        "models",
        "repo",
        "RepoIds",
        "repo-di",
        "agent_typ",
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_misspelt_name_is_told_with_the_right_one(name: str, kind: str) -> None:
    content = f"key,prompt,{name}\nk,a,b\n" if kind == "csv" else f'{{"prompt": "a", "{name}": "b"}}'
    if name in ("kye", "keys"):
        content = content.replace("key,", "title,")
    problems = [str(problem) for problem in read(content, kind).problems]
    assert len(problems) == 1
    assert problems[0].startswith("in, line 1, ")
    assert "did you mean '" in problems[0]
    assert name in problems[0]


@pytest.mark.parametrize(
    "name",
    [
        *[
            "id",
            "Title",
            "notes",
            "url",
            "owner",
            "priority",
            "type",
            "name",
            "module",
            "data",
            "date",
            "state",
            "text",
            "category",
            "Größe",
        ],
        *("prompt_id", "promptLength", "_promt", "_key", "estimated hours"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_another_name_is_kept_for_the_results(name: str, kind: str) -> None:
    content = f"prompt,{name}\na,b\n" if kind == "csv" else f'{{"prompt": "a", "{name}": "b"}}'
    prompts = read(content, kind)
    assert asked(prompts) == [{"prompt": "a", "extra": {name: "b"}}]
    assert list(prompts.extra) == [name]


# -- what cannot be right


WRONG = [
    ("jsonl", '{"prompt": "a"}\n{"prompt": 5}', 2, "prompt"),
    ("jsonl", '{"key": "a"}', 1, "prompt"),
    ("jsonl", '{"prompt": "a", "promt": "b"}', 1, "promt"),
    ("jsonl", '{"prompt": "a", "Prompt": "b"}', 1, "Prompt"),
    ("jsonl", '{"prompt": "a", "repo_id": "7"}', 1, "repo_id"),
    ("jsonl", '{"prompt": "a", "key": "#1"}', 1, "key"),
    ("jsonl", '{"prompt": "a", "images": "a.png"}', 1, "images"),
    ("jsonl", '{"prompt": "a", "metadata": []}', 1, "metadata"),
    ("jsonl", '{"prompt": "a", "metadata": 3}', 1, "metadata"),
    ("jsonl", '{"prompt": "a", "note": "\\ud800"}', 1, "extra.note"),
    ("jsonl", '{"prompt": "\\ud800"}', 1, "prompt"),
    ("jsonl", '{"prompt": "a", "metadata": {"x": NaN}}', 1, "line"),
    ("jsonl", '{"prompt": "a"}\n\n["a"]', 3, "line"),
    ("jsonl", '{"prompt": "a"}\n5', 2, "line"),
    ("jsonl", '{"prompt": "a"', 1, "line"),
    ("jsonl", '{"prompt": "a"\n{"prompt": "b"}', 1, "line"),
    ("jsonl", '{"prompt": "a"}\n{"prompt": "b}\n{"prompt": "c"}', 2, "line"),
    ("jsonl", '{"prompt": "a"} and more', 1, "line"),
    ("jsonl", '{"prompt": "a"}\n\ufeff{"prompt": "b"}', 2, "line"),
    ("jsonl", '{"prompt": "a", "repo_id": ' + "1" * 5000 + "}", 1, "line"),
    ("jsonl", "[" * 100_000, 1, "line"),
    ("jsonl", '{"prompt": "a", "key": "k"}\n{"prompt": "b", "key": "k"}', 2, "key"),
    ("json", '[{"prompt": "a"},\n{"prompt": "b"}', 2, "line"),
    ("json", '[{"prompt": "a"},\n', 2, "line"),
    ("json", '[{"prompt": "a"}\n{"prompt": "b"}]', 2, "line"),
    ("json", '[{"prompt": "a"}]\n{"prompt": "b"}', 2, "line"),
    ("json", "[\n[1]]", 2, "line"),
    ("json", "null", 1, "line"),
    ("csv", "prompt,repo_id\na," + "1" * 5000 + "\n", 2, "repo_id"),
    ("csv", "prompt,metadata\na," + "1" * 5000 + "\n", 2, "metadata"),
    ("csv", "prompt,repo_id\na,x\n", 2, "repo_id"),
    ("csv", "prompt,metadata\na,{\n", 2, "metadata"),
    ("csv", "prompt,images\na,[\n", 2, "images"),
    ("csv", "prompt,model\na\n", 2, "line"),
    ("csv", "prompt,key\n,k1\n", 2, "prompt"),
    ("csv", "prompt\na\nb,c\n", 3, "column 2"),
    ("csv", "prompt,,key\na,b,c\n", 2, "column 2"),
    ("csv", "prompt,mdoel\na,b\n", 1, "header"),
    ("csv", "prompt,Prompt\na,b\n", 1, "header"),
    ("csv", "prompt,x,x\na,b,c\n", 1, "header"),
    ("csv", "key\na\n", 1, "header"),
    ("csv", "\n\ntask;key\na;b\n", 3, "header"),
    ("csv", 'prompt\n"a\n', 2, "line"),
    ("csv", 'prompt,key\n"two\nlines",k\nb,#\n', 4, "key"),
    ("csv", "prompt,key\na,k\nb,k\n", 3, "key"),
]


@pytest.mark.parametrize(("kind", "content", "line", "field"), WRONG)
def test_what_cannot_be_right_is_named_by_file_line_and_field(kind: str, content: str, line: int, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read(content, kind).check()
    assert caught.value.field == f"in, line {line}, {field}"


def test_all_that_is_wrong_is_told_at_once() -> None:
    prompts = read('{"prompt": 1}\n{"prompt"\n{"prompt": "a"}\nx\n{"promt": "b"}\n', "jsonl")
    assert [problem.field for problem in prompts.problems] == [
        "in, line 1, prompt",
        "in, line 2, line",
        "in, line 4, line",
        "in, line 5, promt",
    ]
    assert numbers(prompts) == [3]


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt", None])
def test_utf_16_is_called_by_its_name(encoding: str, kind: str | None, *, mark: bool) -> None:
    with pytest.raises(InvalidArgumentError, match=r"in, line 1, encoding: expected UTF-8 .*'UTF-16'"):
        read((("\ufeff" if mark else "") + "prompt\na\n").encode(encoding), kind).check()


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        ("a\nb\nprompt ä".encode("latin-1"), 3, "0xe4, as in Latin-1"),
        (b"\xef\xbb\xbfa\r\n\xe4", 2, "0xe4"),
        ("a".encode("utf-32"), 1, "UTF-32"),
        (b"PK\x03\x04" + bytes(30), 1, "workbook"),
        (b"\x1f\x8b\x08", 1, "gzip"),
        (b"prompt\na\0b\n", 2, "null character"),
    ],
)
def test_what_is_no_text_is_called_by_its_name(content: bytes, line: int, found: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"in, line {line}, encoding: .*{found}"):
        read(content, "csv").check()


# -- files


@pytest.mark.parametrize("name", ["in.jsonl", "in.NDJSON", "in.json", "in.list", "in"])
def test_a_file_is_what_its_name_or_its_beginning_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"prompt": "a", "images": ["b.png"]}')
    [line] = read_prompts(tmp_path / name).lines
    assert line.task == Task(prompt="a", images=("b.png",), folder=str(tmp_path))


@pytest.mark.parametrize("name", ["\udcff.jsonl", "\udcff.csv", "a\0.jsonl", "missing.csv", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    if name.startswith("\udcff"):
        (tmp_path / name).write_text('{"prompt": "a"}\n')
    with pytest.raises(InvalidArgumentError, match="path: expected a readable file"):
        read_prompts(tmp_path / name)


def test_images_are_looked_for_beside_the_file_and_what_is_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.png").write_bytes(b"no image")
    os.mkfifo(tmp_path / "c.png")
    path = tmp_path / "in.csv"
    rows = ['a,"[""a.png"", ""a.png""]"', "b,b.png", "c,c.png", f"d,{tmp_path / 'a.png'}", "e,nowhere.png", "f,."]
    path.write_text("\n".join(["prompt,images", *rows, 'g,"[""data:image/png;base64,!""]"\n']))
    prompts = read_prompts(path)
    prompts.check()
    prompts.look_at_images()
    assert [problem.field for problem in prompts.problems] == [
        f"in.csv, line {line}, images[0]" for line in (3, 4, 6, 7, 8)
    ]
    assert str(tmp_path / "nowhere.png") in str(prompts.problems[2])
    assert prompts.images == {str(tmp_path / "a.png"): len(PNG)}


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """Return a file whose prompt has an image."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG)
    (folder / "in.jsonl").write_text('{"prompt": "a", "key": "k", "images": ["a.png"]}\n')
    (folder / "other.jsonl").write_text('{"prompt": "b", "key": "l", "images": ["a.png"]}\n')
    return folder / "in.jsonl"


@virtual
async def test_images_of_what_was_sent_need_not_be_there_any_more(
    codegen_server: CodegenServer, tmp_path: Path, pictured: Path
) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        await batch.add_file(pictured)
        await run_all(batch)
        await asyncio.to_thread(pictured.with_name("a.png").unlink)
        await batch.add_file(pictured)
        with pytest.raises(InvalidArgumentError, match=r"other\.jsonl, line 1, images\[0\]"):
            await batch.add_file(pictured.with_name("other.jsonl"))
    assert len(codegen_server.world.runs) == 1


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    os.mkfifo(path)
    return path


@virtual
async def test_a_pipe_is_read_once(codegen_server: CodegenServer, tmp_path: Path, pipe: Path) -> None:
    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        writing = asyncio.create_task(asyncio.to_thread(pipe.write_text, '{"prompt": "a"}\n'))
        await batch.add_file(pipe)
        await writing
        assert sum((await batch.status()).values()) == 1


@virtual
async def test_a_wait_for_a_pipe_can_be_cancelled(codegen_server: CodegenServer, tmp_path: Path, pipe: Path) -> None:
    async with opened(codegen_server, tmp_path / "batch.db") as batch:
        adding = asyncio.create_task(batch.add_file(pipe))
        await asyncio.sleep(0)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        assert sum((await batch.status()).values()) == 0
    await asyncio.to_thread(pipe.write_text, "")  # lets the thread go


# -- whatever is written

KINDS = st.sampled_from([*FORMATS, None])
PIECES = st.sampled_from(
    [
        *("prompt", "key", "a", "null", "1e999", "sep=;\n", "\n", "\r\n", "\r", "\x85", "\u2028", "\ufeff", "\0"),
        *(",", ";", "\t", '"', "'", "{", "}", "[", "]", ":", "\\", " "),
    ]
)


@given(st.one_of(st.binary(), st.lists(PIECES).map(lambda pieces: "".join(pieces).encode())), KINDS)
def test_no_content_is_taken_for_a_defect(content: bytes, kind: str | None) -> None:
    with contextlib.suppress(InvalidArgumentError):
        read(content, kind).check()


def test_a_prompt_in_a_table_may_be_as_long_as_elsewhere() -> None:
    bound = csv.field_size_limit()
    read_again = read(f"prompt,key\n{'x' * 300_000},a\n", "csv")
    read_again.check()
    assert len(read_again.lines[0].task.prompt) == 300_000
    assert csv.field_size_limit() == bound


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)
# A cell of a number of quotes, separators and line ends in any order.
CELLS = st.one_of(TEXTS, st.text('ab",;\t|\r\n ', min_size=1).filter(str.strip))


@given(
    st.lists(CELLS, min_size=1),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.integers(0, 2),
)
def test_what_is_written_as_a_table_is_read_again(
    prompts: list[str], delimiter: str, line_end: str, quoting: Any, empty: int
) -> None:
    # Some versions of this writer leave line ends without quotes that are not the ones it writes.
    assume(quoting == csv.QUOTE_ALL or not set("\r" if "\n" in line_end else "\r\n") & set("".join(prompts)))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerow(["Prompt", "No", *[""] * empty])
    for number, prompt in enumerate(prompts):
        writer.writerow([prompt, number, *[""] * empty])
        writer.writerow(["", "", *[""] * empty])
    read_again = read(text.getvalue(), "csv")
    read_again.check()
    assert [line.task.prompt for line in read_again.lines] == prompts


@given(st.lists(TEXTS), st.sampled_from([None, 2]), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_what_is_written_as_json_is_read_again(
    prompts: list[str], indent: int | None, line_end: str, listed: bool
) -> None:
    rows = [{"prompt": prompt} for prompt in prompts]
    text = json.dumps(rows, indent=indent) if listed else line_end.join(json.dumps(row, indent=indent) for row in rows)
    read_again = read(text, "jsonl")
    read_again.check()
    assert [line.task.prompt for line in read_again.lines] == prompts


def test_an_export_can_be_read_as_prompts(tmp_path: Path) -> None:
    done = Outcome(key="k", index=0, state=State.REJECTED, prompt="a", metadata={"x": 1}, extra={"state": "NY"})
    for kind in ("csv", "jsonl", "json", "tsv"):
        path = tmp_path / f"out.{kind}"
        export([done], path)
        prompts = read_prompts(path)
        prompts.check()
        [line] = prompts.lines
        assert (line.key, line.task.prompt, line.task.metadata) == ("k", "a", {"x": 1})
