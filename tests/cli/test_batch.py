"""`codegen-async batch`, each command as a process."""

import csv
import shlex
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from codegen_async.testing import Fault
from tests.cli.harness import CommandLine, Result, Served, nobody_reads, write_prompts


def go_on(result: Result) -> list[str]:
    """Return the command that is printed to go on with, without the program."""
    return shlex.split(result.err.rpartition("hint: to go on: codegen-async ")[2])


@pytest.fixture
def prompts(cli: CommandLine) -> Path:
    return write_prompts(cli.home, 3)


def test_a_batch_prints_each_outcome_and_does_nothing_twice(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    first = cli.run("batch", "run", prompts)
    assert first.code == 0
    rows = [line.split("\t") for line in first.out.splitlines()]
    assert sorted(row[0] for row in rows) == ["k0", "k1", "k2"]
    assert {int(row[1]) for row in rows} == set(fake.server.world.runs)
    assert {row[2] for row in rows} == {"succeeded"}
    assert "batch: 3 succeeded\n" in first.err
    second = cli.run("batch", "run", prompts, "--quiet")
    assert second == (0, "", "")
    assert len(fake.server.world.runs) == 3


def test_outcomes_come_as_json(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ERROR")
    result = cli.run("batch", "run", prompts, "--jsonl", "--max-active", 1)
    assert result.code == 3
    assert [(one["key"], one["state"], one["run"]["phase"]) for one in result.jsonl] == [
        (f"k{n}", "ended", "failed") for n in range(3)
    ]
    as_document = cli.run("batch", "run", prompts, "--journal", "other.db", "--max-attempts", 2, "--json")
    assert [one["attempts"] for one in as_document.json] == [2, 2, 2]


def test_status_and_export_tell_where_a_batch_stands(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    cli.run("batch", "run", prompts)
    journal = f"{prompts}.db"
    assert "succeeded\t3\n" in cli.run("batch", "status", journal).out
    assert cli.run("batch", "status", journal, "--json").json["succeeded"] == 3
    exported = cli.run("batch", "export", journal, "results.csv")
    assert exported == (0, "", "3 prompts written to results.csv\n")
    with (cli.home / "results.csv").open(newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == ["k0", "k1", "k2"]


def test_audit_finds_a_second_run(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    cli.run("batch", "run", prompts)
    journal = f"{prompts}.db"
    assert cli.run("batch", "audit", journal).code == 0
    first = next(iter(fake.server.world.runs.values()))
    fake.do(lambda server: server.world.create("x", metadata=first.metadata))
    audited = cli.run("batch", "audit", journal, "--json")
    assert audited.code == 7
    assert [len(runs) for runs in audited.json["duplicates"].values()] == [2]


def test_a_journal_that_is_not_there_is_an_error_and_is_not_made(cli: CommandLine) -> None:
    for words in (("status", "no.db"), ("export", "no.db", "x.csv"), ("audit", "no.db"), ("retry", "no.db")):
        result = cli.run("batch", *words)
        assert result.code == 1
        assert result.err.startswith("error: no.db: there is no such journal\nhint: ")
    assert list(cli.home.iterdir()) == []


def test_a_directory_is_no_journal(cli: CommandLine) -> None:
    result = cli.run("batch", "status", cli.home)
    assert (result.code, result.err.splitlines()[0]) == (1, f"error: {cli.home}: is a folder, and no journal")


def test_rejected_prompts_are_sent_again_on_request(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    fake.do(lambda server: setattr(server, "has_repos", False))
    first = cli.run("batch", "run", prompts)
    assert first.code == 3
    assert "404 No repos found" in first.out
    fake.do(lambda server: setattr(server, "has_repos", True))
    again = cli.run("batch", "retry", f"{prompts}.db", "k1", "--jsonl")
    assert [one["key"] for one in again.jsonl] == ["k1"]
    rest = cli.run("batch", "retry", f"{prompts}.db")
    assert rest.code == 0
    assert len(rest.out.splitlines()) == 2


def test_what_cannot_be_sent_again_is_told_from_what_is_not_there(
    cli: CommandLine, fake: Served, prompts: Path
) -> None:
    fake.script("COMPLETE")
    cli.run("batch", "run", prompts)
    journal = f"{prompts}.db"
    ended = cli.run("batch", "retry", journal, "k1")
    assert (ended.code, ended.err.splitlines()[0]) == (2, "error: the item 'k1' has ended (succeeded)")
    assert "a new key" in ended.err
    missing = cli.run("batch", "retry", journal, "k9")
    assert (missing.code, missing.err.splitlines()[0]) == (2, "error: the batch has no item with the key 'k9'")
    assert len(fake.server.world.runs) == 3


def test_what_failed_is_run_again(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ERROR")
    assert cli.run("batch", "run", prompts).code == 3
    fake.script("COMPLETE")
    assert cli.run("batch", "retry", f"{prompts}.db", "--failed").code == 0
    assert len(fake.server.world.runs) == 6


def test_a_bound_on_runs_ends_creating_and_the_rest_goes_on_later(
    cli: CommandLine, fake: Served, prompts: Path
) -> None:
    fake.script("COMPLETE")
    paused = cli.run("batch", "run", prompts, "--max-runs", 2)
    assert paused.code == 1
    assert "as many as max_runs (2) allows" in paused.err
    assert len(fake.server.world.runs) == 2
    assert cli.run("batch", "run", prompts).code == 0
    assert len(fake.server.world.runs) == 3


def test_an_interrupted_retry_goes_on_by_the_command_it_prints(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.do(lambda server: setattr(server, "has_repos", False))
    cli.run("batch", "run", prompts)
    fake.do(lambda server: setattr(server, "has_repos", True))
    fake.script("ACTIVE")
    with cli.started("batch", "retry", f"{prompts}.db", "k1", "--max-attempts", 2) as command:
        command.until("1 running, 2 rejected")
        command.interrupt(signal.SIGTERM)
        again = go_on(command.end())
    assert again == ["batch", "retry", "--max-attempts", "2", f"{prompts}.db", "k1"]
    fake.end_all()
    rows = [line.split("\t") for line in cli.run(*again).out.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("k1", "succeeded")]
    assert len(fake.server.world.runs) == 1


def test_a_plan_that_is_used_up_pauses_a_batch(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    fake.do(lambda server: setattr(server, "plan_limit", 2))
    paused = cli.run("batch", "run", prompts, "--json")
    assert paused.code == 5
    assert len(paused.json) == 2
    assert f"codegen-async batch run {prompts}" in paused.err.splitlines()[-1]
    fake.do(lambda server: setattr(server, "plan_limit", None))
    assert cli.run("batch", "run", prompts).code == 0
    assert len(fake.server.world.runs) == 3


def test_a_refused_token_pauses_a_batch(cli: CommandLine, prompts: Path) -> None:
    assert cli.run("batch", "run", prompts, env={"CODEGEN_API_TOKEN": "wrong"}).code == 4


def test_the_first_interrupt_waits_for_what_runs(cli: CommandLine, fake: Served) -> None:
    fake.script("ACTIVE")
    prompts = write_prompts(cli.home, 12)  # two more than can be created within the minute
    with cli.started("batch", "run", prompts, "--jsonl") as command:
        command.until("10 running")
        command.interrupt()
        command.until("creating no more")
        fake.end_all()
        result = command.end()
    assert result.code == 130
    assert len(result.jsonl) == len(fake.server.world.runs) == 10
    assert go_on(result) == ["batch", "run", str(prompts), "--journal", f"{prompts}.db", "--jsonl"]
    assert cli.run("batch", "status", f"{prompts}.db", "--json").json["planned"] == 2


def test_the_second_interrupt_leaves_at_once_and_loses_nothing(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ACTIVE")
    with cli.started("batch", "run", prompts) as command:
        command.until("3 running")
        command.interrupt()
        command.until("creating no more")
        command.interrupt()
        result = command.end()
    assert (result.code, result.out) == (130, "")
    fake.end_all()
    assert cli.run(*go_on(result)).code == 0
    assert len(fake.server.world.runs) == 3


def test_sigterm_leaves_at_once_and_loses_nothing(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ACTIVE")
    with cli.started("batch", "run", prompts, "--max-active", 2, "--json", "--org-id", 323) as command:
        command.until("2 running")
        command.interrupt(signal.SIGTERM)
        result = command.end()
    assert (result.code, result.json) == (143, [])
    options = ["--max-active", "2", "--org-id", "323", "--json"]
    assert go_on(result) == ["batch", "run", str(prompts), "--journal", f"{prompts}.db", *options]
    fake.script("COMPLETE")
    fake.end_all()
    assert cli.run(*go_on(result)).code == 0
    assert len(fake.server.world.runs) == 3


def test_sigterm_ends_a_batch_whose_server_is_away(cli: CommandLine, prompts: Path) -> None:
    away = ("--base-url", "http://127.0.0.1:9")
    with cli.started("batch", "run", prompts, *away) as command:
        command.until("the server cannot be asked")
        command.interrupt(signal.SIGTERM)
        result = command.end()
    assert result.code == 143
    assert tuple(go_on(result)[-2:]) == away


def test_an_interrupted_batch_of_which_nothing_is_left_ends_as_others_do(
    cli: CommandLine, fake: Served, prompts: Path
) -> None:
    fake.script("ACTIVE")
    with cli.started("batch", "run", prompts) as command:
        command.until("3 running")
        command.interrupt()
        command.until("creating no more")
        fake.end_all()
        result = command.end()
    assert result.code == 0
    assert "interrupted" not in result.err


def test_a_batch_whose_reader_has_left_says_how_to_go_on(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    with nobody_reads() as pipe, cli.started("batch", "run", prompts, "--quiet", stdout=pipe) as command:
        result = command.end()
    assert result.code == 141
    assert result.err.startswith("error: nobody reads the output any more\n")
    assert go_on(result) == ["batch", "run", str(prompts), "--journal", f"{prompts}.db", "--quiet"]


def test_one_process_at_a_time_runs_a_batch(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("ACTIVE")
    with cli.started("batch", "run", prompts) as command:
        command.until("3 running")
        other = cli.run("batch", "run", prompts)
        while_it_runs = cli.run("batch", "status", f"{prompts}.db", "--json")
        assert other.code == 1
        assert f"is being run by process {command.process.pid}" in other.err
        assert while_it_runs.json["running"] == 3


def test_a_lost_answer_makes_no_second_run(cli: CommandLine, fake: Served, prompts: Path) -> None:
    fake.script("COMPLETE")
    fake.do(lambda server: server.faults.add(Fault.RESET_AFTER, endpoint="create"))
    assert cli.run("batch", "run", prompts).code == 0
    assert len(fake.server.world.runs) == 3


def test_a_simulated_batch_keeps_within_the_limits_and_leaves_nothing(bare: CommandLine) -> None:
    prompts = write_prompts(bare.home, 12)
    result = bare.run("batch", "run", prompts, "--simulate")
    assert result.code == 0
    assert len(result.out.splitlines()) == 12
    assert "create 10 of 10 in 60 s" in result.err
    assert "0 violations" in result.err
    assert list(bare.home.iterdir()) == [prompts]


def test_an_interrupted_simulation_leaves_nothing_to_go_on_with(bare: CommandLine) -> None:
    prompts = write_prompts(bare.home, 30)
    with bare.started("batch", "run", prompts, "--simulate") as command:
        command.until(" running")
        command.interrupt(signal.SIGTERM)
        result = command.end()
    assert result.code == 143
    assert result.err.endswith("error: interrupted\n")


def test_a_damaged_journal_is_told_and_kept(cli: CommandLine, prompts: Path) -> None:
    journal = Path(f"{prompts}.db")
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("CREATE TABLE other (x)")
    result = cli.run("batch", "run", prompts)
    assert result.code == 1
    assert result.err.startswith(f"error: {journal}: is no journal of this package")
