"""`codegen-async demo` works anywhere, and so does every example in the help."""

import re
import sys
from pathlib import Path

import pytest

from codegen_async.cli import pages
from codegen_async.testing import CodegenServer, Life
from tests.cli.harness import PATIENCE, CommandLine, Served, running
from tests.support.canary import CANARY


def test_the_demo_shows_a_batch_of_forty_runs(bare: CommandLine) -> None:
    shown = bare.run("demo", "--quiet", "--jsonl", "key,state")
    assert shown.code == 0
    assert len(shown.jsonl) == 40
    assert {outcome["state"] for outcome in shown.jsonl} == {"ended"}
    assert list(bare.home.iterdir()) == []


def test_the_prompts_of_the_demo_can_be_had(bare: CommandLine) -> None:
    prompts = bare.run("demo", "--prompts")
    assert prompts.code == 0
    assert prompts.out == (Path(__file__).parents[2] / "docs/examples/prompts.jsonl").read_text("utf-8")


@pytest.mark.slow
def test_the_demo_is_installed_with_the_package(bare: CommandLine) -> None:
    root = Path(__file__).parents[2]
    target = bare.home / "installed"
    bare.env["PYTHONPATH"] = ""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(root)]
    assert bare.spawn(words, env={"PYTHONWARNINGS": ""}).code == 0
    (empty := bare.home / "empty").mkdir()
    bare.env["PYTHONPATH"] = str(target)
    bare.home = empty
    shown = bare.run("demo", "--quiet", "--jsonl", "key")
    assert (shown.code, len(shown.jsonl)) == (0, 40)


# Examples that stand for what only their reader has, and what they end with where that is missing.
_STAND_INS = {
    "issue-17": 2,  # a key of the reader's
    "8c1e": 2,  # an interrupt
    "decision.json": 2,
}
# These serve until they are told to end, need a server or a dialect of their own, or go on while a run is paused.
_SKIPPED = ("fake ", "dashboard ", "middesk ", "watch --simulate", "--dialect ")


def examples() -> list[str]:
    """Return the examples of all pages, the demo's first: others use its file."""
    texts = pages.read()
    lines = [
        line.strip()
        for name in sorted(texts, key=lambda name: (name != "demo", name != "batch run", name))
        for line in re.split(r"\nExamples?:\n", texts[name])[-1].splitlines()
        if re.match("  .*codegen-async ", line)
    ]
    return [line for line in dict.fromkeys(lines) if not any(f"codegen-async {word}" in line for word in _SKIPPED)]


def _add_the_runs_of_the_examples(server: CodegenServer) -> None:
    for run_id in (40012, 40015):
        server.world._next_id = run_id  # ids grow, as everywhere
        server.world.create("x", script=[(0.0, "COMPLETE")])


@pytest.mark.slow
def test_every_example_works_in_an_empty_folder(bare: CommandLine) -> None:
    lines = examples()
    assert len(lines) > 40
    bare.env["PATH"] = f"{Path(sys.executable).parent}:{bare.env['PATH']}"
    life = Life(median=20.0, outcomes={"COMPLETE": 1.0})
    with running(lambda: CodegenServer(token=CANARY, speed=60.0, life=life), Served) as fake:
        bare.env |= fake.server.environment
        fake.do(_add_the_runs_of_the_examples)
        for line in lines:
            # Whoever types an example answers what it asks: a token.
            # An end that looks like the one before a resume is believed after a minute.
            done = bare.spawn(["bash", "-euo", "pipefail", "-c", line], stdin=CANARY, patience=2 * PATIENCE)
            expected = next((code for part, code in _STAND_INS.items() if part in line), 0)
            assert done.code == expected, (line, done)
