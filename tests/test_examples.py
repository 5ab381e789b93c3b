"""Every example runs, as its first lines say, against a simulated server."""

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import aiohttp
import pytest

from codegen_async.testing import CodegenServer, Life, ServerThread
from tests.documentation.sessions import NOTEBOOK, PATIENCE, Process, Session

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
COMPLETE = Life(median=60.0, outcomes={"COMPLETE": 1.0})
MIXED = Life(median=60.0, outcomes={"COMPLETE": 2.0, "ERROR": 1.0})
FAILING = Life(median=60.0, outcomes={"ERROR": 1.0})


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Generator[CodegenServer]:
    life = getattr(request, "param", COMPLETE)
    with ServerThread(lambda: CodegenServer(speed=120.0, life=life)) as server:
        yield server


def start(folder: Path, server: CodegenServer, *words: str) -> Process:
    path = {"PYTHONPATH": str(EXAMPLES), "PYTHONUNBUFFERED": "1"}
    return Process([sys.executable, *words], folder, {**os.environ, **server.environment, **path})


def run(folder: Path, server: CodegenServer, name: str, *arguments: str) -> tuple[int, str]:
    """Run an example; return its exit code and what it prints."""
    with start(folder, server, str(EXAMPLES / name), *arguments) as process:
        shown, _ = process.read_until(b"\0")
        return process.wait(), shown


def test_each_example_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    examples = {path for path in EXAMPLES.rglob("*") if path.suffix in {".py", ".ipynb"}}
    dialects = {path for path in examples if path.parent.name == "dialects"}
    assert [path for path in examples - dialects if not re.search(rf"\b{path.stem}\b", tests)] == []
    assert [path for path in dialects if f"docs.examples.dialects.{path.stem} import" not in tests] == []


def test_a_script_tells_of_each_prompt(tmp_path: Path, server: CodegenServer) -> None:
    code, shown = run(tmp_path, server, "script.py", "one", "two")
    assert code == 0
    assert {"one: succeeded", "two: succeeded"} <= set(shown.splitlines())


@pytest.mark.parametrize("server", [FAILING], indirect=True)
def test_a_script_ends_with_1_if_a_run_fails(tmp_path: Path, server: CodegenServer) -> None:
    assert run(tmp_path, server, "script.py", "one") == (1, "one: failed\n")


def test_a_script_that_is_interrupted_tells_what_goes_on(tmp_path: Path, server: CodegenServer) -> None:
    server.world.script = [(0.0, "ACTIVE")]
    with start(tmp_path, server, "-c", INTERRUPTED.format(path=str(EXAMPLES / "script.py"))) as process:
        shown, _ = process.read_until(b"\0")
        assert process.wait() == 130
    assert re.search(r"these go on:\n  https://\S+\n", shown)
    assert "Traceback" not in shown


