"""The command line for any dialect, as a process, against a server of its own API."""

import json
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from codegen_async.cli import choosing
from codegen_async.cli.errors import CommandError, UsageError
from codegen_async.cli.fields import read_fields
from codegen_async.testing import Fault
from tests.cli.acme import AcmeServer
from tests.cli.harness import CommandLine, Running, running
from tests.cli.test_fake import serving
from tests.support.canary import CANARY

ACME = "tests.cli.acme:Acme"
MODULE = """
from codegen_async import Call, Dialect
class Mine(Dialect):
    pass
"""


@pytest.fixture
def api() -> Generator[Running[AcmeServer]]:
    with running(lambda: AcmeServer(token=CANARY), Running) as one:
        yield one


@pytest.fixture
def acme(api: Running[AcmeServer], tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {**api.server.environment, "CODEGEN_DIALECT": ACME})


def add(api: Running[AcmeServer], state: str) -> str:
    return api.do(lambda server: server.add(state))


# -- runs


def test_a_run_is_created_with_its_fields_and_waited_for(acme: CommandLine, api: Running[AcmeServer]) -> None:
    fields = ("--field", "task=a=b", "--field", 'tags:=["x", 1]', "--field", "state=finished")
    result = acme.run("run", "create", *fields, "--wait", "--key", "k1")
    assert result.code == 0, result
    assert result.out.splitlines()[0] == "run r0  succeeded (finished)"
    assert result.out.splitlines()[-1] == "said"
    made = api.server.runs["r0"]
    assert (made["task"], made["tags"], made["ref"]) == ("a=b", ["x", 1], "k1")
    again = acme.run("run", "create", *fields, "--key", "k1")
    assert (again.out, len(api.server.runs)) == ("r0\n", 1)


def test_text_comes_from_standard_input(acme: CommandLine, api: Running[AcmeServer]) -> None:
    assert acme.run("run", "create", "--field", "task=-", stdin="Fix it\nnow").code == 0
    assert api.server.runs["r0"]["task"] == "Fix it\nnow"


def test_a_lost_create_is_found(acme: CommandLine, api: Running[AcmeServer]) -> None:
    acme.env["CODEGEN_ASYNC_SPEED"] = f"60@{api.server.url}"
    api.server.faults.add(Fault.RESET_AFTER, endpoint="create", times=1)
    result = acme.run("run", "create", "--field", "task=x", "--json", "id,phase")
    assert (result.code, result.json, len(api.server.runs)) == (0, {"id": "r0", "phase": "running"}, 1)


def test_a_create_that_nobody_knows_of_is_left_to_a_person(acme: CommandLine, api: Running[AcmeServer]) -> None:
    acme.env |= {"KEYLESS_TOKEN": CANARY, "CODEGEN_DIALECT": "tests.cli.acme:Keyless"}
    api.server.faults.add(Fault.RESET_AFTER, endpoint="create", times=1)
    result = acme.run("run", "create", "--field", "task=x", "--key", "k")
    assert (result.code, len(api.server.runs)) == (7, 1)
    assert "its key is k" in result.err
    assert "this API shows no keys" in result.err


def test_what_the_dialect_makes_no_run_of_is_told_before_anything_is_sent(
    acme: CommandLine, api: Running[AcmeServer]
) -> None:
    result = acme.run("run", "create", "--field", "n:=3")
    assert result.code == 2
    assert result.err.splitlines() == [
        "error: --field task: expected a value, as Acme.create makes no run without it, got None",
        "hint: nothing was sent",
    ]
    assert not api.server.requests


def test_a_field_that_would_not_be_sent_is_refused(acme: CommandLine, api: Running[AcmeServer]) -> None:
    words = ("--dialect", "tests.cli.acme:Strict", "run", "create", "--field", "task=x", "--field", "m:=3")
    result = acme.run(*words)
    assert (result.code, result.out) == (2, "")
    assert "--field m: expected a field that Strict.create sends, such as task, n., got 3" in result.err
    assert not api.server.requests


