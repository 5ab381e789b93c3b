"""`codegen-async dashboard`, and `batch run --dashboard`: the page, as a browser of the user's would ask for it."""

import gzip
import json
import re
import signal
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from codegen_async.cli.selecting import with_port
from codegen_async.errors import JournalError
from codegen_async.web.dashboard.rows import Reader
from tests.cli.harness import CommandLine, Served, Started, write_prompts
from tests.support.canary import CANARY


def link_of(command: Started) -> tuple[str, str]:
    """Return where the page is and its token, when they are said."""
    found = re.search(r"dashboard: (http://127\.0\.0\.1:\d+/)#([\w-]{43})\n", command.until("dashboard: "))
    assert found is not None
    return found[1], found[2]


def ask(place: str, path: str, token: str = "", wish: Mapping[str, Any] | None = None) -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    if wish is not None:
        headers["content-type"] = "application/json"
    content = None if wish is None else json.dumps(wish).encode()
    request = urllib.request.Request(place + path, content, headers)  # noqa: S310 - it is the loopback's
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the same
        body = answer.read()
    return json.loads(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)


def refusal(place: str, path: str, token: str = "", wish: Mapping[str, Any] | None = None) -> int:
    with pytest.raises(HTTPError) as caught:
        ask(place, path, token, wish)
    caught.value.close()
    return caught.value.code


