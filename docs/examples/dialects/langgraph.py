"""LangGraph: runs of a graph on threads. After the OpenAPI of langgraph-api 0.16, and that server (November 2026)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from msgspec.structs import replace

from codegen_async import Call, Dialect, HostedRun, Phase, Rate, Refusal, Response, Shown, Twice

_RUNS, _RUN = "/threads/{thread}/runs", "/threads/{thread}/runs/{run}"
_OF_THREADS = {"busy": "running", "idle": "success", "interrupted": "success", "error": "error"}


class LangGraph(Dialect[HostedRun]):
    """Run a graph: `create_run(input={...})`. A run that asks is answered by another run of its thread.

    The thread's id is ours to choose: a run whose create was lost is looked for there.
    """

    name = "langgraph"
    base_url = "http://127.0.0.1:2024"  # each deployment has its own
    token_variable = "LANGGRAPH_API_KEY"
    rates = {"all": Rate(100, 1.0)}  # the server has none
    id_parts = ("thread", "run")
    many_at_most = 1000
    phases = {
        "pending": Phase.PENDING, "running": Phase.RUNNING, "success": Phase.SUCCEEDED, "error": Phase.FAILED,
        "timeout": Phase.FAILED, "interrupted": Phase.CANCELLED,
        "success/asks": Phase.BLOCKED, "interrupted/asks": Phase.BLOCKED,
    }  # fmt: skip

    def __init__(self, graph: str = "agent") -> None:
        self._body = {"assistant_id": graph, "multitask_strategy": "reject"}

    def auth(self, token: str) -> Mapping[str, str]:
        return {"X-Api-Key": token}

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="all", path=_RUN, values=self.parts(run_id), read=_run)

    def full(self, run: HostedRun) -> Call[HostedRun | None]:
        path, values = "/threads/{thread}/state", self.parts(run.id)
        return Call(limit="all", path=path, values=values, read=lambda answer: _whole(run, answer.json()))

    def many(self, run_ids: Sequence[str]) -> Call[Shown[HostedRun]]:
        threads = {run_id: self.parts(run_id)["thread"] for run_id in run_ids}
        body = {"ids": [*threads.values()], "select": ["thread_id", "status"], "limit": 1000}

        def read(answer: Response) -> Shown[HostedRun]:
            words = {row["thread_id"]: _OF_THREADS[row["status"]] for row in answer.json()}  # a get confirms ends
            shown = [run_id for run_id in run_ids if threads[run_id] in words]
            return Shown(runs=[HostedRun(id=run_id, status=words[threads[run_id]]) for run_id in shown])

        return Call(limit="all", method="POST", path="/threads/search", json=body, read=read, twice=Twice.SAME)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        body, taken = {**fields, **self._body, "if_not_exists": "create"}, {409: Refusal.EXISTS}
        return Call(limit="all", method="POST", path=_RUNS, values=_named(key), json=body, read=_run, refusals=taken)

    def find(self, key: str, since: float | None) -> Call[HostedRun | None]:
        return Call(limit="all", path=_RUNS, values=_named(key), query={"limit": 100}, read=_oldest)

    def cancel(self, run_id: str) -> Call[object]:
        path, values, over = f"{_RUN}/cancel", self.parts(run_id), {404: Refusal.STILL}
        return Call(limit="all", method="POST", path=path, values=values, read=lambda _: None, refusals=over)

    def reply(self, run_id: str, text: str) -> Call[HostedRun | None]:
        body = {**self._body, "command": {"resume": text}}
        return Call(limit="all", method="POST", path=_RUNS, values=self.parts(run_id), json=body, read=_run)


def _named(key: str) -> Mapping[str, str]:
    return {"thread": str(uuid5(NAMESPACE_OID, key))}


def _run(answer: Response) -> HostedRun:
    return _read(answer.json())


def _oldest(answer: Response) -> HostedRun | None:
    return _read(answer.json()[-1]) if answer.json() else None  # newest first


def _read(fields: dict[str, Any]) -> HostedRun:
    run_id = f"{fields['thread_id']}/{fields['run_id']}"
    return HostedRun(id=run_id, status=fields["status"], created=fields["created_at"], raw=fields)


def _whole(run: HostedRun, state: dict[str, Any]) -> HostedRun:
    told_by: dict[str, Any] = state["metadata"] or {}
    if told_by.get("run_id") != run.raw["run_id"]:
        return run  # nothing came of it, or another run of the thread has gone on
    questions = [question["value"] for task in state["tasks"] for question in task["interrupts"]]
    if questions:  # servers differ in which word they end such a run by
        return replace(run, status=f"{run.status}/asks", text=json.dumps(questions))
    error = "; ".join(task["error"] for task in state["tasks"] if task["error"]) or None
    return replace(run, text=json.dumps(state["values"]), error=error)