def test_runs_are_listed_where_the_api_has_pages(acme: CommandLine, api: Running[AcmeServer]) -> None:
    for state in ("working", "finished", "crashed", "finished", "working"):
        add(api, state)
    acme.env["CODEGEN_DIALECT"] = "tests.cli.acme:Listed"
    listed = [line.split("\t") for line in acme.run("run", "list").out.splitlines()]
    assert [(row[0], row[1]) for row in listed][1:3] == [("r1", "succeeded (finished)"), ("r2", "failed (crashed)")]
    assert len(listed) == 5
    assert acme.run("run", "list", "--phase", "succeeded", "--json", "id").json == [{"id": "r1"}, {"id": "r3"}]
    before = len(api.server.requests)
    assert [run["id"] for run in acme.run("run", "list", "--limit", "2", "--jsonl").jsonl] == ["r0", "r1"]
    assert len(api.server.requests) == before + 1
    assert acme.run("run", "list", "--limit", "0").code == 2
    lacking = acme.run("run", "list", "--dialect", ACME)
    assert (lacking.code, lacking.err.splitlines()[0]) == (2, "error: acme has no list of runs")


def test_a_run_is_shown_by_its_id_or_its_key(acme: CommandLine) -> None:
    acme.run("run", "create", "--field", "task=x", "--key", "k")
    assert acme.run("run", "get", "r0", "--json").json == acme.run("run", "get", "--key", "k", "--json").json
    unknown = acme.run("run", "get", "--key", "other")
    assert (unknown.code, unknown.out) == (1, "")
    missing = acme.run("run", "get", "r9", "--dialect", ACME)
    assert missing.code == 1
    assert missing.err.endswith(f"hint: is this the right server? codegen-async doctor --dialect {ACME}\n")


def test_a_field_that_runs_lack_is_no_wrong_command_line_once_a_run_is_there(
    acme: CommandLine, api: Running[AcmeServer]
) -> None:
    result = acme.run("run", "create", "--field", "task=x", "--json", "id,phse")
    assert (result.code, result.out, len(api.server.runs)) == (1, "", 1)
    assert "run r0 started\nerror: --json: there is no field 'phse'\nhint: did you mean phase? " in result.err


def test_what_is_said_of_an_error_leads_back_to_the_api(acme: CommandLine, api: Running[AcmeServer]) -> None:
    del acme.env["CODEGEN_DIALECT"]
    words = acme.run("--dialect", ACME, "run", "create", "Fix it")
    assert words.err.endswith(f"hint: see codegen-async run create --help --dialect {ACME}\n")
    assert "--field" in acme.run("run", "create", "--help", "--dialect", ACME).out
    looked = acme.run("--dialect", ACME, "doctor", "--run", "r9")
    assert (looked.code, "run list" in looked.out) == (1, False)
    garbled = acme.run("--dialect", "tests.cli.acme:Garbled", "run", "get", add(api, "finished"))
    assert garbled.err.endswith("right server? codegen-async doctor --dialect tests.cli.acme:Garbled\n")
    wrong = acme.run("--dialect", "tests.cli.acme:Wrong", "run", "get", "r0")
    assert (wrong.code, wrong.err) == (2, "error: --dialect: Wrong.rates: expected a Rate for 'create', got 10\n")


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("crashed", 3), ("needs_input", 7)])
def test_the_exit_code_tells_how_runs_ended(acme: CommandLine, api: Running[AcmeServer], state: str, code: int) -> None:
    names = [add(api, "finished"), add(api, state)]
    result = acme.run("--dialect", ACME, "run", "wait", *names, "--jsonl")
    assert (result.code, sorted(run["id"] for run in result.jsonl)) == (code, names)
    assert (f"run reply r1 --dialect {ACME} ..." in result.err) == (state == "needs_input")


def test_a_wait_that_takes_too_long_says_how_to_go_on(acme: CommandLine, api: Running[AcmeServer]) -> None:
    result = acme.run("run", "wait", add(api, "working"), "--timeout", "0.1")
    assert result.code == 6
    assert "wait again: codegen-async run wait r0" in result.err


def test_an_interrupted_wait_says_how_to_go_on(acme: CommandLine, api: Running[AcmeServer]) -> None:
    with acme.started("watch", add(api, "working"), "--dialect", ACME) as command:
        assert command.process.stdout is not None
        assert command.process.stdout.readline() == b"r0\trunning (working)\n"
        command.interrupt(signal.SIGINT)
        result = command.end()
    assert result.code == 130
    assert f"to go on: codegen-async watch r0 --dialect {ACME}\n" in result.err


def test_runs_are_watched_answered_and_stopped(acme: CommandLine, api: Running[AcmeServer]) -> None:
    asking, going = add(api, "needs_input"), add(api, "working")
    assert acme.run("run", "reply", asking, "yes").out == "r0\n"
    assert acme.run("run", "cancel", going, "--json", "phase").json == {"phase": "cancelled"}
    watched = acme.run("watch", asking, going, "--jsonl")
    assert watched.code == 0
    assert {run["id"]: run["phase"] for run in watched.jsonl} == {"r0": "succeeded", "r1": "cancelled"}


