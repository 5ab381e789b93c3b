"""Replicate: predictions. After https://replicate.com/docs/reference/http (November 2026)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from codegen_async import Call, Cost, Dialect, HostedRun, Phase, Rate, Refusal, Response, Shown


class Replicate(Dialect[HostedRun]):
    """Run models: `create_run(version="...", input={...})`. The API takes no key, so a lost create is unknown."""

    name = "replicate"
    base_url = "https://api.replicate.com/v1"
    token_variable = "REPLICATE_API_TOKEN"
    rates = {"create": Rate(600, 60.0), "read": Rate(3000, 60.0)}
    phases = {
        "starting": Phase.PENDING, "processing": Phase.RUNNING, "succeeded": Phase.SUCCEEDED,
        "failed": Phase.FAILED, "canceled": Phase.CANCELLED, "aborted": Phase.CANCELLED,
    }  # fmt: skip

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="read", path="/predictions/{id}", values={"id": run_id}, read=_prediction)

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:
        return Call(limit="read", path="/predictions", query={"cursor": place}, read=_page)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="create", method="POST", path="/predictions", json=dict(fields), read=_prediction)

    def cancel(self, run_id: str) -> Call[object]:
        path = "/predictions/{id}/cancel"
        return Call(limit="read", method="POST", path=path, values={"id": run_id}, read=_prediction)

    def refused(self, answer: Response) -> Refusal | None:
        return Refusal.QUOTA if answer.status == 402 else None  # noqa: PLR2004 - "Insufficient credit"


def _prediction(answer: Response) -> HostedRun:
    return _run(answer.json())


def _page(answer: Response) -> Shown[HostedRun]:
    fields = answer.json()
    following = parse_qs(urlsplit(fields["next"] or "").query).get("cursor", [None])[0]
    return Shown(runs=[_run(each) for each in fields["results"]], following=following)


def _run(fields: dict[str, Any]) -> HostedRun:
    metrics: dict[str, Any] = fields.get("metrics") or {}
    urls: dict[str, Any] = fields.get("urls") or {}
    output = fields.get("output")
    texts: list[Any] = [*output] if isinstance(output, list) else [output]
    return HostedRun(
        id=fields["id"],
        status=fields["status"],
        created=fields["created_at"],
        web_url=urls.get("web"),
        text="".join(text for text in texts if isinstance(text, str)) or None,
        error=fields.get("error") or None,
        cost=Cost(metrics["predict_time"], "seconds") if "predict_time" in metrics else None,
        raw=fields,
    )
