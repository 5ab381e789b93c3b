"""What signals do to commands, once and twice: each ends each command, says how to go on, and leaves nothing behind."""

import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen_async.cli.errors import command
from codegen_async.testing import Fault
from tests.cli.harness import PATIENCE, CommandLine, Served, write_prompts

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SIGNALS = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)

# The words of a command that goes on, what it says when it does, and what it says to go on with.
Case = tuple[Callable[[CommandLine, Served], list[object]], str, str]
COMMANDS: dict[str, Case] = {
    "wait": (
        lambda _, fake: ["run", "wait", fake.create("x", (0.0, "ACTIVE")), "--org-id", 323],
        "running (ACTIVE)",
        "run wait {run} --org-id 323",
    ),
    "create and wait": (lambda *_: ["run", "create", "x", "--wait"], "running (ACTIVE)", "run wait {run}"),
    "resume and wait": (
        lambda _, fake: ["run", "resume", fake.create("x", (0.0, "PAUSED")), "y", "--wait"],
        "running (ACTIVE)",
        "run wait {run}",
    ),
    "watch": (
        lambda _, fake: ["watch", fake.create("x", (0.0, "ACTIVE")), "--debug"],
        "",
        "watch {run}",
    ),
    "logs": (
        lambda _, fake: ["run", "logs", fake.create("x", (0.0, "ACTIVE")), "--follow"],
        "",
        "run logs {run} --follow",
    ),
    "batch": (
        lambda cli, _: ["batch", "run", write_prompts(cli.home, 2)],
        "2 running",
        "batch run {home}/prompts.jsonl --journal {home}/prompts.jsonl.db",
    ),
}


@SIGNALS
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_interrupted_says_how_to_go_on(
    cli: CommandLine, fake: Served, number: signal.Signals, name: str
) -> None:
    words, said, again = COMMANDS[name]
    fake.script("ACTIVE")
    arrived = fake.until_asked("logs" if name == "logs" else "get" if name == "watch" else "")
    with cli.started(*words(cli, fake)) as started:
        if said:
            started.until(said)
        else:
            assert arrived.wait(PATIENCE)
        started.interrupt(number)
        if name == "batch" and number is signal.SIGINT:
            started.until("creating no more")
            started.interrupt(number)
        result = started.end()
    run = max(fake.server.world.runs)
    assert result.code == CODES[number]
    assert result.err.splitlines()[-2:] == [
        "error: interrupted",
        f"hint: to go on: codegen-async {again.format(run=run, home=cli.home)}",
    ]


def test_a_create_that_is_interrupted_says_how_to_find_its_run(cli: CommandLine, fake: Served) -> None:
    fake.do(lambda server: server.faults.add(Fault.SLOW_BODY, endpoint="create"))
    arrived = fake.until_asked("create")
    with cli.started("run", "create", "x", "--key", "k1") as started:
        assert arrived.wait(PATIENCE)
        started.interrupt()
        result = started.end()
    assert result.code == 130
    assert "hint: to go on: codegen-async run get --key k1" in result.err
    assert cli.run("run", "get", "--key", "k1").code == 0


@SIGNALS
@pytest.mark.parametrize("words", ["run create -", "run resume 5 -", "run create --file pipe"])
def test_input_that_never_ends_can_be_interrupted(cli: CommandLine, words: str, number: signal.Signals) -> None:
    pipe = cli.home / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(  # noqa: S603 - our own program
        cli.words(*words.split()), stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.env, cwd=cli.home
    ) as process:
        assert process.stdin is not None
        with pipe.open("wb") if "pipe" in words else process.stdin as given:
            given.write(b"more than a pipe holds" * 10_000)  # comes back when the command is reading
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (CODES[number], b"error: interrupted\n")


@SIGNALS
def test_a_simulation_leaves_nothing_behind(bare: CommandLine, number: signal.Signals) -> None:
    (temporary := bare.home / "tmp").mkdir()
    bare.env["TMPDIR"] = str(temporary)
    with bare.started("batch", "run", write_prompts(bare.home, 60), "--simulate") as started:
        started.until(" running")
        assert list(temporary.iterdir())
        started.interrupt(number)
        if number is signal.SIGINT:
            started.until("creating no more")
            started.interrupt(number)
        result = started.end()
    assert result.code == CODES[number]
    assert not list(temporary.iterdir())


@SIGNALS
def test_a_served_api_ends_with_what_it_counted(bare: CommandLine, number: signal.Signals) -> None:
    with bare.started("fake", "serve") as started:
        assert started.process.stdout is not None
        assert started.process.stdout.readline()
        started.interrupt(number)
        result = started.end()
    assert result.code == CODES[number]
    assert "0 violations" in result.err


@SIGNALS
def test_a_signal_that_is_ignored_for_us_stays_ignored(cli: CommandLine, fake: Served, number: signal.Signals) -> None:
    fake.script("ACTIVE")
    name = number.name.removeprefix("SIG")
    words = shlex.join(cli.words("run", "create", "x", "--wait"))
    with cli.started_by("sh", "-c", f"trap '' {name}; exec {words}") as started:
        started.until("running (ACTIVE)")
        started.interrupt(number)
        fake.end_all()
        result = started.end()
    assert result.code == 0


def test_a_simulation_can_be_interrupted(bare: CommandLine) -> None:
    with bare.started("watch", "--simulate", "--jsonl") as started:
        assert started.process.stdout is not None
        assert started.process.stdout.readline()
        started.interrupt()
        result = started.end()
    assert result.code == 130
    assert "to go on: codegen-async watch --simulate" in result.err


@pytest.mark.parametrize(
    "name",
    ["it's", "two  blanks", "a\ttab", "-dash", "a\nline", "\x1b[31mred", "\u202egnp", "$HOME", "\\'", b"\xff"],
    ids=repr,
)
def test_a_printed_command_says_in_a_shell_what_it_said(tmp_path: Path, name: str | bytes) -> None:
    path = Path(os.fsdecode(name))
    printed = command("batch", "run", path)
    assert not set("\x1b\u202e\n") & set(printed)
    seen = subprocess.run(  # noqa: S603 - printed by ourselves
        ["bash", "-c", f"codegen-async() {{ printf '%s' \"$3\"; }}; {printed}"],  # noqa: S607 - where it stands differs
        stdout=subprocess.PIPE,
        check=True,
        cwd=tmp_path,
    ).stdout
    assert Path(os.fsdecode(seen)) == path
    assert not seen.startswith(b"-")
