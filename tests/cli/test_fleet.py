"""Commands share the limits where a setting says, and `doctor` tells with whom."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from codegen_async.cli.errors import Exit
from tests.cli.harness import PATIENCE, CommandLine, Served

PASSWORD = "h0rse-battery"


def url_of(cli: CommandLine) -> str:
    return f"sqlite:{cli.home}/fleet.db"


def findings(cli: CommandLine, *words: str) -> dict[str, tuple[str, str]]:
    done = cli.run("doctor", *words, "--json")
    return {one["check"]: (one["verdict"], one["text"]) for one in done.json}


def say(cli: CommandLine, path: str, name: str, value: str) -> None:
    file = cli.home / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{name} = {json.dumps(value)}\n")
    file.chmod(0o600)


def slots(told: str) -> int:
    return sum(int(part.split()[1]) for part in told.partition(" of ")[0].split(", "))


@pytest.mark.parametrize("source", ["environment", "user's file"])
def test_commands_in_a_row_spend_one_budget_and_each_request_counts_once(cli: CommandLine, source: str) -> None:
    if source == "environment":
        cli.env["CODEGEN_FLEET"] = url_of(cli)
    else:
        say(cli, "codegen-async/config.toml", "fleet", url_of(cli))
    for _ in range(3):
        assert cli.run("run", "list").code == 0
    found = findings(cli)
    where = "environment CODEGEN_FLEET" if source == "environment" else str(cli.home / "codegen-async/config.toml")
    assert found["fleet"] == ("ok", f"{url_of(cli)} answers (from {where})")
    assert found["members"][1].startswith("0 besides this command (")
    assert found["shared list"][0] == "ok"
    assert found["shared list"][1].endswith(" of 60 in 30 s")
    assert slots(found["shared list"][1]) == 4  # that of `doctor` as well


def test_a_flag_says_where_a_fleet_meets(cli: CommandLine) -> None:
    flag = ("--fleet", url_of(cli))
    assert cli.run("run", "list", *flag).code == 0
    found = findings(cli, *flag)
    assert found["fleet"] == ("ok", f"{url_of(cli)} answers (from flag)")
    assert slots(found["shared list"][1]) == 2


@pytest.mark.parametrize("words", [["--dialect", "tests.cli.acme:Acme", "run", "get", "x"], ["middesk", "get", "x"]])
def test_a_flag_for_a_fleet_is_there_for_every_api(cli: CommandLine, words: Sequence[str]) -> None:
    cli.env["ACME_API_KEY"] = cli.env["MIDDESK_API_KEY"] = "mk_sandbox_0123456789"
    done = cli.run(*words, "--fleet", "mysql://127.0.0.1/0")
    assert "fleet: expected sqlite:, postgresql:, redis: or rediss: at the beginning, got mysql:" in done.err


@pytest.mark.parametrize("url", ["redis://:{}@127.0.0.1:1/0", "postgresql://h/d?password={}", "redis://{}@:x:/ y"])
def test_a_flag_with_a_password_is_refused_and_not_shown(cli: CommandLine, url: str) -> None:
    done = cli.run("run", "list", "--fleet", url.format(PASSWORD))
    assert done.code == Exit.USAGE
    assert "fleet: expected" in done.err
    assert PASSWORD not in done.err


def test_doctor_tells_who_is_there_and_who_looks_for_all(cli: CommandLine, fake: Served) -> None:
    cli.env["CODEGEN_FLEET"] = url_of(cli)
    run, looked = fake.create("x", (0.0, "ACTIVE")), fake.until_asked("get")
    with cli.started("run", "wait", run) as waiting:
        assert looked.wait(PATIENCE)
        assert fake.until_asked("get").wait(PATIENCE)  # by then it has listened, and leads
        found = findings(cli)
        waiting.interrupt()
        waiting.end()
    told = found["members"][1]
    assert told.startswith("1 besides this command (")
    assert told.endswith(" looks at runs for all")
    assert "nobody" not in told


def test_without_a_fleet_that_is_said_and_nobody_is_waited_for(cli: CommandLine) -> None:
    found = findings(cli)
    assert found["fleet"] == ("skip", "not set: this process keeps to the limits for itself alone")
    assert "members" not in found


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
def test_a_store_that_is_away_is_found_before_anything_waits_for_it(
    cli: CommandLine, fake: Served, scheme: str
) -> None:
    cli.env["CODEGEN_FLEET"] = f"{scheme}://me:{PASSWORD}@127.0.0.1:9/1"
    done = cli.run("doctor", "--json")
    ((verdict, text),) = [(one["verdict"], one["text"]) for one in done.json if one["check"] == "fleet"]
    assert (done.code, verdict) == (1, "fail")
    assert text.startswith(f"{scheme}://127.0.0.1:9/1: ")
    assert text.endswith("; calls wait until it answers")
    assert PASSWORD not in done.out + done.err
    assert [request.endpoint for request in fake.server.requests] == ["unrouted"]  # is it there? Without the token


@pytest.mark.parametrize("command", ["run list", "run create x", "batch run p.jsonl"])
def test_a_url_that_cannot_be_right_is_a_word_and_not_a_traceback(cli: CommandLine, command: str) -> None:
    (cli.home / "p.jsonl").write_text('{"prompt": "x"}\n')
    cli.env["CODEGEN_FLEET"] = f"mysql://me:{PASSWORD}@db/1"
    done = cli.run(*command.split())
    assert done.code == 2
    assert "fleet: expected sqlite:, postgresql:, redis: or rediss: at the beginning, got mysql:" in done.err
    assert PASSWORD not in done.err
    assert "Traceback" not in done.err


def test_a_projects_file_may_not_say_where(cli: CommandLine) -> None:
    say(cli, "codegen-async.toml", "fleet", url_of(cli))
    done = cli.run("run", "list")
    assert done.code == 2
    assert "fleet is not allowed in a project's file" in done.err


def test_a_url_is_not_shown(cli: CommandLine) -> None:
    cli.env["CODEGEN_FLEET"] = f"redis://me:{PASSWORD}@127.0.0.1:9/1"
    done = cli.run("config", "view", "--json")
    (told,) = [one for one in done.json if one["name"] == "fleet"]
    assert told == {"name": "fleet", "value": "***", "source": "environment CODEGEN_FLEET"}
    assert PASSWORD not in done.out + done.err


def test_a_simulation_has_no_fleet(cli: CommandLine) -> None:
    cli.env["CODEGEN_FLEET"] = url_of(cli)
    assert cli.run("run", "list", "--simulate").code == 0
    assert not Path(f"{cli.home}/fleet.db").exists()