def columns(place: str, token: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ask(place, "api/snapshot", token)["columns"]
    return found


def over(cli: CommandLine, fake: Served, count: int = 1) -> Path:
    """Run a batch of so many prompts to its end, and return its file."""
    fake.script("COMPLETE")
    file = write_prompts(cli.home, count)
    assert cli.run("batch", "run", file).code == 0
    return file


def test_a_journal_is_shown_until_a_signal_comes(cli: CommandLine, fake: Served) -> None:
    file = over(cli, fake, 3)
    with cli.started("dashboard", file) as command:
        place, token = link_of(command)
        assert columns(place, token)["label"] == ["succeeded"] * 3
        assert refusal(place, "api/snapshot") == 403
        assert refusal(place, "api/pause", token, {}) == 404  # nobody here drives it
        command.interrupt(signal.SIGTERM)
        result = command.end()
    assert result.code == 143
    assert CANARY not in result.err


def until(place: str, token: str, what: str, expected: object) -> None:
    """Ask for a column until it says that; the harness ends what never does."""
    while columns(place, token)[what] != expected:
        pass


def test_a_batch_is_acted_on_from_its_page(cli: CommandLine, fake: Served) -> None:
    fake.script("ERROR")
    file = write_prompts(cli.home, 2)
    with cli.started("batch", "run", file, "--dashboard", "--stay") as command:
        place, token = link_of(command)
        until(place, token, "label", ["failed"] * 2)
        assert ask(place, "api/pause", token, {}) == {"done": 0}
        fake.script("COMPLETE")
        assert ask(place, "api/retry", token, {"items": [[1, 1]]}) == {"done": 1}
        assert columns(place, token)["label"] == ["planned", "failed"]
        ask(place, "api/resume", token, {})
        until(place, token, "label", ["succeeded", "failed"])
        assert columns(place, token)["attempt"] == [2, 1]
        command.interrupt()
        result = command.end()
    assert result.code == 3
    assert "1 succeeded, 1 failed" in result.err


def test_who_watches_keeps_nobody_from_ending(cli: CommandLine, fake: Served) -> None:
    fake.script("ACTIVE")
    with cli.started("batch", "run", write_prompts(cli.home, 1), "--dashboard") as command:
        place, token = link_of(command)
        until(place, token, "label", ["running"])
        version = ask(place, "api/snapshot", token)["version"]
        where, headers = f"{place}api/events?after={version}", {"authorization": f"Bearer {token}"}
        request = urllib.request.Request(where, headers=headers)  # noqa: S310 - it is the loopback's
        with urllib.request.urlopen(request, timeout=20) as stream:  # noqa: S310 - the same
            assert stream.readline() == b"retry: 3000\n"
            command.interrupt(signal.SIGTERM)
            assert command.end().code == 143
            assert b"end" not in stream.read()


def test_what_is_about_the_page_needs_one(cli: CommandLine) -> None:
    result = cli.run("batch", "run", write_prompts(cli.home, 1), "--stay")
    assert (result.code, result.out) == (2, "")
    assert "--dashboard" in result.err


def test_it_listens_on_this_machine_alone_unless_that_is_wished(cli: CommandLine, fake: Served) -> None:
    file = over(cli, fake)
    with cli.started("dashboard", file) as command:
        place, _ = link_of(command)
        port = int(place.rstrip("/").rpartition(":")[2])
        for other in _addresses():
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((other, port), timeout=5)
        command.interrupt()
        assert "others can reach" not in command.end().err
    with cli.started("dashboard", file, "--listen", "0.0.0.0") as command:  # noqa: S104 - that is the point
        link_of(command)
        assert "others can reach the dashboard" in command.until("others")
        command.interrupt()
        command.end()


def _addresses() -> list[str]:
    """Return addresses of this machine that are no loopback's, as far as there are any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return []
        return [str(probe.getsockname()[0])]


def test_a_port_that_is_taken_or_is_none_is_an_error(cli: CommandLine, fake: Served) -> None:
    file = over(cli, fake)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = cli.run("dashboard", file, "--port", port)
        assert (result.code, result.out) == (2, "")
        assert f"127.0.0.1, port {port}: cannot be listened on (Address already in use)\nhint: " in result.err
        assert f"127.0.0.1, port {port}: " in cli.run("batch", "run", file, f"--dashboard={port}").err
    assert cli.run("dashboard", file, "--port", 70_000).code == 2
    assert "cannot be listened on" in cli.run("dashboard", file, "--listen", "no.such.name.invalid").err


@pytest.mark.parametrize(("flag", "form"), [("--quiet", r"(http:\S+)\n"), ("--jsonl", r'\{"url":"(http:\S+)"\}\n')])
def test_programs_get_the_link_as_data(cli: CommandLine, fake: Served, flag: str, form: str) -> None:
    file = over(cli, fake)
    with cli.started("dashboard", file, flag) as command:
        assert command.process.stdout is not None
        found = re.fullmatch(form, command.process.stdout.readline().decode())
        assert found is not None
        place, _, token = found[1].partition("#")
        assert columns(place, token)["label"] == ["succeeded"]
        command.interrupt()
        command.end()


def test_what_is_no_journal_is_told(bare: CommandLine) -> None:
    assert "JOURNAL" in bare.run("dashboard").err
    assert bare.run("dashboard", "nothing.db").code != 0
    assert bare.run("dashboard", "nothing.db", "--simulate").code == 2


def test_a_simulated_batch_is_shown_without_a_token(bare: CommandLine) -> None:
    with bare.started("dashboard", "--simulate") as command:
        place, token = link_of(command)
        command.until("planned")
        assert len(columns(place, token)["key"]) == 40
        command.interrupt(signal.SIGTERM)
        command.end()
    assert [*bare.home.iterdir()] == []


def test_the_command_that_goes_on_has_the_page_again(cli: CommandLine, fake: Served) -> None:
    fake.script("ACTIVE")
    file = write_prompts(cli.home, 1)
    with cli.started("batch", "run", file, "--dashboard", "--stay") as command:
        link_of(command)
        command.until("running")
        command.interrupt(signal.SIGTERM)
        assert "--dashboard --stay" in command.end().err.replace("--stay --dashboard", "--dashboard --stay")


@pytest.mark.parametrize(
    ("words", "expanded"),
    [
        (["batch", "run", "x", "--dashboard=80"], ["batch", "run", "x", "--dashboard", "--port=80"]),
        (["batch", "run", "x", "--dashboard"], ["batch", "run", "x", "--dashboard"]),
        (["fake", "exec", "--", "--dashboard=80"], ["fake", "exec", "--", "--dashboard=80"]),
        (["fake", "exec", "--dashboard"], ["fake", "exec", "--dashboard"]),
    ],
)
def test_a_port_stands_behind_the_flag(words: list[str], expanded: list[str]) -> None:
    assert with_port(words) == expanded


def test_what_is_no_journal_is_refused_before_a_link_is_printed(cli: CommandLine) -> None:
    script = cli.home / "script.py"
    script.write_text("print('not a journal')\n")
    result = cli.run("dashboard", script)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"error: {script}: is no journal of this package, or damaged; ")
    assert "dashboard: http" not in result.err


def test_a_reader_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        Reader(tmp_path / "none.db").changes()
