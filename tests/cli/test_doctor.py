"""`codegen-async doctor`, as a process."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from codegen_async.cli.checks import Verdict, check_journal, check_server
from codegen_async.cli.errors import Exit
from tests.cli.harness import CommandLine, Served, write_prompts


def findings(out: str) -> dict[str, tuple[str, str]]:
    return {check: (verdict, text) for check, verdict, text in (line.split("\t") for line in out.splitlines())}


def test_all_is_well(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    cli.run("batch", "run", write_prompts(cli.home, 1))
    result = cli.run("doctor", "--journal", "prompts.jsonl.db", "--echo")
    found = findings(result.out)
    assert result.code == 0, result
    assert {verdict for verdict, _ in found.values()} == {"ok", "skip"}
    assert found["base_url"][1] == f"{fake.server.url} (from environment CODEGEN_API_BASE_URL)"
    assert found["access"][1] == "the token may list the 1 runs of organization 323"
    assert "gave its metadata back" in found["echo"][1]
    assert found["clock"][1].startswith("this machine's differs by ")
    assert found["journal"][1] == "prompts.jsonl.db is whole"
    assert len(fake.server.world.runs) == 2


def test_the_clock_of_a_fast_server_is_not_compared(cli: CommandLine, fake: Served) -> None:
    cli.env["CODEGEN_ASYNC_SPEED"] = f"60@{fake.server.url}"
    result = cli.run("doctor")
    assert result.code == 0
    assert findings(result.out)["clock"] == ("skip", "the server's is simulated, and 60 times as fast")


def test_nothing_is_created_unless_asked_for(cli: CommandLine, fake: Served) -> None:
    result = cli.run("doctor", "--json")
    assert result.code == 0
    assert {one["check"]: one["verdict"] for one in result.json}["access"] == "ok"
    assert not fake.server.world.runs


def test_a_refused_token_is_found(cli: CommandLine) -> None:
    result = cli.run("doctor", env={"CODEGEN_API_TOKEN": "wrong"})
    assert result.code == 4
    assert findings(result.out)["access"][0] == "fail"
    assert "codegen-async doctor" not in result.out  # that is what says so


def test_what_is_missing_is_found(bare: CommandLine) -> None:
    result = bare.run("doctor", "--base-url", "http://127.0.0.1:9")
    found = findings(result.out)
    assert result.code == 4
    assert [name for name, (verdict, _) in found.items() if verdict == "fail"] == ["token", "server"]
    assert found["server"][1] == "127.0.0.1:9 does not answer: Connection refused"


def test_the_organizations_of_the_token_are_listed(cli: CommandLine, fake: Served) -> None:
    assert findings(cli.run("doctor").out)["organizations"] == (
        "ok",
        "the token has access to 1 organization: 323 (Example)",
    )
    fake.do(lambda server: server.account.organizations.update({7: "Second"}))
    both = "the token has access to 2 organizations: 323 (Example), 7 (Second)"
    assert findings(cli.run("doctor").out)["organizations"] == ("ok", both)
    strange = cli.run("doctor", "--org-id", 5)
    assert findings(strange.out)["organizations"] == ("warn", f"{both}; 5 is not among them")
    assert (strange.code, findings(strange.out)["access"][0]) == (4, "fail")


def test_without_an_organization_the_only_one_is_taken(cli: CommandLine, fake: Served) -> None:
    alone = cli.run("doctor", env={"CODEGEN_ORG_ID": ""})
    assert (alone.code, findings(alone.out)["org_id"][0]) == (0, "ok")
    assert findings(alone.out)["access"][1] == "the token may list the 0 runs of organization 323"
    fake.do(lambda server: server.account.organizations.update({7: "Second"}))
    several = cli.run("doctor", env={"CODEGEN_ORG_ID": ""})
    assert (several.code, "access" in findings(several.out)) == (2, False)
    assert findings(several.out)["organizations"][1].endswith("7 (Second); set CODEGEN_ORG_ID to one of them")


def test_a_server_that_cannot_be_one_is_not_asked(bare: CommandLine) -> None:
    result = bare.run("doctor", "--base-url", "http://[")
    assert findings(result.out)["base_url"][0] == "fail"
    assert "server" not in findings(result.out)


def test_a_journal_that_others_can_read_is_found(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    cli.run("batch", "run", write_prompts(cli.home, 1))
    journal = cli.home / "prompts.jsonl.db"
    journal.chmod(0o644)
    result = cli.run("doctor", "--journal", journal)
    assert result.code == 4
    assert f"files\tfail\tothers can read {journal}; chmod 600 {journal}\n" in result.out


def test_something_else_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")
    finding = check_journal(path)
    assert (finding.verdict, finding.code) == (Verdict.FAIL, Exit.ERROR)
    assert "is no journal" in finding.text


def test_a_server_that_speaks_no_tls_is_found(fake: Served) -> None:
    (finding,) = check_server(fake.server.url.replace("http://", "https://"))
    assert (finding.check, finding.verdict, finding.code) == ("tls", Verdict.FAIL, Exit.ERROR)


@pytest.mark.parametrize("name", ["doesnotexist.invalid", "127.0.0.1:9"])
def test_a_server_that_does_not_answer_is_found(name: str) -> None:
    (finding,) = check_server(f"https://{name}")
    assert (finding.check, finding.verdict) == ("server", Verdict.FAIL)
    assert finding.text.startswith(f"{name} does not answer")
