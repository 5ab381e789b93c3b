"""What the README and the documentation show works as printed."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from codegen_async.testing import CodegenServer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


SCRIPTS = {
    f"{page.relative_to(ROOT)}, {number}": block
    for page in PAGES
    for number, block in enumerate(blocks(page), 1)
    if "asyncio.run(" in block and not re.match(r"# \w+\.py\n", block)
}
TESTS = {
    str(page.relative_to(ROOT)): [block for block in blocks(page) if "pytest" in block]
    for page in PAGES
    if "pytest_plugins" in page.read_text()
}


async def run(directory: Path, *arguments: str, **environment: str) -> str:
    """Run Python in a directory and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=directory,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    return tmp_path


def test_there_is_something_to_try() -> None:
    assert len(SCRIPTS) == 3
    assert sorted(TESTS) == ["README.md", "docs/howto/testing.md"]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_runs_as_printed(name: str, directory: Path, codegen_server: CodegenServer) -> None:
    codegen_server.world.script = [(0.0, "COMPLETE")]
    printed = await run(
        directory,
        "-c",
        SCRIPTS[name],
        CODEGEN_API_TOKEN=codegen_server.token,
        CODEGEN_ORG_ID=str(codegen_server.org_id),
        CODEGEN_API_BASE_URL=codegen_server.url,
    )
    made = codegen_server.world.runs
    assert made
    assert len(printed.splitlines()) >= len(made)
    assert codegen_server.violations == 0


@pytest.mark.parametrize("name", TESTS)
def test_a_test_passes_as_printed(name: str, tmp_path: Path) -> None:
    conftest, *tests = TESTS[name]
    (tmp_path / "conftest.py").write_text(conftest)
    for number, test in enumerate(tests):
        (tmp_path / f"test_{number}.py").write_text(test)
    assert f"{len(tests)} passed" in asyncio.run(run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider"))


DIALECT = {
    name: block
    for block in blocks(ROOT / "docs" / "howto" / "your-own-api.md")
    for name in re.findall(r"\A# (\w+\.py)\n", block)
}


@pytest.fixture
def own_dialect(tmp_path: Path) -> Path:
    for name, text in DIALECT.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["codegen_async.testing.plugin"]\n')
    return tmp_path


def test_the_tests_of_a_dialect_of_ones_own_pass_as_printed(own_dialect: Path) -> None:
    assert list(DIALECT) == ["acme.py", "test_acme.py", "acme_server.py", "test_client.py", "use.py", "bulk.py"]
    assert "2 passed" in asyncio.run(run(own_dialect, "-m", "pytest", "-q", "-p", "no:cacheprovider"))


def test_the_script_of_a_dialect_of_ones_own_runs_as_printed(own_dialect: Path) -> None:
    serve = SERVE_ACME.format(script=str(own_dialect / "use.py"))
    assert "succeeded done" in asyncio.run(run(own_dialect, "-c", serve, ACME_API_KEY="simulated"))


def test_the_commands_for_a_dialect_of_ones_own_work_as_printed(own_dialect: Path) -> None:
    page = (ROOT / "docs" / "howto" / "your-own-api.md").read_text()
    commands, rehearsal, batch = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    (own_dialect / "commands.sh").write_text(commands.replace("export ACME_API_KEY=...\n", ""))
    (own_dialect / "batch.sh").write_text(batch)
    (own_dialect / "rehearsal.sh").write_text(rehearsal)
    serving = ("fake", "exec", "--server", "acme_server:AcmeServer", "--speed", "60", "--", "bash", "-eu")
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(own_dialect)}
    printed = asyncio.run(run(own_dialect, "-P", "-m", "codegen_async.cli", *serving, "commands.sh", **own))
    assert "the server shows keys" in printed
    assert "run r0  succeeded (finished)" in printed
    printed = asyncio.run(run(own_dialect, "-P", "-m", "codegen_async.cli", *serving, "batch.sh", **own))
    assert printed.count("\tsucceeded\t") == 2
    assert "Update the changelog" in (own_dialect / "results.csv").read_text()
    words = ("-c", "import os; os.execvp('bash', ['bash', '-eu', 'rehearsal.sh'])")
    assert "run r0  succeeded (finished)" in asyncio.run(run(own_dialect, *words, **own))


def test_the_batch_of_a_dialect_of_ones_own_runs_as_printed(own_dialect: Path) -> None:
    serve = SERVE_ACME.format(script=str(own_dialect / "bulk.py"))
    printed = asyncio.run(run(own_dialect, "-c", serve, ACME_API_KEY="simulated")).splitlines()
    assert sorted(printed) == [f"task {n} ended succeeded" for n in range(5)]
    assert len((own_dialect / "bulk.csv").read_text().splitlines()) == 6


SERVE_ACME = """
import runpy
from acme import Acme
from acme_server import AcmeServer
from codegen_async.testing import ServerThread

class Quick(AcmeServer):
    def shown(self, run):
        return {{**super().shown(run), "state": "finished"}}

with ServerThread(Quick) as server:
    Acme.base_url = server.url
    runpy.run_path({script!r})
"""
