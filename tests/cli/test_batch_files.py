"""Files that go into a batch and come out of it, by the command line."""

import csv
import fcntl
import io
import json
import os
import shlex
import signal
import struct
import termios
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codegen_async.batch.schema import close_journal, open_journal
from codegen_async.cli import standing
from codegen_async.cli.options import Display
from tests.cli.harness import CommandLine, Result, Served, write_prompts
from tests.cli.test_batch import go_on

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def prompts(cli: CommandLine) -> Path:
    return write_prompts(cli.home, 3)


@pytest.fixture
def done(cli: CommandLine, fake: Served, prompts: Path) -> Path:
    """Return a file of prompts whose journal stands beside it: one succeeded, two failed."""
    fake.script("COMPLETE")
    one = cli.home / "one.jsonl"
    one.write_text(prompts.read_text().splitlines()[0] + "\n")
    assert cli.run("batch", "run", one, "--journal", f"{prompts}.db").code == 0
    fake.script("ERROR")
    assert cli.run("batch", "run", prompts).code == 3
    return prompts


def lines(path: Path) -> list[tuple[str, str]]:
    return sorted((row["key"], row["state"]) for row in map(json.loads, path.read_text().splitlines()))


# -- in


def test_prompts_come_from_the_standard_input(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    table = "Prompt;Key;Title;;\r\na;k1;One;;\r\n;;;;\r\nb;k2;Two;;\r\n"
    result = cli.run("batch", "run", "-", "--journal", "j.db", stdin="\ufeff" + table)
    assert (result.code, sorted(line.split("\t")[0] for line in result.out.splitlines())) == (0, ["k1", "k2"])
    assert result.err.startswith("kept for the results, not sent: Title\n")
    rows = cli.run("batch", "export", "j.db", "-").jsonl
    assert [(row["prompt"], row["Title"]) for row in rows] == [("a", "One"), ("b", "Two")]
    wrong = cli.run("batch", "run", "-", "--journal", "j.db", "--format", "txt", stdin=b"\xff\xfea\0")
    assert (wrong.code, wrong.err.splitlines()[0][:60]) == (
        2,
        "error: stdin, line 1, encoding: expected UTF-8 text; save it",
    )


def test_a_pipe_without_a_name_is_read_from_the_working_directory(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    (cli.home / "a.png").write_bytes(PNG)
    content = '{"prompt": "a", "key": "k", "images": ["a.png"]}\n'
    no_place = cli.run("batch", "run", "/dev/stdin", stdin=content)
    assert (no_place.code, no_place.err.splitlines()[1]) == (2, "hint: give --journal PATH")
    assert cli.run("batch", "run", "/dev/stdin", "--journal", "j.db", stdin=content).code == 0
    wrong = cli.run("batch", "run", "/dev/stdin", "--journal", "j.db", stdin="{}")
    assert wrong.err.startswith("error: pipe, line 1, prompt: ")


def test_what_came_through_a_pipe_goes_on_by_its_journal(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ACTIVE")
    pipe = cli.home / "pipe.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(prompts.read_bytes(),))
    writer.start()
    with cli.started("batch", "run", pipe) as command:
        command.until("3 running")
        command.interrupt(signal.SIGTERM)
        result = command.end()
    writer.join()
    assert go_on(result) == ["batch", "run", f"{pipe}.db"]
    fake.end_all()
    assert len(cli.run(*go_on(result)).out.splitlines()) == 3
    assert len(fake.server.world.runs) == 3


def until_read(pipe: int) -> None:
    """Wait until nothing that was written is left in a pipe."""
    while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))) != (0,):
        threading.Event().wait(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_that_waits_for_a_pipe(cli: CommandLine, number: signal.Signals) -> None:
    pipe = cli.home / "pipe.jsonl"
    os.mkfifo(pipe)
    with cli.started("batch", "run", pipe) as command:
        writer = os.open(pipe, os.O_WRONLY)
        os.write(writer, b"\n")
        until_read(writer)
        command.interrupt(number)
        result = command.end()
        os.close(writer)
    assert (result.code, result.err) == (128 + number, "error: interrupted\n")
    assert list(cli.home.iterdir()) == [pipe]


def test_an_image_that_is_not_there_is_told_before_anything_is_sent(cli: CommandLine, fake: Served) -> None:
    folder = cli.home / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG)
    path = folder / "p.jsonl"
    path.write_text('{"prompt": "a", "images": ["a.png"]}\n{"prompt": "b", "images": ["b.png"]}\n')
    result = cli.run("batch", "run", path)
    assert (result.code, len(fake.server.world.runs)) == (2, 0)
    assert result.err.startswith("error: p.jsonl, line 2, images[0]: expected a readable file (No such file")
    assert not Path(f"{path}.db").exists()
    fake.script("COMPLETE")
    (folder / "b.png").write_bytes(PNG)
    assert cli.run("batch", "run", path).code == 0


