"""OpenAI: background responses. After https://platform.openai.com/docs/api-reference/responses (November 2026)."""

from collections.abc import Mapping
from typing import Any

from codegen_async import Call, Cost, Dialect, HostedRun, Phase, Refusal, Response

_SPENT = ("insufficient_quota", "credit_balance_exhausted")  # 429s that do not pass


class OpenAI(Dialect[HostedRun]):
    """Start responses: `create_run(input="...")`; a reply makes another one, with the first as its context.

    The API lists nothing and knows no key, so a lost create is unknown.
    """

    name = "openai"
    base_url = "https://api.openai.com/v1"
    token_variable = "OPENAI_API_KEY"
    prompt_field = "input"
    rates = {"create": (), "read": ()}  # by tier; headers tell
    phases = {
        "queued": Phase.PENDING, "in_progress": Phase.RUNNING, "completed": Phase.SUCCEEDED, "failed": Phase.FAILED,
        "cancelled": Phase.CANCELLED, "incomplete": Phase.FAILED,
    }  # fmt: skip

    def __init__(self, model: str = "gpt-5") -> None:
        self.model = model

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="read", path="/responses/{id}", values={"id": run_id}, read=_read)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        body = {"model": self.model, **fields, "background": True, "store": True}  # else it is gone in ten minutes
        return Call(limit="create", method="POST", path="/responses", json=body, read=_read)

    def cancel(self, run_id: str) -> Call[object]:
        return Call(limit="read", method="POST", path="/responses/{id}/cancel", values={"id": run_id}, read=_read)

    def reply(self, run_id: str, text: str) -> Call[HostedRun | None]:
        body = {"model": self.model, "input": text, "previous_response_id": run_id, "background": True, "store": True}
        return Call(limit="create", method="POST", path="/responses", json=body, read=_read)

    def refused(self, answer: Response) -> Refusal | None:
        return Refusal.QUOTA if answer.json()["error"]["code"] in _SPENT else None


def _read(answer: Response) -> HostedRun:
    fields = answer.json()
    parts = [part for item in fields["output"] or () for part in item.get("content") or ()]
    usage, why = fields.get("usage"), fields.get("error") or fields.get("incomplete_details")
    return HostedRun(
        id=fields["id"],
        status=fields["status"],
        created=fields["created_at"],
        text="".join(part["text"] for part in parts if part["type"] == "output_text") or None,
        error=(why.get("message") or why["reason"]) if why else None,
        cost=Cost(usage["total_tokens"], "tokens") if usage else None,
        raw=fields,
    )
