"""`codegen-async batch` with a database in the place of a journal, each command as a process."""

import csv
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from codegen_async.testing import CodegenServer
from tests.cli.harness import CommandLine, Served, running, write_prompts
from tests.support.canary import CANARY
from tests.support.servers import new_database, postgres


@pytest.fixture
def fake() -> Generator[Served]:
    with running(lambda: CodegenServer(token=CANARY), Served) as one:
        yield one


@pytest.fixture
def cli(fake: Served, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, fake.server.environment)


def test_a_batch_on_an_engine_prints_lists_and_exports_as_any_other(cli: CommandLine, fake: Served) -> None:
    prompts = write_prompts(cli.home, 3)
    fake.script("COMPLETE")
    first = cli.run("batch", "run", prompts, "--engine", "dbos")
    assert first.code == 0, first.err
    assert sorted(line.split("\t")[0] for line in first.out.splitlines()) == ["k0", "k1", "k2"]
    assert "batch: 3 succeeded\n" in first.err
    assert len(fake.server.world.runs) == 3
    again = cli.run("batch", "run", prompts, "--engine", "dbos", "--json")
    assert [one["key"] for one in again.json] == ["k0", "k1", "k2"]
    assert len(fake.server.world.runs) == 3
    write_prompts(cli.home, 4)
    assert cli.run("batch", "run", prompts, "--engine", "dbos").out.startswith("k3\t")
    write_prompts(cli.home, 3)
    assert len(fake.server.world.runs) == 4
    for named in (prompts, f"{prompts}.dbos.db", f"sqlite:{prompts}.dbos.db"):
        assert "succeeded\t4\n" in cli.run("batch", "status", named).out
        assert len(cli.run("batch", "list", named, "--json").json) == 4
        assert cli.run("batch", "watch", named).code == 0
    assert cli.run("batch", "export", prompts, "results.csv") == (0, "", "4 prompts written to results.csv\n")
    with (cli.home / "results.csv").open(newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == ["k0", "k1", "k2", "k3"]
    refused = cli.run("batch", "export", prompts, f"{prompts}.dbos.db", "--format", "csv")
    assert refused.code == 2
    assert "belongs to the journal" in refused.err
    assert cli.run("batch", "audit", prompts).code == 0


@pytest.mark.slow
def test_what_failed_on_an_engine_is_sent_again_by_its_database(cli: CommandLine, fake: Served) -> None:
    prompts = write_prompts(cli.home, 2)
    fake.script("ERROR")
    database = f"sqlite:{cli.home}/tasks.db"
    first = cli.run("batch", "run", prompts, "--engine", "dbos", "--database", database)
    assert first.code == 3
    fake.script("COMPLETE")
    assert cli.run("batch", "run", database).code == 3  # nothing is left to do
    second = cli.run("batch", "retry", database, "--failed")
    assert second.code == 0, second.err
    assert len(fake.server.world.runs) == 4
    assert [one["attempts"] for one in cli.run("batch", "list", database, "--json").json] == [2, 2]


def test_two_command_lines_share_a_batch_in_postgresql(cli: CommandLine, fake: Served) -> None:
    prompts = write_prompts(cli.home, 8)
    fake.script("COMPLETE")
    with postgres() as server:
        url = new_database(server)
        words = ("batch", "run", prompts, "--engine", "dbos", "--database", url, "--max-active", "2")
        with cli.started(*words) as one, cli.started(*words) as other:
            results = [one.end(), other.end()]
        assert [result.code for result in results] == [0, 0], results
        status = cli.run("batch", "status", url, "--json")
    assert status.json["succeeded"] == 8, results
    assert len(fake.server.world.runs) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--database", "mysql://u:hunter2@h/d"), "database: expected sqlite:/path or postgresql://"),
        (("--engine", "celery"), "celery"),
        (("--engine", "dbos", "--database", "postgresql://u:hunter2@127.0.0.1:1/tasks"), "cannot be reached"),
    ],
)
def test_what_cannot_be_a_database_is_told_without_its_password(
    cli: CommandLine, words: tuple[str, ...], said: str
) -> None:
    result = cli.run("batch", "run", write_prompts(cli.home, 1), *words)
    assert result.code in (1, 2)
    assert said in result.err
    assert "hunter2" not in result.err
    assert "Traceback" not in result.err


def test_the_engine_is_imported_by_nobody_who_does_not_use_it() -> None:
    code = (
        "import sys, codegen_async; codegen_async.Batch; import codegen_async.cli.app, codegen_async.cli.batch;"
        "import codegen_async.cli.driving; print({'dbos', 'psycopg', 'sqlalchemy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stdout == "set()\n"
