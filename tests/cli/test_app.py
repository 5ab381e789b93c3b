"""What holds for all commands: help, version, completion, debugging, what happens without the extra packages."""

import re
import sys
from pathlib import Path

import pytest
from cyclopts import App

from codegen_async.cli import pages
from codegen_async.cli.app import make_app, run
from codegen_async.cli.errors import MEANINGS, Exit
from codegen_async.cli.write_pages import render
from codegen_async.version import __version__
from tests.cli.harness import CommandLine, Served

_HEAVY = ("asyncio", "aiohttp", "cyclopts", "rich", "msgspec", "inspect", "dataclasses")


def chains(app: App, above: tuple[str, ...] = ()) -> list[str]:
    below = [name for name in app if not name.startswith("-")]
    return [" ".join(above), *(chain for name in below for chain in chains(app[name], (*above, name)))]


ALL = chains(make_app())


def test_version(bare: CommandLine) -> None:
    assert bare.run("--version") == (0, f"codegen-async {__version__}\n", "")


def test_help_names_all_commands_and_exit_codes(bare: CommandLine) -> None:
    shown = bare.run("--help")
    assert (shown.code, shown.err) == (0, "")
    assert bare.run().out == shown.out
    for name in ("run", "batch", "watch", "middesk", "fake", "doctor", "config", "completion"):
        assert f"\n  {name}: " in shown.out
    for code in Exit:
        assert f"{code.value:5}  {MEANINGS[code]}\n" in shown.out


def test_the_pages_are_what_the_commands_say() -> None:
    assert pages.FILE.read_text("utf-8") == render()


@pytest.mark.parametrize("chain", ALL)
def test_each_command_has_a_page_with_an_example(chain: str) -> None:
    page = pages.find([*chain.split(), "--help"])
    assert page is not None
    assert page.startswith(f"Usage: codegen-async {chain}".rstrip())
    assert "codegen-async " in page.partition("\n\n")[2]
    assert max(map(len, page.splitlines())) <= 80
    assert not re.search(r"^  -.*\n[^\s]", page, re.MULTILINE)  # an option goes on farther right than its name


def test_help_is_found_wherever_it_stands(bare: CommandLine) -> None:
    expected = pages.find(["run", "create", "--help"])
    assert bare.run("run", "create", "x", "--wait", "-h").out == expected
    assert not pages.is_asked_for(["run", "create", "--", "--help"])
    assert pages.find(["nope", "--help"]) is None


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run", "create", "--help"]])
def test_help_and_version_load_nothing_that_takes_long(bare: CommandLine, words: list[str]) -> None:
    check = (
        f"import sys; sys.argv = ['codegen-async', *{words}]\n"
        "import codegen_async.cli\n"
        "try: codegen_async.cli.main()\n"
        f"finally: sys.stderr.write(' '.join(name for name in {_HEAVY} if name in sys.modules))"
    )
    result = bare.spawn([sys.executable, "-c", check])
    assert (result.code, result.err) == (0, "")
    assert result.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run(["completion", shell]) == Exit.OK
    script = capsys.readouterr().out
    for word in ("create", "resume", "audit", "simulate", "doctor"):
        assert word in script


def test_bash_completes_a_command(bare: CommandLine) -> None:
    (bare.home / "completion.bash").write_text(bare.run("completion", "bash").out)
    script = (
        "source completion.bash; COMP_WORDS=(codegen-async batch a); COMP_CWORD=2; "
        "function=$(complete -p codegen-async | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
        "$function codegen-async a batch; echo ${COMPREPLY[@]}"
    )
    assert bare.spawn(["/bin/bash", "--norc", "-c", script]).out.split() == ["audit"]


def test_a_traceback_is_shown_on_request_only(cli: CommandLine) -> None:
    without = cli.run("run", "get", 5)
    assert "Traceback" not in without.err
    with_it = cli.run("run", "get", 5, "--debug")
    assert with_it.code == without.code == 1
    assert "Traceback (most recent call last)" in with_it.err
    assert with_it.err.endswith(without.err)


def test_a_defect_is_told_in_words(cli: CommandLine, fake: Served) -> None:
    broken = cli.home / "sitecustomize.py"
    broken.write_text("import codegen_async.cli.render as render\nrender.show_run = None\n")
    result = cli.run("run", "get", fake.create(), env={"PYTHONPATH": f"{cli.home}:{cli.env['PYTHONPATH']}"})
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines() == [
        "error: this should not have happened: TypeError: 'NoneType' object is not callable",
        "hint: please report it with what --debug shows",
    ]


def test_without_the_extra_packages_it_says_what_to_install(bare: CommandLine) -> None:
    (bare.home / "cyclopts.py").write_text("raise ModuleNotFoundError('gone', name='cyclopts')\n")
    path = {"PYTHONPATH": f"{bare.home}:{bare.env['PYTHONPATH']}"}
    result = bare.run("run", "list", env=path)
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines()[1] == "hint: pip install 'codegen-async[cli]', in a clone: pip install '.[cli]'"
    assert bare.run("--help", env=path).code == 0


def test_examples_in_the_documentation_exist() -> None:
    root = Path(__file__).parents[2]
    assert len((root / "docs/examples/prompts.jsonl").read_text("utf-8").splitlines()) == 40
