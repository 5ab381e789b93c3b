"""`codegen-async middesk`, each command as a process."""

import json
import threading
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest

from codegen_async.testing import MiddeskServer
from codegen_async.testing.middesk_world import ScriptedRun
from tests.cli.harness import CommandLine, Running
from tests.cli.harness import running as serving
from tests.support.canary import CANARY

_QUESTION = {"label": "Is this the right company?"}


@pytest.fixture
def middesk() -> Generator[Running[MiddeskServer]]:
    with serving(lambda: MiddeskServer(token=CANARY), Running[MiddeskServer]) as one:
        yield one


@pytest.fixture
def cli(middesk: Running[MiddeskServer], tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, middesk.server.environment)


@pytest.fixture
def asking(middesk: Running[MiddeskServer]) -> ScriptedRun:
    """Return a run that asks something, and is complete when that is answered."""
    return middesk.do(lambda server: server.world.create(script=[(0.0, [_QUESTION]), (0.0, "completed")]))


def test_list_and_get_show_runs(cli: CommandLine, asking: ScriptedRun) -> None:
    listed = cli.run("middesk", "list")
    assert listed.code == 0
    fields = listed.out.rstrip("\n").split("\t")
    assert fields[:2] == [asking.id, "blocked (interrupted)"]
    assert fields[-1].endswith(": Is this the right company?")
    assert [run["phase"] for run in cli.run("middesk", "list", "--jsonl", "--limit", 1).jsonl] == ["blocked"]
    shown = cli.run("middesk", "get", asking.id, "--steps")
    assert shown.out.startswith(f"run {asking.id}  blocked (interrupted)\n")
    assert "Is this the right company?" in shown.out
    assert "\nstep     " in shown.out


@pytest.mark.parametrize(
    ("words", "env", "hint"),
    [
        (("get", "nope"), {}, "runs that there are: codegen-async middesk list"),
        (("list",), {"MIDDESK_API_KEY": "wrong"}, "where the key comes from: codegen-async config view"),
        (("list", "--base-url", "http://127.0.0.1:9"), {}, "is this the right server? codegen-async config view"),
    ],
    ids=str,
)
def test_what_is_said_of_an_error_leads_to_nothing_of_codegen(
    cli: CommandLine, words: tuple[str, ...], env: dict[str, str], hint: str
) -> None:
    assert cli.run("middesk", *words, env=env).err.splitlines()[-1] == f"hint: {hint}"


def test_an_answer_lets_a_run_go_on(cli: CommandLine, asking: ScriptedRun) -> None:
    waited = cli.run("middesk", "wait", asking.id, "--json")
    assert waited.code == 7
    (interrupt,) = waited.json[0]["interrupts"]
    assert f"to answer: codegen-async middesk resume {asking.id} {interrupt['id']} JSON" in waited.err
    resumed = cli.run("middesk", "resume", asking.id, interrupt["id"], "-", stdin='{"approved": true}')
    assert resumed.code == 0
    assert asking.answers == {interrupt["id"]: {"approved": True}}
    final = cli.run("middesk", "wait", asking.id)
    assert final.code == 0
    assert final.out.startswith(f"run {asking.id}  succeeded (completed)\n")


def test_a_failed_run_is_code_3(cli: CommandLine, middesk: Running[MiddeskServer]) -> None:
    run = middesk.do(lambda server: server.world.create(script=[(0.0, "error")]))
    assert cli.run("middesk", "wait", run.id, "--quiet").code == 3


def test_a_wait_can_give_up_and_be_taken_up_again(cli: CommandLine, middesk: Running[MiddeskServer]) -> None:
    run = middesk.do(lambda server: server.world.create(script=[]))
    result = cli.run("middesk", "wait", run.id, "--timeout", 0.1)
    assert result.code == 6
    assert result.err.endswith(f"wait again: codegen-async middesk wait {run.id}\n")


def test_an_answer_that_is_not_json_is_refused(cli: CommandLine, middesk: Running[MiddeskServer]) -> None:
    result = cli.run("middesk", "resume", "r", "i", "yes")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ANSWER: expected JSON, got yes\n")
    assert not middesk.server.requests


