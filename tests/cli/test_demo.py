"""`codegen-async demo` works anywhere, and so does every example in the help."""

import sys
from pathlib import Path

import pytest

from tests.cli.harness import CommandLine


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
