"""A strict server of OpenHands' conversations, as far as its pages and its source say."""

import json
from typing import Any
from uuid import UUID

from aiohttp import web

from codegen_async import Rate
from codegen_async.testing import Refusal, Route, SimulatedServer

FIELDS = {"conversation_id", "initial_message", "selected_repository", "selected_branch", "git_provider", "llm_model"}
FULL = {"error": "CONCURRENCY_LIMIT_REACHED"}


class OpenHandsServer(SimulatedServer):
    """Start conversations in 20 seconds, show them 10 later, and let each go on for a minute.

    The message `ask` makes one wait for a person, `stuck` get stuck, `crash` lose its sandbox.

    Args:
        at_once: how many may go on at once.
    """

    def __init__(self, at_once: int = 100) -> None:
        super().__init__(rates={"all": (Rate(10, 1.0), Rate(100, 60.0))})
        self.conversations: dict[str, dict[str, Any]] = {}
        self.at_once = at_once

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/api/v1/app-conversations", "all", self._start),
            Route("GET", "/api/v1/app-conversations", "all", self._get),
            Route("POST", "/api/v1/app-conversations/{id}/send-message", "all", self._send),
        ]

    def _start(self, _: web.Request, body: bytes) -> dict[str, Any]:
        fields = json.loads(body)
        if fields.keys() - FIELDS:
            raise Refusal(422, {"detail": [{"loc": ["body"], "msg": "Extra inputs are not permitted"}]})
        going = [run for run in self.conversations.values() if self._execution(run) not in ("finished", "stuck")]
        if len(going) >= self.at_once:
            raise Refusal(429, {"detail": {**FULL, "limit": self.at_once, "current": len(going)}})
        name = UUID(fields.get("conversation_id") or str(UUID(int=len(self.conversations)))).hex
        name = name if name not in self.conversations else UUID(int=len(self.conversations)).hex  # it is not told
        message = fields["initial_message"]["content"][0]["text"]
        times = {"at": self.now() + 20, "shown": self.now() + 30, "created_at": self.date().isoformat()}
        run = {"id": name, "message": message, **times}
        self.conversations[name] = run
        task = {"id": UUID(int=1).hex, "status": "WORKING", "detail": None, "app_conversation_id": None}
        return {**task, "request": fields, "created_at": run["created_at"]}

    def _get(self, request: web.Request, _: bytes) -> list[dict[str, Any] | None]:
        ids = request.query.getall("ids")
        if len(ids) >= 100:
            raise Refusal(400, {"detail": "Too many ids requested. Maximum is 99."})
        try:
            names = [UUID(each).hex for each in ids]
        except ValueError:
            raise Refusal(400, {"detail": f"Invalid UUID format for ids: {ids}"}) from None
        return [self._shown(self.conversations[name]) if self._is_shown(name) else None for name in names]

    def _send(self, request: web.Request, body: bytes) -> dict[str, Any]:
        name, fields = UUID(request.match_info["id"]).hex, json.loads(body)
        if not fields["content"] or not self._is_shown(name):
            raise Refusal(404, {"detail": f"Conversation {name} not found"})
        run = self.conversations[name]
        if run["message"] == "crash":
            raise Refusal(410, {"detail": "Conversation is archived. The sandbox no longer exists."})
        run.update(at=self.now(), message=fields["content"][0]["text"])
        return {"success": True, "sandbox_status": "RUNNING", "message": None}

    def _is_shown(self, name: str) -> bool:
        return name in self.conversations and self.now() >= self.conversations[name]["shown"]

    def _execution(self, run: dict[str, Any]) -> str:
        if self.now() < run["at"] + 60:
            return "running" if self.now() > run["at"] else "idle"
        return {"ask": "waiting_for_confirmation", "stuck": "stuck"}.get(run["message"], "finished")

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        lost = run["message"] == "crash" and self._execution(run) == "finished"
        return {
            "id": run["id"],
            "created_at": run["created_at"],
            "git_provider": "github",
            "pr_number": [5],
            "selected_repository": "a/b",
            "metrics": {"accumulated_cost": 0.25},
            "sandbox_status": "MISSING" if lost else "RUNNING",
            "execution_status": None if lost else self._execution(run),
        }
