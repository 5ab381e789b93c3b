"""`--json FIELDS` and `--jq`: what of the JSON is printed."""

import pytest

from tests.cli.harness import CommandLine, Served, write_prompts


@pytest.mark.parametrize(
    "words", [("--json", "id,phase"), ("--json=id,phase",), ("--json", "--fields", "id,phase")], ids=str
)
def test_only_the_fields_that_are_named_are_printed(cli: CommandLine, fake: Served, words: tuple[str, ...]) -> None:
    run_id = fake.create()
    assert cli.run("run", "get", run_id, *words).json == {"id": run_id, "phase": "succeeded"}
    assert cli.run("run", "list", *words).json == [{"id": run_id, "phase": "succeeded"}]


def test_one_field_is_told_from_an_argument_by_its_name(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create()
    assert cli.run("run", "list", "--jsonl", "id").jsonl == [{"id": run_id}]
    cli.run("run", "create", "--json", "fix")
    cli.run("run", "create", "--json", "--", "id,phase")
    assert [run.prompt for run in fake.server.world.runs.values()][1:] == ["fix", "id,phase"]


def test_outcomes_and_rows_of_a_log_have_fields_of_their_own(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    outcomes = cli.run("batch", "run", write_prompts(cli.home, 1), "--jsonl", "key,state").jsonl
    assert outcomes == [{"key": "k0", "state": "ended"}]
    rows = cli.run("run", "logs", max(fake.server.world.runs), "--jsonl", "message_type").jsonl
    assert rows
    assert all(list(row) == ["message_type"] for row in rows)


def test_a_field_that_is_not_there_is_refused_before_anything_is_sent(cli: CommandLine, fake: Served) -> None:
    done = cli.run("run", "create", "x", "--json", "id,phse")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --json: there is no field 'phse'\nhint: did you mean phase? fields are id, ")
    assert not fake.server.world.runs


def test_a_field_that_nothing_shown_has_is_named(cli: CommandLine, fake: Served) -> None:
    fake.create()
    done = cli.run("run", "list", "--json", "id,phse")
    assert (done.code, done.out) == (2, "")
    assert "did you mean phase?" in done.err
    assert cli.run("repo", "list", "--json", "id,full_name").json
    assert cli.run("org", "list", "--jsonl", "name").jsonl == [{"name": "Example"}]


def test_one_name_alone_is_a_field_of_what_the_command_shows(cli: CommandLine, fake: Served) -> None:
    file = write_prompts(cli.home, 2)
    assert cli.run("batch", "check", file, "--json", "prompts").json == {"prompts": 2}
    fake.create()
    done = cli.run("run", "list", "--json", "nope")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --json: there is no field 'nope'\nhint: fields are id, ")


def test_jq_prints_what_an_expression_makes_of_the_json(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create()
    assert cli.run("run", "list", "--jq", ".[] | .status, .id").out == f"COMPLETE\n{run_id}\n"
    assert cli.run("run", "list", "--jsonl", "--jq", "{id}").jsonl == [{"id": run_id}]


def test_text_out_of_jq_cannot_fool_a_terminal(cli: CommandLine, fake: Served) -> None:
    assert cli.run("run", "get", fake.create(), "--jq", '"\\u001b[31m"').out == "?[31m\n"


@pytest.mark.parametrize(("expression", "code"), [(".[", 2), (".id.x", 1)])
def test_an_expression_that_cannot_be_right_is_told(cli: CommandLine, fake: Served, expression: str, code: int) -> None:
    done = cli.run("run", "get", fake.create(), "--jq", expression)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: --jq: ")
    assert "Traceback" not in done.err


def test_without_its_package_jq_says_what_to_install(cli: CommandLine) -> None:
    (cli.home / "jq.py").write_text("raise ModuleNotFoundError(name='jq')\n")
    cli.env["PYTHONPATH"] = f"{cli.home}:{cli.env['PYTHONPATH']}"
    done = cli.run("run", "list", "--jq", ".")
    assert (done.code, done.err.splitlines()[1]) == (1, "hint: pip install 'codegen-async[jq]'")
