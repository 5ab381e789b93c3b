"""`codegen-async fake serve`: a server for other processes."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from codegen_async.cli.serving import PlannedFault, read_fault, read_limit, until_ended
from codegen_async.testing import Fault
from tests.cli.harness import PATIENCE, CommandLine, Started, write_prompts


@contextmanager
def serving(cli: CommandLine, *words: object, variables: int = 3) -> Generator[Started]:
    """Serve, and point the command line there by the lines that are printed."""
    with cli.started("fake", "serve", *words) as command:
        assert command.process.stdout is not None
        for _ in range(variables):
            name, _, value = command.process.stdout.readline().decode().removeprefix("export ").strip().partition("=")
            cli.env[name] = value
        yield command


def test_it_serves_until_a_signal_comes_and_says_what_it_counted(bare: CommandLine) -> None:
    with serving(bare, "--speed", 100, "--median", 1) as server:
        final = bare.run("run", "create", "Fix it", "--wait", "--json")
        assert final.json["id"] == 40000
        server.interrupt(signal.SIGTERM)
        result = server.end()
    assert result.code == 143
    assert "create 1 of 10 in 60 s" in result.err
    assert "0 violations" in result.err


def test_it_keeps_to_other_limits_and_plans(bare: CommandLine) -> None:
    with serving(bare, "--limit", "list=1/60", "--plan", 0, "--retry-after", "--window", "fixed") as server:
        assert bare.run("run", "create", "x").code == 5
        assert bare.run("run", "list").code == 0
        server.interrupt()
        assert "list 1 of 1 in 60 s" in server.end().err


def test_it_has_no_repositories_where_that_is_wanted(bare: CommandLine) -> None:
    with serving(bare, "--no-repos"):
        refused = bare.run("run", "create", "x")
        assert (refused.code, refused.out) == (1, "")
        assert "No repos found in the organization" in refused.err
        assert bare.run("repo", "list").out == ""


def test_it_breaks_what_it_is_told_to(bare: CommandLine) -> None:
    with serving(bare, "--fault", "error-before:get:2", "--fault", "broken-json:list"):
        assert bare.run("run", "list").code == 1


def test_it_serves_middesk(bare: CommandLine) -> None:
    with serving(bare, "--api", "middesk", variables=2):
        assert len(bare.run("middesk", "list", "--jsonl").jsonl) == 3


def test_a_port_that_is_taken_is_an_error(bare: CommandLine) -> None:
    with serving(bare):
        port = bare.env["CODEGEN_API_BASE_URL"].rpartition(":")[2]
        result = bare.run("fake", "serve", "--port", port)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: --port: ")
    assert "address already in use" in result.err


def test_the_help_names_every_fault(bare: CommandLine) -> None:
    names = {fault.name.lower().replace("_", "-") for fault in Fault}
    for name in ("serve", "exec"):
        listed = bare.run("fake", name, "--help").out.partition("names are ")[2].partition(";")[0]
        assert set(listed.replace(",", " ").split()) == names


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("reset-before", PlannedFault(Fault.RESET_BEFORE, None, None, 1.0)),
        ("drop-after:create", PlannedFault(Fault.DROP_AFTER, "create", None, 1.0)),
        ("slow-body:get:3", PlannedFault(Fault.SLOW_BODY, "get", 3, 1.0)),
        ("wrong-id::0.25", PlannedFault(Fault.WRONG_ID, None, None, 0.25)),
    ],
)
def test_a_fault_is_a_name_a_place_and_how_often(text: str, fault: PlannedFault) -> None:
    assert read_fault(text) == fault


def test_a_limit_is_a_number_in_so_many_seconds() -> None:
    assert read_limit("create=5/0.5") == ("create", (5, 0.5))


# -- at a higher speed


def test_a_fast_server_prints_how_its_clients_can_keep_up(bare: CommandLine) -> None:
    with serving(bare, "--speed", 60, "--median", 30, variables=4):
        assert bare.env["CODEGEN_ASYNC_SPEED"] == f"60@{bare.env['CODEGEN_API_BASE_URL']}"
        prompts = write_prompts(bare.home, 25)
        assert bare.run("batch", "run", prompts, "--quiet").code in (0, 3)  # two minutes of creates, in real time


# -- for one program


def script(text: str) -> tuple[str, ...]:
    return "--", sys.executable, "-c", text


def test_a_program_finds_the_server_and_its_exit_code_is_the_command_s(bare: CommandLine) -> None:
    text = """
import asyncio, sys
from codegen_async import CodegenClient
async def main():
    async with CodegenClient() as client:
        print((await client.create_run("x")).id)
asyncio.run(main())
sys.exit(9)
"""
    result = bare.run("fake", "exec", *script(text))
    assert (result.code, result.out) == (9, "40000\n")
    assert "create 1 of 10 in 60 s" in result.err
    assert "0 violations" in result.err


def test_options_of_the_program_are_its_own(bare: CommandLine) -> None:
    result = bare.run("fake", "exec", "--quiet", *script("import sys; print(sys.argv[1:])"), "--json", "--speed", "x")
    assert (result.code, result.out, result.err) == (0, "['--json', '--speed', 'x']\n", "")


def test_a_program_for_middesk_gets_the_variables_of_middesk(bare: CommandLine) -> None:
    text = "import os; print(*sorted(name for name in os.environ if name.startswith('MIDDESK')))"
    result = bare.run("fake", "exec", "--api", "middesk", *script(text))
    assert result.out == "MIDDESK_API_BASE_URL MIDDESK_API_KEY\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_the_program_decides(bare: CommandLine, number: signal.Signals) -> None:
    text = f"""
import signal, sys
signal.signal({number}, lambda *_: sys.exit(40))
print("ready", file=sys.stderr, flush=True)
signal.pause()
"""
    with bare.started("fake", "exec", *script(text)) as command:
        command.until("ready")
        command.interrupt(number)
        assert command.end().code == 40


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="who waits for a program there is no thread to be held")
def test_a_program_that_ends_just_as_a_signal_comes_keeps_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, passed_on = threading.Event(), threading.Event()
    take, before = os.waitpid, signal.getsignal(signal.SIGTERM)

    def take_late(pid: int, options: int) -> tuple[int, int]:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        ended.set()
        assert passed_on.wait(PATIENCE)
        return take(pid, options)

    async def main() -> int:
        running = asyncio.create_task(until_ended([sys.executable, "-c", "raise SystemExit(7)"], {}))
        await asyncio.to_thread(ended.wait, PATIENCE)
        while signal.getsignal(signal.SIGTERM) is before:  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(3):  # turns of the loop, in which it is passed on
            await asyncio.sleep(0)
        passed_on.set()
        return await running

    monkeypatch.setattr(os, "waitpid", take_late)
    assert asyncio.run(main()) == 7


def test_a_program_that_a_signal_ends_is_told_as_shells_do(bare: CommandLine) -> None:
    assert bare.run("fake", "exec", *script("import os; os.kill(os.getpid(), 9)")).code == 137


@pytest.mark.parametrize("words", [(), ("--", "/no/such/program"), ("--port", -1, "--", "true")])
def test_what_cannot_be_run_is_an_error_of_usage(bare: CommandLine, words: tuple[object, ...]) -> None:
    result = bare.run("fake", "exec", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
