"""A strict server of Cursor's agents and runs, as far as its pages say."""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from aiohttp import web

from codegen_async import Rate
from codegen_async.testing import Answer, Refusal, Route, SimulatedServer

ENDED = ("FINISHED", "ERROR", "CANCELLED")
FIELDS = {"prompt", "repos", "agentId", "name", "model", "autoCreatePR", "envVars", "mcpServers"}


class CursorServer(SimulatedServer):
    """Run agents for ten seconds; the prompt `fail` makes one fail. It takes 60 requests a minute, and tells so."""

    def __init__(self) -> None:
        super().__init__(rates={"all": Rate(60, 60.0)}, retry_after=True)
        self.agents: dict[str, list[dict[str, Any]]] = {}
        self.used_up = False

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/agents", "all", self._create),
            Route("GET", "/v1/agents/{agent}/runs", "all", self._list),
            Route("POST", "/v1/agents/{agent}/runs", "all", self._follow_up),
            Route("GET", "/v1/agents/{agent}/runs/{run}", "all", self._get),
            Route("POST", "/v1/agents/{agent}/runs/{run}/cancel", "all", self._cancel),
        ]

    def is_authorized(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Basic {b64encode(f'{self.token}:'.encode()).decode()}"

    def problem(self, reason: str) -> Mapping[str, Any]:
        return {"error": {"code": reason.lower().replace(" ", "_"), "message": reason}}

    def _create(self, _: web.Request, body: bytes) -> Answer:
        fields = self._checked(json.loads(body), FIELDS)
        agent = fields.get("agentId", f"bc-{UUID(int=len(self.agents))}")
        if agent != f"bc-{UUID(agent.removeprefix('bc-'))}" or ("envVars" in fields and "agentId" in fields):
            raise Refusal(400, self.problem("invalid request"))
        if agent in self.agents or self.used_up:
            taken = agent in self.agents
            raise Refusal(409 if taken else 429, self.problem("agent id conflict" if taken else "usage limit exceeded"))
        self.agents[agent] = []
        return Answer(201, {"agent": {"id": agent, "latestRunId": "run-0"}, "run": self._start(agent, fields)})

    def _follow_up(self, request: web.Request, body: bytes) -> Answer:
        runs, fields = self._runs(request), self._checked(json.loads(body), {"prompt", "mcpServers"})
        if self._status(runs[-1]) not in ENDED:
            raise Refusal(409, self.problem("agent busy"))
        return Answer(201, {"run": self._start(request.match_info["agent"], fields)})

    def _list(self, request: web.Request, _: bytes) -> dict[str, Any]:
        return {"items": [self._shown(run) for run in reversed(self._runs(request))], "nextCursor": None}

    def _get(self, request: web.Request, _: bytes) -> Any:
        return self._shown(self._find(request))

    def _cancel(self, request: web.Request, _: bytes) -> dict[str, Any]:
        run = self._find(request)
        if self._status(run) not in ENDED:
            run["cancelled"] = True
            return {"id": run["id"]}
        raise Refusal(409, self.problem("run not cancellable"))

    def _checked(self, fields: dict[str, Any], known: set[str]) -> dict[str, Any]:
        if fields.keys() - known or not isinstance(fields.get("prompt", {}).get("text"), str):
            raise Refusal(400, self.problem("invalid request"))
        return fields

    def _runs(self, request: web.Request) -> list[dict[str, Any]]:
        if request.match_info["agent"] not in self.agents:
            raise Refusal(404, self.problem("agent not found"))
        return self.agents[request.match_info["agent"]]

    def _find(self, request: web.Request) -> dict[str, Any]:
        found = [run for run in self._runs(request) if run["id"] == request.match_info["run"]]
        if not found:
            raise Refusal(404, self.problem("run not found"))
        return found[0]

    def _start(self, agent: str, fields: dict[str, Any]) -> dict[str, Any]:
        run = {"id": f"run-{len(self.agents[agent])}", "agentId": agent, "createdAt": self.date().isoformat()}
        self.agents[agent].append(run | {"at": self.now(), "text": fields["prompt"]["text"], "cancelled": False})
        return self._shown(self.agents[agent][-1])

    def _status(self, run: dict[str, Any]) -> str:
        if run["cancelled"] or self.now() - run["at"] < 10:
            return "CANCELLED" if run["cancelled"] else "RUNNING"
        return "ERROR" if run["text"] == "fail" else "FINISHED"

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {**run, "status": self._status(run)}
        branch = {"repoUrl": "https://github.com/a/b", "prUrl": "https://github.com/a/b/pull/1"}
        return {**shown, "result": "Done.", "git": {"branches": [branch]}} if shown["status"] == "FINISHED" else shown
