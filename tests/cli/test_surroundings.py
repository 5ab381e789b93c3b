"""Containers, cron and services lack much that is not needed: nothing optional stops a command."""

import os
import shlex
from pathlib import Path

import pytest

from tests.cli.harness import CommandLine, Served

# What the shell does before the command; {home} is a directory of the test's own.
SURROUNDINGS = {
    "no home": ":",
    "a home that is no directory": "unset XDG_CONFIG_HOME; export HOME=/dev/null",
    "a home that is not there": "unset XDG_CONFIG_HOME; export HOME=/not/there",
    "a home without an end": "unset XDG_CONFIG_HOME; ln -s loop {home}/loop; export HOME={home}/loop",
    "a config file that cannot be read": "mkdir -p {home}/codegen-async/config.toml",
    "a project file that cannot be read": "mkdir codegen-async.toml",
    "a place for files that is no path": "export XDG_CONFIG_HOME=.config XDG_STATE_HOME=.state",
    "an ASCII locale": "export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0",
    "no terminal": "unset TERM COLUMNS",
    "a terminal without width": "export COLUMNS=0 LINES=0",
    "no temporary directory": "export TMPDIR=/not/there",
    "a working directory that is gone": "mkdir gone && cd gone && rmdir ../gone",
    "no input": "exec <&-",
    "no errors": "exec 2>&-",
}
COMMANDS = ("run create x", "config view", "doctor")


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_nothing_optional_stops_a_command(cli: CommandLine, fake: Served, name: str) -> None:
    fake.script("COMPLETE")
    if name == "no home":
        cli.without_a_home()
    for words in COMMANDS:
        line = shlex.join(cli.words(*words.split()))
        done = cli.spawn(["sh", "-c", f"{SURROUNDINGS[name].format(home=cli.home)} 2>/dev/null; exec {line}"])
        assert (done.code, done.out != "") == (0, True), (words, done)


@pytest.mark.parametrize("words", ["run create -", "run resume 5 -"])
def test_input_that_is_closed_is_told(cli: CommandLine, words: str) -> None:
    done = cli.spawn(["sh", "-c", f"exec {shlex.join(cli.words(*words.split()))} <&-"])
    assert (done.code, done.err) == (2, "error: standard input is closed\n")


def test_a_user_without_a_home_is_told_what_can_be_done_without_one(bare: CommandLine) -> None:
    bare.without_a_home()
    done = bare.run("run", "list", "--org-id", 5)
    hint = "set CODEGEN_API_TOKEN; without one: codegen-async demo"
    assert (done.code, done.err) == (4, f"error: token is not set\nhint: {hint}\n")


def test_a_file_that_is_left_out_is_named(cli: CommandLine) -> None:
    path = Path(cli.home, "codegen-async", "config.toml")
    path.mkdir(parents=True)
    assert cli.run("run", "list").err == f"warning: {path} is left out: Is a directory\n"


def test_a_pipe_where_a_project_has_its_file_is_not_waited_for(cli: CommandLine) -> None:
    os.mkfifo(cli.home / "codegen-async.toml")
    done = cli.run("run", "list")
    assert (done.code, done.err) == (0, "warning: codegen-async.toml is left out: it is no regular file\n")
