"""A simulated Codegen API: the endpoints, fields, limits and error bodies of the vendor's pages."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from codegen_async.testing.account import Account
from codegen_async.testing.life import Life, Run
from codegen_async.testing.rates import RetryAfter
from codegen_async.testing.server import Rate, Route, SimulatedServer, Window
from codegen_async.testing.validation import (
    InvalidValueError,
    Refusal,
    Validation,
    boolean,
    image,
    integer,
    json_object,
    list_of,
    mapping,
    one_of,
    optional,
    text,
    url,
)
from codegen_async.testing.world import World

__all__ = ["RATES", "CodegenServer"]

RATES: Mapping[str, Rate] = {
    "create": (10, 60.0),
    "get": (60, 30.0),
    "list": (60, 30.0),
    "logs": (60, 60.0),
    "resume": (10, 60.0),
    "stop": (10, 60.0),
    "organizations": (60, 30.0),
    "me": (60, 30.0),
    "repos": (60, 30.0),
    "models": (60, 30.0),
}
"""The limits of the vendor's pages; none is stated for resume and stop, so they are held to that of create."""

_HOME = "/v1/organizations/{org_id}"
_ORGANIZATION = f"{_HOME}/agent"
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

    Make it where that loop runs. It answers all calls about runs and accounts as the vendor's pages say,
    enforces the limits strictly, and keeps a record: `requests`, `violations`, `worst(endpoint)`. What the
    runs do is in `world`, what goes wrong in `faults`.

    Args:
        window: how requests are counted. Default: over a sliding window, the strictest of the exact ways,
            as the vendor's is unknown.
        count_rejected: a rejected request uses the limit up like any other.
        retry_after: whether, and how, to tell in a header of each 429 how many seconds to wait (`rates.RetryAfter`;
            True: rounded up). Default: no, as no such header is documented.
        rates: limits that replace those of `RATES`, by endpoint; "ceiling" is one across all endpoints.
        latency: least and most that a request takes to arrive, and again its answer, in seconds.
        speed: how many times faster the server's clock is than the loop's.
        token: the bearer token that the server accepts.
        org_id: the organisation that has the runs; the only one unless `account` is given more.
        seed: of everything random.
        port: where to listen. Default: 0, a free port.
        life: how runs live that are given no script.
        plan_limit: how many runs the organisation may have before create answers 402; None for no limit.
        has_repos: whether the organisation has repositories; if not, create answers 404.
        nulls: share of the fields without a promise (all but ids) that read null, each by chance and at each answer
            anew. Default: 0, as a test that does not ask for it has enough to think of.
    """

    def __init__(
        self,
        *,
        window: Window = "sliding",
        count_rejected: bool = False,
        retry_after: bool | RetryAfter = False,
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
        nulls: float = 0.0,
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
        self.account: Account = Account(org_id, self.world.user_id)
        """Organisations, repositories and models."""
        self._nulls = nulls
        self._chance = random.Random(f"{seed}:nulls")
        self.plan_limit = plan_limit
        self.has_repos = has_repos

    def variables(self) -> dict[str, str]:
        """Return the variables that lead a client here."""
        return {
            "CODEGEN_API_BASE_URL": self.url,
            "CODEGEN_ORG_ID": str(self.org_id),
            "CODEGEN_API_TOKEN": self.token,
        }

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route(hdrs.METH_POST, f"{_ORGANIZATION}/run", "create", self._create),
            Route(hdrs.METH_POST, f"{_ORGANIZATION}/run/resume", "resume", self._resume),
            Route(hdrs.METH_GET, f"{_ORGANIZATION}/run/{{agent_run_id}}", "get", self._get),
            Route(hdrs.METH_GET, f"{_ORGANIZATION}/runs", "list", self._list),
            Route(hdrs.METH_GET, f"{_ALPHA}/run/{{agent_run_id}}/logs", "logs", self._logs),
            Route(hdrs.METH_POST, f"{_ORGANIZATION}/run/ban", "stop", self._stop),
            Route(hdrs.METH_POST, f"{_ORGANIZATION}/run/remove-from-pr", "stop", self._stop),
            Route(hdrs.METH_GET, "/v1/organizations", "organizations", self._organizations),
            Route(hdrs.METH_GET, "/v1/users/me", "me", self._me),
            Route(hdrs.METH_GET, f"{_HOME}/repos", "repos", self._repos),
            Route(hdrs.METH_GET, f"{_HOME}/models", "models", self._catalog),
        ]

    def date(self) -> datetime:
        """Return the date that the world shows."""
        return self.world.datetime(self.now())

    def refusal(self, status: int) -> Refusal:
        """Return a refusal in the form of the API."""
        if status == 401:  # noqa: PLR2004 - an HTTP status
            return Refusal(401, {"detail": "Invalid or missing API token"})
        return _refuse(status, _TOO_MANY if status == 429 else f"{HTTPStatus(status).phrase}.")  # noqa: PLR2004 - as above

    def _create(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer "Create Agent Run"."""
        fields, check = _json_body(request, body), Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        prompt = check.require("body", fields, "prompt", text)
        images = check.field("body", fields, "images", optional(list_of(image)))
        metadata = check.field("body", fields, "metadata", optional(mapping))
        repo_id = check.field("body", fields, "repo_id", optional(integer()))
        model = check.field("body", fields, "model", optional(text))
        agent_type = check.field("body", fields, "agent_type", optional(one_of(*_AGENT_TYPES, kind="literal_error")))
        webhooks = check.field("body", fields, "webhooks", optional(list_of(_webhook)))
        self._admit(check, org_id)
        if not (self._own(org_id) and self.has_repos and self.account.repos):
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
            webhooks=webhooks or (),
        )
        return self._shown(run)

    def _resume(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer "Resume Agent Run", whose id is in the body."""
        fields, check = _json_body(request, body), Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        run_id = check.require("body", fields, "agent_run_id", integer())
        prompt = check.require("body", fields, "prompt", text)
        check.field("body", fields, "images", optional(list_of(image)))
        model = check.field("body", fields, "model", optional(text))
        webhooks = check.field("body", fields, "webhooks", optional(list_of(_webhook)))
        self._admit(check, org_id)
        run = self._run(org_id, run_id)
        return self._shown(self.world.resume(run.id, prompt, model=model, webhooks=webhooks))

    def _get(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "Get Agent Run"."""
        check = Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        run_id = check.require("path", request.match_info, "agent_run_id", integer())
        self._admit(check, org_id)
        return self._shown(self._run(org_id, run_id))

    def _list(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "List Agent Runs"."""
        check = Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        user_id = check.field("query", request.query, "user_id", integer())
        source_type = check.field("query", request.query, "source_type", one_of(*_SOURCE_TYPES, kind="enum"))
        skip, limit = _paging(check, request)
        self._admit(check, org_id)
        if not self._own(org_id):
            return {"items": [], "total": 0, **_page(0, skip, limit)}
        runs, total = self.world.page(skip=skip, limit=limit, user_id=user_id, source_type=source_type)
        return {"items": [self._shown(run) for run in runs], "total": total, **_page(total, skip, limit)}

    def _logs(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "Get Agent Run Logs"."""
        check = Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        run_id = check.require("path", request.match_info, "agent_run_id", integer())
        skip, limit = _paging(check, request)
        newest_first = check.field("query", request.query, "reverse", boolean, default=False)
        self._admit(check, org_id)
        run = self._run(org_id, run_id)
        rows = self.world.logs(run)
        total = len(rows)
        if newest_first:
            rows.reverse()
        details = self._shown(run)
        return {
            **{name: details[name] for name in _LOGGED_FIELDS},
            "logs": [self._hidden(row, _LOG_NULLS) for row in rows[skip : skip + limit]],
            "total_logs": total,
            **_page(total, skip, limit),
        }

    def _stop(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer "Ban All Checks For Agent Run" and "Remove Codegen From Pr"; what they answer is not documented."""
        fields, check = _json_body(request, body), Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        run_id = check.require("body", fields, "agent_run_id", integer())
        for name in ("before_card_order_id", "after_card_order_id"):
            check.field("body", fields, name, optional(text))
        self._admit(check, org_id)
        self.world.stop(self._run(org_id, run_id).id)
        return {}

    # -- the account

    def _organizations(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "Get Organizations"."""
        check = Validation()
        skip, limit = _paging(check, request)
        check.close()
        return _listed([self.account.organization(org_id) for org_id in self.account.organizations], skip, limit)

    def _me(self, _request: web.Request, _body: bytes) -> Mapping[str, Any]:
        """Answer "Get Current User"."""
        return self.account.user()

    def _repos(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "Get Repositories"."""
        check = Validation()
        org_id = check.require("path", request.match_info, "org_id", integer())
        skip, limit = _paging(check, request)
        self._admit(check, org_id)
        repos = self.account.repos if self._own(org_id) and self.has_repos else ()
        return _listed([self.account.repo(repo_id) for repo_id in repos], skip, limit)

    def _catalog(self, request: web.Request, _: bytes) -> Mapping[str, Any]:
        """Answer "List Models"."""
        check = Validation()
        self._admit(check, check.require("path", request.match_info, "org_id", integer()))
        return self.account.catalog()

    # -- what several have in common

    def _admit(self, check: Validation, org_id: int) -> None:
        check.close()
        if org_id not in self.account.organizations:
            raise _refuse(403, _WRONG_ORGANIZATION)

    def _own(self, org_id: int) -> bool:
        """Whether this is the organization that has the runs and repositories."""
        return org_id == self.org_id

    def _run(self, org_id: int, run_id: int) -> Run:
        run = self.world.runs.get(run_id) if self._own(org_id) else None
        if run is None:
            raise _refuse(404, _NO_RUN)
        return run

    def _shown(self, run: Run) -> dict[str, Any]:
        return self._hidden(self.world.response(run), _RUN_NULLS)

    def _hidden(self, shown: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """Return what is shown, with null where chance has it."""
        if not self._nulls:
            return shown
        return {**shown, **{name: None for name in names if self._chance.random() < self._nulls}}


_LOGGED_FIELDS = ("id", "organization_id", "status", "created_at", "web_url", "result", "metadata")


_RUN_NULLS = ("status", "created_at", "web_url", "result", "summary", "source_type", "github_pull_requests", "metadata")
_LOG_NULLS = ("created_at", "tool_name", "message_type", "thought", "observation", "tool_input", "tool_output")


def _refuse(status: int, message: str) -> Refusal:
    return Refusal(status, {"message": message, "status_code": status})


def _json_body(request: web.Request, body: bytes) -> dict[str, Any]:
    return json_object(body, request.headers.get(hdrs.CONTENT_TYPE))


def _paging(check: Validation, request: web.Request) -> tuple[int, int]:
    skip = check.field("query", request.query, "skip", integer(minimum=0), default=0)
    limit = check.field("query", request.query, "limit", integer(minimum=1, maximum=100), default=100)
    return skip, limit


def _webhook(value: Any) -> dict[str, Any]:
    """Let objects pass that have a URL, and perhaps a secret."""
    fields, check = mapping(value), Validation()
    hook = {
        "url": check.require("body", fields, "url", url),
        "secret": check.field("body", fields, "secret", optional(text)),
    }
    try:
        check.close()
    except Refusal as refusal:
        wrong = refusal.payload["detail"][0]
        raise InvalidValueError(wrong["type"], wrong["msg"], wrong["loc"][1:]) from None
    return hook


def _listed(items: Sequence[Mapping[str, Any]], skip: int, limit: int) -> Mapping[str, Any]:
    return {"items": items[skip : skip + limit], "total": len(items), **_page(len(items), skip, limit)}


def _page(total: int, skip: int, limit: int) -> dict[str, int]:
    return {"page": skip // limit + 1, "size": limit, "pages": -(-total // limit)}
