"""A strict server of OpenAI's background responses, as far as its pages say."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from codegen_async import Rate
from codegen_async.testing import Answer, Refusal, Route, SimulatedServer

FIELDS = {"model", "input", "background", "store", "previous_response_id", "instructions", "metadata"}
MOVING = ("queued", "in_progress")
CODES = {"Too Many Requests": "rate_limit_exceeded", "Unauthorized": "invalid_api_key"}


class OpenAIServer(SimulatedServer):
    """Run responses for ten seconds; the inputs `fail` and `long` end badly. It tells its limit in headers alone."""

    def __init__(self) -> None:
        super().__init__(rates={"create": Rate(120, 60.0), "read": Rate(600, 60.0)})
        self.responses: dict[str, dict[str, Any]] = {}
        self.spent = False

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/responses", "create", self._create),
            Route("GET", "/responses/{id}", "read", lambda request, _: self._shown(self._find(request))),
            Route("POST", "/responses/{id}/cancel", "read", self._cancel),
        ]

    def problem(self, reason: str) -> Mapping[str, Any]:
        code = CODES.get(reason)
        return {"error": {"message": reason, "type": "invalid_request_error", "param": None, "code": code}}

    def _create(self, _: web.Request, body: bytes) -> Answer:
        fields = json.loads(body)
        if unknown := sorted(fields.keys() - FIELDS):
            raise Refusal(400, self.problem(f"Unknown parameter: {unknown[0]}"))
        if not fields.get("model") or not fields.get("input") or not (fields.get("background") and fields.get("store")):
            raise Refusal(400, self.problem("Missing required parameter, or background without store"))
        before = fields.get("previous_response_id")
        if before is not None and (before not in self.responses or self._status(self.responses[before]) in MOVING):
            raise Refusal(400, self.problem("Previous response cannot be used"))
        if self.spent:
            error = {"message": "You exceeded your current quota", "type": "q", "code": "insufficient_quota"}
            raise Refusal(429, {"error": error})
        name = f"resp_{len(self.responses)}"
        run = {"id": name, "at": self.now(), "created_at": self.date().timestamp(), "cancelled": False}
        self.responses[name] = {**run, "input": fields["input"]}
        headers = {"x-ratelimit-limit-requests": "120", "x-ratelimit-remaining-requests": str(self._left())}
        return Answer(200, self._shown(self.responses[name]), {**headers, "x-ratelimit-reset-requests": "1m0s"})

    def _left(self) -> int:
        since = self.now() - 60
        return 120 - sum(each.endpoint == "create" and each.time > since for each in self.requests)

    def _cancel(self, request: web.Request, _: bytes) -> dict[str, Any]:
        run = self._find(request)
        run["cancelled"] |= self._status(run) in MOVING
        return self._shown(run)

    def _find(self, request: web.Request) -> dict[str, Any]:
        name = request.match_info["id"]
        if name not in self.responses:
            raise Refusal(404, self.problem(f"Response with id '{name}' not found."))
        return self.responses[name]

    def _status(self, run: dict[str, Any]) -> str:
        if run["cancelled"] or self.now() - run["at"] < 10:
            return "cancelled" if run["cancelled"] else "in_progress"
        return {"fail": "failed", "long": "incomplete"}.get(run["input"], "completed")

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        status = self._status(run)
        content = [{"type": "output_text", "text": "Hello."}]
        message = {"type": "message", "role": "assistant", "content": content}
        return {
            "id": run["id"],
            "object": "response",
            "status": status,
            "created_at": run["created_at"],
            "background": True,
            "error": {"code": "server_error", "message": "The model failed."} if status == "failed" else None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": [{"type": "reasoning", "summary": []}, message] if status == "completed" else [],
            "usage": {"total_tokens": 12} if status == "completed" else None,
        }
