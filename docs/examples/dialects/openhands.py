"""OpenHands Cloud: conversations. After https://docs.openhands.dev/openhands/usage/cloud/cloud-api (November 2026)."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from codegen_async import Call, Cost, Dialect, HostedRun, Phase, Rate, Refusal, Response, Shown

_PATH = "/api/v1/app-conversations"
_PULL = "https://github.com/{}/pull/{}"
_STARTING = ("WORKING", "WAITING_FOR_SANDBOX", "PREPARING_REPOSITORY", "RUNNING_SETUP_SCRIPT", "SETTING_UP_GIT_HOOKS")


class OpenHands(Dialect[HostedRun]):
    """Start conversations: `create_run(initial_message={"content": [{"type": "text", "text": "..."}]})`.

    Their id is ours to choose; what a second create of it does is not told, so a lost one is looked for by it. A status
    is what the sandbox does and, while that runs, what the agent does. One that cannot be started is never shown.
    """

    name = "openhands"
    base_url = "https://app.all-hands.dev"
    token_variable = "OPENHANDS_API_KEY"
    rates = {"all": (Rate(10, 1.0), Rate(100, 60.0))}
    many_at_most = 99
    unseen_for = 300.0
    phases = {
        **dict.fromkeys((*_STARTING, "SETTING_UP_SKILLS", "STARTING_CONVERSATION", "READY", "STARTING"), Phase.PENDING),
        "RUNNING": Phase.RUNNING, "PAUSED": Phase.BLOCKED, "ERROR": Phase.FAILED, "MISSING": Phase.FAILED,
        "RUNNING/paused": Phase.BLOCKED, "RUNNING/waiting_for_confirmation": Phase.BLOCKED,
        "RUNNING/finished": Phase.SUCCEEDED, "RUNNING/error": Phase.FAILED, "RUNNING/stuck": Phase.FAILED,
    }  # fmt: skip

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="all", path=_PATH, query={"ids": [run_id]}, read=lambda answer: _all(answer)[0])

    def many(self, run_ids: Sequence[str]) -> Call[Shown[HostedRun]]:
        def read(answer: Response) -> Shown[HostedRun]:
            return Shown(runs=_all(answer), sure=True)

        return Call(limit="all", path=_PATH, query={"ids": run_ids}, read=read)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        body = {**fields, "conversation_id": uuid5(NAMESPACE_OID, key).hex}
        return Call(limit="all", method="POST", path=_PATH, json=body, read=_task)

    def find(self, key: str, since: float | None) -> Call[HostedRun | None]:
        return self.get(uuid5(NAMESPACE_OID, key).hex)

    def reply(self, run_id: str, text: str) -> Call[HostedRun | None]:
        path, body = f"{_PATH}/{{id}}/send-message", {"content": [{"type": "text", "text": text}]}
        values, gone = {"id": run_id}, {410: Refusal.STILL}
        return Call(limit="all", method="POST", path=path, values=values, json=body, read=lambda _: None, refusals=gone)

    def refused(self, answer: Response) -> Refusal | None:
        return Refusal.FULL if answer.json()["detail"]["error"] == "CONCURRENCY_LIMIT_REACHED" else None


def _task(answer: Response) -> HostedRun:
    task = answer.json()
    run_id, failed = UUID(task["request"]["conversation_id"]).hex, task["status"] == "ERROR"
    error = task["detail"] if failed else None
    return HostedRun(id=run_id, status=task["status"], created=task["created_at"], error=error, raw=task)


def _all(answer: Response) -> list[HostedRun | None]:
    return [None if fields is None else _read(fields) for fields in answer.json()]


def _read(fields: dict[str, Any]) -> HostedRun:
    run_id, words = UUID(fields["id"]).hex, [fields["sandbox_status"], fields["execution_status"]]
    on_github, metrics = fields["git_provider"] == "github", fields["metrics"]
    return HostedRun(
        id=run_id,
        status="/".join(word for word in words if word),
        created=fields["created_at"],
        web_url=f"https://app.all-hands.dev/conversations/{run_id}",
        urls=tuple(_PULL.format(fields["selected_repository"], n) for n in fields["pr_number"] if on_github),
        cost=Cost(metrics["accumulated_cost"], "USD") if metrics else None,
        raw=fields,
    )
