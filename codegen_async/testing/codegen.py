"""A simulated Codegen API: the endpoints, fields, limits and error bodies of the vendor's pages."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from aiohttp import hdrs, web

from codegen_async.testing.life import Life, Run
from codegen_async.testing.server import Handler, Rate, SimulatedServer, Window
from codegen_async.testing.validation import (
    Refusal,
    Validation,
    boolean,
    integer,
    json_object,
    list_of,
    mapping,
    one_of,
    optional,
    text,
)
from codegen_async.testing.world import World

__all__ = ["RATES", "CodegenServer"]

RATES: Mapping[str, Rate] = {
    "create": (10, 60.0),
    "get": (60, 30.0),
    "list": (60, 30.0),
    "logs": (60, 60.0),
    "resume": (10, 60.0),
}
"""The limits of the vendor's pages; none is stated for resume, so it is held to that of create."""

_ORGANIZATION = "/v1/organizations/{org_id}/agent"
_ALPHA = "/v1/alpha/organizations/{org_id}/agent"

_AGENT_TYPES = ("codegen", "claude_code")
_SOURCE_TYPES = (
    "LOCAL",
    "SLACK",
    "GITHUB",
    "GITHUB_CHECK_SUITE",
    "GITHUB_PR_REVIEW",
    "LINEAR",
    "API",
    "CHAT",
    "JIRA",
    "CLICKUP",
    "MONDAY",
    "SETUP_COMMANDS",
)

_PLAN_LIMIT = "Alloted agent runs for the current billing plan have been reached. Please upgrade your plan to continue."
_WRONG_ORGANIZATION = "You do not have access to this organization."
_NO_RUN = "Agent run not found."
_NO_REPOS = "No repos found in the organization. Please add some repos and try again."
_TOO_MANY = "Rate limit exceeded. Please try again later."


