"""`codegen-async auth login`: a token is tried, and kept where only its owner can read it."""

import stat
import sys
from pathlib import Path

import pytest

from tests.cli.harness import CommandLine, Served
from tests.support.canary import CANARY


@pytest.fixture
def user_file(bare: CommandLine, fake: Served) -> Path:
    """Return where the user's config file will be; the command line knows the server only."""
    bare.env["CODEGEN_API_BASE_URL"] = fake.server.url
    return bare.home / "codegen-async" / "config.toml"


def test_a_token_is_kept_for_its_owner_with_the_only_organization(
    bare: CommandLine, fake: Served, user_file: Path
) -> None:
    done = bare.run("auth", "login", stdin=f"{CANARY}\n")
    assert (done.code, done.out) == (0, "")
    assert stat.S_IMODE(user_file.stat().st_mode) == 0o600
    assert user_file.read_text() == f'token = "{CANARY}"\norg_id = {fake.server.org_id}\n'
    assert bare.run("run", "list").code == 0


def test_what_the_file_says_besides_stays(bare: CommandLine, user_file: Path) -> None:
    user_file.parent.mkdir()
    user_file.write_text('# mine\ntoken = "old"\nrepo_id = 17  # always\n')
    user_file.chmod(0o644)
    assert (
        bare.run("auth", "login", "--no-check", "--org-id", 5, "--base-url", "https://a.example", stdin=CANARY).code
        == 0
    )
    assert user_file.read_text().splitlines() == [
        f'token = "{CANARY}"',
        'base_url = "https://a.example"',
        "org_id = 5",
        "# mine",
        "repo_id = 17  # always",
    ]
    assert stat.S_IMODE(user_file.stat().st_mode) == 0o600


def test_a_link_to_a_file_elsewhere_stays_one(bare: CommandLine, user_file: Path) -> None:
    (bare.home / "dotfiles").mkdir()
    user_file.parent.mkdir()
    user_file.symlink_to(bare.home / "dotfiles" / "config.toml")
    assert bare.run("auth", "login", "--no-check", stdin=CANARY).code == 0
    assert user_file.is_symlink()
    assert CANARY in (bare.home / "dotfiles" / "config.toml").read_text()


@pytest.mark.parametrize(
    ("token", "words", "seen"),
    [
        ("wrong", (), (4, "401")),
        (CANARY, ("--org-id", 5), (4, "the token has no access to organization 5")),
        ("two words", (), (2, "token: expected")),
        ("", (), (2, "token: expected")),
    ],
)
def test_nothing_is_kept_that_does_not_work(
    bare: CommandLine, user_file: Path, token: str, words: tuple[object, ...], seen: tuple[int, str]
) -> None:
    done = bare.run("auth", "login", *words, stdin=token)
    assert (done.code, done.out) == (seen[0], "")
    assert seen[1] in done.err
    assert not user_file.exists()


def test_a_terminal_is_asked_and_shows_nothing_of_it(bare: CommandLine, user_file: Path) -> None:
    with bare.on_a_terminal("auth", "login") as terminal:
        terminal.until("Token: ")
        terminal.type(f"{CANARY}\n")
    assert terminal.code == 0
    assert CANARY not in terminal.shown
    assert CANARY in user_file.read_text()


def test_a_user_without_a_home_is_told(bare: CommandLine, user_file: Path) -> None:
    (bare.home / "sitecustomize.py").write_text(
        "import pwd\n\ndef nobody(uid):\n    raise KeyError(uid)\n\npwd.getpwuid = nobody\n"
    )
    bare.env["PYTHONPATH"] = f"{bare.home}:{bare.env['PYTHONPATH']}"
    del bare.env["XDG_CONFIG_HOME"], bare.env["HOME"]
    done = bare.run("auth", "login", stdin=CANARY)
    assert (done.code, done.err.splitlines()[1]) == (1, "hint: set CODEGEN_API_TOKEN instead")
    assert not user_file.exists()


def test_the_package_itself_is_the_command_line(bare: CommandLine) -> None:
    assert bare.spawn([sys.executable, "-m", "codegen_async", "--version"]).out == bare.run("--version").out
