"""What a batch prints arrives: a kill, or a reader that leaves, takes no outcome away."""

import json
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import CommandLine, Served, write_prompts

KEYS = {"k0", "k1", "k2"}

# Run the command line, and kill it at the given moment: before or after something is printed or noted in the journal,
# counted from the first outcome on.
KILLED = """
import os, sys
from codegen_async.batch.journal import Journal
from codegen_async.cli import main, output

left = int(sys.argv.pop(1))
begun = False

def moment():
    global left
    if begun and not left:
        os.kill(os.getpid(), int(sys.argv[0]))
    left -= begun

to_hand_out, handed_out, write = Journal.to_hand_out, Journal.handed_out, output.write

async def looking(self):
    global begun
    if (await self.counts())["ended"] < 3:
        return []  # what is still being sent would be looked for over `settle` after each kill
    outcomes = await to_hand_out(self)
    begun = begun or bool(outcomes)
    moment()
    return outcomes

async def noting(self, *words, **named):
    moment()
    await handed_out(self, *words, **named)
    moment()

def writing(stream, text):
    moment()
    half = len(text) // 2
    write(stream, text[:half])
    moment()
    write(stream, text[half:])
    moment()

Journal.to_hand_out, Journal.handed_out, output.write = looking, noting, writing
sys.argv.insert(1, "batch")
sys.exit(main())
"""


@pytest.fixture
def prompts(cli: CommandLine) -> Path:
    return write_prompts(cli.home, 3)


def whole(text: str, mode: str) -> list[Any]:
    """Return the outcomes in what was printed, but for what a kill has torn."""
    if mode == "--json":
        return json.loads(text) if text.endswith("]\n") else []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("mode", ["--json", "--jsonl"])
def test_no_kill_takes_an_outcome_away(
    cli: CommandLine, fake: Served, prompts: Path, mode: str, number: signal.Signals
) -> None:
    fake.script("COMPLETE")
    seen: set[str] = set()
    words = ["run", str(prompts), mode, "--no-progress"]
    for moment in range(60):
        process = subprocess.run(  # noqa: S603 - written down above
            [*cli.words()[:1], "-c", KILLED.replace("sys.argv[0]", str(int(number))), str(moment), *words],
            env=cli.env,
            cwd=cli.home,
            capture_output=True,
            check=False,
        )
        seen |= {one["key"] for one in whole(process.stdout.decode(), mode)}
        if process.returncode == 0:
            break
    assert process.returncode == 0, process.stderr.decode()
    assert moment > (3 if number is signal.SIGKILL else 0)
    assert seen == KEYS
    assert len(fake.server.world.runs) == 3


def test_one_document_holds_the_whole_batch_each_time(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    for _ in range(2):
        assert [one["key"] for one in cli.run("batch", "run", prompts, "--json").json] == sorted(KEYS)
    with prompts.open("a") as file:
        file.write('{"prompt": "one more", "key": "k3"}\n')
    assert [one["key"] for one in cli.run("batch", "run", prompts, "--json").json] == [*sorted(KEYS), "k3"]


def reading(cli: CommandLine, prompts: Path, reader: str, *words: str) -> list[str]:
    """Return what runs a batch for a reader, and prints what that took."""
    return ["bash", "-c", f"{shlex.join(cli.words('batch', 'run', prompts, *words))} | {reader}"]


@pytest.mark.parametrize("words", [["--jsonl"], ["--json"], []])
def test_a_reader_that_leaves_gets_everything_the_next_time(
    cli: CommandLine, fake: Served, prompts: Path, words: Sequence[str]
) -> None:
    fake.script("ACTIVE")
    with cli.started_by(*reading(cli, prompts, "true", *words)) as left:
        # No run ends before all are known: what is being sent when a reader leaves would be looked for over `settle`.
        left.until("3 running")
        fake.end_all()
        assert left.end().out == ""
    again = cli.spawn(reading(cli, prompts, "cat", *words)).out
    assert all(key in again for key in KEYS)
    assert len(fake.server.world.runs) == 3


def test_what_was_read_is_printed_once(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    assert len(cli.spawn(reading(cli, prompts, "cat", "--jsonl")).out.splitlines()) == 3
    assert cli.spawn(reading(cli, prompts, "cat", "--jsonl")).out == ""
    with (cli.home / "out").open("wb") as out, cli.started("batch", "run", prompts, "--jsonl", stdout=out) as command:
        assert command.end().code == 0
    assert (cli.home / "out").read_text() == ""


@pytest.mark.slow
def test_what_is_in_a_file_is_printed_once_over_kills(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    for moment in range(40):
        with (cli.home / "out").open("a") as out:
            command = [*cli.words()[:1], "-c", KILLED.replace("sys.argv[0]", "9"), str(moment), "run", str(prompts)]
            code = subprocess.run(  # noqa: S603 - written down above
                [*command, "--jsonl", "--no-progress"], env=cli.env, cwd=cli.home, stdout=out, check=False
            ).returncode
        if code == 0:
            break
    text = (cli.home / "out").read_text()
    assert all(f'"key":"{key}"' in text for key in KEYS)
    assert text.count("\n") < 20
