"""Batches of any dialect, as processes: files in, outcomes out, and kills in between."""

import csv
import io
import json
import shlex
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest

from codegen_async.testing import Fault
from tests.cli.acme import AcmeServer
from tests.cli.harness import CommandLine, Running, running
from tests.cli.test_batch import go_on
from tests.support.canary import CANARY

ACME = "tests.cli.acme:Acme"
KEYS = [f"k{n}" for n in range(12)]
MANY = [f"k{n}" for n in range(24)]


@pytest.fixture
def api() -> Generator[Running[AcmeServer]]:
    with running(lambda: AcmeServer(token=CANARY, speed=60, latency=(0.0, 1.0)), Running) as one:
        yield one


@pytest.fixture
def acme(api: Running[AcmeServer], tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, api.server.environment)


def jsonl(path: Path, keys: Sequence[str]) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps({"key": key, "task": f"Do {key}", "tags": [key]}) + "\n" for key in keys))
    return path


def table(path: Path, keys: Sequence[str]) -> Path:
    path = path.with_suffix(".csv")
    rows = "".join(f'{key},Do {key},"[""{key}""]",me\n' for key in keys)
    path.write_text(f"key,task,tags:,_owner\n{rows}")
    return path


def text(path: Path, keys: Sequence[str] = KEYS) -> Path:
    path = path.with_suffix(".txt")
    path.write_text("".join(f"Do {key}\n" for key in keys))
    return path


