"""Runs of a real LangGraph server, on this machine and without a network; `make test-all` installs it."""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from codegen_async import HostedRun, HostedRuns, Phase
from docs.examples.dialects.langgraph import LangGraph
from tests.support.ports import own_port

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

SERVER = Path(__file__).parents[2] / "build/langgraph/bin/langgraph"
NOWHERE = "http://127.0.0.1:9"
GRAPH = """
import asyncio
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    task: str
    answer: str


async def work(state):
    await asyncio.sleep(600 if state["task"] == "long" else 2)
    if state["task"] == "fail":
        raise ValueError("the task failed")
    return {"answer": interrupt("which one?") if state["task"] == "ask" else "done"}


graph = StateGraph(State).add_node("work", work).add_edge(START, "work").add_edge("work", END).compile()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not SERVER.exists():
        pytest.skip("no LangGraph server: make build/langgraph/made")
    (tmp_path / "graph.py").write_text(GRAPH)
    graphs = {"dependencies": ["."], "graphs": {"agent": "./graph.py:graph"}}
    (tmp_path / "langgraph.json").write_text(json.dumps(graphs))
    return tmp_path


@pytest.fixture
def port() -> Generator[int]:
    with own_port() as own:
        yield own


@pytest_asyncio.fixture
async def url(folder: Path, port: int) -> AsyncGenerator[str]:
    quiet = {"LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1"}
    proxies = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1"}
    server = await asyncio.create_subprocess_exec(
        *(SERVER, "dev", "--no-browser", "--no-reload", "--port", str(port), "--n-jobs-per-worker", "50"),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **quiet, **proxies},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert server.stdout is not None
    reading = asyncio.create_task(drained(server.stdout, started := asyncio.Event()))
    try:
        async with asyncio.timeout(60):
            await started.wait()
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()
        await reading


async def drained(stream: asyncio.StreamReader, started: asyncio.Event) -> None:
    """Read what a server says, so that it can go on."""
    async for line in stream:
        if b"started up" in line:
            started.set()


async def test_fifty_runs_are_created_waited_for_answered_and_cancelled(url: str) -> None:
    tasks = ["a", "b", "fail", "ask", "long"] * 10
    async with HostedRuns(LangGraph(), "none", base_url=url, latency=1.0) as runs:
        made = await asyncio.gather(
            *(runs.create_run(input={"task": task}, idempotency_key=f"{n}") for n, task in enumerate(tasks))
        )
        assert [run.id for run in made] == [
            found.id for n in range(50) if (found := await runs.find_run_by_key(f"{n}"))
        ]

        async def end(run: HostedRun, task: str) -> HostedRun:
            if task == "long":
                async for now in runs.watch([run]):
                    if now.phase is Phase.RUNNING:
                        await runs.cancel_run(run.id)
            return await runs.wait_for_run(run, on_blocked=lambda asked: runs.reply(asked.id, "blue"))

        final = await asyncio.gather(*map(end, made, tasks))
        assert Counter((task, run.status) for task, run in zip(tasks, final, strict=True)) == {
            ("a", "success"): 10,
            ("b", "success"): 10,
            ("fail", "error"): 10,
            ("ask", "success"): 10,
            ("long", "interrupted"): 10,
        }
        assert {run.error for run in final[2::5]} == {"ValueError('the task failed')"}
        assert {json.loads(run.text or "")["answer"] for run in final[3::5]} == {"blue"}
        assert (await runs.cancel_run(final[0].id)).phase is Phase.SUCCEEDED
