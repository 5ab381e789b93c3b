"""Commands in a row spend one budget; where nothing can be remembered, they go on without."""

import asyncio
from pathlib import Path

import pytest

from codegen_async import CodegenClient
from tests.cli.harness import CommandLine, Served


def remembered(fake: Served, memory: Path) -> int:
    """Return how many creates the next program will know of."""

    async def known() -> int:
        client = CodegenClient("x", org_id=1, base_url=fake.server.url, memory=memory)
        async with client:
            return client.limits["create"].cooling

    return asyncio.run(known())


@pytest.mark.parametrize("where", ["by default", "by the standard's variable", "by the setting"])
def test_what_a_command_has_sent_is_known_to_the_next(cli: CommandLine, fake: Served, where: str) -> None:
    memory = cli.home / ".local" / "state" / "codegen-async" / "sendings"
    if where == "by the standard's variable":
        cli.env["XDG_STATE_HOME"] = str(cli.home / "state")
        memory = cli.home / "state" / "codegen-async" / "sendings"
    elif where == "by the setting":
        cli.env["CODEGEN_MEMORY"] = "my-memory"
        memory = cli.home / "my-memory"
    for _ in range(2):
        assert cli.run("run", "create", "do", "--quiet").code == 0
    assert remembered(fake, memory) == 2
    assert memory.stat().st_mode & 0o777 == 0o600
    shown = next(row for row in cli.run("config", "view", "--json").json if row["name"] == "memory")
    assert (cli.home / shown["value"], shown["source"] == "default") == (memory, where != "by the setting")


@pytest.mark.parametrize("state", ["/dev/null", "/proc/nothing", "relative"])
def test_a_place_that_cannot_be_had_stops_no_command(cli: CommandLine, state: str) -> None:
    cli.env["XDG_STATE_HOME"] = state
    result = cli.run("run", "create", "do", "--quiet")
    assert (result.code, result.err) == (0, "")
    assert not (cli.home / "relative").exists()


def test_a_memory_that_was_asked_for_and_cannot_be_had_is_an_error_that_names_it(cli: CommandLine) -> None:
    result = cli.run("run", "create", "do", env={**cli.env, "CODEGEN_MEMORY": "/nowhere/memory"})
    assert result.code == 2
    assert "memory: /nowhere/memory: No such file or directory" in result.err


def test_a_link_where_the_memory_belongs_is_not_followed(cli: CommandLine) -> None:
    victim = cli.home / "victim"
    victim.write_bytes(b"mine")
    folder = cli.home / ".local" / "state" / "codegen-async"
    folder.mkdir(parents=True)
    (folder / "sendings").symlink_to(victim)
    assert cli.run("run", "create", "do", "--quiet").code == 0
    assert victim.read_bytes() == b"mine"