def test_a_missing_key_is_code_4(cli: CommandLine) -> None:
    del cli.env["MIDDESK_API_KEY"]
    result = cli.run("middesk", "list")
    assert result.code == 4
    assert "set MIDDESK_API_KEY" in result.err


def test_a_live_key_goes_to_no_other_server(cli: CommandLine) -> None:
    result = cli.run("middesk", "list", "--base-url", "https://example.com", env={"MIDDESK_API_KEY": "mk_live_x"})
    assert result.code == 2


# -- files of runs


@pytest.fixture
def rehearsal() -> Generator[Running[MiddeskServer]]:
    with serving(lambda: MiddeskServer(token=CANARY, speed=60, latency=(0.0, 1.0)), Running[MiddeskServer]) as one:
        yield one


def businesses(home: Path, number: int) -> Path:
    path = home / "businesses.csv"
    rows = "".join(f"k{n},cip_orchestrator,{uuid.UUID(int=n)},me\n" for n in range(number))
    path.write_text(f"key,type,business_id,_owner\n{rows}")
    return path


def end_all(server: MiddeskServer) -> None:
    for run_id in server.world.runs:
        server.world.end(run_id)


@pytest.mark.slow
def test_a_batch_goes_on_after_kills_and_each_line_has_one_run(
    rehearsal: Running[MiddeskServer], tmp_path: Path
) -> None:
    cli = CommandLine(tmp_path, rehearsal.server.environment)
    world = rehearsal.server.world
    rehearsal.do(lambda server: setattr(server.world, "script", [(1e6, "completed")]))
    file = businesses(tmp_path, 8)
    words = ("middesk", "batch", "run", file, "--max-active", 6)
    for number in (1, 3, 5):
        with cli.started(*words) as command:
            while len(world.runs) < number:
                threading.Event().wait(0.01)
            command.process.kill()
    with cli.started(*words, "--out", "out") as command:
        while command.process.poll() is None:
            rehearsal.do(end_all)
            threading.Event().wait(0.05)
        result = command.end()
    assert result.code == 0, result
    for n in range(8):
        threads = {each["id"] for each in world.listed_threads(0, 100, str(uuid.UUID(int=n)))["data"]}
        assert sum(run.thread_id in threads for run in world.runs.values()) == 1
    rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert {row["run_id"] for row in rows} == set(world.runs)
    assert cli.run("middesk", "batch", "status", file, "--json").json["succeeded"] == 8
    audited = cli.run("middesk", "batch", "audit", file, "--json")
    assert (audited.code, audited.json["runs"]) == (0, 8)
    assert rehearsal.server.violations == 0


def test_what_is_wrong_with_a_file_is_told_before_anything_is_sent(
    cli: CommandLine, middesk: Running[MiddeskServer]
) -> None:
    file = cli.home / "b.jsonl"
    file.write_text('{"type": "cip_orchestrator", "busines_id": "x"}\n{"business_id": "y"}\n')
    for name in ("check", "run"):
        told = cli.run("middesk", "batch", name, file)
        assert told.code == 2
        assert told.err.startswith(
            "error: b.jsonl, line 1, business_id: expected a value, as MiddeskDialect.create makes no run without it: "
            "is it 'busines_id'?, got None\n"
        )
    assert "1 more like this: codegen-async middesk batch check" in told.err
    assert not middesk.server.requests


def test_a_journal_of_middesk_is_gone_on_with_by_its_own_commands(
    cli: CommandLine, middesk: Running[MiddeskServer]
) -> None:
    middesk.do(lambda server: setattr(server.world, "script", [(0.0, "completed")]))
    file = businesses(cli.home, 1)
    assert cli.run("middesk", "batch", "run", file).code == 0
    other = cli.run("batch", "run", file, env={"CODEGEN_API_TOKEN": CANARY, "CODEGEN_ORG_ID": "1"})
    assert other.code == 2
    assert (
        cli.run("batch", "audit", file)
        .err.splitlines()[1]
        .startswith("hint: go on with it by codegen-async middesk batch ...")
    )