# -- before anything is sent


def test_a_check_tells_what_a_file_comes_to(bare: CommandLine) -> None:
    (bare.home / "a.png").write_bytes(PNG)
    rows: list[dict[str, Any]] = [{"prompt": "same"}, {"prompt": "same"}, {"prompt": "pictured", "images": ["a.png"]}]
    rows += [{"prompt": f"Task {n}", "key": f"k{n}", "owner": "me"} for n in range(20)]
    (bare.home / "p.json").write_text(json.dumps(rows))
    report = bare.run("batch", "check", "p.json", "--json")
    assert (report.code, report.err) == (0, "")
    assert report.json == {
        "prompts": 23,
        "keys": 20,
        "equal": 1,
        "longest": 8,
        "images": 1,
        "image_bytes": len(PNG),
        "extra": ["owner"],
        "creates": 23,
        "seconds": 120.0,
        "problems": [],
    }
    told = bare.run("batch", "run", "p.json", "--dry-run")
    assert told.code == 0
    assert "creates\t23; the last after 2 min 00 s, at 10 in 60 s\n" in told.out
    assert sorted(path.name for path in bare.home.iterdir()) == ["a.png", "p.json"]


def test_a_check_tells_all_that_is_wrong(bare: CommandLine) -> None:
    content = '{"prompt": "a"}\n{"promt": "b"}\n{"prompt": "c", "images": ["no.png"]}\nx\n'
    (bare.home / "p.jsonl").write_text(content)
    result = bare.run("batch", "check", "p.jsonl", "--json")
    assert result.code == 2
    assert [line.split(":")[1] for line in result.err.splitlines()] == [
        " p.jsonl, line 2, promt",
        " p.jsonl, line 4, line",
        " p.jsonl, line 3, images[0]",
    ]
    assert [f"error: {problem}" for problem in result.json["problems"]] == result.err.splitlines()
    run = bare.run("batch", "run", "p.jsonl", "--simulate")
    assert run.code == 2
    assert run.err.splitlines()[1] == "hint: nothing was sent; 2 more like this: codegen-async batch check p.jsonl"
    run = bare.run("batch", "run", "p.jsonl", "--simulate", "--format", "json")
    assert run.err.splitlines()[1].endswith("codegen-async batch check p.jsonl --format json")


def test_a_check_knows_what_was_done(cli: CommandLine, done: Path) -> None:
    assert cli.run("batch", "check", done, "--json").json["creates"] == 0
    with done.open("a") as file:
        file.write('{"prompt": "one more"}\n')
    assert cli.run("batch", "run", done, "--dry-run", "--json").json["creates"] == 1


