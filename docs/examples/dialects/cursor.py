"""Cursor Cloud Agents, v1 (beta). After https://cursor.com/docs/cloud-agent/api/endpoints (November 2026)."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from codegen_async import Call, Dialect, HostedRun, Phase, Refusal, Response, Twice

_RUNS, _RUN = "/v1/agents/{agent}/runs", "/v1/agents/{agent}/runs/{run}"
_MEANINGS = {
    "agent_id_conflict": Refusal.EXISTS, "run_not_cancellable": Refusal.STILL, "usage_limit_exceeded": Refusal.QUOTA,
}  # fmt: skip


class Cursor(Dialect[HostedRun]):
    """Start agents: `create_run(prompt={"text": "..."}, repos=[{"url": "..."}])`; a reply makes another run.

    The agent's id is ours to choose, and refused a second time: a run is created once, whatever is lost.
    """

    name = "cursor"
    base_url = "https://api.cursor.com"
    token_variable = "CURSOR_API_KEY"
    rates = {"all": ()}  # not published
    id_parts = ("agent", "run")
    phases = {
        "CREATING": Phase.PENDING, "RUNNING": Phase.RUNNING, "FINISHED": Phase.SUCCEEDED,
        "ERROR": Phase.FAILED, "EXPIRED": Phase.FAILED, "CANCELLED": Phase.CANCELLED,
    }  # fmt: skip

    def auth(self, token: str) -> Mapping[str, str]:
        return {"Authorization": f"Basic {b64encode(f'{token}:'.encode()).decode()}"}

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="all", path=_RUN, values=self.parts(run_id), read=lambda answer: _run(answer.json()))

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        body = {**fields, "agentId": f"bc-{uuid5(NAMESPACE_OID, key)}"}
        return Call(limit="all", method="POST", path="/v1/agents", json=body, read=_started, twice=Twice.REFUSED)

    def find(self, key: str, since: float | None) -> Call[HostedRun | None]:
        return Call(limit="all", path=_RUNS, values={"agent": f"bc-{uuid5(NAMESPACE_OID, key)}"}, read=_first_of_all)

    def cancel(self, run_id: str) -> Call[object]:
        return Call(limit="all", method="POST", path=f"{_RUN}/cancel", values=self.parts(run_id), read=Response.json)

    def reply(self, run_id: str, text: str) -> Call[HostedRun | None]:
        body, values = {"prompt": {"text": text}}, {"agent": self.parts(run_id)["agent"]}
        return Call(limit="all", method="POST", path=_RUNS, values=values, json=body, read=_started)

    def refused(self, answer: Response) -> Refusal | None:
        return _MEANINGS.get(answer.json()["error"]["code"])


def _started(answer: Response) -> HostedRun:
    return _run(answer.json()["run"])


def _first_of_all(answer: Response) -> HostedRun | None:
    return next((_run(fields) for fields in reversed(answer.json()["items"])), None)  # newest first


def _run(fields: dict[str, Any]) -> HostedRun:
    branches: list[dict[str, Any]] = fields["git"]["branches"] if fields.get("git") else []
    urls = tuple(branch["prUrl"] for branch in branches if branch.get("prUrl"))
    run_id, web_url = f"{fields['agentId']}/{fields['id']}", f"https://cursor.com/agents?id={fields['agentId']}"
    status, created, text = fields["status"], fields["createdAt"], fields.get("result")
    return HostedRun(id=run_id, status=status, created=created, web_url=web_url, text=text, urls=urls, raw=fields)