def test_a_watch_is_a_table_on_a_terminal(acme: CommandLine, api: Running[AcmeServer]) -> None:
    shown = acme.on_terminal("watch", add(api, "finished"))
    assert shown.code == 0
    assert "succeeded (finished)" in shown.err


def test_what_an_api_has_not_is_said(acme: CommandLine, api: Running[AcmeServer]) -> None:
    acme.env |= {"KEYLESS_TOKEN": CANARY, "CODEGEN_DIALECT": "tests.cli.acme:Keyless"}
    for words in (("cancel", "r0"), ("get", "--key", "k")):
        result = acme.run("run", *words)
        assert result.code == 2
        assert result.err.startswith("error: acme has no ")
    assert not api.server.requests


def test_a_token_that_is_refused_or_missing(acme: CommandLine) -> None:
    assert acme.run("run", "get", "r0", env={"ACME_API_KEY": "wrong"}).code == 4
    missing = acme.run("run", "get", "r0", env={"ACME_API_KEY": ""})
    assert (missing.code, missing.err.splitlines()[0]) == (4, "error: ACME_API_KEY is not set")


def test_a_token_goes_to_no_server_of_another_dialect(acme: CommandLine, api: Running[AcmeServer]) -> None:
    del acme.env["ACME_BASE_URL"]
    acme.env |= {"CODEGEN_API_BASE_URL": api.server.url, "CODEGEN_API_TOKEN": CANARY, "OTHER_BASE_URL": api.server.url}
    found = acme.run("doctor", "--jsonl").jsonl
    assert next(one["text"] for one in found if one["check"] == "base_url") == "https://api.acme.example (from dialect)"
    assert not api.server.requests


# -- which dialect


def test_the_nearest_source_names_the_dialect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acme: CommandLine, api: Running[AcmeServer]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CODEGEN_DIALECT", raising=False)
    assert choosing.choose(None) == ("codegen", "default")
    path = tmp_path / "codegen-async" / "config.toml"
    path.parent.mkdir()
    path.write_text(f'dialect = "{ACME}"\n')
    assert choosing.choose(None) == (ACME, str(path))
    monkeypatch.setenv("CODEGEN_DIALECT", "a:B")
    assert choosing.choose(None) == ("a:B", "environment CODEGEN_DIALECT")
    assert choosing.choose("c:D") == ("c:D", "flag")
    del acme.env["CODEGEN_DIALECT"]
    assert acme.run("run", "get", add(api, "working")).code == 0
    assert "CODEGEN_API_TOKEN" in acme.run("run", "list", "--dialect", "codegen").err
    path.write_text("dialect = 3\n")
    assert acme.run("run", "get", "r0").err.startswith("error: dialect: expected a text, got 3")
    assert acme.run("run", "get", "--help").code == 0


def test_a_project_names_no_dialect(bare: CommandLine) -> None:
    (bare.home / "codegen-async.toml").write_text('dialect = "evil:Evil"\n')
    (bare.home / "evil.py").write_text("print('run')\n")
    for words in (("run", "list"), ("--dialect", ACME, "run", "get", "r0")):
        result = bare.run(*words)
        assert (result.code, result.out) == (2, "")
        assert "dialect is not allowed in a project's file" in result.err


def test_a_module_of_this_directory_is_imported_only_where_the_command_line_names_it(bare: CommandLine) -> None:
    (bare.home / "mine.py").write_text("print('imported')\n" + MODULE)
    words = [sys.executable, "-P", "-m", "codegen_async.cli", "run", "get", "r0"]
    by_variable = bare.spawn(words, env={"CODEGEN_DIALECT": "mine:Mine"})
    assert (by_variable.code, by_variable.out) == (2, "")
    assert "there is no module mine" in by_variable.err
    assert "only where --dialect names it" in by_variable.err
    assert bare.spawn([*words, "--dialect", "mine:Mine"]).out == "imported\n"


