"""Every setting works in every command, wherever it comes from."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from codegen_async.cli import config
from codegen_async.testing import MiddeskServer
from tests.cli.harness import CommandLine, Running, Served, running, write_prompts
from tests.support.canary import CANARY

REPO = 17

# What each command does that asks a server; each fails without the token, the organization or the address.
COMMANDS: Mapping[str, Callable[[CommandLine, Served], list[object]]] = {
    "run create": lambda *_: ["x"],
    "run get": lambda _, fake: [fake.create()],
    "run list": lambda *_: [],
    "run logs": lambda _, fake: [fake.create()],
    "run wait": lambda _, fake: [fake.create()],
    "run resume": lambda _, fake: [fake.create("x", (0.0, "PAUSED")), "y"],
    "watch": lambda _, fake: [fake.create()],
    "batch run": lambda cli, _: [write_prompts(cli.home, 1)],
    "batch retry": lambda cli, fake: [rejected(cli, fake), "--failed"],
    "batch audit": lambda cli, fake: [rejected(cli, fake)],
    "doctor": lambda *_: [],
}
CREATING = ("run create", "batch run", "batch retry")
IN_PROJECT = {key.name for key in config.KEYS if key.in_project}


def rejected(cli: CommandLine, fake: Served) -> Path:
    """Return a journal whose only run has failed."""
    fake.script("ERROR")
    prompts = write_prompts(cli.home, 1)
    env = values(fake) | {"repo_id": ""}
    assert cli.run("batch", "run", prompts, env={key.variable: env.get(key.name, "") for key in config.KEYS}).code == 3
    fake.script("COMPLETE")
    return Path(f"{prompts}.db")


def values(fake: Served) -> dict[str, str]:
    server = fake.server
    return {"token": server.token, "org_id": str(server.org_id), "base_url": server.url, "repo_id": str(REPO)}


def give(cli: CommandLine, source: str, name: str, value: str) -> None:
    """Let a setting come from a source, or from the environment where it must not come from there."""
    if source == "environment" or (source == "project" and name not in IN_PROJECT):
        cli.env[next(key.variable for key in config.KEYS if key.name == name)] = value
        return
    path = cli.home / ("codegen-async.toml" if source == "project" else "codegen-async/config.toml")
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(f"{name} = {value if value.isdigit() else json.dumps(value)}\n")
    path.chmod(0o600)


@pytest.mark.parametrize("source", ["environment", "user", "project"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_heeds_all_settings(bare: CommandLine, fake: Served, command: str, source: str) -> None:
    fake.script("COMPLETE")
    words = COMMANDS[command](bare, fake)
    for name, value in values(fake).items():
        give(bare, source, name, value)
    done = bare.run(*command.split(), *words)
    assert done.code == 0, done
    if command in CREATING:
        assert fake.server.world.runs[max(fake.server.world.runs)].repo_id == REPO


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_heeds_the_flags_before_all_else(bare: CommandLine, fake: Served, command: str) -> None:
    fake.script("COMPLETE")
    words = COMMANDS[command](bare, fake)
    given = values(fake)
    for name, value in {"token": given["token"], "org_id": "5", "base_url": "http://127.0.0.1:9"}.items():
        give(bare, "environment", name, value)
    done = bare.run(*command.split(), *words, "--org-id", given["org_id"], "--base-url", given["base_url"])
    assert done.code == 0, done


@pytest.mark.parametrize("source", ["environment", "user"])
@pytest.mark.parametrize("words", ["middesk list", "middesk get {run}", "middesk wait {run}"])
def test_a_command_of_middesk_heeds_its_settings(bare: CommandLine, words: str, source: str) -> None:
    with running(lambda: MiddeskServer(token=CANARY), Running) as served:
        run = served.do(lambda server: server.world.create(script=[(0.0, "completed")]).id)
        give(bare, source, "middesk_token", CANARY)
        give(bare, source, "middesk_base_url", served.server.url)
        done = bare.run(*words.format(run=run).split())
    assert done.code == 0, done


@pytest.mark.parametrize("command", CREATING)
def test_a_prompt_that_names_its_repository_keeps_it(cli: CommandLine, fake: Served, command: str) -> None:
    fake.script("COMPLETE")
    cli.env["CODEGEN_REPO_ID"] = str(REPO)
    words: list[object] = ["x", "--repo-id", 5]
    if command != "run create":
        prompts = cli.home / "p.jsonl"
        prompts.write_text('{"prompt": "x", "repo_id": 5}\n')
        words = [prompts]
    if command == "batch retry":
        fake.script("ERROR")
        assert cli.run("batch", "run", prompts).code == 3
        fake.script("COMPLETE")
        words = [f"{prompts}.db", "--failed"]
    assert cli.run(*command.split(), *words).code == 0
    assert {run.repo_id for run in fake.server.world.runs.values()} == {5}


def test_another_setting_the_next_time_makes_nothing_twice(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    prompts = write_prompts(cli.home, 2)
    for repo in (REPO, REPO + 1):
        assert cli.run("batch", "run", prompts, env={"CODEGEN_REPO_ID": str(repo)}).code == 0
    assert [run.repo_id for run in fake.server.world.runs.values()] == [REPO, REPO]
