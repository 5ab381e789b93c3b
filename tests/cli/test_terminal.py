"""What is shown on a terminal, and what is not."""

import re
import signal

import pytest

from codegen_async.testing import CodegenServer
from tests.cli.harness import CommandLine, Served, write_prompts

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"  # the cursor
CLEAR = "\x1b[2K"  # a line that is to be written anew: only a picture needs that
_COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3|9)\d")
_HOSTILE = "\x1b]8;;javascript:x\x1b\\\x1b]0;evil\x07 \x9b31m [bold red]not markup[/] \u202egnp.exe"


def plain(shown: str) -> str:
    """Return what a person sees, without colours and links."""
    return re.sub(r"\x1b\[[0-9;]*m|\x1b]8;[!-~]*\x1b\\", "", shown)


def test_watch_shows_a_picture(cli: CommandLine, fake: Served) -> None:
    ids = [fake.create(), fake.create("x", (0.0, "ACTIVE"), (0.7, "ERROR"))]
    shown = cli.on_terminal("watch", *ids, "--latency", 0.1)
    assert shown.code == 0
    assert CLEAR in shown.err
    last = shown.err.rpartition(CLEAR)[2]
    assert re.search(r"for \d+ s", plain(shown.err))
    assert "LIMIT" not in last  # none of them matters


def test_a_batch_shows_a_picture_and_its_outcomes_above(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    shown = cli.on_terminal("batch", "run", write_prompts(cli.home, 3))
    assert shown.code == 0
    assert CLEAR in shown.err
    for part in ("k2", "3 ended (3 succeeded)", "3 of 3 done; all done; for ", "last change: "):
        assert part in shown.err


def test_a_batch_shows_what_runs_what_failed_and_the_limit_that_matters(cli: CommandLine, fake: Served) -> None:
    fake.script("ACTIVE")
    with cli.on_a_terminal("batch", "run", write_prompts(cli.home, 11)) as terminal:
        terminal.until("10 running")
        terminal.until("and 2 more")
        terminal.until("RUN ")
        first, *_ = fake.server.world.runs
        terminal.until(f";https://codegen.sh/agent/trace/{first}\x1b\\")
        assert re.search(r"create +10/10 in 60 s +in \d\d s", plain(terminal.shown))
        assert re.search(rf"{first} +running +\d s +k0", plain(terminal.shown))
        fake.do(lambda server: server.world.end(first, "ERROR"))
        terminal.until("k0 failed: The run ended with ERROR")
        terminal.send(signal.SIGTERM)
    assert terminal.code == 143


def test_a_command_that_is_stopped_gives_back_the_cursor(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create("x", (0.0, "ACTIVE"))
    with cli.on_a_terminal("run", "wait", run_id) as terminal:
        terminal.until(HIDDEN)
        terminal.until("running (ACTIVE)")
        terminal.send(signal.SIGTSTP)
        terminal.until(SHOWN)  # what was written before it stopped may come after it is known to have
        assert terminal.is_stopped()
        assert terminal.shown.rfind(SHOWN) > terminal.shown.rfind(HIDDEN)
        terminal.send(signal.SIGCONT)
        terminal.until(HIDDEN)
        fake.end_all()
        terminal.until("succeeded (COMPLETE)")
    assert terminal.code == 0
    assert terminal.shown.rfind(SHOWN) > terminal.shown.rfind(HIDDEN)


def test_data_that_goes_elsewhere_is_kept_out_of_the_picture(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create()
    shown = cli.on_terminal("watch", run_id, stdout_too=False)
    assert shown.out == f"{run_id}\tsucceeded (COMPLETE)\n"
    assert "SUMMARY" in shown.err


@pytest.mark.parametrize(
    ("words", "env"), [(("--no-progress",), {}), (("--quiet",), {}), ((), {"TERM": "dumb"})], ids=str
)
def test_there_is_no_picture_where_none_is_wanted(
    cli: CommandLine, fake: Served, words: tuple[str, ...], env: dict[str, str]
) -> None:
    shown = cli.on_terminal("watch", fake.create(), *words, env=env)
    assert shown.code == 0
    assert CLEAR not in shown.err
    assert "succeeded (COMPLETE)" in shown.err
    assert ("\x1b" in shown.err) == (not env)


def test_colours_are_for_those_who_want_them(cli: CommandLine, fake: Served) -> None:
    fake.create()
    assert _COLOUR.search(cli.on_terminal("run", "list").err)
    assert not _COLOUR.search(cli.on_terminal("run", "list", env={"NO_COLOR": "1"}).err)
    assert "\x1b" not in cli.on_terminal("run", "list", env={"TERM": "dumb"}).err


def test_a_remedy_is_never_cut_off(bare: CommandLine) -> None:
    env = {"XDG_CONFIG_HOME": "/c", "NO_COLOR": "1"}
    shown = bare.on_terminal("doctor", "--base-url", "http://127.0.0.1:9", width=80, env=env)
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in shown.err.splitlines()]
    assert max(map(len, lines)) == 80
    remedy = (
        "set CODEGEN_API_TOKEN, or keep one in /c/codegen-async/config.toml: codegen-async auth login; "
        "without one: codegen-async demo"
    )
    assert remedy in " ".join(" ".join(lines).split())


def test_a_table_fits_the_width(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create()
    narrow = cli.on_terminal("run", "list", env={"COLUMNS": "70", "NO_COLOR": "1"}).err
    lines = plain(narrow).splitlines()
    assert lines[1].startswith(f"{run_id}  succeeded (COMPLETE)  20")
    assert max(map(len, lines)) == 70


def test_what_a_server_says_cannot_fool_a_terminal(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create(_HOSTILE)
    fake.do(_say_hostile_things)
    everything = [
        cli.on_terminal("run", "list", "--limit", 1, width=300),
        cli.on_terminal("run", "get", run_id),
        cli.on_terminal("run", "get", run_id, "--json"),
        cli.on_terminal("run", "logs", run_id),
        cli.on_terminal("watch", run_id, width=300),
    ]
    for shown in everything:
        assert shown.code == 0
        assert "[bold red]not markup[/]" in shown.err
        seen = plain(shown.err)
        assert not {part for part in ("\x1b]", "\x07", "\x9b", "\u202e") if part in seen}
    assert cli.run("run", "get", run_id, "--json").json["summary"] == _HOSTILE


def _say_hostile_things(server: CodegenServer) -> None:
    say = server.world.response
    server.world.response = lambda run: {**say(run), "summary": _HOSTILE, "result": _HOSTILE}  # type: ignore[method-assign]