@pytest.mark.parametrize(
    ("dialect", "complaint"),
    [
        ("acme", "expected module:Name or codegen, got 'acme'"),
        ("acme:", "expected module:Name or codegen, got 'acme:'"),
        (":Acme", "expected module:Name or codegen, got ':Acme'"),
        ("nowhere.at.all:Acme", "there is no module nowhere"),
        ("..acme:Acme", "..acme cannot be imported: TypeError: "),
        ("wanting:Acme", "wanting cannot be imported: it wants nowhere"),
        ("failing:Acme", "failing cannot be imported: ZeroDivisionError: division by zero"),
        ("leaving:Acme", "leaving cannot be imported: SystemExit: 3"),
        ("spoilt:Acme", "spoilt cannot be imported: SyntaxError: "),
        ("tests.cli.acme:Nothing", "tests.cli.acme has no Nothing"),
        ("tests.cli.acme:json", "tests.cli.acme:json is no Dialect"),
        ("tests.cli.acme:AcmeServer", "tests.cli.acme:AcmeServer is no Dialect"),
        ("tests.cli.acme:Demanding", "Demanding cannot be made: TypeError: "),
        ("tests.cli.acme:Nameless", "Nameless.name: expected a text, got ''"),
        ("codegen_async:Dialect", "Dialect cannot be made: TypeError: "),
        ("tests.cli.acme:Odd", "ZeroDivisionError: "),
    ],
)
def test_what_is_no_dialect_is_told_in_a_line(acme: CommandLine, dialect: str, complaint: str) -> None:
    (acme.home / "wanting.py").write_text("import nowhere\n")
    (acme.home / "failing.py").write_text("1 / 0\n")
    (acme.home / "leaving.py").write_text("raise SystemExit(3)\n")
    (acme.home / "spoilt.py").write_text("class\n")
    result = acme.run("--dialect", dialect, "run", "get", "r0")
    assert result.code in (1, 2)
    assert result.out == ""
    assert complaint in result.err.splitlines()[0]
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 2


def test_an_object_is_a_dialect_as_well(acme: CommandLine, api: Running[AcmeServer]) -> None:
    assert acme.run("--dialect=tests.cli.acme:there", "run", "get", add(api, "working")).code == 0


@pytest.mark.parametrize(
    "words",
    [("org", "list"), ("repo", "list"), ("auth", "login"), ("run", "logs", "r0"), ("run", "resume")],
)
def test_commands_for_codegen_only_say_so(acme: CommandLine, words: tuple[str, ...]) -> None:
    result = acme.run(*words)
    assert (result.code, result.out) == (2, "")
    assert "is a command for Codegen only, and the dialect is tests.cli.acme:Acme" in result.err
    assert "for Codegen: codegen-async --dialect codegen " in result.err


def test_help_is_that_of_the_dialect(acme: CommandLine) -> None:
    assert "--field" in acme.run("run", "create", "--help").out
    assert "--field" not in acme.run("--dialect", "codegen", "run", "create", "--help").out
    assert "acme:Acme" in acme.run().out
    assert acme.run("fake", "serve", "--help").out.startswith("Usage: codegen-async fake serve")


def test_what_is_the_same_for_all_dialects_takes_any(bare: CommandLine) -> None:
    for words in (("demo", "--prompts"), ("completion", "bash"), ("config", "view")):
        result = bare.run("--dialect", ACME, *words)
        assert (result.code, bool(result.out)) == (0, True)


@pytest.mark.parametrize("words", [["--dialect"], ["run", "--dialect="], ["--dialect", "a:B", "--dialect", "c:D"]])
def test_the_flag_is_there_once_and_says_something(words: list[str]) -> None:
    with pytest.raises(UsageError, match="expected module:Name, once"):
        choosing.lift(words)


def test_what_is_behind_two_hyphens_is_left_alone() -> None:
    assert choosing.lift(["fake", "exec", "--", "--dialect", "x"]) == (["fake", "exec", "--", "--dialect", "x"], None)
    assert choosing.put_back(["a", "--", "b"], "x:Y") == ["a", "--dialect", "x:Y", "--", "b"]


# -- fields


def test_fields_are_texts_or_json() -> None:
    given = ["a=", "b=1", "c:=1", "d:=null", "e=x:=y", 'f:={"g": [true]}', "task=-x"]
    expected: dict[str, Any] = {"a": "", "b": "1", "c": 1, "d": None, "e": "x:=y", "f": {"g": [True]}, "task": "-x"}
    assert read_fields(given) == expected


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["x"], "expected name=text or name:=JSON, got 'x'"),
        (["=x"], "expected name=text or name:=JSON, got '=x'"),
        ([":=1"], "expected name=text or name:=JSON, got ':=1'"),
        (["a=1", "a:=2"], "a is there twice"),
        (["a:=x"], "--field a: expected JSON, got x"),
        (["patience=3"], "patience cannot be the name of a field"),
    ],
)
def test_other_fields_are_refused(given: list[str], complaint: str) -> None:
    with pytest.raises(CommandError) as caught:
        read_fields(given)
    assert complaint in str(caught.value)


