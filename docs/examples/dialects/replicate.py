"""Replicate: predictions. After https://replicate.com/docs/reference/http (November 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen_async import Call, Cost, Dialect, HostedRun, Phase, Rate, Refusal, Response


class Replicate(Dialect[HostedRun]):
    """Run models: `create_run(version="...", input={...})`. The API takes no key, so a lost create is unknown."""

    name = "replicate"
    base_url = "https://api.replicate.com/v1"
    token_variable = "REPLICATE_API_TOKEN"
    rates: Mapping[str, Rate] = {"create": Rate(600, 60.0), "read": Rate(3000, 60.0)}
    phases: Mapping[str, Phase] = {
        "starting": Phase.PENDING,
        "processing": Phase.RUNNING,
        "succeeded": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
        "canceled": Phase.CANCELLED,
        "aborted": Phase.CANCELLED,
    }

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="read", path="/predictions/{id}", values={"id": run_id}, read=_prediction)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="create", method="POST", path="/predictions", json=dict(fields), read=_prediction)

    def cancel(self, run_id: str) -> Call[object]:
        return Call(
            limit="read", method="POST", path="/predictions/{id}/cancel", values={"id": run_id}, read=_prediction
        )

    def refused(self, answer: Response) -> Refusal | None:
        return Refusal.QUOTA if answer.status == 402 else None  # noqa: PLR2004 - "Insufficient credit"


def _prediction(answer: Response) -> HostedRun:
    fields = answer.json()
    output = fields.get("output")
    texts = output if isinstance(output, list) else [output]
    return HostedRun(
        id=fields["id"],
        status=fields["status"],
        created=fields["created_at"],
        web_url=(fields.get("urls") or {}).get("web"),
        text="".join(text for text in texts if isinstance(text, str)) or None,
        error=fields.get("error"),
        cost=_cost(fields.get("metrics") or {}),
        raw=fields,
    )


def _cost(metrics: Mapping[str, Any]) -> Cost | None:
    return Cost(metrics["predict_time"], "seconds") if "predict_time" in metrics else None
