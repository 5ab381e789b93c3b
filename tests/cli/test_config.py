"""Where settings come from, and which files are refused."""

from pathlib import Path

import pytest

from codegen_async.cli import config
from codegen_async.cli.config import Flags
from codegen_async.cli.errors import CommandError, Exit, UsageError
from codegen_async.models import Phase
from tests.cli.harness import CommandLine
from tests.support.canary import CANARY


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the user's file, in a place without other settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for key in config.KEYS:
        monkeypatch.delenv(key.variable, raising=False)
    path = tmp_path / "codegen-async" / "config.toml"
    path.parent.mkdir()
    return path


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_the_nearest_source_wins(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def org() -> tuple[object, str]:
        setting = config.load(Flags(org_id=flag))["org_id"]
        return setting.value, setting.source

    flag = None
    assert org() == (None, "not set")
    write(user_file, "org_id = 1")
    assert org() == (1, str(user_file))
    write(config.PROJECT_FILE, "org_id = 2", 0o644)
    assert org() == (2, "codegen-async.toml")
    monkeypatch.setenv("CODEGEN_ORG_ID", "3")
    assert org() == (3, "environment CODEGEN_ORG_ID")
    flag = 4
    assert org() == (4, "flag")


def test_the_documented_server_is_the_default(user_file: Path) -> None:
    assert config.load(Flags())["base_url"] == config.Setting("base_url", "https://api.codegen.com", "default")
    assert not user_file.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_token_that_others_can_get_at_is_refused(user_file: Path, mode: int) -> None:
    write(user_file, f'token = "{CANARY}"', mode)
    with pytest.raises(CommandError) as caught:
        config.load(Flags())
    assert caught.value.code is Exit.AUTH
    assert caught.value.hint == f"chmod 600 {user_file}"


def test_a_file_without_a_token_may_be_read_by_others(user_file: Path) -> None:
    write(user_file, "org_id = 1", 0o644)
    assert config.load(Flags())["org_id"].value == 1


@pytest.mark.parametrize("line", ['token = "x"', 'base_url = "https://evil.example"', 'middesk_token = "x"'])
def test_a_project_decides_neither_the_token_nor_where_it_goes(user_file: Path, line: str) -> None:
    write(config.PROJECT_FILE, line)
    with pytest.raises(CommandError, match="not allowed in a project's file") as caught:
        config.load(Flags())
    assert str(user_file) in caught.value.hint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("org_id = ", "is not valid TOML"),
        ("orgid = 1", "unknown setting 'orgid'"),
        ("org_id = " + "1" * 5000, "is not valid TOML: Exceeds the limit"),
        ("org_id = 0x" + "f" * 5000, "org_id: expected a positive integer, got a number too large to show"),
        ("org_id = " + "[" * 3000, "is not valid TOML"),
        ("token = 5", "token: expected a text, got something else"),
        ("org_id = -1", "org_id: expected a positive integer, got -1"),
        ("org_id = true", "org_id: expected a positive integer"),
        ("base_url = 1", "base_url: expected a text, got 1"),
        ('token = "two words"', "visible ASCII characters"),
        ("\xff", "is not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_right_is_named(user_file: Path, text: str, complaint: str) -> None:
    user_file.write_bytes(text.encode("latin-1"))
    user_file.chmod(0o600)
    with pytest.raises(CommandError, match=complaint) as caught:
        config.load(Flags())
    assert str(user_file) in str(caught.value)


@pytest.mark.parametrize("name", [CANARY, CANARY.upper(), '"a token"', "a" * 50])
def test_a_name_that_may_be_a_token_is_not_shown(user_file: Path, name: str) -> None:
    write(user_file, f"{name} = 1")
    with pytest.raises(CommandError) as caught:
        config.load(Flags())
    assert str(caught.value) == f"{user_file}: unknown setting"


def test_view_names_each_source_and_never_the_secret(bare: CommandLine) -> None:
    user_file = bare.home / "codegen-async" / "config.toml"
    user_file.parent.mkdir()
    write(user_file, f'token = "{CANARY}"\nrepo_id = 17\n')
    result = bare.run("config", "view", "--org-id", 5)
    rows = dict(line.split("\t", 1) for line in result.out.splitlines())
    assert rows["token"] == f"*** ({len(CANARY)} characters)\t{user_file}"
    assert rows["org_id"] == "5\tflag"
    assert rows["repo_id"] == f"17\t{user_file}"
    assert rows["base_url"] == "https://api.codegen.com\tdefault"
    as_json = bare.run("config", "view", "--json").json
    assert {one["name"] for one in as_json} == set(rows)


def test_an_exposed_token_stops_every_command(bare: CommandLine) -> None:
    user_file = bare.home / "codegen-async" / "config.toml"
    user_file.parent.mkdir()
    write(user_file, f'token = "{CANARY}"', 0o644)
    result = bare.run("run", "list", "--org-id", 5)
    assert (result.code, result.out) == (4, "")
    assert result.err.splitlines()[1] == f"hint: chmod 600 {user_file}"


@pytest.mark.parametrize(
    "given", ['phases = {ABORTED = "failed", PARKED = "blocked"}', 'phases = "ABORTED=failed, PARKED=blocked"']
)
def test_words_are_taught_by_a_table_or_by_a_list(user_file: Path, given: str) -> None:
    write(user_file, given)
    assert config.phases(config.load(Flags())) == {"ABORTED": Phase.FAILED, "PARKED": Phase.BLOCKED}


@pytest.mark.parametrize("given", ["ABORTED", "ABORTED=gone", "=failed"])
@pytest.mark.usefixtures("user_file")
def test_words_that_cannot_be_taught_are_refused_by_name(given: str) -> None:
    with pytest.raises(UsageError, match="phases: expected"):
        config.load(Flags(phases=given))