def test_a_check_finds_the_key_of_another_prompt_that_was_sent(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    file = cli.home / "p.jsonl"
    file.write_text('{"prompt": "as it was", "key": "k"}\n')
    assert cli.run("batch", "run", file).code == 0
    assert cli.run("batch", "check", file).code == 0
    file.write_text('{"prompt": "not as it was", "key": "k"}\n')
    checked, run = cli.run("batch", "check", file), cli.run("batch", "run", file)
    assert (checked.code, run.code) == (2, 2)
    assert checked.err.splitlines()[0] == run.err.splitlines()[0]
    assert "p.jsonl, line 1, key: expected another key" in checked.err


def test_a_check_and_a_run_create_the_same(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    file = cli.home / "p.jsonl"
    contents = [
        [{"prompt": "a", "key": "k"}, {"prompt": "b"}],
        [{"prompt": "a", "key": "new"}, {"prompt": "b"}],  # another key is another prompt
        [{"prompt": "a", "key": "k"}, {"prompt": "b", "key": "later"}, {"prompt": "b"}],
        [{"prompt": "refused", "agent_type": "no such agent"}],
        [{"prompt": "refused", "agent_type": "no such agent"}],  # is not sent again by itself
        [],
    ]
    for rows in contents:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        foreseen = cli.run("batch", "check", file, "--json").json["creates"]
        before = fake.do(lambda server: sum(request.endpoint == "create" for request in server.requests))
        cli.run("batch", "run", file)
        after = fake.do(lambda server: sum(request.endpoint == "create" for request in server.requests))
        assert foreseen == after - before, rows


# -- what is known


def test_a_file_of_prompts_stands_for_the_journal_beside_it(cli: CommandLine, done: Path) -> None:
    for words in (("status",), ("export", "-"), ("audit",), ("list",), ("watch",)):
        name, *rest = words
        of_prompts = cli.run("batch", name, done, *rest)
        of_journal = cli.run("batch", name, f"{done}.db", *rest)
        assert (of_prompts.code, of_prompts.out) == (of_journal.code, of_journal.out)
        assert of_prompts.out
    assert cli.run("batch", "retry", done).code == 3
    done.unlink()
    assert cli.run("batch", "status", done).code == 0


def test_a_file_of_prompts_that_was_not_run_has_no_journal(bare: CommandLine) -> None:
    prompts = write_prompts(bare.home, 1)
    result = bare.run("batch", "status", prompts)
    assert (result.code, result.err.splitlines()[0]) == (
        1,
        f"error: {prompts}: no journal stands beside this file of prompts",
    )


def test_a_list_shows_items_by_state(cli: CommandLine, done: Path) -> None:
    everything = [line.split("\t") for line in cli.run("batch", "list", done).out.splitlines()]
    assert [(row[0], row[2]) for row in everything] == [("k0", "succeeded"), ("k1", "failed"), ("k2", "failed")]
    failed = cli.run("batch", "list", done, "--state", "failed", "--json").json
    assert [(row["key"], row["state"], row["prompt"]) for row in failed] == [
        ("k1", "ended", "Task 1"),
        ("k2", "ended", "Task 2"),
    ]
    assert failed[0]["created_at"] <= failed[0]["ended_at"]
    both = cli.run("batch", "list", done, "--state", "succeeded", "--state", "ended", "--jsonl").jsonl
    assert [row["key"] for row in both] == ["k0", "k1", "k2"]
    assert cli.run("batch", "list", done, "--state", "planned") == (0, "", "")
    wrong = cli.run("batch", "list", done, "--state", "faild")
    assert (wrong.code, wrong.err.splitlines()[1]) == (2, "hint: did you mean failed?")


def test_a_batch_is_watched_from_another_terminal(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ACTIVE")
    with cli.started("batch", "run", prompts, "--quiet") as run:
        assert run.process.stdout is not None
        while len(fake.server.world.runs) < 3:
            fake.until_asked("create").wait(0.1)
        with cli.started("batch", "watch", prompts, "--jsonl") as watch:
            watch.until("3 running")
            fake.end_all()
            result = watch.end()
        assert run.end().code == 0
    assert (result.code, result.err.split()[-2:]) == (0, ["3", "succeeded"])
    ended = [row["key"] for row in result.jsonl if row["state"] == "ended"]
    assert sorted(ended) == ["k0", "k1", "k2"]


def test_a_watch_of_a_batch_that_nobody_runs_says_so(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ACTIVE")
    with cli.started("batch", "run", prompts) as run:
        run.until("3 running")
        run.process.kill()
        run.end()
    with cli.started("batch", "watch", prompts) as watch:
        said = watch.until("no process of this machine runs it now")
        fake.end_all()
        assert cli.run(*go_on_of(said)).code == 0
        result = watch.end()
    assert (result.code, result.err.split()[-2:]) == (0, ["3", "succeeded"])


def test_a_watch_waits_for_a_batch_that_is_about_to_be_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "batch.db"
    close_journal(open_journal(journal))
    waits: list[float] = []
    monkeypatch.setattr(standing, "is_driven", lambda _: len(waits) < 3)
    monkeypatch.setattr(standing, "time", SimpleNamespace(sleep=waits.append))
    assert standing.watch_items(journal, Display(quiet=True), ()) == 0
    assert len(waits) == 3


@pytest.mark.slow
def test_a_run_that_is_not_found_needs_a_person_who_may_make_another(
    cli: CommandLine, fake: Served, prompts: Path
) -> None:
    fake.script("ACTIVE")
    with cli.started("batch", "run", prompts) as run:
        run.until("3 running")
        run.process.kill()
    lost, *_ = fake.server.world.runs
    fake.end_all()
    fake.do(lambda server: server.world.delete(lost))
    fake.script("COMPLETE")
    for _ in range(2):
        result = cli.run("batch", "run", prompts)
        assert (result.code, result.err.splitlines()[-1]) == (7, "batch: 2 succeeded, 1 unknown")
    assert cli.run("batch", "watch", prompts, "--quiet").code == 7
    listed = cli.run("batch", "list", prompts, "--state", "unknown", "--jsonl").jsonl
    assert [(one["run_id"], one["state"]) for one in listed] == [(lost, "created")]
    assert cli.run("batch", "retry", prompts).code == 7  # nothing is named
    assert len(fake.server.world.runs) == 2
    again = cli.run("batch", "retry", prompts, listed[0]["key"])
    assert (again.code, again.err.splitlines()[-1]) == (0, "batch: 3 succeeded")
    assert len(fake.server.world.runs) == 3


def go_on_of(line: str) -> list[str]:
    return shlex.split(line.rpartition("to go on: codegen-async ")[2])


# -- out


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl"])
def test_results_go_to_the_standard_output(cli: CommandLine, done: Path, kind: str) -> None:
    printed = cli.run("batch", "export", done, "-", "--format", kind)
    assert (printed.code, printed.err) == (0, "")
    assert cli.run("batch", "export", done, f"out.{kind}").code == 0
    assert (cli.home / f"out.{kind}").read_bytes().decode() == printed.out
    if kind == "csv":
        assert [row["prompt"] for row in csv.DictReader(io.StringIO(printed.out))] == ["Task 0", "Task 1", "Task 2"]


def test_results_that_cannot_be_written_are_told(cli: CommandLine, done: Path) -> None:
    (cli.home / "full.csv").symlink_to("/dev/full")
    for name, reason in (("full.csv", "No space left"), ("no/x.csv", "No such file"), ("/proc/x.csv", "No such file")):
        result = cli.run("batch", "export", done, name)
        assert result.code == 2
        assert result.err.startswith(f"error: FILE: expected a file that can be written ({reason}")
    assert cli.run("batch", "export", done, "out.xlsx").code == 2
    before = done.read_bytes()
    kept: dict[object, str] = {
        f"{done}.db": "belongs to the journal",
        f"{done}.db-lock": "belongs to the journal",
        done: "holds the prompts",
    }
    for file, why in kept.items():
        onto = cli.run("batch", "export", f"{done}.db", file, "--format", "jsonl")
        assert (onto.code, f"another name, as this file {why}" in onto.err) == (2, True), onto
    assert done.read_bytes() == before
    assert not [path for path in cli.home.iterdir() if path.name.startswith((".full", ".out", ".prompts"))]


@pytest.mark.parametrize("words", [("export", "-"), ("list",), ("list", "--json"), ("status",), ("watch",)])
def test_output_that_finds_no_room_or_no_reader_is_told(cli: CommandLine, done: Path, words: tuple[str, ...]) -> None:
    command = cli.words("batch", words[0], done, *words[1:])
    full = cli.spawn(["sh", "-c", '"$@" > /dev/full', "sh", *command])
    assert (full.code, full.err.splitlines()[-1]) == (
        1,
        "error: the output cannot be written: No space left on device",
    )
    left = cli.spawn(["sh", "-c", '{ "$@"; echo $? >&2; } | true', "sh", *command])
    assert left.err.splitlines()[-1] in ("141", "0")  # 0: all of it was in the pipe before its reader left


def test_results_are_not_written_to_a_closed_output(cli: CommandLine, done: Path) -> None:
    closed = cli.spawn(["sh", "-c", '"$@" >&-', "sh", *cli.words("batch", "export", done, "-")])
    assert (closed.code, closed.err) == (1, "error: the standard output is closed\n")


def test_a_batch_whose_output_finds_no_room_goes_on_later(cli: CommandLine, fake: Served) -> None:
    prompts = cli.home / "one.txt"  # one alone: no other is just being created, which would be looked for for a minute
    prompts.write_text("say a")
    fake.script("COMPLETE")
    full = cli.spawn(["sh", "-c", '"$@" > /dev/full', "sh", *cli.words("batch", "run", prompts)])
    assert full.code == 1
    assert "error: the outcomes cannot be written: No space left on device\n" in full.err
    again = cli.run(*go_on(full))
    assert (again.code, len(again.out.splitlines())) == (0, 1)
    assert len(fake.server.world.runs) == 1


# -- out, one by one


@pytest.mark.sampled(3)
@pytest.mark.parametrize("printed", [0, 1, 2, 3])
def test_outcomes_are_appended_once_over_kills(cli: CommandLine, fake: Served, prompts: Path, printed: int) -> None:
    fake.script("ACTIVE")
    out = cli.home / "out"
    words = ("batch", "run", prompts, "--out", out)
    for _ in range(2):
        with cli.started(*words, "--no-progress") as command:
            assert command.process.stdout is not None
            while len(fake.server.world.runs) < 3:
                fake.until_asked("create").wait(0.1)
            fake.end_all()
            for _ in range(printed):
                command.process.stdout.readline()
            command.process.kill()
    last = cli.run(*words)
    assert last.code == 0
    assert lines(out) == [("k0", "ended"), ("k1", "ended"), ("k2", "ended")]
    assert len(fake.server.world.runs) == 3
    before = out.read_bytes()
    assert cli.run(*words).code == 0
    assert out.read_bytes() == before


def test_outcomes_of_earlier_runs_are_caught_up_with(cli: CommandLine, fake: Served, done: Path) -> None:
    with done.open("a") as file:
        file.write('{"prompt": "one more", "key": "k3"}\n')
    fake.script("COMPLETE")
    result = cli.run("batch", "run", done, "--out", "out")
    assert [row.split("\t")[0] for row in result.out.splitlines()] == ["k3"]
    assert lines(cli.home / "out") == [(f"k{n}", "ended") for n in range(4)]


def interrupted(cli: CommandLine, fake: Served, runs: int, *words: object) -> Result:
    """Run a batch until it has made so many runs, end it by a signal, and return what it left."""
    with cli.started("batch", "run", *words, "--quiet") as command:
        while len(fake.server.world.runs) < runs:
            fake.until_asked("create").wait(0.1)
        command.interrupt(signal.SIGTERM)
        return command.end()


def test_an_interrupted_batch_goes_on_with_the_same_file(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ACTIVE")
    result = interrupted(cli, fake, 3, prompts, "--out", "out file")
    assert go_on(result)[-4:] == [f"{prompts}.db", "--out", "out file", "--quiet"]


def test_an_interrupted_batch_goes_on_with_the_same_format(cli: CommandLine, fake: Served) -> None:
    fake.script("ACTIVE")
    table = cli.home / "table.txt"  # a prompt a line, if it is not said that it is none
    table.write_text("prompt,owner\na,me\nb,you\n")
    result = interrupted(cli, fake, 2, table, "--format", "csv")
    fake.end_all()
    assert cli.run(*go_on(result)).code == 0
    assert sorted(run.prompt for run in fake.server.world.runs.values()) == ["a", "b"]


def test_a_file_that_cannot_take_outcomes_stops_a_batch_before_anything_is_sent(
    cli: CommandLine, fake: Served, prompts: Path
) -> None:
    before = prompts.read_bytes()
    for name in (prompts, "/dev/full", "no/where", "-", cli.home):
        result = cli.run("batch", "run", prompts, f"--out={name}")
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(("error: out", "error: --out"))
    assert prompts.read_bytes() == before
    assert not fake.server.world.runs
    assert list(cli.home.iterdir()) == [prompts]


@pytest.mark.parametrize(
    "name", ["prompts.jsonl", "prompts.jsonl.db", "./prompts.jsonl.db-lock", "prompts.jsonl.db-journal"]
)
def test_outcomes_are_not_appended_to_what_the_batch_needs(
    cli: CommandLine, fake: Served, prompts: Path, name: str
) -> None:
    fake.script("COMPLETE")
    before = prompts.read_bytes()
    for _ in range(2):  # before there is a journal, and after
        result = cli.run("batch", "run", prompts.name, "--out", name)
        assert result.code == 2
        assert result.err.startswith("error: --out: expected another name, as this file ")
        assert cli.run("batch", "run", prompts.name, "--out", "out").code == 0
    assert prompts.read_bytes() == before
    assert len(lines(cli.home / "out")) == len(fake.server.world.runs) == 3


def test_a_file_whose_name_begins_as_an_option_is_a_file(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    (cli.home / "-dash.jsonl").write_text('{"prompt": "a"}\n')
    assert cli.run("batch", "run", "./-dash.jsonl").code == 0
    assert cli.run("batch", "status", "./-dash.jsonl").code == 0
    assert cli.run("batch", "export", "./-dash.jsonl", "./-out.csv").code == 0
    assert (cli.home / "-out.csv").exists()
    assert len(fake.server.world.runs) == 1