# Is interrupted as soon as its run is there.
INTERRUPTED = """
import os, runpy, signal, sys
import codegen_async

class Interrupted(codegen_async.CodegenClient):
    async def create_run(self, *args, **options):
        run = await super().create_run(*args, **options)
        os.kill(os.getpid(), signal.SIGINT)
        return run

codegen_async.CodegenClient = Interrupted
sys.argv = ["script.py", "one"]
runpy.run_path({path!r}, run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("server", [MIXED], indirect=True)
def test_a_batch_tries_again_what_fails_and_goes_on_after_a_kill(tmp_path: Path, server: CodegenServer) -> None:
    lines = [json.dumps({"key": f"issue-{number}", "prompt": f"Fix issue {number}"}) for number in range(25)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    with start(tmp_path, server, str(EXAMPLES / "batch_with_retry.py"), "prompts.jsonl") as process:
        shown, found = process.read_until(b"attempts: ")
        assert found, shown
        process.send(signal.SIGKILL)
        process.wait()
    _, shown = run(tmp_path, server, "batch_with_retry.py", "prompts.jsonl")
    assert "0 new prompts, 25 known" in shown
    assert "succeeded, attempts: 2" in shown
    assert "{'ended': 25}" in shown
    made = [run.prompt for run in server.world.runs.values()]
    assert len(set(made)) == 25
    with (tmp_path / "prompts.jsonl.csv").open(newline="") as file:
        assert {row["state"] for row in csv.DictReader(file)} == {"ended"}
    assert server.violations == 0


@pytest.mark.skipif(find_spec("uvicorn") is None, reason="needs the group `web`")
def test_a_service_starts_one_run_for_an_order_and_shows_it_to_its_user(tmp_path: Path, server: CodegenServer) -> None:
    words = ("-m", "uvicorn", "fastapi_service:app", "--port", "0")
    with start(tmp_path, server, *words) as process:
        shown, found = process.read_until(b" (Press CTRL+C")
        assert found, shown
        asyncio.run(order(re.findall(r"running on (\S+)", shown)[0]))
        process.send(signal.SIGINT)
        rest, _ = process.read_until(b"\0")
        assert "Traceback" not in rest
    assert len(server.world.runs) == 1


async def order(url: str) -> None:
    ada, grace = {"X-User": "ada"}, {"X-User": "grace"}
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
        for _ in range(2):
            async with session.put("/orders/17", params={"prompt": "Fix it"}, headers=ada) as answer:
                assert answer.status == 202
                run = await answer.json()
        async with session.get(f"/runs/{run['id']}/events", headers=grace) as answer:
            assert answer.status == 404
        async with session.get(f"/runs/{run['id']}/events", headers=ada) as answer:
            assert "succeeded" in (await answer.text())
        async with session.get("/orders", headers=ada) as answer:
            assert [(each["id"], each["phase"]) for each in await answer.json()] == [(run["id"], "succeeded")]
        async with session.get("/orders", headers=grace) as answer:
            assert await answer.json() == []


CELLS = [
    "".join(cell["source"])
    for cell in json.loads((EXAMPLES / "batch.ipynb").read_text())["cells"]
    if cell["cell_type"] == "code"
]


@pytest.mark.slow
@pytest.mark.parametrize("server", [MIXED], indirect=True)
def test_a_notebook_runs_cell_by_cell_and_again_after_a_restart(tmp_path: Path, server: CodegenServer) -> None:
    environment = {**os.environ, **server.environment}
    for created in (20, 20):
        with Session((sys.executable, str(NOTEBOOK)), tmp_path, environment) as notebook:
            for number, cell in enumerate(CELLS):
                (tmp_path / f"{number}.py").write_text(cell)
                notebook.run(tmp_path / f"{number}.py")
        assert len({run.prompt for run in server.world.runs.values()}) == created
    assert server.violations == 0


@pytest.mark.slow
def test_a_cell_of_jupyter_can_be_interrupted_and_run_again(tmp_path: Path, server: CodegenServer) -> None:
    server.world.script = [(0.0, "ACTIVE"), (600.0, "COMPLETE")]
    wait = """
run = await client.create_run("x", idempotency_key="x"); print("waits")
await client.wait_for_run(run)
"""
    cells = [*CELLS, "client = await CodegenClient().open()", f"# interrupt{wait}", wait, "client.waits"]
    *others, interrupted, again, _ = in_jupyter(tmp_path, server, cells)
    assert [shown["error"] for shown in others if "error" in shown] == []
    assert interrupted["error"] == "CancelledError"
    assert "error" not in again
    assert "<table>" in again["execute_result"]
    assert [run.prompt for run in server.world.runs.values()].count("x") == 1


def in_jupyter(folder: Path, server: CodegenServer, cells: list[str]) -> list[dict[str, str]]:
    """Return what each cell shows in a kernel."""
    driver = ROOT / "tests" / "documentation" / "jupyter.py"
    environment = {**os.environ, **server.environment, "IPYTHONDIR": str(folder), "HOME": str(folder)}
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, driver], cwd=folder, env=environment, input=json.dumps(cells).encode(), stdout=subprocess.PIPE,
        timeout=2 * PATIENCE, check=True,
    )  # fmt: skip
    shown: list[dict[str, str]] = json.loads(done.stdout)
    return shown
