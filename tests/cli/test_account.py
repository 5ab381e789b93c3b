"""`codegen-async org`, `codegen-async repo`, and repositories by name, as processes."""

import pytest

from tests.cli.harness import CommandLine, Served


def test_organizations_are_listed_without_naming_one(cli: CommandLine, fake: Served) -> None:
    fake.do(lambda server: server.account.organizations.update({7: "Second\tone"}))
    listed = cli.run("org", "list", env={"CODEGEN_ORG_ID": ""})
    assert (listed.code, listed.out) == (0, "323\tExample\n7\tSecond one\n")
    first = cli.run("org", "list", "--limit", 1, "--json").json
    assert [(one["id"], one["name"]) for one in first] == [(323, "Example")]


def test_repositories_are_listed(cli: CommandLine) -> None:
    listed = cli.run("repo", "list")
    assert listed.out.splitlines()[0] == "101\texample/website\tPython\tCOMPLETE"
    assert len(listed.out.splitlines()) == 3
    assert [repo["full_name"] for repo in cli.run("repo", "list", "--jsonl").jsonl][2] == "example/docs"
    assert cli.run("repo", "list", "--limit", 0).code == 2


def test_both_can_be_simulated(bare: CommandLine) -> None:
    assert bare.run("org", "list", "--simulate").out == "323\tExample\n"
    assert len(bare.run("repo", "list", "--simulate").out.splitlines()) == 3


def test_any_command_works_without_an_organization_where_there_is_but_one(cli: CommandLine, fake: Served) -> None:
    run_id = fake.create()
    listed = cli.run("run", "list", env={"CODEGEN_ORG_ID": ""})
    assert (listed.code, listed.out.split("\t")[0]) == (0, str(run_id))
    fake.do(lambda server: server.account.organizations.update({7: "Second"}))
    refused = cli.run("run", "list", env={"CODEGEN_ORG_ID": ""})
    assert (refused.code, refused.out) == (2, "")
    assert "the token has access to 2 organizations: 323 (Example), 7 (Second)" in refused.err


def test_the_token_may_be_called_a_key(cli: CommandLine, fake: Served) -> None:
    env = {"CODEGEN_API_TOKEN": "", "CODEGEN_API_KEY": fake.server.token}
    assert cli.run("org", "list", env=env).code == 0
    assert "token\t***" in (view := cli.run("config", "view", env=env).out)
    assert "environment CODEGEN_API_KEY" in view
    assert cli.run("org", "list", env={"CODEGEN_API_KEY": "another"}).code == 0  # the token goes before


@pytest.mark.parametrize("name", ["example/service", "Example/SERVICE"])
def test_a_run_is_created_in_a_repository_by_name(name: str, cli: CommandLine, fake: Served) -> None:
    created = cli.run("run", "create", "x", "--repo", name, env={"CODEGEN_REPO_ID": "9"})
    assert created.code == 0
    assert fake.server.world.runs[int(created.out)].repo_id == 102


def test_a_run_is_created_in_a_repository_by_id_or_as_set(cli: CommandLine, fake: Served) -> None:
    by_id = cli.run("run", "create", "x", "--repo-id", 103, env={"CODEGEN_REPO_ID": "9"})
    as_set = cli.run("run", "create", "x", env={"CODEGEN_REPO_ID": "9"})
    runs = fake.server.world.runs
    assert (runs[int(by_id.out)].repo_id, runs[int(as_set.out)].repo_id) == (103, 9)


@pytest.mark.parametrize(
    ("options", "complaint", "hint"),
    [
        (
            ["--repo", "example/sevrice"],
            "organization 323 has no repository 'example/sevrice'",
            "did you mean example/service?",
        ),
        (["--repo", "else/where"], "organization 323 has no repository 'else/where'", "codegen-async repo list"),
        (["--repo", "service"], "--repo: expected owner/name, got 'service'", "codegen-async repo list"),
        (["--repo", "a/b/c"], "--repo: expected owner/name", ""),
        (["--repo", "a/b", "--repo-id", 5], "--repo and --repo-id exclude one another", ""),
    ],
)
def test_a_repository_that_cannot_be_meant_is_refused_and_nothing_created(
    options: list[object], complaint: str, hint: str, cli: CommandLine, fake: Served
) -> None:
    refused = cli.run("run", "create", "x", *options)
    assert (refused.code, refused.out) == (2, "")
    assert complaint in refused.err
    assert hint in refused.err
    assert not fake.server.world.runs


@pytest.mark.parametrize(
    ("options", "env", "sent"),
    [
        (["--repo", "example/docs"], {"CODEGEN_REPO_ID": "9"}, [103, 5]),
        (["--repo-id", 102], {"CODEGEN_REPO_ID": "9"}, [102, 5]),
        ([], {"CODEGEN_REPO_ID": "9"}, [9, 5]),
        ([], {}, [None, 5]),
    ],
)
def test_prompts_of_a_batch_that_name_no_repository_work_on_the_one_that_was_named(
    options: list[object], env: dict[str, str], sent: list[int | None], cli: CommandLine, fake: Served
) -> None:
    fake.script("COMPLETE")
    (cli.home / "p.jsonl").write_text('{"prompt": "names none"}\n{"prompt": "names one", "repo_id": 5}\n')
    assert cli.run("batch", "run", "p.jsonl", *options, env=env).code == 0
    assert [run.repo_id for run in fake.server.world.runs.values()] == sent


def test_another_default_makes_no_prompt_another(cli: CommandLine, fake: Served) -> None:
    fake.script("COMPLETE")
    (cli.home / "p.jsonl").write_text('{"prompt": "names none"}\n')
    for options in (["--repo-id", 101], ["--repo-id", 102], []):
        assert cli.run("batch", "run", "p.jsonl", *options).code == 0
    assert [run.repo_id for run in fake.server.world.runs.values()] == [101]


def test_a_batch_for_a_repository_that_is_not_there_creates_nothing(cli: CommandLine, fake: Served) -> None:
    (cli.home / "p.jsonl").write_text('{"prompt": "x"}\n')
    refused = cli.run("batch", "run", "p.jsonl", "--repo", "else/where")
    assert (refused.code, refused.out) == (2, "")
    assert "323 has no repository 'else/where'" in refused.err
    assert not (cli.home / "p.jsonl.db").exists()
    assert not fake.server.world.runs
