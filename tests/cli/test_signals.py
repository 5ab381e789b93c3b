"""What Ctrl-C and SIGTERM do to commands, once and twice."""

import signal

import pytest

from codegen_async.testing import Fault
from tests.cli.harness import PATIENCE, CommandLine, Served


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_wait_that_is_interrupted_says_how_to_go_on(
    cli: CommandLine, fake: Served, number: signal.Signals, code: int
) -> None:
    run_id = fake.create("x", (0.0, "ACTIVE"))
    with cli.started("run", "wait", run_id, "--org-id", 323) as command:
        command.until("running (ACTIVE)")
        command.interrupt(number)
        result = command.end()
    assert (result.code, result.out) == (code, "")
    assert result.err.splitlines()[1:] == [
        "error: interrupted",
        f"hint: to go on: codegen-async run wait {run_id} --org-id 323",
    ]


def test_a_create_that_is_interrupted_says_how_to_find_its_run(cli: CommandLine, fake: Served) -> None:
    fake.do(lambda server: server.faults.add(Fault.SLOW_BODY, endpoint="create"))
    arrived = fake.until_asked("create")
    with cli.started("run", "create", "x", "--key", "k1") as command:
        assert arrived.wait(PATIENCE)
        command.interrupt()
        result = command.end()
    assert result.code == 130
    assert "hint: to go on: codegen-async run get --key k1" in result.err
    assert cli.run("run", "get", "--key", "k1").code == 0


def test_an_interrupted_create_and_wait_goes_on_with_the_wait(cli: CommandLine, fake: Served) -> None:
    fake.script("ACTIVE")
    with cli.started("run", "create", "x", "--wait") as command:
        command.until("running (ACTIVE)")
        command.interrupt()
        result = command.end()
    (run_id,) = fake.server.world.runs
    assert result.code == 130
    assert result.err.endswith(f"hint: to go on: codegen-async run wait {run_id}\n")


def test_a_simulation_can_be_interrupted(bare: CommandLine) -> None:
    with bare.started("watch", "--simulate", "--jsonl") as command:
        assert command.process.stdout is not None
        assert command.process.stdout.readline()
        command.interrupt()
        result = command.end()
    assert result.code == 130
    assert "to go on: codegen-async watch --simulate" in result.err