# -- doctor


def found(out: str) -> dict[str, dict[str, str]]:
    return {one["check"]: one for one in json.loads(out)}


def test_doctor_says_what_the_dialect_offers(acme: CommandLine, api: Running[AcmeServer]) -> None:
    result = acme.run("doctor", "--run", add(api, "working"), "--field", "task=x", "--json")
    assert result.code == 0, result
    told = found(result.out)
    assert told["dialect"]["text"] == f"acme, which is {ACME} (from environment CODEGEN_DIALECT)"
    assert told["base_url"]["text"] == f"{api.server.url} (from environment ACME_BASE_URL)"
    assert told["token"]["text"] == f"*** ({len(CANARY)} characters) (from environment ACME_API_KEY)"
    assert told["limit create"]["text"] == "stated: 10 in 1 s and 100 in 60 s"
    assert told["limit others"]["text"].startswith("assumed: 60 in 60 s")
    assert told["runs at once"]["text"].startswith("assumed: no cap")
    assert told["looks"]["text"].startswith("a get for each run")
    assert told["prompts"]["text"] == "a line of text in a file of prompts is the field task"
    assert told["create once"]["text"] == "the server shows keys: a lost create is looked for"
    assert told["access"]["text"] == "the token may see run r0: running (working)"


def test_doctor_warns_where_nothing_helps_to_create_once(acme: CommandLine) -> None:
    acme.env |= {"KEYLESS_TOKEN": CANARY, "CODEGEN_DIALECT": "tests.cli.acme:Keyless"}
    told = found(acme.run("doctor", "--field", "task=x", "--json").out)
    assert told["create once"]["verdict"] == "warn"
    assert told["runs at once"]["text"] == "stated: 3"
    assert told["looks"]["text"] == "pages of the list, and gets"
    assert told["access"]["verdict"] == "skip"
    acme.env["CODEGEN_DIALECT"] = "tests.cli.acme:Known"
    assert "the server knows the key" in found(acme.run("doctor", "--json").out)["create once"]["text"]


def test_doctor_finds_what_is_missing(bare: CommandLine) -> None:
    result = bare.run("--dialect", ACME, "doctor", "--base-url", "http://127.0.0.1:9", "--json")
    told = found(result.out)
    assert result.code == 4
    assert [name for name, one in told.items() if one["verdict"] == "fail"] == ["token", "server"]
    assert told["create once"]["verdict"] == "skip"
    assert "task: expected a value" in told["create once"]["text"]


# -- servers of others


def test_a_server_of_ones_own_is_served(bare: CommandLine) -> None:
    words = ("--server", "tests.cli.acme:AcmeServer", "--fault", "error-before:others:1", "--speed", 60)
    with serving(bare, *words, variables=3) as server:
        made = bare.run("--dialect", ACME, "run", "create", "--field", "task=x", "--field", "state=finished", "--wait")
        assert made.code == 0, made
        server.interrupt(signal.SIGTERM)
        result = server.end()
    assert (result.code, result.err.count("serving http://127.0.0.1:")) == (143, 1)
    assert "create 1 of 10 in 1 s" in result.err


def test_a_program_is_run_against_a_server_of_ones_own(bare: CommandLine) -> None:
    words = (*CLI, "--dialect", ACME, "run", "create", "--field", "task=x")
    result = bare.run("fake", "exec", "--server", "tests.cli.acme:AcmeServer", "--", *words)
    assert (result.code, result.out) == (0, "r0\n")


CLI = (sys.executable, "-m", "codegen_async.cli")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--server", ACME), "is no SimulatedServer"),
        (("--server", "codegen_async.testing:SimulatedServer"), "SimulatedServer cannot be made: TypeError: "),
        (("--server", "tests.cli.acme:Rigid", "--seed", 3), "Rigid cannot be made with seed: TypeError: "),
        (("--server", "tests.cli.acme:Rigid", "--fault", "refused:nowhere"), "there is no endpoint 'nowhere'"),
        (("--server", "tests.cli.acme:Rigid", "--plan", 3), "--plan does not go with --server"),
    ],
)
def test_a_server_that_cannot_be_served_is_told_in_a_line(
    bare: CommandLine, words: tuple[object, ...], complaint: str
) -> None:
    result = bare.run("fake", "serve", *words)
    assert (result.code, result.out) == (2, "")
    assert complaint in result.err.splitlines()[0]