class CodegenServer(SimulatedServer):
    """Serve the Codegen API on 127.0.0.1 while the `async with` block lasts, on the loop of the caller.

        async with CodegenServer() as server:
            client = CodegenClient(server.token, org_id=server.org_id, base_url=server.url)

    Make it where that loop runs. It answers create, get, list, logs and resume as the vendor's pages say,
    enforces the limits strictly, and keeps a record: `requests`, `violations`, `worst(endpoint)`. What the
    runs do is in `world`, what goes wrong in `faults`.

    Args:
        window: how requests are counted. Default: over a sliding window, the strictest of the exact ways,
            as the vendor's is unknown.
        count_rejected: a rejected request uses the limit up like any other.
        retry_after: tell in a header of each 429 how many seconds to wait, rounded up. Default: no, as no
            such header is documented.
        rates: limits that replace those of `RATES`, by endpoint; "ceiling" is one across all endpoints.
        latency: least and most that a request takes to arrive, and again its answer, in seconds.
        speed: how many times faster the server's clock is than the loop's.
        token: the bearer token that the server accepts.
        org_id: the only organisation the token has access to.
        seed: of everything random.
        port: where to listen. Default: 0, a free port.
        life: how runs live that are given no script.
        plan_limit: how many runs the organisation may have before create answers 402; None for no limit.
        has_repos: whether the organisation has repositories; if not, create answers 404.
    """

    def __init__(
        self,
        *,
        window: Window = "sliding",
        count_rejected: bool = False,
        retry_after: bool = False,
        rates: Mapping[str, Rate] | None = None,
        latency: tuple[float, float] = (0.0, 0.0),
        speed: float = 1.0,
        token: str = "simulated",  # noqa: S107 - opens nothing but a simulation
        org_id: int = 323,
        seed: int = 0,
        port: int = 0,
        life: Life | None = None,
        plan_limit: int | None = None,
        has_repos: bool = True,
    ) -> None:
        super().__init__(
            rates={**RATES, **(rates or {})},
            window=window,
            count_rejected=count_rejected,
            retry_after=retry_after,
            latency=latency,
            speed=speed,
            token=token,
            seed=seed,
            port=port,
        )
        self.org_id = org_id
        self.world: World = World(self.now, seed=seed, org_id=org_id, life=life)
        """The runs of the organisation."""
        self.plan_limit = plan_limit
        self.has_repos = has_repos

    def _routes(self) -> list[tuple[str, str, str, Handler]]:
        return [
            (hdrs.METH_POST, f"{_ORGANIZATION}/run", "create", self._create),
            (hdrs.METH_POST, f"{_ORGANIZATION}/run/resume", "resume", self._resume),
            (hdrs.METH_GET, f"{_ORGANIZATION}/run/{{agent_run_id}}", "get", self._get),
            (hdrs.METH_GET, f"{_ORGANIZATION}/runs", "list", self._list),
            (hdrs.METH_GET, f"{_ALPHA}/run/{{agent_run_id}}/logs", "logs", self._logs),
        ]

    def _date(self) -> datetime:
        return self.world.datetime(self.now())

    def _refusal(self, status: Literal[401, 429]) -> Refusal:
        if status == 401:  # noqa: PLR2004 - an HTTP status
            return Refusal(401, {"detail": "Invalid or missing API token"})
        return _refuse(429, _TOO_MANY)

    def _create(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer "Create Agent Run"."""
        fields, check = _json_body(request, body), Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        prompt = check.require("body", fields, "prompt", text)
        images = check.field("body", fields, "images", optional(list_of(text)))
        metadata = check.field("body", fields, "metadata", optional(mapping))
        repo_id = check.field("body", fields, "repo_id", optional(integer()))
        model = check.field("body", fields, "model", optional(text))
        agent_type = check.field("body", fields, "agent_type", optional(one_of(*_AGENT_TYPES, kind="literal_error")))
        self._admit(check, org_id)
        if not self.has_repos:
            raise _refuse(404, _NO_REPOS)
        if self.plan_limit is not None and len(self.world.runs) >= self.plan_limit:
            raise _refuse(402, _PLAN_LIMIT)
        run = self.world.create(
            prompt,
            images=images or (),
            metadata=metadata,
            repo_id=repo_id,
            model=model,
            agent_type=agent_type,
        )
        return self.world.response(run)

    def _resume(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer "Resume Agent Run", whose id is in the body."""
        fields, check = _json_body(request, body), Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        run_id = check.require("body", fields, "agent_run_id", integer())
        prompt = check.require("body", fields, "prompt", text)
        check.field("body", fields, "images", optional(list_of(text)))
        self._admit(check, org_id)
        return self.world.response(self.world.resume(self._run(run_id).id, prompt))

    def _get(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "Get Agent Run"."""
        check = Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        run_id = check.require("path", request.match_info, "agent_run_id", integer())
        self._admit(check, org_id)
        return self.world.response(self._run(run_id))

    def _list(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "List Agent Runs"."""
        check = Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        user_id = check.field("query", request.query, "user_id", integer())
        source_type = check.field("query", request.query, "source_type", one_of(*_SOURCE_TYPES, kind="enum"))
        skip, limit = _paging(check, request)
        self._admit(check, org_id)
        runs, total = self.world.page(skip=skip, limit=limit, user_id=user_id, source_type=source_type)
        items = [self.world.response(run) for run in runs]
        return {"items": items, "total": total, **_page(total, skip, limit)}

    def _logs(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "Get Agent Run Logs"."""
        check = Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        run_id = check.require("path", request.match_info, "agent_run_id", integer())
        skip, limit = _paging(check, request)
        newest_first = check.field("query", request.query, "reverse", boolean, default=False)
        self._admit(check, org_id)
        run = self._run(run_id)
        rows = self.world.logs(run)
        total = len(rows)
        if newest_first:
            rows.reverse()
        details = self.world.response(run)
        return {
            **{name: details[name] for name in _LOGGED_FIELDS},
            "logs": rows[skip : skip + limit],
            "total_logs": total,
            **_page(total, skip, limit),
        }

    def _admit(self, check: Validation, org_id: int) -> None:
        check.close()
        if org_id != self.org_id:
            raise _refuse(403, _WRONG_ORGANIZATION)

    def _run(self, run_id: int) -> Run:
        run = self.world.runs.get(run_id)
        if run is None:
            raise _refuse(404, _NO_RUN)
        return run


_LOGGED_FIELDS = ("id", "organization_id", "status", "created_at", "web_url", "result", "metadata")


def _refuse(status: int, message: str) -> Refusal:
    return Refusal(status, {"message": message, "status_code": status})


def _json_body(request: web.Request, body: bytes) -> dict[str, Any]:
    return json_object(body, request.headers.get(hdrs.CONTENT_TYPE))


def _paging(check: Validation, request: web.Request) -> tuple[int, int]:
    skip = check.field("query", request.query, "skip", integer(minimum=0), default=0)
    limit = check.field("query", request.query, "limit", integer(minimum=1, maximum=100), default=100)
    return skip, limit


def _page(total: int, skip: int, limit: int) -> dict[str, int]:
    return {"page": skip // limit + 1, "size": limit, "pages": -(-total // limit)}
