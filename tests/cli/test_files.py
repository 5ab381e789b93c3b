"""What commands find under a name has an end; what a project's file decides is told."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.harness import CommandLine, Served, write_prompts
from tests.support.endless import ENDLESS


@pytest.mark.parametrize("make", [ENDLESS[name] for name in ("zeros", "a pipe", "a terabyte", "noise")])
def test_settings_that_are_no_file_are_left_out_and_named(cli: CommandLine, make: Callable[[Path], None]) -> None:
    (cli.home / "codegen-async").mkdir()
    make(cli.home / "codegen-async" / "config.toml")
    make(cli.home / "codegen-async.toml")
    done = cli.run("run", "list")
    assert done.code == 0
    first, second = done.err.splitlines()
    assert first.startswith("warning: codegen-async.toml is left out: it is ")
    assert "config.toml is left out: it is " in second
    saved = cli.run("auth", "login", "--no-check", stdin="sk-new-token-1234")
    assert (saved.code, "config.toml cannot be written: it is " in saved.err) == (2, True)


@pytest.mark.parametrize("make", [ENDLESS[name] for name in ("zeros", "a pipe", "a terabyte")])
@pytest.mark.parametrize("words", ["run create x --image thing", "run create --file thing.md", "batch run p.jsonl"])
def test_a_command_reads_nothing_without_an_end(
    cli: CommandLine, fake: Served, make: Callable[[Path], None], words: str
) -> None:
    if "--file" in words and make is os.mkfifo:
        pytest.skip("a pipe that is named may bring a prompt")
    make(cli.home / ("thing.md" if "--file" in words else "thing"))
    (cli.home / "p.jsonl").write_text('{"prompt": "x", "images": ["thing"]}\n')
    done = cli.run(*words.split())
    assert (done.code, done.out) == (2, "")
    assert "thing" in done.err
    assert not fake.server.world.runs


def test_input_without_an_end_is_refused_and_a_pipe_is_read(cli: CommandLine, fake: Served) -> None:
    write_prompts(cli.home, 2)
    fake.script("COMPLETE")
    command = " ".join(cli.words("batch", "run", "-", "--journal", "j.db"))
    refused = cli.spawn(["bash", "-c", f"{command} < /dev/zero"])
    assert (refused.code, "it is a device, which has no end" in refused.err) == (2, True)
    command = " ".join(cli.words("batch", "run", "--journal", "j.db"))
    read = cli.spawn(["bash", "-c", f"{command} <(cat prompts.jsonl)"])
    assert (read.code, len(read.out.splitlines())) == (0, 2)


def test_a_project_that_goes_before_the_users_own_setting_is_told(cli: CommandLine, fake: Served) -> None:
    own = cli.home / "codegen-async" / "config.toml"
    own.parent.mkdir()
    own.write_text("org_id = 7\nrepo_id = 1\n")
    project = cli.home / "codegen-async.toml"
    project.write_text(f"org_id = {fake.server.world.org_id}\nrepo_id = 1\n")
    del cli.env["CODEGEN_ORG_ID"]
    org_id = fake.server.world.org_id
    told = f"note: codegen-async.toml of this directory sets org_id to {org_id}, in place of 7 of {own}\n"
    assert cli.run("run", "list", "--quiet").err == told
    assert cli.run("config", "view").err.count("note: ") == 1
    assert told not in cli.run("run", "list", "--org-id", org_id).err
    project.write_text("org_id = 7\n")
    assert "note: " not in cli.run("config", "view").err
