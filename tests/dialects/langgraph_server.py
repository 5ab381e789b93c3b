"""A strict server of LangGraph's threads and runs, after its OpenAPI and what it was seen to answer."""

import json
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from codegen_async import Rate
from codegen_async.testing import Refusal, Route, SimulatedServer

RUN_FIELDS = {"assistant_id", "input", "command", "metadata", "config", "multitask_strategy", "if_not_exists"}
THREAD_FIELDS = {"thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "status", "values"}
RUNNING = ("pending", "running")


class LangGraphServer(SimulatedServer):
    """Run a graph for ten seconds; its input `{"task": "fail"}` makes it fail, `{"task": "ask"}` makes it ask."""

    def __init__(self) -> None:
        super().__init__(rates={"all": Rate(100, 1.0)})
        self.threads: dict[str, list[dict[str, Any]]] = {}

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/threads/search", "all", self._search),
            Route("GET", "/threads/{thread}/state", "all", self._state),
            Route("POST", "/threads/{thread}/runs", "all", self._create),
            Route("GET", "/threads/{thread}/runs", "all", lambda request, _: self._runs(request)),
            Route("GET", "/threads/{thread}/runs/{run}", "all", lambda request, _: self._shown(self._find(request))),
            Route("POST", "/threads/{thread}/runs/{run}/cancel", "all", self._cancel),
        ]

    def is_authorized(self, request: web.Request) -> bool:
        return request.headers.get("X-Api-Key") == self.token

    def _create(self, request: web.Request, body: bytes) -> dict[str, Any]:
        fields, thread = json.loads(body), str(UUID(request.match_info["thread"]))
        if fields.keys() - RUN_FIELDS or fields.get("assistant_id") != "agent":
            raise Refusal(422, {"detail": "Invalid request"})
        if thread not in self.threads and fields.get("if_not_exists") != "create":
            raise Refusal(404, {"detail": "Thread or assistant not found."})
        runs = self.threads.setdefault(thread, [])
        if runs and self._status(runs[-1]) in RUNNING and fields.get("multitask_strategy") == "reject":
            raise Refusal(409, {"detail": "Thread is already running a task."})
        run = {"run_id": str(uuid4()), "thread_id": thread, "created_at": self.date().isoformat()}
        task = (fields.get("input") or {}).get("task")
        resumed = (fields.get("command") or {}).get("resume")
        runs.append({**run, "at": self.now(), "task": task, "answer": resumed or "done", "cancelled": False})
        return self._shown(runs[-1])

    def _runs(self, request: web.Request) -> list[dict[str, Any]]:
        thread = request.match_info["thread"]
        if thread not in self.threads:
            raise Refusal(404, {"detail": f"Thread with ID {thread} not found"})
        return [self._shown(run) for run in reversed(self.threads[thread])][: int(request.query.get("limit", 10))]

    def _find(self, request: web.Request) -> dict[str, Any]:
        self._runs(request)
        runs = self.threads[request.match_info["thread"]]
        found = [run for run in runs if run["run_id"] == request.match_info["run"]]
        if not found:
            raise Refusal(404, {"detail": "Not Found"})
        return found[0]

    def _cancel(self, request: web.Request, _: bytes) -> None:
        run = self._find(request)
        if self._status(run) not in RUNNING:
            raise Refusal(404, {"detail": "No matching runs to cancel."})
        run["cancelled"] = True

    def _search(self, _: web.Request, body: bytes) -> list[dict[str, Any]]:
        fields = json.loads(body)
        if fields.get("limit", 10) > 1000 or set(fields["select"]) - THREAD_FIELDS:
            raise Refusal(422, {"detail": "Failed validating"})
        runs = [self.threads[name][-1] for name in fields["ids"] if name in self.threads]
        return [{"thread_id": run["thread_id"], "status": self._thread_status(run)} for run in runs]

    def _state(self, request: web.Request, _: bytes) -> dict[str, Any]:
        self._runs(request)
        run = self.threads[request.match_info["thread"]][-1]
        status, asks = self._status(run), self._thread_status(run) == "interrupted"
        task = {"error": "ValueError('no')" if status == "error" else None, "interrupts": [{"value": "which?"}] * asks}
        done = status == "success" and not asks
        values = {"task": run["task"]} | ({"answer": run["answer"]} if done else {})
        return {"values": values, "tasks": [] if done else [task], "metadata": {"run_id": run["run_id"]}}

    def _status(self, run: dict[str, Any]) -> str:
        if run["cancelled"] or self.now() - run["at"] < 10:
            return "interrupted" if run["cancelled"] else "running"
        return "error" if run["task"] == "fail" else "success"

    def _thread_status(self, run: dict[str, Any]) -> str:
        asks = run["task"] == "ask" and self._status(run) == "success"
        return {"running": "busy", "error": "error"}.get(self._status(run), "interrupted" if asks else "idle")

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        return {**{name: run[name] for name in ("run_id", "thread_id", "created_at")}, "status": self._status(run)}
