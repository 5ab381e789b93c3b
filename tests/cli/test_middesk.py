"""`codegen-async middesk`, each command as a process."""

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
