"""From checked arguments to requests. Pure; paths are built from integers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen_async.hosted.wire import json_body, query_of
from codegen_async.http.answers import Request

_ORGANIZATIONS = "/v1/organizations"
_HOME = f"{_ORGANIZATIONS}/{{org_id}}"
_AGENT = f"{_HOME}/agent"
_ALPHA = "/v1/alpha/organizations/{org_id}/agent"


class Requests:
    """Write the requests of one organization, as the vendor's pages say."""

    def __init__(self, org_id: int) -> None:
        self._org_id = org_id

    def create(self, fields: Mapping[str, Any]) -> Request:
        """Start a run ("Create Agent Run")."""
        return self._post("create", f"{_AGENT}/run", fields)

    def resume(self, fields: Mapping[str, Any]) -> Request:
        """Take a run up again; its id is in the body, not in the path."""
        return self._post("resume", f"{_AGENT}/run/resume", fields)

    def get(self, run_id: int) -> Request:
        """Read a run ("Get Agent Run")."""
        return self._get("get", f"{_AGENT}/run/{{run_id}}", run_id=run_id)

    def page(self, skip: int, limit: int, *, user_id: int | None = None, source_type: str | None = None) -> Request:
        """Read a page of runs ("List Agent Runs")."""
        return self._get("list", f"{_AGENT}/runs", skip=skip, limit=limit, user_id=user_id, source_type=source_type)

    def logs(self, run_id: int, skip: int, limit: int, *, reverse: bool) -> Request:
        """Read a page of a run's log ("Get Agent Run Logs")."""
        return self._get(
            "logs",
            f"{_ALPHA}/run/{{run_id}}/logs",
            run_id=run_id,
            skip=skip,
            limit=limit,
            reverse="true" if reverse else None,
        )

    def stop(self, run_id: int) -> Request:
        """Stop whoever works on a run's pull request ("Ban All Checks For Agent Run")."""
        return self._post("stop", f"{_AGENT}/run/ban", {"agent_run_id": run_id})

    def remove_from_pr(self, run_id: int) -> Request:
        """Do the same, under another name ("Remove Codegen From Pr")."""
        return self._post("stop", f"{_AGENT}/run/remove-from-pr", {"agent_run_id": run_id})

    def repos(self, skip: int, limit: int) -> Request:
        """Read a page of repositories ("Get Repositories")."""
        return self._get("repos", f"{_HOME}/repos", skip=skip, limit=limit)

    def models(self) -> Request:
        """Read which models there are ("List Models")."""
        return self._get("models", f"{_HOME}/models")

    def _get(self, endpoint: str, template: str, *, run_id: int | None = None, **query: object) -> Request:
        path = template.format(org_id=self._org_id, run_id=run_id)
        return Request(endpoint=endpoint, method="GET", path=path, template=template, query=query_of(**query))

    def _post(self, endpoint: str, template: str, fields: Mapping[str, Any]) -> Request:
        path = template.format(org_id=self._org_id)
        return Request(endpoint=endpoint, method="POST", path=path, template=template, body=json_body(fields))


def organizations(skip: int, limit: int) -> Request:
    """Read a page of organizations ("Get Organizations")."""
    query = query_of(skip=skip, limit=limit)
    return Request(endpoint="organizations", method="GET", path=_ORGANIZATIONS, template=_ORGANIZATIONS, query=query)


def me() -> Request:
    """Read whose token it is ("Get Current User")."""
    return Request(endpoint="me", method="GET", path="/v1/users/me", template="/v1/users/me")