def tasks(path: Path, *states: str) -> Path:
    """Write prompts with the keys k0, k1, ... whose runs have these states at once."""
    path = path / "tasks.jsonl"
    rows = [{"key": f"k{n}", "task": f"Do k{n}", "state": state} for n, state in enumerate(states)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def until_runs(api: Running[AcmeServer], number: int) -> None:
    while len(api.server.runs) < number:
        threading.Event().wait(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("write", [jsonl, table, text])
def test_a_batch_goes_on_after_kills_and_each_prompt_has_one_run(
    acme: CommandLine, api: Running[AcmeServer], write: Callable[[Path, Sequence[str]], Path]
) -> None:
    # More than four lives of five each can make: of what was claimed last, and not sent, only later runs can tell.
    file = write(acme.home / "tasks", MANY)
    words = ("--dialect", ACME, "batch", "run", file, "--max-active", 5, "--out", "out")
    for number in (1, 5, 7, 11):
        with acme.started(*words) as command:
            until_runs(api, number)
            command.process.kill()
        api.do(AcmeServer.end)
    with acme.started(*words) as command:
        command.until("running")
        while command.process.poll() is None:
            api.do(AcmeServer.end)
            threading.Event().wait(0.05)
        last = command.end()
    assert last.code == 0, last
    made = sorted(run["task"] for run in api.server.runs.values())
    assert made == sorted(f"Do {key}" for key in MANY)
    assert api.server.violations == 0
    out = [json.loads(line) for line in (acme.home / "out").read_text().splitlines()]
    assert sorted(row["fields"]["task"] for row in out) == made
    exported = acme.run("batch", "export", file, "-", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(exported.out)))
    assert {row["phase"] for row in rows} == {"succeeded"}
    assert {row["run_id"] for row in rows} == set(api.server.runs)
    audited = acme.run("--dialect", ACME, "batch", "audit", file, "--json")
    assert (audited.code, audited.json["runs"], audited.json["missing"]) == (0, len(MANY), [])


def test_fields_arrive_as_they_were_written(acme: CommandLine, api: Running[AcmeServer]) -> None:
    acme.env["CODEGEN_DIALECT"] = ACME
    (acme.home / "a.csv").write_text('Key;task;n:;_owner;\nk1; Fix it ;3;me;\n;b;;;\nk3;"c;d";{"x": [1]};;\n')
    with acme.started("batch", "run", "a.csv", "--jsonl") as command:
        command.until("kept for the results, not sent: _owner")
        until_runs(api, 3)
        api.do(AcmeServer.end)
        result = command.end()
    assert result.code == 0, result
    made = [{name: run[name] for name in ("task", "n") if name in run} for run in api.server.runs.values()]
    assert sorted(made, key=lambda fields: fields["task"]) == [
        {"task": " Fix it ", "n": 3},
        {"task": "b"},
        {"task": "c;d", "n": {"x": [1]}},
    ]
    rows = {row["key"]: row for row in acme.run("batch", "export", "a.csv", "-").jsonl}
    assert (rows["k1"]["_owner"], rows["k1"]["phase"], rows["k1"]["result"]) == ("me", "succeeded", "said")
    assert rows["#a.csv:3"]["fields"] == {"task": "b"}
    assert [one["key"] for one in result.jsonl].count("k1") == 1
    listed = acme.run("batch", "list", "a.csv").out.splitlines()
    assert [line.split("\t")[0] for line in listed] == ["k1", "#a.csv:3", "k3"]


def test_the_exit_code_and_what_is_shown_tell_how_runs_ended(acme: CommandLine, api: Running[AcmeServer]) -> None:
    file = tasks(acme.home, "finished", "crashed", "needs_input")
    result = acme.run("batch", "run", file, "--dialect", ACME, "--json", "key,run_id,state")
    assert (result.code, {row["key"] for row in result.json}) == (3, {"k0", "k1", "k2"})
    for option in ((), ("--dialect", ACME)):
        status = acme.run(*option, "batch", "status", file, "--json")
        assert (status.json["succeeded"], status.json["failed"], status.json["paused"]) == (1, 1, 1)
        assert (status.json["api"], status.json["base_url"]) == ("acme", api.server.url)
    watched = acme.run("batch", "watch", file, "--jsonl", "--dialect", ACME)
    assert [(row["key"], row["phase"]) for row in watched.jsonl][:2] == [("k0", "succeeded"), ("k1", "failed")]
    failed = acme.run("--dialect", ACME, "batch", "list", file, "--state", "failed", "--json", "key").json
    assert failed == [{"key": "k1"}]


def test_a_prompt_whose_run_failed_is_tried_again(acme: CommandLine, api: Running[AcmeServer]) -> None:
    acme.env["CODEGEN_DIALECT"] = ACME
    file = tasks(acme.home, "finished", "crashed")
    assert acme.run("batch", "run", file).code == 3
    assert acme.run("batch", "retry", file, "--failed", "--quiet").code == 3
    assert [run["task"] for run in api.server.runs.values()].count("Do k1") == 2
    assert acme.run("batch", "export", file, "-").jsonl[1]["attempts"] == 2
    ended = acme.run("batch", "retry", file, "k0")
    assert (ended.code, ended.out) == (2, "")


def test_what_the_server_refuses_is_corrected_in_the_file(acme: CommandLine, api: Running[AcmeServer]) -> None:
    acme.env["CODEGEN_DIALECT"] = ACME
    file = acme.home / "tasks.jsonl"
    file.write_text('{"key": "k0", "task": "", "state": "finished"}\n')
    refused = acme.run("batch", "run", file)
    assert (refused.code, len(api.server.runs)) == (3, 0)
    assert "a task is needed" in refused.out
    file.write_text('{"key": "k0", "task": "Do it well", "state": "finished"}\n')
    corrected = acme.run("batch", "run", file)
    assert corrected.code == 0
    assert "sent in its new form: k0" in corrected.err
    assert [run["task"] for run in api.server.runs.values()] == ["Do it well"]


def test_a_lost_create_is_found_or_left_to_a_person(acme: CommandLine, api: Running[AcmeServer]) -> None:
    acme.env |= {"KEYLESS_TOKEN": CANARY}
    file = tasks(acme.home, "finished")
    api.server.faults.add(Fault.RESET_AFTER, endpoint="create", times=1)
    assert acme.run("batch", "run", file, "--dialect", ACME).code == 0
    api.server.faults.add(Fault.RESET_AFTER, endpoint="create", times=1)
    words = ("--dialect", "tests.cli.acme:Keyless", "batch")
    assert acme.run(*words, "run", file, "--journal", "keyless.db").code == 7
    assert len(api.server.runs) == 2
    assert acme.run(*words, "audit", "keyless.db").err.startswith("error: acme has no search for keys")
    assert acme.run(*words, "run", file, "--journal", "keyless.db").code == 7
    assert acme.run(*words, "retry", "keyless.db", "k0").code == 0
    assert len(api.server.runs) == 3


def test_an_interrupted_batch_says_how_to_go_on(acme: CommandLine, api: Running[AcmeServer]) -> None:
    file = text(acme.home / "my tasks")
    words = ("--dialect", ACME, "batch", "run", file, "--max-active", 2, "--base-url", api.server.url)
    with acme.started(*words) as command:
        until_runs(api, 2)
        command.interrupt(signal.SIGTERM)
        result = command.end()
    assert result.code == 143
    again = go_on(result)
    assert again[:3] == ["batch", "run", str(file)]
    with acme.started(*again) as command:
        while command.process.poll() is None:
            api.do(AcmeServer.end)
            threading.Event().wait(0.05)
        assert command.end().code == 0
    assert len(api.server.runs) == 12


@pytest.mark.slow
def test_a_batch_that_nobody_runs_is_said_to_go_on_with_its_dialect(
    acme: CommandLine, api: Running[AcmeServer]
) -> None:
    file = tasks(acme.home, "working")
    with acme.started("--dialect", ACME, "batch", "run", file) as command:
        command.until("1 running")
        command.process.kill()
    with acme.started("batch", "watch", file, "--dialect", ACME) as watch:
        said = watch.until("no process of this machine runs it now")
        api.do(AcmeServer.end)
        assert acme.run(*shlex.split(said.rpartition("to go on: codegen-async ")[2])).code == 0
        assert watch.end().code == 0


# -- what cannot be right


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "a.jsonl",
            '{"task": "a"}\n{"taks": "b"}\n',
            "a.jsonl, line 2, task: expected a value, as Strict.create makes",
        ),
        (
            "a.jsonl",
            '{"task": "a", "m": 3}\n',
            "a.jsonl, line 1, m: expected a field that Strict.create sends, such as",
        ),
        (
            "a.csv",
            "task,tsk\na,b\n",
            "a.csv, line 2, tsk: expected a field that Strict.create sends: did you mean 'task'",
        ),
        ("a.csv", "task,n:\na,x\n", "a.csv, line 2, n:: expected JSON ("),
        ("a.csv", "task,n,n\na,1,2\n", "a.csv, line 1, header: expected each column once, got 'n'"),
        ("a.csv", "task\na,b\n", "a.csv, line 2, column 2: expected a name for this column in the header"),
        (
            "a.txt",
            "Fix it\n",
            "a.txt, line 1, line: expected a file of objects (.jsonl, .json) or a table (.csv, .tsv)",
        ),
        ("a.jsonl", '{"task": "a", "key": 3}\n', "a.jsonl, line 1, key: expected "),
        (
            "a.jsonl",
            '{"task": "a", "key": "k"}\n{"task": "b", "key": "k"}',
            "a.jsonl, line 2, key: expected another key",
        ),
        ("a.xlsx", "x,y\n1,2\n", "FILE: expected a file whose name ends with .jsonl"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_before_anything_is_sent_or_kept(
    acme: CommandLine, api: Running[AcmeServer], name: str, content: str, complaint: str
) -> None:
    (acme.home / name).write_text(content)
    acme.env["CODEGEN_DIALECT"] = "tests.cli.acme:Strict"
    run, check = acme.run("batch", "run", name), acme.run("batch", "check", name)
    assert run.code == check.code == 2
    for told in (run.err, check.err):
        assert told.startswith(f"error: {complaint}")
        assert "Traceback" not in told
    assert not api.server.requests
    assert [path.name for path in acme.home.iterdir()] == [name]


def test_a_check_knows_the_limits_of_the_dialect(acme: CommandLine, api: Running[AcmeServer]) -> None:
    file = text(acme.home / "tasks")
    report = acme.run("--dialect", ACME, "batch", "check", file, "--json")
    assert (report.code, report.json["creates"], report.json["seconds"]) == (0, 12, 1.0)
    told = acme.run("--dialect", ACME, "batch", "run", file, "--dry-run")
    assert "creates\t12; the last after 1 s, at 10 in 1 s and 100 in 60 s\n" in told.out
    assert not api.server.requests


def test_a_journal_is_of_one_api(acme: CommandLine, api: Running[AcmeServer]) -> None:
    acme.env |= {"CODEGEN_API_TOKEN": CANARY, "CODEGEN_ORG_ID": "1", "OTHER_BASE_URL": api.server.url}
    file = tasks(acme.home, "crashed")
    assert acme.run("--dialect", ACME, "batch", "run", file).code == 3
    before = len(api.server.requests)
    for words in (("run", f"{file}.db"), ("retry", file), ("audit", file)):
        result = acme.run("--dialect", "codegen", "batch", *words)
        assert (result.code, result.out) == (2, "")
        assert f"is a batch of acme at {api.server.url}, and this command speaks to codegen" in result.err
    for words in (("run", file), ("audit", file), ("check", file)):
        result = acme.run("--dialect", "tests.cli.acme:Other", "batch", *words)
        assert (result.code, result.out) == (2, "")
        assert "and this command speaks to other" in result.err
    other = acme.run("--dialect", "tests.cli.acme:Other", "batch", "retry", file)
    assert other.err.splitlines() == [
        f"error: {file}.db: is a batch of acme at {api.server.url}, and this command speaks to other",
        "hint: go on with it by codegen-async --dialect module:Name batch ...; or give another --journal",
    ]
    assert len(api.server.requests) == before
    assert acme.run("--dialect", ACME, "batch", "status", file).code == 0


def test_a_journal_is_of_one_server(acme: CommandLine, api: Running[AcmeServer]) -> None:
    file = tasks(acme.home, "finished")
    assert acme.run("--dialect", ACME, "batch", "run", file).code == 0
    elsewhere = acme.run("--dialect", ACME, "batch", "run", file, "--base-url", "http://127.0.0.1:9")
    assert elsewhere.code == 1
    assert f"belongs to acme at {api.server.url}, and this is acme at http://127.0.0.1:9" in elsewhere.err


def test_what_a_batch_needs_is_told_when_it_is_missing(acme: CommandLine, api: Running[AcmeServer]) -> None:
    file = tasks(acme.home, "finished")
    missing = acme.run("--dialect", ACME, "batch", "run", file, env={"ACME_API_KEY": ""})
    assert (missing.code, missing.err.splitlines()[0]) == (4, "error: ACME_API_KEY is not set")
    refused = acme.run("--dialect", ACME, "batch", "run", file, env={"ACME_API_KEY": "wrong"})
    assert refused.code == 4
    for dialect, name in (
        ("nowhere:Acme", "run"),
        ("tests.cli.acme:Nothing", "check"),
        ("tests.cli.acme:Odd:", "retry"),
    ):
        result = acme.run("--dialect", dialect, "batch", name, file)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("error: --dialect: ")
        assert len(result.err.splitlines()) <= 2
    assert not api.server.runs
    assert acme.run("--dialect", ACME, "batch", "run", file).code == 0


def test_the_dialect_of_the_users_file_is_that_of_batches(acme: CommandLine, api: Running[AcmeServer]) -> None:
    (acme.home / "codegen-async").mkdir()
    (acme.home / "codegen-async" / "config.toml").write_text(f'dialect = "{ACME}"\n')
    assert acme.run("batch", "run", tasks(acme.home, "finished")).code == 0
    assert len(api.server.runs) == 1
    assert "prompt_field" in acme.run("batch", "run", "--help").out
    assert "--repo" in acme.run("batch", "run", "--help", "--dialect", "codegen").out


def test_codegen_may_be_named_for_every_command_of_a_batch(bare: CommandLine) -> None:
    (bare.home / "p.jsonl").write_text('{"prompt": "a"}\n')
    assert bare.run("--dialect", "codegen", "batch", "check", "p.jsonl").code == 0
    for words in (("status",), ("export", "-"), ("list",), ("watch",)):
        name, *rest = words
        assert "no journal stands beside" in bare.run("--dialect", "codegen", "batch", name, "p.jsonl", *rest).err


def test_more_that_is_wrong_is_shown_by_a_command_that_can_be_pasted(acme: CommandLine) -> None:
    (acme.home / "a.jsonl").write_text("1\n2\n")
    told = acme.run("batch", "run", "a.jsonl", "--dialect", ACME, "--base-url", "http://127.0.0.1:9")
    hint = told.err.splitlines()[1]
    assert hint == f"hint: nothing was sent; 1 more like this: codegen-async batch check a.jsonl --dialect {ACME}"
    check = acme.run(*shlex.split(hint.partition("codegen-async ")[2]))
    assert (check.code, check.err.count("expected a JSON object")) == (2, 2)


def test_a_field_that_no_outcome_has_is_refused_before_anything_is_sent(
    acme: CommandLine, api: Running[AcmeServer]
) -> None:
    (acme.home / "a.txt").write_text("x\n")
    result = acme.run("batch", "run", "a.txt", "--json", "kye,run", env={"CODEGEN_DIALECT": "tests.cli.acme:Acme"})
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: --json: there is no field 'kye'\nhint: did you mean key? fields are key, ")
    assert not api.server.runs
    middesk = acme.run("middesk", "batch", "run", "a.txt", "--json", "kye,run", env={"MIDDESK_API_KEY": "key"})
    assert (middesk.code, "no field 'kye'" in middesk.err) == (2, True)
